// JupyterLab for the checks: a server of its own on a free port, and what is wrong with the notebooks that it shows.
import { spawn } from "node:child_process";
import fs from "node:fs";
import net from "node:net";
import path from "node:path";
import { fileURLToPath } from "node:url";

const PROJECT = fileURLToPath(new URL("../..", import.meta.url));
/** How long a busy machine may take for one step, in milliseconds. */
export const PATIENCE = 240000;
const JUPYTER = process.env.JUPYTER || path.join(PROJECT, ".venv/bin/jupyter");

function freePort() {
  return new Promise((resolve) => {
    const server = net.createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** Start JupyterLab on the folder `root`; `plain` as `make lab` does, without MyST. Returns its address and `stop`. */
export async function startLab(root, plain) {
  if (!fs.existsSync(JUPYTER)) {
    console.error(`no ${JUPYTER}: run 'make setup' first, or set JUPYTER`);
    process.exit(2);
  }
  const port = await freePort(), own = path.join(root, plain ? ".jupyter-plain" : ".jupyter-myst");
  const options = {
    "ServerApp.port": port, "ServerApp.port_retries": 0, "ServerApp.root_dir": root,
    "ServerApp.allow_root": "True", "ServerApp.password": "", "IdentityProvider.token": "",
    "LabApp.expose_app_in_browser": "True",
    ...(plain && { "LabApp.app_settings_dir": path.join(PROJECT, "tools/lab") }),
  };
  const server = spawn(JUPYTER, ["lab", "--no-browser", ...Object.entries(options).map(([k, v]) => `--${k}=${v}`)], {
    stdio: "ignore",
    env: { ...process.env, JUPYTER_CONFIG_DIR: own, JUPYTER_RUNTIME_DIR: path.join(own, "runtime"), IPYTHONDIR: own },
  });
  const stop = () =>
    new Promise((resolve) => (server.exitCode === null ? server.once("exit", resolve).kill("SIGTERM") : resolve()));
  process.on("exit", () => server.kill("SIGKILL"));
  const url = `http://127.0.0.1:${port}`;
  for (const patience = Date.now() + PATIENCE; Date.now() < patience && server.exitCode === null; ) {
    if ((await fetch(`${url}/api/status`).catch(() => null))?.ok) return { url, stop };
    await new Promise((r) => setTimeout(r, 200));
  }
  console.error("JupyterLab does not start");
  process.exit(2);
}

/** In the page: open the notebook and wait until its kernel runs and every cell is drawn. */
async function open(file) {
  const panel = (window.inFront = await window.jupyterapp.commands.execute("docmanager:open", { path: file }));
  await panel.context.ready;
  await panel.revealed;
  await panel.sessionContext.ready;
  await panel.sessionContext.session.kernel.info;
  for (const cell of panel.content.widgets) {
    panel.content.activeCellIndex = panel.content.widgets.indexOf(cell);
    cell.node.scrollIntoView();
    await cell.ready;
    await new Promise((r) => requestAnimationFrame(r));
  }
}

/** In the page: [kind, text] of all that is wrong with the notebook in front as it stands. */
function inspect() {
  const panel = window.inFront, problems = [];
  const cut = (text) => text.replace(/\s+/g, " ").trim().slice(0, 60);
  const hidden = /^(hide-input|hide-cell|remove-cell|remove-input)$/;
  let solving = false;
  panel.content.widgets.forEach((cell, i) => {
    const say = (kind, text) => problems.push([kind, `cell ${i + 1}: ${text}`]);
    const source = cell.model.sharedModel.getSource();
    if (cell.model.type === "markdown") {
      const shown = cell.node.querySelector(".jp-MarkdownOutput, .myst");
      const says = source.replace(/<!--.*?-->|^:::?.*$|^\(.*\)=$|`{3}.*/gms, "").trim();
      if (!cell.rendered || !shown || (says && !shown.textContent.trim() && !shown.querySelector("img"))) return say("empty", "not drawn");
      const words = shown.cloneNode(true);
      words.querySelectorAll("mjx-container, .katex, code, pre, svg").forEach((e) => e.remove());
      const text = words.textContent;
      for (const [key] of text.matchAll(/\{glue|(?<![\w-])(?:evidence|ch\d+)(?:::|-)[a-z][\w-]*/g)) say("key", key);
      for (const warned of shown.querySelectorAll("[title*='Not Found' i], .text-yellow-600"))
        say("reference", warned.textContent);
      for (const [role] of text.matchAll(/\{(?:eq|numref|ref|doc|term|cite:[pt]|prf:ref|py:\w+)\}\S*/g)) say("reference", role);
      for (const [mark] of text.matchAll(/:::+|\{(?:prf|exercise|solution|admonition)[\w:-]*\}?/g)) say("directive", mark);
      for (const bad of shown.querySelectorAll("mjx-merror, .katex-error")) say("formula", cut(bad.textContent));
      for (const [tex] of text.matchAll(/\$[^$\n]*\$|\\(?:[a-zA-Z]{2,}|[,;!])[^\s]*/g)) say("formula", cut(tex));
      for (const math of shown.querySelectorAll("mjx-container, .katex-mathml annotation"))
        if (/^\s*>/m.test(math.querySelector("math annotation")?.textContent ?? "")) say("formula", "holds the mark of a quote");
      for (const open of shown.querySelectorAll("details[open]")) say("solution", cut(open.textContent));
      const last = (...marks) => Math.max(...marks.map((mark) => source.lastIndexOf(mark)));
      const begun = last("{solution-start}", "Solution"), over = last("{solution-end}", "**Exercise", "\n## ");
      if (begun !== over) solving = begun > over;
      return;
    }
    const tags = cell.model.getMetadata("tags") ?? [];
    const editor = cell.node.querySelector(".jp-InputArea-editor");
    const visible = !cell.inputHidden || (editor?.getClientRects().length ?? 0) > 0;
    if (tags.some((tag) => hidden.test(tag)) && visible) say("code", cut(source));
    else if (solving && visible) say("solution", cut(source));
    const figures = cell.model.sharedModel.outputs.filter((o) => Object.keys(o.data ?? {}).some((k) => k.startsWith("image/")));
    if (!cell.model.getMetadata("jupyter")?.outputs_hidden && cell.node.querySelectorAll(".jp-OutputArea-output :is(img, svg)").length < figures.length)
      say("figure", "not shown");
  });
  if (panel.context.model.dirty) problems.push(["changed", "marked as changed on opening"]);
  return problems;
}

/** In the page: close the notebook in front and end its kernel. */
async function close() {
  const panel = window.inFront;
  await panel.sessionContext.shutdown();
  panel.dispose();
}

/** File -> [kind, text] of its problems, for `files` below the folder of the lab; waits while something still changes. */
export async function check(browser, lab, files, screenshots) {
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
  page.setDefaultTimeout(PATIENCE);
  const found = new Map(), away = [];
  await page.route((url) => /^https?:/.test(url.href) && !url.href.startsWith(lab.url), (route) => {
    away.push(["request", `asks the network for ${route.request().url()}`]);
    return route.abort();
  });
  await page.goto(`${lab.url}/lab?reset`);
  await page.waitForFunction(() => window.jupyterapp);
  await page.evaluate(() => window.jupyterapp.restored.then(() => undefined));
  for (const file of files) {
    let problems;
    try {
      await page.evaluate(open, file);
      // a mark of change comes a moment after the kernel has told its name
      await page.waitForTimeout(250);
      let since = Date.now(), before = "", patience;
      do {
        problems = await page.evaluate(inspect);
        if (JSON.stringify(problems) !== before) [before, since] = [JSON.stringify(problems), Date.now()];
        if (problems.length) await page.waitForTimeout(100);
        patience = problems.some(([kind]) => kind === "empty") ? PATIENCE / 4 : 2500;
      } while (problems.length && Date.now() - since < patience);
      if (screenshots) {
        await page.screenshot({ path: path.join(screenshots, `${file.replaceAll("/", "-")}-end.png`) });
        await page.evaluate(() => window.inFront.content.widgets[0].node.scrollIntoView());
        await page.screenshot({ path: path.join(screenshots, `${file.replaceAll("/", "-")}-top.png`) });
      }
      await page.evaluate(close);
    } catch (error) {
      problems = [["page", `cannot be checked: ${error.message.split("\n")[0]}`]];
    }
    found.set(file, [...problems, ...away.splice(0)]);
  }
  await page.close();
  return found;
}
