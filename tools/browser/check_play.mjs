// Play every figure that can be played with, in headless Chromium, from disk: with a mouse, with keys and on a phone.
//
//   node check_play.mjs [--self-test] HTML_FOLDER
//
// A figure fails if its script raises an error, if a number that the page computes differs from the package's by more
// than 1e-6, if what a reader does has another effect than it should, if axe-core finds a violation at any stage, or if
// there is no static picture without a script. A page may not lack a figure that it should have. --self-test breaks a page in each of these ways and expects it found.
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { AXE, start } from "./browser.mjs";

const WAYS = [
  { name: "mouse", viewport: { width: 1280, height: 900 }, colorScheme: "light" },
  { name: "keys", viewport: { width: 1280, height: 900 }, colorScheme: "dark", keys: true },
  { name: "phone", viewport: { width: 390, height: 844 }, colorScheme: "light", hasTouch: true },
];

/** Play "Which would you report?": mark readings, see the siblings, change one mark, reveal. */
async function guess(page, figure, way, say) {
  const data = JSON.parse(await figure.locator("script").textContent());
  const own = await figure.locator(".play-stage").evaluate((stage) => stage.playScores);
  const apart = Math.max(...own.map((v, i) => Math.abs(v - data.scores.neighbour[i])));
  if (!(apart < 1e-6)) say(`nearest-neighbour scores differ from the package's by ${apart}`);
  const squares = figure.locator("[role=checkbox]");
  const next = figure.locator("button").first();
  const checked = () => figure.locator("[aria-checked=true]").count();
  const toggle = async (i) => {
    if (way.keys) {
      await squares.nth(i).focus();
      await page.keyboard.press(i % 2 ? "Enter" : " ");
    } else if (way.hasTouch) await squares.nth(i).tap({ force: true });
    else await squares.nth(i).click({ force: true });
  };
  const faulty = data.faulty.flatMap((f, i) => (f ? [i] : [])), fine = data.faulty.flatMap((f, i) => (f ? [] : [i]));
  if (!(await next.isDisabled())) say("one can go on without a mark");
  for (const i of [...faulty.slice(1), fine[0], fine[1]]) await toggle(i); // one too many
  if ((await checked()) !== faulty.length) say(`${await checked()} readings are marked, not ${faulty.length}`);
  await next.click();
  if (await figure.locator(".play-siblings").isHidden()) say("the other machines do not appear");
  await toggle(fine[0]);
  await toggle(faulty[0]);
  await next.click();
  const rows = await figure.locator(".play-result tr").allTextContents();
  const wanted = [`${faulty.length - 1} of`, `${faulty.length} of`, `${data.found.neighbour} of`, `${data.found.learnt} of`];
  wanted.forEach((text, i) => rows[i + 1]?.includes(text) || say(`row ${i + 1} of the result lacks "${text}": ${rows[i + 1]}`));
  await axe(page, figure, say);
  await figure.locator("button", { hasText: "Start again" }).click();
  if (await checked()) say("starting again leaves marks");
}

/** Play "Threshold and ROC": compare its figures, move the threshold and a point, square the scores. */
async function threshold(page, figure, way, say) {
  const data = JSON.parse(await figure.locator("script").textContent());
  const stage = figure.locator(".play-stage"), told = figure.locator(".play-told");
  const apart = await stage.evaluate(
    (stage, { auroc, checks }) =>
      Math.max(
        Math.abs(stage.playFigures.auroc - auroc),
        ...checks.flatMap(({ cut, hits, alarms }) => {
          const [own, wrong] = stage.playFigures.at(cut);
          return [Math.abs(own - hits), Math.abs(wrong - alarms)];
        }),
      ),
    data,
  );
  if (!(apart < 1e-6)) say(`rates or AUROC differ from the package's by ${apart}`);
  const says = async (what, text) => {
    const now = await told.textContent();
    if (!now.includes(text)) say(`${what}: expected "${text}", got "${now}"`);
  };
  const cut = figure.locator("input").first();
  await cut.focus();
  await page.keyboard.press("Home");
  await says("threshold 0", "Hits 1.00, false alarms 1.00");
  await figure.locator("button", { hasText: "Cardboard" }).click();
  await says("cardboard", "accuracy 0.60 (never an alarm: 0.60), precision undefined");
  const before = (await told.textContent()).match(/AUROC [\d.]+/)[0];
  await figure.locator("button", { hasText: "Square" }).click();
  await says("squared scores", before);
  await figure.locator("button", { hasText: "Start again" }).click();
  // the lowest normal point becomes the largest of all: it is now in no pair in the right order
  const dot = figure.locator("[role=slider]").first();
  await dot.scrollIntoViewIfNeeded();
  if (way.keys) {
    await dot.focus();
    for (let i = 0; i < 40; i++) await page.keyboard.press("ArrowRight");
  } else {
    const [box, line] = [await dot.boundingBox(), await figure.locator("svg").first().boundingBox()];
    await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
    await page.mouse.down();
    await page.mouse.move(line.x + line.width - 4, box.y + box.height / 2, { steps: 5 });
    await page.mouse.up();
  }
  const n = data.labels.filter((l) => l).length, pairs = n * (data.labels.length - n);
  await says("a moved point", `${(data.auroc * pairs - n).toFixed(1)} of ${pairs} pairs`);
  await axe(page, figure, say);
}

/** Play "One learnt step": compare its scores, go through the ways, move a support point, take another machine. */
async function step(page, figure, way, say) {
  const data = JSON.parse(await figure.locator("script").textContent());
  const told = figure.locator(".play-told");
  const apart = await figure.locator(".play-stage").evaluate(
    (stage, scores) =>
      Math.max(...Object.entries(scores).flatMap(([name, own]) => own.map((v, i) => Math.abs(v - stage.playScores[name][i])))),
    data.scores,
  );
  if (!(apart < 1e-6)) say(`scores differ from the package's by ${apart}`);
  const one = data.tasks[0];
  for (const [name, words] of [["start", "learnt start"], ["learnt", "one learnt step"], ["scratch", "50 steps"]]) {
    await figure.locator("button", { hasText: words }).click();
    const right = data.scores[name].filter((s, i) => s > 0 === one.qy[i] > 0).length;
    const now = await told.textContent();
    if (!now.includes(`${right} of ${one.qy.length} query points right`)) say(`${words}: expected ${right}, got "${now}"`);
  }
  const area = figure.locator(".play-alarm"), before = await area.getAttribute("points");
  const handle = figure.locator(".play-handle").first();
  await handle.scrollIntoViewIfNeeded();
  if (way.keys) {
    await handle.focus();
    for (let i = 0; i < 8; i++) await page.keyboard.press("ArrowUp");
  } else {
    const box = await handle.boundingBox(), [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
    await page.mouse.move(x, y);
    await page.mouse.down();
    await page.mouse.move(x + 30, y - 40, { steps: 5 });
    await page.mouse.up();
  }
  if ((await area.getAttribute("points")) === before) say("a moved support point moves no boundary");
  await figure.locator("button", { hasText: "my step size" }).click();
  if (await figure.locator("input").isHidden()) say("there is no slider for the step size");
  await figure.locator("button", { hasText: "Another machine" }).click();
  await axe(page, figure, say);
}

/** Play "A promise": compare ranks and law, calibrate once and a thousand times, ask for too much, start again. */
async function promise(page, figure, way, say) {
  const data = JSON.parse(await figure.locator("script").textContent());
  const stage = figure.locator(".play-stage"), told = figure.locator(".play-told");
  const [ranks, apart] = await stage.evaluate((stage, { checks, achieved }) => {
    const own = stage.playFigures;
    const wrong = checks.filter((c) => own.rank(c.n, c.share) !== c.rank || Math.abs(own.promised(c.n, c.share) - c.promised) > 1e-12);
    const off = checks.flatMap(({ n, rank, share, low, high, kept }) =>
      [[low, 0.05], [high, 0.95], [share, kept]].map(([x, value]) => Math.abs(own.cdf(n, rank, x) - value)));
    return [wrong.length, Math.max(Math.abs(own.achieved - achieved), ...off)];
  }, data);
  if (ranks) say(`${ranks} ranks or promises differ from the package's`);
  if (!(apart < 1e-6)) say(`the law or the rate of the first calibration differs by ${apart}`);
  const words = async () => (await told.textContent()).replaceAll("\u00a0", " ");
  const says = async (what, text) => {
    const now = await words();
    if (!now.includes(text)) say(`${what}: expected "${text}", got "${now}"`);
  };
  const press = async (name) => {
    const button = figure.locator("button", { hasText: name });
    if (way.keys) await button.press("Enter");
    else if (way.hasTouch) await button.tap();
    else await button.click();
  };
  const slide = async (i, ...keys) => {
    for (const key of keys) await figure.locator("input").nth(i).press(key);
  };
  const rates = () => stage.evaluate((stage) => [...stage.playFigures.rates()]);
  const start = await words();
  await says("at first", "r = 1, so 1/20 = 5 %");
  await press("Calibrate once");
  const two = await rates();
  if (two.length !== 2 || two[0] === two[1]) say(`calibrating once more leaves the rates ${two}`);
  await slide(0, "ArrowRight", "ArrowRight");
  await slide(1, "ArrowRight");
  await says("99 points", "r = 10, so 10/100 = 10 %");
  await press("1000");
  await says("a thousand", "1001 calibrations");
  // the simulated rates against their mean and, as Kolmogorov and Smirnov do, against their law
  const all = (await rates()).sort((a, b) => a - b), mean = all.reduce((a, b) => a + b, 0) / all.length;
  if (!(Math.abs(mean - 0.1) < 4.5 * Math.sqrt((0.1 * 0.9) / 101 / all.length))) say(`the mean rate is ${mean}, promised is 0.1`);
  const law = await stage.evaluate((stage, all) => all.map((x) => stage.playFigures.cdf(99, 10, x)), all);
  const gap = Math.max(...law.map((p, i) => Math.abs(p - (i + 0.5) / all.length)));
  if (!(gap < 2 / Math.sqrt(all.length))) say(`the rates do not follow their law: a gap of ${gap}`);
  if ((await figure.locator(".play-bar").count()) < 10) say("there is no histogram");
  await axe(page, figure, say);
  await slide(0, "Home");
  await slide(1, "Home");
  await says("too much", "5 points cannot promise 1 %: the best is 1/6 = 17 %, with r = 1");
  await press("Start again");
  await says("starting again", start);
}

const FIGURES = { guess, threshold, promise, step };
const WHERE = { intro: ["guess"], "01_scores": ["threshold", "promise"], "02_tasks": ["guess"], "04_aadml": ["step"] };

/** Figures that a page should have and lacks. */
const lacking = (page, html) =>
  Object.entries(WHERE)
    .flatMap(([name, figures]) => (page.includes(name) ? figures : []))
    .filter((figure) => !html.includes(`data-play="${figure}"`));

async function axe(page, figure, say) {
  await page.addScriptTag({ path: AXE });
  const id = await figure.getAttribute("id");
  const found = await page.evaluate((root) => axe.run(`#${root}`), id);
  for (const violation of found.violations) say(`axe: ${violation.id} at ${violation.nodes[0].target}`);
}

/** Problems of all figures of one page. */
async function play(browser, file) {
  const problems = [];
  for (const way of WAYS) {
    const { name, keys, ...options } = way;
    const page = await browser.newPage(options);
    page.on("pageerror", (error) => problems.push(`${name}: ${error.message}`));
    await page.goto(pathToFileURL(file).href);
    for (const figure of await page.locator("figure.play").all()) {
      const say = (text) => problems.push(`${name}: ${text}`);
      await axe(page, figure, say);
      await FIGURES[await figure.getAttribute("data-play")](page, figure, way, say).catch((error) => say(error.message));
    }
    await page.close();
  }
  const bare = await browser.newContext({ javaScriptEnabled: false });
  const page = await bare.newPage();
  await page.goto(pathToFileURL(file).href);
  for (const figure of await page.locator("figure.play").all())
    if (!(await figure.locator(".play-stage svg circle").count())) problems.push("no picture without a script");
  await bare.close();
  return problems;
}

const { values, positionals } = parseArgs({ options: { "self-test": { type: "boolean" } }, allowPositionals: true });
const root = path.resolve(positionals[0]);
const pages = fs
  .readdirSync(root, { recursive: true })
  .map(String)
  .filter((f) => f.endsWith(".html") && fs.readFileSync(path.join(root, f), "utf8").includes('<figure class="play"'));
const browser = await start();
let failed = pages.length ? 0 : 1;
if (!pages.length) console.error("no page has a figure to play with");
if (values["self-test"]) {
  // The pages of the figures, broken in one way each.
  const read = (name) => fs.readFileSync(path.join(root, pages.find((f) => f.includes(name))), "utf8");
  const html = read("intro"), roc = read("01_scores"), plane = read("04_aadml");
  const script = fs.readFileSync(path.join(root, "_static", "play.js"), "utf8");
  const breaks = {
    sound: [(h) => h, (s) => s, null],
    number: [(h) => h.replace(/"neighbour":\[/, '"neighbour":[9'), (s) => s, /differ/],
    error: [(h) => h, (s) => s.replace("toggle(i));", "toggel(i));"), /toggel|marked/],
    marks: [(h) => h, (s) => s.replace("else if (marked.size < allowed)", "else"), /marked/],
    result: [(h) => h, (s) => s.replace("alone = found();", "alone = 0;"), /row 1/],
    names: [(h) => h, (s) => s.replace(/"aria-label": `reading[^`]*`,/, ""), /axe/],
    drag: [() => roc, (s) => s.replace("scores[i] = Math", "scores[0] = 0 * Math"), /moved point/],
    rates: [() => roc.replace('"hits":1.0', '"hits":0.9'), (s) => s, /rates/],
    squares: [() => roc, (s) => s.replace("(s * s) / high", "-s"), /squared/],
    rule: [() => plane, (s) => s.replace("(1 - rule[j][0])", "(1 + rule[j][0])"), /scores differ/],
    rank: [() => roc, (s) => s.replace("share * (n + 1) + 1e-9", "share * n + 1e-9"), /ranks/],
    law: [() => roc, (s) => s.replace("k < r; k++", "k <= r; k++"), /law or the rate/],
    draws: [() => roc, (s) => s.replace("rates.push(tail(cutOf(scores)));\n      }", "rates.push(tail(cutOf(scores)) / 2);\n      }"), /mean rate/],
    cannot: [() => roc, (s) => s.replace("share * (n + 1) >= 1 - 1e-9", "true"), /too much/],
    handle: [() => plane, (s) => s.replace("points[i] = back(", "back("), /moved support/],
    picture: [(h) => h.replace(/<div class="play-stage">.*?<\/svg>/s, '<div class="play-stage">'), (s) => s, /picture/],
  };
  const without = lacking("01_scores", roc.replace('data-play="promise"', ""));
  if (`${without}` !== "promise" || lacking("01_scores", roc).length) failed += 1;
  console.log(`${failed ? "FAIL" : "ok  "} places   lacks ${without}`);
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "play-"));
  fs.cpSync(path.join(root, "_static"), path.join(folder, "_static"), { recursive: true });
  fs.mkdirSync(path.join(folder, "book"));  // both pages lie one folder deep
  for (const [name, [page, code, wanted]] of Object.entries(breaks)) {
    fs.writeFileSync(path.join(folder, "book", "page.html"), page(html));
    fs.writeFileSync(path.join(folder, "_static", "play.js"), code(script));
    const found = await play(browser, path.join(folder, "book", "page.html"));
    const right = wanted ? found.some((text) => wanted.test(text)) : !found.length;
    console.log(`${right ? "ok  " : "FAIL"} ${name.padEnd(8)} ${found[0] ?? "finds nothing"}`);
    failed += !right;
  }
  fs.rmSync(folder, { recursive: true });
} else {
  for (const name of Object.keys(WHERE).filter((name) => !pages.some((page) => page.includes(name)))) {
    console.log(`no page ${name} with a figure to play with`);
    failed += 1;
  }
  for (const page of pages) {
    const file = path.join(root, page), lacks = lacking(page, fs.readFileSync(file, "utf8"));
    const found = [...lacks.map((figure) => `lacks the figure ${figure}`), ...(await play(browser, file))];
    console.log(`${page.padEnd(46)} ${found.length ? `${found.length} problems` : "ok"}`);
    for (const text of found) console.log(`    ${text}`);
    failed += found.length;
  }
}
await browser.close();
process.exit(failed ? 1 : 0);
