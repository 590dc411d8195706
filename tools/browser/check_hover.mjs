// Ask for a card of every kind in headless Chromium, from disk: with a mouse, with keys and on a phone.
//
//   node check_hover.mjs [--self-test] HTML_FOLDER
//
// It fails if a card does not appear or lacks what it should show, if it cannot be reached by the pointer or put away
// by Escape or by leaving, if a first tap follows the link, or if axe-core finds a violation in an open card.
// --self-test breaks the page in each of these ways and expects it found.
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { AXE, start } from "./browser.mjs";

const WAYS = [
  { name: "mouse", viewport: { width: 1280, height: 900 }, colorScheme: "light" },
  { name: "keys", viewport: { width: 1280, height: 900 }, colorScheme: "dark" },
  { name: "phone", viewport: { width: 390, height: 844 }, colorScheme: "light", hasTouch: true, isMobile: true },
];
// What has a card, and what the card must hold.
const KINDS = {
  equation: ["a[href*='#equation-']", "mjx-container"],
  figure: ["a[href*='#fig-']", "figure img"],
  citation: [".bibtex-citation a", ".citation"],
  term: ["a.term", "p strong"],
  symbol: ["[data-symbol]", ".hover-row mjx-container"],
  code: ["pre a.code-link", "p code"],
};

/** Ask for one card in one way; tell what is wrong. */
async function ask(page, way, selector, holds, say) {
  const owner = page.locator(`.bd-article :is(${selector}):not(.headerlink, .eq-check)`).filter({ visible: true }).first();
  if (!(await owner.count())) return say("the page has none");
  const card = page.locator("#hover-card"), visible = () => card.isVisible();
  await owner.evaluate((el) => el.scrollIntoView({ block: "center", behavior: "instant" }));
  const focus = () => owner.evaluate((el) => (el.matches("a") ? el : el.querySelector("mjx-container")).focus());
  const address = page.url();
  if (way === "mouse") await owner.hover();
  else if (way === "keys") await focus();
  else await owner.tap();
  await card.waitFor({ state: "visible", timeout: 5000 }).catch(() => {});
  if (page.url() !== address) return say("the first tap follows the link");
  if (!(await visible())) return say("no card appears");
  await page.waitForTimeout(300);
  if (!(await card.locator(holds).count())) say(`the card lacks ${holds}`);
  if (!(await card.textContent()).trim()) say("the card is empty");
  if (await card.locator("[id], .eq-check, .headerlink").count()) say("the card repeats a name or a mark of the page");
  for (const img of await card.locator("img").all())
    if (!(await img.evaluate((el) => el.complete && el.naturalWidth))) say("the picture is not found");
  if ((await owner.getAttribute("aria-describedby")) !== "hover-card") say("a screen reader is not told of the card");
  const box = await card.boundingBox(), width = page.viewportSize().width;
  if (box.x < 0 || box.x + box.width > width || box.y < 0) say("the card leaves the window");
  if (!(await page.evaluate(() => window.axe))) await page.addScriptTag({ path: AXE });
  const found = await page.evaluate(() => axe.run("#hover-card"));
  for (const violation of found.violations) say(`axe: ${violation.id} at ${violation.nodes[0].target}`);
  if (way === "mouse") {
    await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2, { steps: 4 });
    await page.waitForTimeout(500);
    if (!(await visible())) say("the pointer cannot enter the card");
    await page.mouse.move(2, 450);
    await page.waitForTimeout(500);
    if (await visible()) say("leaving the card does not put it away");
  } else if (way === "keys") {
    await page.keyboard.press("Escape");
    if (await visible()) say("Escape does not put the card away");
    if (!(await owner.evaluate((el) => el.contains(document.activeElement)))) say("Escape moves the focus");
  } else {
    const link = card.locator(".hover-go");
    if (!(await link.count())) say("the card has no link to its target");
    else if ((await owner.getAttribute("href")) && (await link.evaluate((el) => el.href)) !== (await owner.evaluate((el) => el.href)))
      say("the card links elsewhere");
    await page.locator("h1").first().dispatchEvent("pointerdown", { pointerType: "touch" });
    await page.locator("h1").first().dispatchEvent("click");
    if (await visible()) say("a tap elsewhere does not put the card away");
  }
}

/** Problems of the cards of one page, in all ways and of all kinds unless one is named. */
async function check(browser, file, oneWay, oneKind) {
  const problems = [];
  for (const { name: way, ...options } of WAYS) {
    if (oneWay && way !== oneWay) continue;
    const page = await browser.newPage(options);
    page.setDefaultNavigationTimeout(120000);
    page.on("pageerror", (error) => problems.push(`${way}: ${error.message}`));
    page.on("request", (r) => /^(file|data|blob):/.test(r.url()) || problems.push(`${way}: asks the network for ${r.url()}`));
    await page.goto(pathToFileURL(file).href);
    await page.evaluate(() => MathJax.startup.promise);
    await page.keyboard.press("Shift"); // from here on, focus comes from the keyboard
    for (const [kind, [selector, holds]] of Object.entries(KINDS)) {
      if (oneKind && kind !== oneKind) continue;
      const say = (text) => problems.push(`${way}, ${kind}: ${text}`);
      await ask(page, way, selector, holds, say).catch((error) => say(error.message.split("\n")[0]));
      if (page.url().split("#")[0] !== pathToFileURL(file).href) await page.goto(pathToFileURL(file).href);
    }
    await page.close();
  }
  return problems;
}

/** The first chapter of the book on which a card of every kind can be asked for. */
async function complete(browser) {
  const page = await browser.newPage({ javaScriptEnabled: false });
  const lacks = [];
  for (const file of fs.readdirSync(path.join(root, "notebooks")).filter((f) => f.endsWith(".html")).sort()) {
    await page.goto(pathToFileURL(path.join(root, "notebooks", file)).href);
    const missing = [];
    for (const [kind, [selector]] of Object.entries(KINDS))
      if (!(await page.locator(`.bd-article :is(${selector}):not(.headerlink, .eq-check)`).count())) missing.push(kind);
    if (!missing.length) {
      await page.close();
      return file;
    }
    lacks.push(`${file} lacks ${missing.join(", ")}`);
  }
  throw new Error(`no chapter has a card of every kind: ${lacks.join("; ")}`);
}

const { values, positionals } = parseArgs({ options: { "self-test": { type: "boolean" } }, allowPositionals: true });
const root = path.resolve(positionals[0]);
const browser = await start();
// one chapter that has all kinds; the cards of the others are made in the same way
const chapter = await complete(browser);
let failed = 0;
if (values["self-test"]) {
  const read = (...names) => fs.readFileSync(path.join(root, ...names), "utf8");
  const html = read("notebooks", chapter), script = read("_static", "hover.js"), cards = read("_static", "cards.js");
  const pale = "<style>.hover-card { color: #aaa !important; background: #fff }</style></head>";
  // the way and kind to try, what must be found, and the break of the page, the script or the cards
  const breaks = {
    sound: ["mouse", "figure", null, {}],
    cards: ["mouse", "equation", /no card/, { cards: () => "window.hoverCards = {};" }],
    hover: ["mouse", "equation", /no card/, { script: (s) => s.replace('"pointerover"', '"no-event"') }],
    enter: ["mouse", "equation", /cannot enter/, { script: (s) => s.replace("if (inCard(e.target) || (el &&", "if ((el &&") }],
    leave: ["mouse", "equation", /leaving/, { script: (s) => s.replace("later(hide, HIDE_AFTER)", "{}") }],
    focus: ["keys", "equation", /no card/, { script: (s) => s.replace('"focusin"', '"no-event"') }],
    escape: ["keys", "term", /Escape/, { script: (s) => s.replace('"Escape"', '"Enter"') }],
    tap: ["phone", "equation", /first tap/, { script: (s) => s.replace("e.preventDefault();", "") }],
    formulas: ["mouse", "equation", /lacks mjx/, { script: (s) => s.replace("await MathJax.typesetPromise([card]);", "") }],
    picture: ["mouse", "figure", /picture/, { script: (s) => s.replace("new URL(page, ROOT)", "ROOT") }],
    symbols: ["mouse", "symbol", /page has none/, { page: (h) => h.replaceAll("data-symbol=", "data-no-symbol=") }],
    code: ["mouse", "code", /page has none/, { page: (h) => h.replaceAll("code-link", "no-link") }],
    contrast: ["mouse", "citation", /axe/, { page: (h) => h.replace("</head>", pale) }],
  };
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "hover-"));
  for (const name of ["_static", "_images"]) fs.cpSync(path.join(root, name), path.join(folder, name), { recursive: true });
  fs.mkdirSync(path.join(folder, "notebooks"));
  const same = (text) => text;
  for (const [name, [way, kind, wanted, { page = same, script: code = same, cards: data = same }]] of Object.entries(breaks)) {
    fs.writeFileSync(path.join(folder, "notebooks", chapter), page(html));
    fs.writeFileSync(path.join(folder, "_static", "hover.js"), code(script));
    fs.writeFileSync(path.join(folder, "_static", "cards.js"), data(cards));
    const found = await check(browser, path.join(folder, "notebooks", chapter), way, kind);
    const right = wanted ? found.some((text) => wanted.test(text)) : !found.length;
    console.log(`${right ? "ok  " : "FAIL"} ${name.padEnd(8)} ${found.find((text) => wanted?.test(text)) ?? found[0] ?? "finds nothing"}`);
    failed += !right;
  }
  fs.rmSync(folder, { recursive: true });
} else {
  const found = await check(browser, path.join(root, "notebooks", chapter));
  console.log(`cards of ${chapter.padEnd(37)} ${found.length ? `${found.length} problems` : "ok"}`);
  for (const text of found) console.log(`    ${text}`);
  failed += found.length;
}
await browser.close();
process.exit(failed ? 1 : 0);
