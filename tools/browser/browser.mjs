// The browser that the checks start, and axe-core, which they put into its pages. CHROMIUM names the browser.
import fs from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

export const AXE = createRequire(import.meta.url).resolve("axe-core/axe.min.js");

const CHROMIUM =
  process.env.CHROMIUM ||
  ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(fs.existsSync);
const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
];

/** A headless browser; ends the program where there is none. */
export async function start() {
  if (!CHROMIUM || !fs.existsSync(CHROMIUM)) {
    console.error("no Chromium found: install it (Debian: apt-get install chromium) or set CHROMIUM to its path");
    process.exit(2);
  }
  return chromium.launch({ executablePath: CHROMIUM, args: FLAGS });
}
