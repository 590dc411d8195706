// How the book reads, in numbers: the pages in headless Chromium, the notebooks in JupyterLab and as plain Markdown.
//
//   node count_reading.mjs [--no-lab] HTML_FOLDER [NOTEBOOKS]
//
// Prints tables. NOTEBOOKS is the folder of the notebooks that the book is written in; JUPYTER names the program.
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { start } from "./browser.mjs";
import { check, startLab } from "./lab.mjs";

const HIGHEST = 620; // px that a figure may have on a screen of 1280 x 900
const SCREENS = [{ width: 1280, height: 900 }, { width: 390, height: 844 }];
const row = (...cells) => console.log(`| ${cells.join(" | ")} |`);
const table = (...names) => (row(...names), row(...names.map(() => "---")));
const books = (folder) => fs.readdirSync(folder).filter((f) => f.endsWith(".ipynb")).sort();

/** Directives, roles and labels that a program without MyST shows as they are. */
function rawMarks(file) {
  const cells = JSON.parse(fs.readFileSync(file, "utf8")).cells.filter((cell) => cell.cell_type === "markdown");
  const text = cells.map((cell) => [cell.source].flat().join("")).join("\n\n");
  const count = (pattern) => [...text.matchAll(pattern)].length;
  return { directives: count(/^(:{3,}|`{3,})\{/gm), roles: count(/\{[a-z]+(?::[a-z]+)?\}`/g) };
}

/** Screens and figures of one built page. */
async function measure(browser, file, viewport) {
  const page = await browser.newPage({ viewport });
  page.setDefaultTimeout(240000);
  await page.goto(pathToFileURL(file).href);
  const found = await page.evaluate(async () => {
    await window.MathJax?.startup?.promise;
    await document.fonts.ready;
    for (const img of document.images) img.loading = "eager";
    await Promise.all([...document.images].map((img) => img.decode().catch(() => {})));
    const figures = [...document.querySelectorAll("article .cell_output img, article figure img, article .cell_output svg:not(button svg)")];
    return {
      height: document.documentElement.scrollHeight,
      figures: figures.filter((f) => f.getClientRects().length).map((f) => {
        const { width, height } = f.getBoundingClientRect();
        return { width, height, vector: !f.naturalWidth || /\.svg|svg\+xml/.test(f.currentSrc), density: (f.naturalWidth ?? 0) / width };
      }),
    };
  });
  await page.close();
  return found;
}

const { values, positionals } = parseArgs({ allowPositionals: true, options: { "no-lab": { type: "boolean" } } });
const site = path.resolve(positionals[0] ?? "_build/html");
const sources = path.resolve(positionals[1] ?? fileURLToPath(new URL("../../notebooks", import.meta.url)));
const reader = path.join(site, "reader");
const browser = await start();

table("Chapter", ...SCREENS.map(({ width, height }) => `screens at ${width} x ${height}`), "figures", "vector",
  "width in px", "px of the file per px of the page", `higher than ${HIGHEST} px`);
const all = [];
for (const name of books(sources)) {
  const file = path.join(site, "notebooks", name.replace(".ipynb", ".html"));
  const [desktop, phone] = [await measure(browser, file, SCREENS[0]), await measure(browser, file, SCREENS[1])];
  all.push({ name: path.parse(name).name, screens: [desktop.height / SCREENS[0].height, phone.height / SCREENS[1].height], figures: desktop.figures });
}
const range = (list, digits) => list.length ? `${Math.min(...list).toFixed(digits)} to ${Math.max(...list).toFixed(digits)}` : "";
all.push({ name: "all", screens: [0, 1].map((i) => all.reduce((sum, c) => sum + c.screens[i], 0)), figures: all.flatMap((c) => c.figures) });
for (const { name, screens, figures } of all) {
  const pixels = figures.filter((f) => !f.vector);
  row(name, ...screens.map((s) => s.toFixed(1)), figures.length, figures.length - pixels.length, range(figures.map((f) => f.width), 0),
    range(pixels.map((f) => f.density), 2), figures.filter((f) => f.height > HIGHEST).length);
}

console.log();
table("Notebooks in plain Markdown", "raw directives", "raw roles");
for (const [words, folder] of [["as written", sources], ["readers'", reader]]) {
  if (!fs.existsSync(folder)) { row(words, "none made", ""); continue; }
  const counts = books(folder).map((f) => rawMarks(path.join(folder, f)));
  row(words, ...["directives", "roles"].map((what) => counts.reduce((sum, c) => sum + c[what], 0)));
}

if (!values["no-lab"]) {
  const kinds = ["key", "reference", "directive", "formula", "code", "solution", "figure", "changed"];
  console.log();
  table("Notebooks in JupyterLab", "key names", "references without words", "raw directives", "formulas as TeX", "hidden code in sight",
    "open solutions", "figures not shown", "marked as changed");
  const root = fs.mkdtempSync(path.join(os.tmpdir(), "lab-count-"));
  process.on("exit", () => fs.rmSync(root, { recursive: true, force: true }));
  for (const [words, folder, plain] of [["as written, with MyST", sources, false], ["readers'", reader, true]]) {
    if (!fs.existsSync(folder)) { row(words, "none made", ...kinds.slice(1).map(() => "")); continue; }
    fs.rmSync(path.join(root, "shown"), { recursive: true, force: true });
    fs.cpSync(folder, path.join(root, "shown"), { recursive: true });
    const lab = await startLab(root, plain);
    const found = [...(await check(browser, lab, books(folder).map((f) => `shown/${f}`))).values()].flat();
    row(words, ...kinds.map((kind) => found.filter(([k]) => k === kind).length));
    await lab.stop();
    for (const [, text] of found.filter(([kind]) => ["page", "empty", "request"].includes(kind))) console.error(text);
  }
}
await browser.close();
process.exit(0);
