// One PDF of the book: the pages in their order as one document, printed by headless Chromium.
//
//   node print_book.mjs HTML_FOLDER PDF
//   node print_book.mjs --self-test
//
// Code that the pages hide is left out, figures to play with are their still picture, and solutions stand at the end.
// It is set once and printed twice: the first print tells on which page each heading is, the second has the numbers in
// its contents.
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { start } from "./browser.mjs";
import { pagesOfNames } from "./pdf.mjs";

const PROJECT = fileURLToPath(new URL("../..", import.meta.url));
const read = (...parts) => fs.readFileSync(path.join(...parts), "utf8");

/** The pages from the home page on, as their "next" links lead through the book. */
function inOrder(root, first) {
  const pages = [];
  for (let page = first; page && !pages.includes(page); ) {
    pages.push(page);
    const next = read(root, page).match(/<a class="right-next"\s+href="([^"#]+)"/)?.[1];
    page = next && path.posix.join(path.posix.dirname(page), next);
  }
  return pages;
}

const config = (name) => read(PROJECT, "_config.yml").match(new RegExp(`^${name}: "?(.*?)"?$`, "m"))[1];

/** What stands on the first page, with the day of the last commit. */
function title() {
  const version = read(PROJECT, "pyproject.toml").match(/^version = "(.*)"$/m)[1];
  let date = new Date().toISOString().slice(0, 10);
  try {
    date = execFileSync("git", ["log", "-1", "--format=%cs"], { cwd: PROJECT, encoding: "utf8" }).trim();
  } catch { /* no clone: today */ }
  return `<section class="title-page"><img src="_static/logo.svg" alt=""><p class="title">${config("title")}</p>
    <p>${config("author")}</p><p>Version ${version}, ${date}</p>
    <p class="licence">Text and figures: CC BY 4.0. Code: MIT licence.<br>
    The book is made of notebooks that run: the pages on the screen have their code in full, figures to play with and a tick
    beside each checked equation.</p></section>`;
}

/** In the browser: the article of one page, ready to stand among the others. */
function chapter({ html, page, pages }) {
  const article = new DOMParser().parseFromString(html, "text/html").querySelector("article.bd-article");
  const name = (file) => `p${pages.indexOf(file)}`;
  const drop = ".headerlink, #offline-edition, .eq-check, .copybtn, script, .toctree-wrapper, details.hide.above-input, .cell_input.tag_hide-input";
  article.querySelectorAll(drop).forEach((e) => e.remove());
  for (const cell of article.querySelectorAll(".cell"))
    if (!cell.textContent.trim() && !cell.querySelector("img, svg")) cell.remove();
  article.querySelectorAll("details").forEach((e) => (e.open = true));
  article.querySelectorAll("[loading]").forEach((e) => e.removeAttribute("loading"));
  const base = new URL(page, "http://book/");
  const local = (address) => {
    const url = new URL(address, base);
    return url.host === "book" && url.protocol === "http:" ? url : null;
  };
  for (const e of article.querySelectorAll("[src]")) {
    const url = local(e.getAttribute("src"));
    if (url) e.setAttribute("src", url.pathname.slice(1));
  }
  for (const a of article.querySelectorAll("a[href]")) {
    const url = local(a.getAttribute("href")), file = url?.pathname.slice(1);
    if (url && pages.includes(file)) a.setAttribute("href", url.hash ? `#${name(file)}-${url.hash.slice(1)}` : `#${name(file)}`);
    else if (url) a.replaceWith(...a.childNodes); // a notebook, a search: not in the book on paper
  }
  for (const e of article.querySelectorAll("[id]")) e.id = `${name(page)}-${e.id}`;
  for (const e of article.querySelectorAll("[aria-labelledby], [aria-describedby]"))
    for (const of of ["aria-labelledby", "aria-describedby"])
      if (e.hasAttribute(of)) e.setAttribute(of, e.getAttribute(of).split(" ").map((id) => `${name(page)}-${id}`).join(" "));
  const solutions = [...article.querySelectorAll(".solution")].map((e) => (e.remove(), e.outerHTML)).join("");
  const heading = article.querySelector("h1");
  const parts = [...article.querySelectorAll("h2")].map((h) => ({ id: h.parentElement.id, text: h.textContent.trim() }));
  return { id: name(page), title: heading.textContent.trim(), parts, html: article.innerHTML, solutions };
}

/** The whole document, without page numbers in its contents. */
function document_(head, chapters) {
  const solved = chapters.filter((c) => c.solutions);
  const last = { id: "solutions", title: "Solutions", parts: solved.map((c) => ({ id: `${c.id}-solutions`, text: c.title })) };
  last.html = `<h1>Solutions</h1>${solved.map((c) => `<section id="${c.id}-solutions"><h2>${c.title}</h2>${c.solutions}</section>`).join("")}`;
  const all = [...chapters, ...(solved.length ? [last] : [])];
  const line = ({ id, title, text }) => `<a href="#${id}"><span>${title ?? text}</span><span class="page"></span></a>`;
  const contents = all.map((c) => `<li>${line(c)}<ol>${c.parts.map((p) => `<li>${line(p)}</li>`).join("")}</ol></li>`).join("");
  const quote = (text) => text.replace(/["\\]/g, "\\$&");
  const heads = all.map((c) => `@page ${c.id} { @top-left { content: "${quote(c.title)}" } } #${c.id} { page: ${c.id} }`).join("\n");
  return `<!doctype html><html lang="en" data-theme="light" data-mode="light"><head><meta charset="utf-8">
    <title>${config("title")}</title>${head}<style>${read(PROJECT, "tools/browser/print.css")}\n${heads}</style></head>
    <body>${title()}<section class="contents"><h1>Contents</h1><ol>${contents}</ol></section>
    ${all.map((c) => `<section class="chapter bd-article" id="${c.id}">${c.html}</section>`).join("\n")}</body></html>`;
}

/** Print the site below `root`; returns the bytes, the page of each heading and the document printed. */
async function printBook(browser, root) {
  const home = read(root, "index.html").match(/url=([^"]+)"/)[1], folder = path.posix.dirname(home);
  const pages = inOrder(root, home), html = read(root, home);
  // the style sheets and MathJax of the pages, as seen from the top folder
  const head = [...html.matchAll(/<link[^>]*rel="stylesheet"[^>]*>|<script[^>]*mathjax[^>]*><\/script>|<script>window\.MathJax.*?<\/script>/gs)]
    .map(([tag]) => tag.replace(/(href|src)="([^"]+)"/, (_, name, to) => `${name}="${path.posix.join(folder, to)}"`)).join("\n");
  const page = await browser.newPage();
  page.setDefaultTimeout(900000); // a whole book of formulas, on a machine that has other work
  const chapters = [];
  for (const file of pages) chapters.push(await page.evaluate(chapter, { html: read(root, file), page: file, pages }));
  const combined = path.join(root, "book-in-print.html");
  const print = () => page.pdf({ preferCSSPageSize: true, printBackground: true, outline: true, tagged: true });
  try {
    fs.writeFileSync(combined, document_(head, chapters));
    await page.goto(pathToFileURL(combined).href);
    await page.evaluate(async () => {
      await window.MathJax?.startup.promise;
      await document.fonts.ready;
      await Promise.all([...document.images].map((img) => img.decode().catch(() => { throw new Error(`no picture ${img.src}`); })));
      const raw = [...document.querySelectorAll("span.math, div.math, mjx-merror")].filter((m) => !m.querySelector("mjx-container"));
      if (raw.length) throw new Error(`${raw.length} formulas are not set, the first: ${raw[0].textContent.slice(0, 60)}`);
    });
    const numbers = pagesOfNames(await print());
    await page.evaluate((numbers) => {
      for (const a of document.querySelectorAll(".contents a"))
        a.querySelector(".page").textContent = numbers[a.getAttribute("href").slice(1)] ?? "";
    }, numbers);
    const bytes = await print();
    if (JSON.stringify(pagesOfNames(bytes)) !== JSON.stringify(numbers)) throw new Error("the page numbers moved between the two prints");
    return { bytes, numbers, text: await page.content() };
  } finally {
    fs.rmSync(combined, { force: true });
    await page.close();
  }
}

/** A book of two pages, printed whole and broken in one way each. */
async function selfTest(browser) {
  const html = (title, body, next) => `<html><head><title>T</title></head><body><article class="bd-article"><section id="top"><h1>${title}</h1>
    <details class="admonition hide above-input"><p>hidden code</p></details>${body}</section></article>
    ${next ? `<a class="right-next" href="${next}">` : ""}</body></html>`;
  const one = '<section id="part"><h2>Part</h2><p>By <a href="two.html#part">the other</a>.</p></section><div class="solution" id="s"><p>the answer</p></div>';
  const cases = {
    good: [null, one], picture: [/no picture/, `${one}<img src="../gone.png" alt="">`], formula: [/not set/, `${one}<span class="math">\\(a\\)</span>`],
  };
  let failures = 0;
  for (const [name, [wanted, body]] of Object.entries(cases)) {
    const root = fs.mkdtempSync(path.join(os.tmpdir(), "print-"));
    fs.cpSync(path.join(PROJECT, "book/_static"), path.join(root, "_static"), { recursive: true });
    fs.mkdirSync(path.join(root, "book"));
    fs.writeFileSync(path.join(root, "index.html"), '<meta http-equiv="Refresh" content="0; url=book/one.html" />');
    fs.writeFileSync(path.join(root, "book/one.html"), html("First", body, "two.html"));
    fs.writeFileSync(path.join(root, "book/two.html"), html("Second", '<section id="part"><h2>Rest</h2></section>'));
    const { numbers = {}, text = "", error } = await printBook(browser, root).catch((error) => ({ error }));
    fs.rmSync(root, { recursive: true });
    const whole = numbers.p0 === 3 && numbers["p1-part"] === 4 && numbers["p0-solutions"] === 5 && !text.includes("hidden code")
      && text.indexOf("the answer") > text.indexOf("Rest</h2>") && text.includes('href="#p1-part"') && text.includes('<span class="page">4</span>');
    const right = wanted ? wanted.test(error?.message) : !error && whole;
    failures += !right;
    console.log(`${right ? "ok  " : "FAIL"} ${name.padEnd(8)} ${error?.message.split("\n")[0] ?? JSON.stringify(numbers)}`);
  }
  return failures;
}

const { values, positionals } = parseArgs({ allowPositionals: true, options: { "self-test": { type: "boolean" } } });
const browser = await start();
if (values["self-test"]) process.exit((await selfTest(browser)) ? 1 : 0);
const { bytes, numbers } = await printBook(browser, path.resolve(positionals[0]));
await browser.close();
fs.writeFileSync(positionals[1], bytes);
console.log(`${positionals[1]}: ${Math.max(...Object.values(numbers))} pages or more, ${(bytes.length / 2 ** 20).toFixed(1)} MiB`);
