// Do with the built pages, opened from disk, what a reader does with them, and see whether it helps.
//
//   node check_reading.mjs [--self-test] HTML_FOLDER
//
// Search: sections with marked excerpts whose links lead to a part of a page, the same in both spellings, a count that
// a screen reader hears, help where nothing is found. Bars of hidden code: none says the same as all. Solutions: a
// click on the bar opens them and leads nowhere. Home: question, figure, result and buttons on the first screen.
// --self-test breaks a page in each of these ways and expects it found. CHROMIUM names the browser.
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { AXE, start } from "./browser.mjs";

const DESKTOP = { width: 1280, height: 900 };
const PAIRS = [
  ["nearest neighbour", "nearest neighbor"], ["standardise", "standardize"], ["colour", "color"], ["labelled", "labeled"],
  ["centre", "center"], ["centred", "centered"], ["learnt", "learned"], ["recognise", "recognize"],
  ["thresholds", "threshold"], ["licence", "license"],
];

async function open(browser, root, name, say, query = "") {
  const page = await browser.newPage({ viewport: DESKTOP });
  page.on("pageerror", (error) => say(`script error: ${error.message}`));
  await page.goto(pathToFileURL(path.join(root, name)).href + query, { timeout: 120000 });
  return page;
}

/** Search for a word, then for pairs of spellings, then for nothing that is there. */
async function search(browser, root, say) {
  const page = await open(browser, root, "search.html", say, "?q=threshold");
  await page.waitForSelector("#search-results li").catch(() => say('search finds nothing for "threshold"'));
  const rows = await page.locator("#search-results li").evaluateAll((all) =>
    all.map((row) => ({ link: row.querySelector("a").getAttribute("href"), marks: row.querySelectorAll("p mark").length })));
  if (rows.filter((row) => row.link.includes("#")).length < 10) say("search finds pages instead of sections");
  if (!rows.some((row) => row.marks)) say("search marks no hit");
  for (const { link } of rows) {
    const [file, anchor] = link.split("#");
    const html = fs.existsSync(path.join(root, file)) ? fs.readFileSync(path.join(root, file), "utf8") : "";
    if (!html || (anchor && !html.includes(`id="${anchor}"`))) say(`search leads nowhere: ${link}`);
  }
  const status = page.locator("#search-results [role=status]");
  if (!/^\d+ sections on \d+ pages\.$/.test((await status.textContent({ timeout: 2000 }).catch(() => "")) ?? ""))
    say("search says no number of results");
  for (const [one, other] of PAIRS) {
    const [a, b] = await page.evaluate((both) => both.map((query) => window.bookSearch.find(query).length), [one, other]);
    if (!a || a !== b) say(`spelling: ${a} sections for "${one}", ${b} for "${other}"`);
  }
  await page.addScriptTag({ path: AXE });
  for (const v of (await page.evaluate(() => axe.run("#search-results"))).violations) say(`search: axe ${v.id}`);
  await page.locator("#search-results").locator("xpath=preceding::input[@name='q'][1]").fill("threshold flibbertigibbet");
  await page.waitForTimeout(600);
  const help = await page.locator("#search-results").textContent();
  if (!/Nothing found.*Not in the book: flibbertigibbet\./s.test(help)) say(`search gives no help: "${help.slice(0, 80)}"`);
  await page.close();
}

/** Names of bars, and solutions, of one chapter. */
async function chapter(browser, root, name, say) {
  const page = await open(browser, root, name, say);
  const bars = await page.locator("details.hide summary .collapsed").allTextContents();
  const unnamed = bars.filter((text) => !/^Code(: .+)?$/.test(text));
  if (unnamed.length) say(`bars: ${unnamed.length} of ${bars.length} do not say what is in them`);
  const drawn = await page.locator("details.hide").evaluateAll((all) =>
    all.map((bar) => [bar.querySelector("summary .collapsed").textContent,
      [...(bar.parentElement.querySelectorAll("figcaption .caption-number") ?? [])].map((n) => n.textContent.match(/[\d.]*\d/)[0])]));
  for (const [text, numbers] of drawn)
    if (numbers.length && !numbers.every((n) => text.includes(n))) say(`bars: "${text}" draws figure ${numbers}`);
  for (const solution of await page.locator(".solution.dropdown").all()) {
    const title = solution.locator("> .admonition-title"), before = page.url();
    const box = await title.boundingBox();
    await title.click({ position: { x: Math.min(150, box.width / 2), y: 12 } });
    if (page.url() !== before) say("solutions: a click on the bar leads away");
    if (await solution.evaluate((el) => el.classList.contains("toggle-hidden"))) say("solutions: a click does not open");
    const back = solution.locator(".back-to-exercise a");
    if (!(await back.count())) say("solutions: no way back to the exercise");
    else if (!(await page.locator(`[id="${(await back.getAttribute("href")).split("#")[1]}"]`).count()))
      say("solutions: the way back leads nowhere");
    break; // they are all made alike
  }
  const line = await page.locator(".page-head").textContent({ timeout: 2000 }).catch(() => "");
  if (!/\d+ minutes to read/.test(line) || !/Version \d/.test(line)) say(`head: the line says "${line}"`);
  await page.close();
}

/** What belongs on the first screen is there. */
async function home(browser, root, say) {
  const page = await open(browser, root, "book/intro.html", say);
  await page.waitForTimeout(500);
  for (const selector of ["article h1", "figure.play svg", "figure.play button", "a.home-button >> nth=0", "a.home-button >> nth=1"]) {
    const box = await page.locator(selector).first().boundingBox({ timeout: 2000 }).catch(() => null);
    if (!box) say(`home: no ${selector}`);
    else if (box.y + box.height > DESKTOP.height) say(`home: ${selector} ends at ${Math.round(box.y + box.height)} px`);
  }
  if ((await page.locator(".home-ways .sd-card").count()) !== 3) say("home: not three cards");
  await page.close();
}

/** All problems of a book, or of the part that a file of it belongs to. */
async function check(browser, root, chapters, file) {
  const problems = [];
  const say = (text) => problems.push(text);
  if (!file || file.startsWith("_static")) await search(browser, root, say);
  if (!file || file.startsWith("book")) await home(browser, root, say);
  if (!file || file.startsWith("notebooks"))
    for (const name of chapters) await chapter(browser, root, name, (text) => say(`${path.basename(name)}: ${text}`));
  return problems;
}

const { values, positionals } = parseArgs({ options: { "self-test": { type: "boolean" } }, allowPositionals: true });
const root = path.resolve(positionals[0]);
const chapters = fs.readdirSync(path.join(root, "notebooks")).filter((f) => f.endsWith(".html")).sort().map((f) => `notebooks/${f}`);
const browser = await start();
let failed = 0;
if (values["self-test"]) {
  const one = chapters.find((name) => fs.readFileSync(path.join(root, name), "utf8").includes("back-to-exercise"));
  const script = "_static/search.js", first = "book/intro.html";
  const breaks = {
    sections: ["_static/sections.js", (s) => s.replaceAll(/\["#[^"]*",/g, '["",'), /instead of sections/],
    anchors: ["_static/sections.js", (s) => s.replaceAll('["#', '["#no-'), /leads nowhere/],
    spelling: [script, (s) => s.replace('[/z/g, "s"]', '[/z/g, "z"]'), /spelling/],
    marks: [script, (s) => s.replace('createElement("mark")', 'createElement("span")'), /marks no hit/],
    status: [script, (s) => s.replace('setAttribute("role", "status")', 'setAttribute("class", "x")'), /number of results/],
    help: [script, (s) => s.replace("out.append(advice(query))", "undefined"), /no help/],
    bars: [one, (s) => s.replace(/Code: figure [\d.]+/g, "Show code cell source"), /bars/],
    number: [one, (s) => s.replace(/Code: figure [\d.]+/g, "Code: figure 99"), /draws figure/],
    solution: [one, (s) => s.replace(/Solution to [^<]*/, '<a href="#x">$&</a>'), /leads away/],
    back: [one, (s) => s.replace(/back-to-exercise/g, "x"), /no way back/],
    head: [one, (s) => s.replace("minutes to read", "m"), /head/],
    screen: [first, (s) => s.replace('<figure class="play"', '<div style="height:300px"></div>$&'), /home: .* ends/],
  };
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "reading-"));
  fs.cpSync(root, folder, { recursive: true, filter: (f) => !/_sources|\/reader|\.doctrees/.test(f) });
  for (const [name, [file, change, wanted]] of Object.entries({ sound: [first, (s) => s, null], ...breaks })) {
    const text = fs.readFileSync(path.join(folder, file), "utf8");
    fs.writeFileSync(path.join(folder, file), change(text));
    const found = await check(browser, folder, [one], wanted && file);
    fs.writeFileSync(path.join(folder, file), text);
    const right = wanted ? change(text) !== text && found.some((line) => wanted.test(line)) : !found.length;
    console.log(`${right ? "ok  " : "FAIL"} ${name.padEnd(8)} ${found[0] ?? "finds nothing"}`);
    failed += !right;
  }
  fs.rmSync(folder, { recursive: true });
} else {
  const found = await check(browser, root, chapters);
  for (const text of found) console.log(`    ${text}`);
  console.log(`search, home and ${chapters.length} chapters: ${found.length} problems`);
  failed = found.length;
}
await browser.close();
process.exit(failed ? 1 : 0);
