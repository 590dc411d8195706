// Open the notebooks in JupyterLab, as a reader does, and look at every cell.
//
//   node check_lab.mjs [--self-test] [--only TEXT] [--screenshots DIR] HTML_FOLDER
//
// Readers' notebooks (of HTML_FOLDER/reader) are opened as `make lab` opens them. Nothing of this may be in them: the
// name of a key or label in the text, a directive or role, a formula left as TeX, an open solution, code in sight that
// the page hides, a stored figure that is not shown, a request that leaves the machine, a mark of change on opening.
// Three of the notebooks that the book is written in are opened with MyST, as `make lab-sources` does. There, references
// to figures, other chapters and the bibliography stay labels: they are counted, not forbidden.
//
// --self-test writes notebooks broken in one way each and expects each to be found.
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { start } from "./browser.mjs";
import { check, startLab } from "./lab.mjs";

const SOURCES = fileURLToPath(new URL("../../notebooks", import.meta.url));
const WRITTEN_IN = ["01", "03", "07"];
const ALLOWED_IN_SOURCES = ["reference", "changed"];

const CODE = { cell_type: "code", execution_count: null, id: "code", metadata: {}, outputs: [], source: "hidden = 1" };
const text = (source) => ({ cell_type: "markdown", id: "text", metadata: {}, source });
const folded = { ...CODE, metadata: { tags: ["hide-input"], jupyter: { source_hidden: true } } };

/** Name -> [kind of problem that must be found, cells, other metadata of the notebook]. */
const CASES = {
  good: [null, [text("# Words\n\nIt is 0.85, $a=\\frac12$.\n\n<details><summary>Solution</summary>\n\nSo $b$.\n\n</details>"), folded]],
  key: ["key", [text("It is ch4-aadml-acc.")]],
  role: ["reference", [text("By {eq}`loss`.")]],
  directive: ["directive", [text(":::{admonition} Note\nWords\n:::")]],
  tex: ["formula", [text("It is <span>\\alpha_1</span>.")]],
  unknown: ["formula", [text("It is $\\frac{1}{$.")]],
  open: ["solution", [text("<details open><summary>Solution</summary>\n\nWords\n\n</details>")]],
  solved: ["solution", [text("**Exercise 3.1**\n\n*Solution of exercise 3.1*, in code:"), CODE]],
  code: ["code", [{ ...CODE, metadata: { tags: ["remove-cell"] } }]],
  figure: ["figure", [{ ...CODE, outputs: [{ output_type: "display_data", metadata: {}, data: { "image/none": "", "text/plain": "x" } }] }]],
  network: ["request", [text("![dot](https://example.com/dot.png)")]],
  changed: ["changed", [text("Words")], { language_info: { name: "python" } }],
  label: ["reference", [text("{numref}`fig-nowhere` shows.")]],
};

async function selfTest(root, browser, plain, myst, language) {
  const metadata = { kernelspec: { display_name: "Python 3 (ipykernel)", language: "python", name: "python3" }, language_info: language };
  for (const [name, [, cells, other]] of Object.entries(CASES)) {
    const named = cells.map((cell, i) => ({ ...cell, id: `${cell.id}-${i}` }));
    const notebook = { cells: named, metadata: { ...metadata, ...other }, nbformat: 4, nbformat_minor: 5 };
    fs.writeFileSync(path.join(root, `${name}.ipynb`), JSON.stringify(notebook));
  }
  const files = Object.keys(CASES).map((name) => `${name}.ipynb`);
  const [first, second] = await Promise.all([check(browser, plain, files.slice(0, -1)), check(browser, myst, files.slice(-1))]);
  let failures = 0;
  for (const [file, problems] of [...first, ...second]) {
    const [wanted] = CASES[path.parse(file).name], kinds = [...new Set(problems.map(([kind]) => kind))];
    const right = wanted ? kinds.includes(wanted) : !kinds.length;
    failures += !right;
    console.log(`${right ? "ok  " : "FAIL"} ${file.padEnd(16)} expects ${wanted ?? "nothing"}, finds ${problems.map((p) => p.join(": ")).join("; ") || "nothing"}`);
  }
  console.log(failures ? `self-test: ${failures} checks do not bite` : "self-test: every check bites");
  return failures;
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { "self-test": { type: "boolean" }, only: { type: "string" }, screenshots: { type: "string" } },
});
const started = Date.now();
const reader = path.join(path.resolve(positionals[0] ?? "_build/html"), "reader");
if (!fs.existsSync(reader)) {
  console.error(`no ${reader}: run 'make book' first`);
  process.exit(2);
}
const root = fs.mkdtempSync(path.join(os.tmpdir(), "lab-check-"));
process.on("exit", () => fs.rmSync(root, { recursive: true, force: true, maxRetries: 3 }));
fs.cpSync(reader, path.join(root, "reader"), { recursive: true });
fs.cpSync(SOURCES, path.join(root, "notebooks"), { recursive: true });
if (values.screenshots) fs.mkdirSync(values.screenshots, { recursive: true });
const [browser, plain, myst] = await Promise.all([start(), startLab(root, true), startLab(root, false)]);
const wanted = (folder) =>
  fs.readdirSync(path.join(root, folder)).filter((f) => f.endsWith(".ipynb")).map((f) => `${folder}/${f}`)
    .filter((f) => !values.only || f.includes(values.only));
let total = 0;
if (values["self-test"]) {
  const language = JSON.parse(fs.readFileSync(path.join(root, wanted("reader")[0]))).metadata.language_info;
  total = await selfTest(root, browser, plain, myst, language);
} else {
  const sources = wanted("notebooks").filter((f) => WRITTEN_IN.some((n) => path.basename(f).startsWith(n)));
  const [first, second] = await Promise.all([
    check(browser, plain, wanted("reader"), values.screenshots),
    check(browser, myst, sources, values.screenshots),
  ]);
  for (const [file, problems] of [...first, ...second]) {
    const allowed = (kind) => file.startsWith("notebooks/") && ALLOWED_IN_SOURCES.includes(kind);
    const wrong = problems.filter(([kind]) => !allowed(kind)), labels = problems.filter(([kind]) => kind === "reference");
    total += wrong.length;
    const note = file.startsWith("notebooks/") ? ` (${labels.length} references as labels)` : "";
    console.log(`${file.padEnd(46)} ${wrong.length ? `${wrong.length} problems` : "ok"}${note}`);
    for (const [kind, words] of wrong) console.log(`    [${kind}] ${words}`);
  }
}
console.log(`${((Date.now() - started) / 1000).toFixed(0)} s`);
await browser.close();
await Promise.all([plain.stop(), myst.stop()]);
process.exit(total ? 1 : 0);
