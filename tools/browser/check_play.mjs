// Play every figure that can be played with, in headless Chromium, from disk: with a mouse, with keys and on a phone.
//
//   node check_play.mjs [--self-test] HTML_FOLDER
//
// A figure fails if its script raises an error, if a number that the page computes differs from the package's by more
// than 1e-6 (1e-4 for the network's), if what a reader does has another effect than it should, if axe-core finds a
// violation at any stage, or if there is no static picture without a script. A page may not lack a figure that it
// should have. --self-test breaks a page in each of these ways and expects it found.
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { AXE, start as launch } from "./browser.mjs";

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

/** Press a button as one does with keys, a finger or a mouse. */
const pressed = (button, way) => (way.keys ? button.press("Enter") : way.hasTouch ? button.tap() : button.click());

/** Move a handle: by some pixels, or where keys are used by eight presses of one. */
async function move(page, handle, way, [right, down], key) {
  await handle.scrollIntoViewIfNeeded();
  if (way.keys) {
    for (let i = 0; i < 8; i++) await handle.press(key);
    return;
  }
  const box = await handle.boundingBox(), [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
  await page.mouse.move(x, y);
  await page.mouse.down();
  await page.mouse.move(x + right, y + down, { steps: 5 });
  await page.mouse.up();
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
  await move(page, figure.locator(".play-handle").first(), way, [30, -40], "ArrowUp");
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
  const press = (name) => pressed(figure.locator("button", { hasText: name }), way);
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

/** Play "Drag the start": compare its figures, move the start in both panels, take outer steps, change K and alpha. */
async function start(page, figure, way, say) {
  const data = JSON.parse(await figure.locator("script").textContent());
  const stage = figure.locator(".play-stage"), told = figure.locator(".play-told");
  const apart = await stage.evaluate((stage, checks) =>
    Math.max(...checks.flatMap(({ w, alpha, K, values }) => stage.playFigures.at(w, alpha, K).map((v, i) => Math.abs(v - values[i])))), data.checks);
  if (!(apart < 1e-6)) say(`path, losses or gradients differ from the package's by ${apart}`);
  const now = () => stage.evaluate((stage) => stage.playFigures.start());
  const words = () => told.textContent(), first = await words();
  for (const i of [0, 1]) {
    const before = await now();
    await move(page, figure.locator(".play-handle").nth(i), way, [40, -30], "ArrowUp");
    const after = await now();
    if (!(after[1] > before[1])) say(`panel ${i}: the start does not move up: ${before} to ${after}`);
  }
  await figure.locator("button", { hasText: "Start again" }).click();
  if ((await words()) !== first) say(`starting again: expected "${first}", got "${await words()}"`);
  const own = data.checks.find(({ w, alpha, K }) => `${[w, alpha, K]}` === `${[data.start, data.alpha, data.K]}`).values;
  for (const [name, at] of [["exact", 6], ["first order", 8]]) {
    await figure.locator("button", { hasText: "Start again" }).click();
    await figure.locator("button", { hasText: `Outer step, ${name}` }).click();
    const moved = await now(), wanted = data.start.map((v, j) => v - data.beta * own[at + j]);
    if (!(Math.hypot(moved[0] - wanted[0], moved[1] - wanted[1]) < 1e-6)) say(`outer step, ${name}: to ${moved}, not to ${wanted}`);
  }
  await axe(page, figure, say);
  const landscape = () => figure.locator(".play-contour").nth(1).getAttribute("d"), before = await landscape();
  await figure.locator("input").nth(1).press("Home");
  if ((await landscape()) === before) say("other numbers of steps have the same landscape");
  if (!(await words()).includes("gradient: 0° apart")) say(`without a step the gradients differ: ${await words()}`);
}

/** Play "Turn the fault": compare its predictions, turn the fault to 0 degrees and back, know more directions. */
async function fault(page, figure, way, say) {
  const data = JSON.parse(await figure.locator("script").textContent());
  const told = figure.locator(".play-told"), handle = figure.locator(".play-handle");
  const apart = await figure.locator(".play-stage").evaluate((stage, checks) =>
    Math.max(...checks.flatMap(({ m, angle, auroc, at, heights }) => [
      Math.abs(stage.playFigures.auroc(m, angle) - auroc), ...at.map((s, i) => Math.abs(stage.playFigures.density(m, angle, s) - heights[i])),
    ])), data.checks);
  if (!(apart < 1e-6)) say(`predictions or densities differ from SciPy's by ${apart}`);
  const says = async (what, ...texts) => {
    const now = await told.textContent();
    for (const text of texts) if (!now.includes(text)) say(`${what}: expected "${text}", got "${now}"`);
  };
  const angle = async () => Number(await handle.getAttribute("aria-valuenow"));
  await move(page, handle, way, [30, 40], "ArrowDown");
  if (!((await angle()) < data.angle)) say(`the fault turned down stands at ${await angle()} degrees`);
  for (let i = 0; i < 90; i++) await handle.press("ArrowUp");
  await says("perpendicular", "at 90°: AUROC 0.50", "no longer pays");
  await axe(page, figure, say);
  for (let i = 0; i < 90; i++) await handle.press("ArrowLeft");
  for (const m of [8, 4, 2, 1]) {
    await figure.locator("button", { hasText: `m = ${m}` }).click();
    await says(`m = ${m}`, `at 0°: AUROC ${data.checks.find((c) => c.m === m && !c.angle).auroc.toFixed(2)}`, "Experience of faults pays");
  }
}

/** Play "The game": compare its figures, move and widen the virtual density, put it on the normal one, let G walk there. */
async function game(page, figure, way, say) {
  const data = JSON.parse(await figure.locator("script").textContent());
  const stage = figure.locator(".play-stage"), told = figure.locator(".play-told"), row = figure.locator(".play-result tr").nth(1);
  const apart = await stage.evaluate((stage, checks) =>
    Math.max(...checks.flatMap(({ mu, sigma, values, at, best }) => [
      ...stage.playFigures.game(mu, sigma).map((v, i) => Math.abs(v - values[i])), ...at.map((x, i) => Math.abs(stage.playFigures.best(mu, sigma, x) - best[i])),
    ])), data.checks);
  if (!(apart < 1e-6)) say(`losses, divergence, slopes or C* differ from SciPy's by ${apart}`);
  const now = () => stage.evaluate((stage) => stage.playFigures.now());
  const press = (name) => pressed(figure.locator("button", { hasText: name }), way);
  const first = await told.textContent(), [mu, sigma] = await now();
  await move(page, figure.locator(".play-handle").nth(0), way, [-60, 0], "ArrowLeft");
  const moved = await now();
  if (!(moved[0] < mu - 0.5 && moved[1] === sigma)) say(`the virtual density moved left stands at ${moved}`);
  await move(page, figure.locator(".play-handle").nth(1), way, [25, 0], "ArrowRight");
  const widened = await now();
  if (!(widened[1] > sigma + 0.3 && widened[0] === moved[0])) say(`the virtual density widened stands at ${widened}`);
  await axe(page, figure, say);
  await press("Start again");
  if ((await told.textContent()) !== first) say(`starting again: expected "${first}", got "${await told.textContent()}"`);
  const before = (await stage.evaluate((stage) => stage.playFigures.game(...stage.playFigures.now())))[2];
  await press("A step of G");
  if (!((await stage.evaluate((stage) => stage.playFigures.game(...stage.playFigures.now())))[2] < before)) say("a step of G does not lower its loss");
  for (let i = 0; i < 40; i++) await press("A step of G");
  const [at, width] = await now();
  if (!(Math.hypot(at, width - 1) < 0.01)) say(`after forty steps G stands at ${at}, ${width}`);
  await press("Onto the normal one");
  if (!(await told.textContent()).includes("flat")) say(`on the normal density: "${await told.textContent()}"`);
  if ((await row.textContent()) !== "here1.390.000.69") say(`on the normal density: losses ${await row.textContent()}`);
}

/** Put a slider at a share of its way: by a click or a tap, or where keys are used by its ends alone. */
async function slideTo(page, input, way, share) {
  await input.scrollIntoViewIfNeeded();
  const box = await input.boundingBox(), at = [box.x + share * box.width, box.y + box.height / 2];
  if (way.keys) await input.press(share < 0.5 ? "Home" : "End");
  else if (way.hasTouch) await page.touchscreen.tap(...at);
  else await page.mouse.click(...at);
}

/** Play "The weight of the unknown": compare scores and figures, move kappa, take fewer directions, count what is filled. */
async function kappa(page, figure, way, say) {
  const data = JSON.parse(await figure.locator("script").textContent());
  const stage = figure.locator(".play-stage"), told = figure.locator(".play-told"), input = figure.locator("input");
  const apart = await stage.evaluate((stage, { checks, at }) =>
    Math.max(...checks.flatMap(({ d, kappa, values, scores }) => [
      ...stage.playFigures.values(d, kappa).map((v, i) => Math.abs(v - values[i])), ...at.map((place, i) => Math.abs(stage.playFigures.score(d, kappa, ...place) - scores[i])),
    ])), data);
  if (!(apart < 1e-6)) say(`scores, AUROCs or shares differ from SciPy's by ${apart}`);
  const text = async (where) => (await where.textContent()).replaceAll("\u00a0", " ");
  const shows = async (what, d, kappa) => {
    const { values: [known, fresh, hits, caught] } = data.checks.find((check) => check.d === d && check.kappa === kappa);
    const rows = await Promise.all([1, 2].map((i) => text(figure.locator(".play-result tr").nth(i))));
    [["known", known, hits], ["new", fresh, caught]].forEach(([name, auroc, share], i) => {
      const wanted = `${name}${auroc.toFixed(2)}${(100 * share).toFixed(0)} %`;
      if (rows[i] !== wanted) say(`${what}: expected "${wanted}", got "${rows[i]}"`);
    });
    const now = await text(told);
    if (!now.includes(`${d} sensors, \u03ba = ${kappa.toFixed(2)}`)) say(`${what}: "${now}"`);
  };
  const filled = () => figure.locator(".play-panels svg").first().locator(".play-faulty:not(.play-hollow)").count();
  const dot = async () => Number(await figure.locator(".play-here").getAttribute("cy"));
  await slideTo(page, input, way, 0.004);
  for (let i = 0; i < 3; i++) await input.press("ArrowLeft"); // a tap may miss the end by a step
  await shows("no weight", 16, 0);
  const beyond = [...data.points[16].known, ...data.points[16].fresh].filter(([x]) => x > 1.6448536).length;
  if ((await filled()) !== beyond + 2) say(`no weight: ${await filled()} faults are filled, not ${beyond} and two in the key`);
  const low = await dot();
  await axe(page, figure, say);
  await slideTo(page, input, way, 0.996);
  for (let i = 0; i < 3; i++) await input.press("ArrowRight");
  await shows("all weight", 16, 1);
  if (!((await dot()) < low - 60)) say("all weight: the dot does not rise");
  const few = figure.locator("button", { hasText: "2 sensors" });
  await (way.keys ? few.press("Enter") : way.hasTouch ? few.tap() : few.click());
  await shows("two directions", 2, 1);
  for (let i = 0; i < 2; i++) await input.press("ArrowLeft");
  await shows("a step back", 2, 0.98);
}

/** Play "Majority rules": compare curves and scores, make all kinds equally frequent, call another kind normal. */
async function majority(page, figure, way, say) {
  const data = JSON.parse(await figure.locator("script").textContent());
  const stage = figure.locator(".play-stage"), told = figure.locator(".play-told"), input = figure.locator("input");
  const apart = await stage.evaluate((stage, { curves, checks }) =>
    Math.max(
      ...Object.entries(curves).flatMap(([name, own]) => Object.entries(own).flatMap(([k, curve]) => stage.playFigures.curve(name, Number(k)).map((v, i) => Math.abs(v - curve[i])))),
      ...checks.flatMap(({ of, scores }) => stage.playFigures.scores(...of).map((v, i) => Math.abs(v - scores[i]))),
    ), data);
  if (!(apart < 1e-6)) say(`AUROCs or scores differ from the package's by ${apart}`);
  const words = () => told.textContent(), first = await words();
  const press = (name) => pressed(figure.locator("button", { hasText: name }), way);
  const points = () => figure.locator(".play-panels svg").first().evaluate((svg) =>
    [...svg.querySelectorAll("circle.play-normal, polygon")].map((node) => `${node.getAttribute("cx") ?? node.getAttribute("points")}`));
  const says = async (what, text) => {
    const now = await words();
    if (!now.includes(text)) say(`${what}: expected "${text}", got "${now}"`);
  };
  for (const k of [3, 2, 1]) {
    await press(`${k} kind`);
    await slideTo(page, input, way, 0.5);
    const fair = (k * data.size) / (k + 1), from = Number(await input.inputValue());
    if (from === data.anomalies) say(`${k} kinds: the slider does not move`);
    for (let i = 0; i < Math.abs(fair - from); i++) await input.press(fair > from ? "ArrowRight" : "ArrowLeft");
    for (const method of ["third neighbour", "batch mean"]) {
      await press(method);
      await says(`${k} kinds, ${method}`, "mean 0.50. Over 12 batches 0.50. All kinds are equally frequent: exactly one half");
    }
  }
  const ofBatch = async () => Number((await words()).match(/AUROC of this batch ([\d.]+)/)[1]);
  const [one, before] = [await ofBatch(), await points()];
  await press("Call another kind normal");
  const [other, after] = [await ofBatch(), await points()];
  if (!(Math.abs(one + other - 1) < 0.011)) say(`another kind called normal: ${one} and ${other} do not add up to 1`);
  if (`${before}` === `${after}`) say("another kind called normal: every point keeps its mark");
  await press("Next batch");
  if ((await ofBatch()) === other) say("the next batch has the same AUROC");
  await axe(page, figure, say);
  await press("known direction");
  await says("known direction", "no majority is needed");
  if (!((await ofBatch()) > 0.9)) say(`known direction: ${await words()}`);
  await press("Start again");
  if ((await words()) !== first) say(`starting again: expected "${first}", got "${await words()}"`);
}

/** Play "A score taken apart": compare scores and parts, move a sensor, tell, take the load away, start again. */
async function apart(page, figure, way, say) {
  const data = JSON.parse(await figure.locator("script").textContent());
  const stage = figure.locator(".play-stage"), told = figure.locator(".play-told"), words = () => told.textContent();
  const gap = await stage.evaluate((stage, checks) =>
    Math.max(...checks.flatMap(({ load, xi, score, parts }) => [
      Math.abs(stage.playFigures.score(xi, load) - score),
      ...Object.entries(parts).flatMap(([name, own]) => stage.playFigures.parts(name, xi, load).map((v, j) => Math.abs(v - own[j]))),
    ])), data.checks);
  if (!(gap < 1e-6)) say(`scores or parts differ from the package's by ${gap}`);
  const now = () => stage.evaluate((stage) => stage.playFigures.now());
  const press = (name) => pressed(figure.locator("button", { hasText: name }), way);
  const top = (values) => values.indexOf(Math.max(...values)) + 1, first = await words(), own = data.checks.find((c) => c.load === data.load);
  for (const name of Object.keys(own.parts)) {
    await press(name);
    if (!(await words()).includes(`Largest part: sensor ${top(own.parts[name])}.`)) say(`${name}: expected sensor ${top(own.parts[name])}, got "${await words()}"`);
  }
  const before = (await now()).xi;
  await move(page, figure.locator(".play-handle").nth(2), way, [0, -30], "ArrowUp");
  const after = (await now()).xi;
  if (!(after[2] > before[2] + 0.3 && after[0] === before[0])) say(`sensor 3 moved up stands at ${after}`);
  await axe(page, figure, say);
  await press("Which is broken?");
  if (!(await words()).includes(`Broken: sensor ${data.readings[0].broken + 1}.`)) say(`told: "${await words()}"`);
  for (let i = 0; i < 9; i++) await figure.locator("input").press("ArrowLeft");
  const squares = after.reduce((a, x) => a + x * x, 0).toFixed(1);
  for (const name of ["occlusion", "Shapley", "filled in"]) {
    await press(name);
    if (!(await words()).includes(`Score ${squares}; the parts add up to ${squares}.`)) say(`without load, ${name}: "${await words()}"`);
  }
  await press("Another reading");
  if (`${(await now()).xi}` !== `${data.readings[1].xi}`) say(`another reading: ${(await now()).xi}`);
  await press("Start again");
  if ((await words()) !== first) say(`starting again: expected "${first}", got "${await words()}"`);
}

/** Play "Draw five, then draw another": compare features and scores, then twenty drawings, by strokes or ready-made. */
async function draw(page, figure, way, say) {
  const data = JSON.parse(await figure.locator("script").textContent());
  const stage = figure.locator(".play-stage"), told = figure.locator(".play-told");
  const [images, apart] = await stage.evaluate((stage, { digits, each, checks }) => {
    const { samples, embed, score } = stage.playFigures, phi = samples.map(embed);
    const gaps = phi.flatMap((own, k) => checks.phi[k].map((v, j) => Math.abs(v - own[j])));
    digits.forEach((digit, i) => {
      const known = phi.slice(i * each, i * each + 5);
      phi.forEach((own, k) => gaps.push(Math.abs(score(known, own) - checks.scores[digit][k])));
    });
    return [samples.length, Math.max(...gaps)];
  }, data);
  if (images < 20) say(`only ${images} images to compare`);
  if (!(apart < 1e-4)) say(`features or scores differ from the package's by ${apart}`);
  const press = (button) => pressed(button, way);
  const named = (name) => figure.locator("button", { hasText: name }), words = () => told.textContent(), first = await words();
  const kept = () => stage.evaluate((stage) => stage.playFigures.now().known);
  const decision = async () => (await words()).match(/Score (.[\d.]*), .*threshold 0: (another|the same) sign/);
  if (!(await named("Keep it").isDisabled())) say("one can keep nothing");
  let right = 0;
  if (way.keys) {
    const own = 1, turns = data.digits.map(() => 0);
    const take = async (i) => {
      await press(figure.locator(`button[aria-label="take a handwritten ${data.digits[i]}"]`));
      return i * data.each + (turns[i]++ % data.each);
    };
    for (let i = 0; i < 5; i++) await take(own);
    if ((await kept()) !== 5) say(`${await kept()} of five drawings are kept`);
    for (let i = 0; i < 20; i++) {
      const wanted = data.checks.scores[data.digits[own]][await take(i % data.digits.length)], found = await decision();
      if (!found) say(`no decision about a ready-made drawing: ${await words()}`);
      else if (Math.abs(Number(found[1].replace("\u2212", "-")) - wanted) > 0.006 || (found[2] === "another") !== wanted > 0)
        say(`a ready-made drawing: expected ${wanted.toFixed(2)}, got "${found[0]}"`);
    }
  } else {
    const pad = figure.locator(".play-pad");
    let seed = 1; // places wobble, the same ones each time
    const wobble = () => ((seed = (seed * 16807) % 2147483647) / 2147483647 - 0.5) * 0.07;
    const seven = [[0.25, 0.22], [0.5, 0.2], [0.75, 0.22], [0.62, 0.5], [0.5, 0.82]];
    const ring = Array.from({ length: 13 }, (_, i) => [0.5 + 0.28 * Math.sin((i * Math.PI) / 6), 0.5 - 0.28 * Math.cos((i * Math.PI) / 6)]);
    await pad.scrollIntoViewIfNeeded();
    for (let i = 0; i < 20; i++) {
      const box = await pad.boundingBox(), other = i >= 5 && i % 2 === 1;
      const points = (other ? ring : seven).map(([x, y]) => [box.x + (x + wobble()) * box.width, box.y + (y + wobble()) * box.height]);
      await page.mouse.move(...points[0]);
      await page.mouse.down();
      for (const point of points) await page.mouse.move(...point, { steps: 3 });
      await page.mouse.up();
      if (i < 5) {
        await press(named("Keep it"));
        if ((await kept()) !== i + 1) say(`${await kept()} of ${i + 1} drawings are kept`);
        continue;
      }
      const found = await decision();
      if (!found) say(`no decision about a drawing: ${await words()}`);
      else if ((found[2] === "another") === other) right += 1;
      if ((await figure.locator(".play-nearest").count()) !== 1) say("no nearest drawing");
      if (i < 19) await press(named("Wipe"));
    }
    if (right < 13) say(`of 15 drawings, sevens and rings after five sevens, ${right} are judged right`);
  }
  await axe(page, figure, say);
  await press(named("Start again"));
  if ((await words()) !== first) say(`starting again: expected "${first}", got "${await words()}"`);
}

const FIGURES = { guess, threshold, promise, step, start, fault, game, kappa, majority, draw, apart };
const WHERE = {
  intro: ["guess", "draw"], "01_scores": ["threshold", "promise"], "02_tasks": ["guess"], "04_aadml": ["step"], "05_maml": ["start"],
  "06_novel": ["fault"], "07_learn": ["draw"], "08_adversarial": ["game"],
  "09_generative": ["kappa"], "10_new_domains": ["majority"], "12_reading": ["apart"],
};

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

/** Problems of all figures of one page; no further way is tried once `enough` holds of them. */
async function play(browser, file, enough = () => false) {
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
    if (enough(problems)) return problems;
  }
  const bare = await browser.newContext({ javaScriptEnabled: false });
  const page = await bare.newPage();
  await page.goto(pathToFileURL(file).href);
  for (const figure of await page.locator("figure.play").all())
    if (!(await figure.locator(".play-stage svg :is(circle, rect)").count())) problems.push("no picture without a script");
  await bare.close();
  return problems;
}

const { values, positionals } = parseArgs({ options: { "self-test": { type: "boolean" } }, allowPositionals: true });
const root = path.resolve(positionals[0]);
const pages = fs
  .readdirSync(root, { recursive: true })
  .map(String)
  .filter((f) => f.endsWith(".html") && fs.readFileSync(path.join(root, f), "utf8").includes('<figure class="play"'));
const browser = await launch();
let failed = pages.length ? 0 : 1;
if (!pages.length) console.error("no page has a figure to play with");
if (values["self-test"]) {
  // The pages of the figures, broken in one way each.
  const read = (name) => fs.readFileSync(path.join(root, pages.find((f) => f.includes(name))), "utf8");
  const html = read("intro").replace(/<figure class="play" id="play-draw".*?<\/figure>/s, ""), roc = read("01_scores"), plane = read("04_aadml"), maml = read("05_maml"), novel = read("06_novel"), aae = read("08_adversarial"), letters = read("07_learn"), hedge = read("09_generative"), batch = read("10_new_domains"), taken = read("12_reading");
  const scripts = ["play.js", ...Object.keys(FIGURES).map((name) => `play/${name}.js`)];
  const texts = scripts.map((name) => fs.readFileSync(path.join(root, "_static", name), "utf8"));
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
    hessian: [() => maml, (s) => s.replace("bend = p * (1 - p)", "bend = p * p"), /gradients differ/],
    outer: [() => maml, (s) => s.replace("data.beta * slope", "slope"), /outer step, exact/],
    panels: [() => maml, (s) => s.replace("draggable(handle, picture, (p) => to(back(p)), (way) =>", "draggable(handle, picture, () => 0, () => 0 && "), /panel 1/],
    landscape: [() => maml, (s) => s.replace("landscape((w) => meta(w, data, a, K).loss)", "landscape((w) => slopes(w, data.asked).loss)"), /same landscape/],
    chance: [() => novel, (s) => s.replace("sum += weight * (1 - below)", "sum += weight * below"), /SciPy/],
    density: [() => novel, (s) => s.replace("term *= (s * s) / 2 / i", "term *= (s * s) / i"), /SciPy/],
    turned: [() => novel, (s) => s.replace("turn(angle + right - down)", "turn(angle)").replace("turn((Math.atan2(oy - v", "turn((Math.atan2(v - oy"), /turned down|perpendicular/],
    pays: [() => novel, (s) => s.replace("now > single", "now > 0"), /perpendicular/],
    integral: [() => aae, (s) => s.replace("g * softplus(-l);", "g * softplus(l);"), /SciPy/],
    best: [() => aae, (s) => s.replace("logBell(x, mu, sigma) - logBell(x, 0, 1)", "logBell(x, 0, 1) - logBell(x, mu, sigma)"), /SciPy/],
    moved: [() => aae, (s) => s.replace("set(at === null ? mu + more : at, sigma)", "set(mu, sigma)"), /moved left/],
    widened: [() => aae, (s) => s.replace("sigma + more : at - mu", "sigma : sigma"), /widened/],
    walk: [() => aae, (s) => s.replace("set(mu - rate * along", "set(mu + rate * along"), /step of G|forty/],
    flat: [() => aae, (s) => s.replace("() => set(0, 1)", "() => set(0, 1.3)"), /on the normal/],
    bessel: [() => hedge, (s) => s.replace("half / (k * (d + 2 * k - 2))", "half / (k * (d + 2 * k))"), /SciPy/],
    turned2: [() => hedge, (s) => s.replace("normal * turned]", "normal]"), /SciPy/],
    weight: [() => hedge, (s) => s.replace("const k = Number(input.value)", "const k = 0.2"), /no weight/],
    filled: [() => hedge, (s) => s.replace("> cut.score ? tone", "> cut.score - 1 ? tone"), /are filled/],
    sizes: [() => hedge, (s) => s.replace("((d = each), show())", "show()"), /two directions/],
    third: [() => batch, (s) => s.replace("sort((p, q) => p - q)[3]", "sort((p, q) => p - q)[2]"), /AUROCs or scores/],
    evenly: [() => batch, (s) => s.replace("(anomalies + k - 1 - place) / k", "anomalies / k"), /AUROCs or scores/],
    called: [() => batch, (s) => s.replace("(own = (own + 1) % (k + 1))", "(own = 0)"), /add up/],
    again: [() => batch, (s) => s.replace("input.value = data.anomalies;", ""), /starting again|does not move/],
    pixels: [() => letters, (s) => s.replace("2 * r + a - 1", "2 * r + a"), /features or scores/],
    prior: [() => letters, (s) => s.replace("seen.length / within[k]", "1 / within[k]"), /features or scores/],
    kept: [() => letters, (s) => s.replace("known.push({", "known.splice(0, 1, {"), /drawings are kept/],
    strokes: [() => letters, (s) => s.replace("stroke.push(point);", ""), /judged right/],
    decides: [() => letters, (s) => s.replace('value > 0 ? "another sign"', 'value > 40 ? "another sign"'), /ready-made|judged right/],
    ready: [() => letters, (s) => s.replace("turns[i]++ %", "turns[i] %"), /ready-made/],
    parts: [() => taken, (s) => s.replace("2 * x * v - own * x * x", "2 * x * v + own * x * x"), /scores or parts/],
    largest: [() => taken, (s) => s.replace("own.indexOf(Math.max(...own))", "own.indexOf(Math.min(...own))"), /expected sensor/],
    sensor: [() => taken, (s) => s.replace("set(j, (120 - v) / 30)", "set(j, xi[j])").replace("xi[j] + (right - down) / 10", "xi[j]"), /moved up/],
    broken: [() => taken, (s) => s.replace("sensor ${broken + 1}", "sensor ${broken + 2}"), /told/],
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
    scripts.forEach((name, i) => fs.writeFileSync(path.join(folder, "_static", name), code(texts[i])));
    const seen = (problems) => wanted && problems.some((text) => wanted.test(text));
    const found = await play(browser, path.join(folder, "book", "page.html"), seen);
    const right = wanted ? seen(found) : !found.length;
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
