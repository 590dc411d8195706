// Check every built page of the book in headless Chromium, from disk and without a network.
//
//   node check_pages.mjs [--screenshots DIR] [--only TEXT] HTML_FOLDER
//   node check_pages.mjs --self-test HTML_FOLDER
//
// A page fails on: a formula error, an unknown command, a formula left as TeX or wider than the
// page or than its cell of a table; punctuation parted from its formula; a request that leaves the machine or finds no file; a script error or console error; an
// image without alt text; a violation found by axe-core (light and dark); a search without a hit; a
// tick that leads to no place; a document wider than a phone of 390 px.
//
// --screenshots stores every page at both widths in both themes. --self-test writes pages broken in
// one way each and expects each to be found; formulas come from the MathJax of HTML_FOLDER.
// CHROMIUM names the browser.
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { AXE, start } from "./browser.mjs";

const DESKTOP = { width: 1280, height: 900 };
const PHONE = { width: 390, height: 844 };
const SETUPS = [
  { name: "desktop-light", viewport: DESKTOP, colorScheme: "light", axe: true },
  { name: "desktop-dark", viewport: DESKTOP, colorScheme: "dark", axe: true },
  { name: "phone-light", viewport: PHONE, colorScheme: "light", phone: true },
  { name: "phone-dark", viewport: PHONE, colorScheme: "dark", phone: true, screenshotOnly: true },
];
const PARALLEL = 2;
const SEARCH_WORD = "anomaly";
// The theme says this on every first visit; it does no harm.
const HARMLESS = /^Got invalid theme mode/;

/** Built pages below `root`, without theme templates and pages that only redirect. */
function builtPages(root) {
  return fs
    .readdirSync(root, { recursive: true })
    .map(String)
    .filter((f) => f.endsWith(".html") && !/^(_static|_sources|_sphinx_design_static)\//.test(f))
    .filter((f) => !/http-equiv=["']refresh/i.test(fs.readFileSync(path.join(root, f), "utf8")))
    .sort();
}

/** Wait until the page and its formulas stand still. */
async function settle(page) {
  await page.evaluate(async () => {
    const wanted = document.querySelector("script[src*='mathjax']");
    const patience = Date.now() + 20000;
    while (wanted && !window.MathJax?.startup?.promise && Date.now() < patience)
      await new Promise((r) => setTimeout(r, 50));
    await window.MathJax?.startup?.promise;
    await document.fonts.ready;
    await new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(r)));
  });
  await page.waitForTimeout(150);
}

/** What is wrong with the page as it stands, apart from axe-core. */
function inspect(phoneWidth) {
  const problems = [];
  const cut = (text) => text.replace(/\s+/g, " ").trim().slice(0, 90);
  for (const bad of document.querySelectorAll("mjx-merror"))
    problems.push(["formula", `formula error: ${cut(bad.getAttribute("data-mjx-error") || bad.textContent)}`]);
  for (const math of document.querySelectorAll("span.math, div.math"))
    if (!math.querySelector("mjx-container"))
      problems.push(["formula", `formula left as TeX: ${cut(math.textContent)}`]);
  // MathJax prints a command it does not know in red and calls it no error
  for (const unknown of document.querySelectorAll("mjx-mtext[style*='color: red']"))
    problems.push(["formula", `unknown command in formula: ${cut(unknown.closest("mjx-container").parentElement.textContent)}`]);
  if (!phoneWidth)
    for (const math of document.querySelectorAll("div.math mjx-container")) {
      const box = math.closest("div.math");
      if (box.scrollWidth > box.clientWidth + 1)
        problems.push(["formula", `formula ${box.id || ""} is wider than the page: ${box.scrollWidth} of ${box.clientWidth} px`]);
    }
  if (!phoneWidth)
    for (const math of document.querySelectorAll("td mjx-container")) {
      const over = math.getBoundingClientRect().right - math.closest("td").getBoundingClientRect().right;
      if (over > 1) problems.push(["cell", `formula sticks out of its cell by ${Math.round(over)} px: ${cut(math.closest("tr").textContent)}`]);
    }
  // a comma or a stop that stands on another line than the end of its formula
  for (const math of document.querySelectorAll("span.math mjx-container")) {
    const next = math.parentElement.nextSibling, box = math.getBoundingClientRect();
    if (next?.nodeType !== Node.TEXT_NODE || !/^[,.;:!?)]/.test(next.data) || !box.width) continue;
    const mark = document.createRange();
    mark.setStart(next, 0);
    mark.setEnd(next, 1);
    if (mark.getBoundingClientRect().left < box.left + 1)
      problems.push(["break", `punctuation parted from its formula: ${cut(math.closest("p, li, td, dd")?.textContent ?? "")}`]);
  }
  for (const img of document.querySelectorAll("img"))
    // the logo repeats the title beside it, so that an empty alt is right there
    if (!img.getAttribute("alt")?.trim() && !img.closest(".navbar-brand"))
      problems.push(["alt", `image without alt text: ${cut(img.getAttribute("src") || "")}`]);
  if (phoneWidth) {
    const width = Math.max(document.documentElement.scrollWidth, document.body.scrollWidth);
    if (width > phoneWidth) {
      const scrolls = (el) => {
        for (let p = el.parentElement; p && p !== document.body; p = p.parentElement)
          if (/auto|scroll|hidden|clip/.test(getComputedStyle(p).overflowX)) return true;
        return false;
      };
      const wide = [...document.body.querySelectorAll("*")].filter(
        (el) => el.getBoundingClientRect().right > phoneWidth + 0.5 && !scrolls(el));
      const names = wide.slice(0, 3).map((el) => `<${el.tagName.toLowerCase()} class="${cut(el.className.baseVal ?? el.className)}">`);
      problems.push(["wide", `document is ${width} px wide on a phone of ${phoneWidth} px: ${names.join(", ")}`]);
    }
  }
  return problems;
}

/** Addresses of ticks, and of what a claim is about, that lead to no place. */
function astray(addresses) {
  return addresses.filter((address) => {
    const [page, place] = address.split("#");
    const file = fileURLToPath(page);
    return !fs.existsSync(file) || !fs.readFileSync(file, "utf8").includes(`id="${place}"`);
  });
}

/** Open one page in one set-up; returns [kind, text] pairs. */
async function visit(browser, file, setup, screenshot) {
  const context = await browser.newContext({
    viewport: setup.viewport, colorScheme: setup.colorScheme,
    isMobile: Boolean(setup.phone), hasTouch: Boolean(setup.phone), reducedMotion: "reduce",
  });
  const problems = [];
  const page = await context.newPage();
  const local = (url) => /^(file|data|blob|about):/.test(url);
  await context.route((url) => !local(url.href), (route) => route.abort());
  page.on("request", (r) => local(r.url()) || problems.push(["request", `asks the network for ${r.url()}`]));
  page.on("requestfailed", (r) => local(r.url()) && problems.push(["request", `finds no file ${path.basename(r.url())}`]));
  page.on("pageerror", (e) => problems.push(["console", `script error: ${e.message.split("\n")[0]}`]));
  page.on("console", (m) => {
    const refused = /^Failed to load resource/.test(m.text()); // reported as a request already
    if (m.type() === "error" && !refused && !HARMLESS.test(m.text()))
      problems.push(["console", `console error: ${m.text().slice(0, 160)}`]);
  });
  try {
    const search = path.basename(file) === "search.html";
    await page.goto(pathToFileURL(file).href + (search ? `?q=${SEARCH_WORD}` : ""), { waitUntil: "load", timeout: 120000 });
    await settle(page);
    if (search && !(await page.waitForSelector("#search-results li a", { timeout: 5000 }).catch(() => null)))
      problems.push(["search", `finds nothing for "${SEARCH_WORD}"`]);
    problems.push(...(await page.evaluate(inspect, setup.phone ? setup.viewport.width : 0)));
    const ticks = await page.evaluate(() => [...document.querySelectorAll("a.eq-check, .claim-card a[href*='#said-']")].map((a) => a.href));
    for (const address of new Set(astray(ticks))) problems.push(["tick", `a tick leads to no place: ${address.split("/").pop()}`]);
    if (setup.axe) {
      await page.addScriptTag({ path: AXE });
      const violations = await page.evaluate(async () => (await axe.run(document, { resultTypes: ["violations"], preload: false })).violations);
      for (const v of violations)
        problems.push(["axe", `${v.id} (${v.nodes.length}x): ${v.nodes[0].target.join(" ")}: ${v.nodes[0].failureSummary.split("\n")[1]?.trim() ?? v.help}`]);
    }
    if (screenshot) await page.screenshot({ path: screenshot, fullPage: true });
  } catch (error) {
    problems.push(["page", `cannot be checked: ${error.message.split("\n")[0]}`]);
  }
  await context.close();
  return problems;
}

/** Check `files` (relative to `root`); returns a map file -> [{kind, text, setups}]. */
async function check(root, files, screenshots) {
  const browser = await start();
  const setups = SETUPS.filter((s) => screenshots || !s.screenshotOnly);
  const jobs = files.flatMap((file) => setups.map((setup) => ({ file, setup })));
  const found = new Map(files.map((file) => [file, []]));
  const worker = async () => {
    for (let job = jobs.shift(); job; job = jobs.shift()) {
      const { file, setup } = job;
      const shot = screenshots && path.join(screenshots, `${file.replace(/\.html$/, "").replaceAll("/", "-")}-${setup.name}.png`);
      for (const [kind, text] of await visit(browser, path.join(root, file), setup, shot)) {
        const known = found.get(file).find((p) => p.kind === kind && p.text === text);
        if (known) known.setups.add(setup.name);
        else found.get(file).push({ kind, text, setups: new Set([setup.name]) });
      }
    }
  };
  await Promise.all(Array.from({ length: PARALLEL }, worker));
  await browser.close();
  return found;
}

/** Pages broken in one way each; every kind of problem must be found, and nothing on the good one. */
async function selfTest(book) {
  const mathjax = pathToFileURL(path.join(book, "_static/mathjax/tex-chtml.js")).href;
  const html = (body, head = "") =>
    `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Test</title>
     <meta name="viewport" content="width=device-width, initial-scale=1">${head}</head>
     <body style="margin:8px;background:#fff;color:#111"><main><h1>Test</h1>${body}</main></body></html>`;
  const math = `<script defer src="${mathjax}"></script>`;
  const cases = {
    "good": [null, html('<p>Words and <span class="math">\\(a=\\frac{1}{2}\\)</span>. <a class="eq-check" id="a" href="#a">Back</a></p>', math)],
    "formula-error": ["formula", html('<span class="math">\\(\\frac{1}{\\)</span>', math)],
    "formula-unknown": ["formula", html('<span class="math">\\(\\nosuch a\\)</span>', math)],
    "formula-wide": ["formula", html(`<div class="math" style="overflow-x:auto">\\[${"abcdefgh+".repeat(40)}a\\]</div>`, math)],
    "formula-cell": ["cell", html(`<table style="table-layout:fixed;width:200px"><tr><td><span class="math">\\(${"abcdef+".repeat(9)}a\\)</span></td></tr></table>`, math)],
    "formula-comma": ["break", html('<p style="width:100px"><span style="display:inline-block;width:70px">Words</span><span class="math">\\(abc\\)</span>, here</p><style>.math mjx-container { width: 99px; display: inline-block }</style>', math)],
    "formula-raw": ["formula", html('<span class="math">\\(a\\)</span>')],
    "network": ["request", html('<p>Words</p><img alt="A dot" src="https://example.com/dot.png">')],
    "missing-file": ["request", html('<p>Words</p><img alt="A dot" src="no-such-dot.png">')],
    "console-error": ["console", html("<p>Words</p><script>console.error('broken')</script>")],
    "script-error": ["console", html("<p>Words</p><script>undefinedFunction()</script>")],
    "no-alt": ["alt", html('<img alt="" src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">')],
    "wide": ["wide", html('<div style="width:600px">Words</div>')],
    "search": ["search", html('<div id="search-results"></div>')],
    "tick": ["tick", html('<p id="here">Words <a class="eq-check" href="good.html#there">\u2713</a></p>')],
    "contrast-light": ["axe", html('<p style="color:#bbb">Pale words</p>')],
    "contrast-dark": ["axe", html("<p class='x'>Words</p>", "<style>@media (prefers-color-scheme: dark) { .x { color: #bbb } }</style>")],
  };
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "page-checks-"));
  for (const [name, [, text]] of Object.entries(cases)) fs.writeFileSync(path.join(folder, `${name}.html`), text);
  const found = await check(folder, builtPages(folder));
  fs.rmSync(folder, { recursive: true });
  let failures = 0;
  for (const [name, [wanted]] of Object.entries(cases)) {
    const kinds = [...new Set(found.get(`${name}.html`).map((p) => p.kind))];
    const right = wanted ? kinds.includes(wanted) : kinds.length === 0;
    if (!right) failures += 1;
    console.log(`${right ? "ok  " : "FAIL"} ${name.padEnd(15)} expects ${wanted ?? "nothing"}, finds ${kinds.join(" ") || "nothing"}`);
  }
  console.log(failures ? `self-test: ${failures} checks do not bite` : "self-test: every check bites");
  return failures;
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { "self-test": { type: "boolean" }, screenshots: { type: "string" }, only: { type: "string" } },
});
const root = path.resolve(positionals[0] ?? "_build/html");
if (!fs.existsSync(path.join(root, "_static"))) {
  console.error(`${root} holds no built book: run 'make book' first`);
  process.exit(2);
}
if (values["self-test"]) process.exit((await selfTest(root)) ? 1 : 0);

const started = Date.now();
const files = builtPages(root).filter((f) => !values.only || f.includes(values.only));
if (!files.length) {
  console.error(`no page to check in ${root}`);
  process.exit(2);
}
if (values.screenshots) fs.mkdirSync(values.screenshots, { recursive: true });
const found = await check(root, files, values.screenshots);
let total = 0;
for (const [file, problems] of found) {
  total += problems.length;
  console.log(`${file.padEnd(46)} ${problems.length ? `${problems.length} problems` : "ok"}`);
  for (const p of problems) console.log(`    [${p.kind}] ${p.text}  (${[...p.setups].join(", ")})`);
}
console.log(`${files.length} pages, ${total} problems, ${((Date.now() - started) / 1000).toFixed(0)} s`);
process.exit(total ? 1 : 0);
