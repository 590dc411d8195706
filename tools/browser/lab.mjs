// JupyterLab for the checks: a server of its own on a free port, with settings of its own and no token.
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
