// A score taken apart, column by column.
(() => {
  const { make, circle, path, text, triangle, draggable, slider, button } = PLAY;

  const LIMIT = 3.5, sum = (values) => values.reduce((a, b) => a + b, 0);

  /** Precision matrix times the reading, and its diagonal: variances 1, all correlations `load`. */
  function lean(xi, load) {
    const d = xi.length, shared = load / (1 + (d - 1) * load), total = sum(xi);
    return [xi.map((x) => (x - shared * total) / (1 - load)), (1 - shared) / (1 - load)];
  }

  /** The squared Mahalanobis distance of a reading. */
  const score = (xi, load) => sum(lean(xi, load)[0].map((v, j) => v * xi[j]));

  /** Parts of each sensor by each way: equations quadratic-parts and filled-in. */
  const WAYS = {
    "z-score": (x) => x * x,
    occlusion: (x, v, own) => 2 * x * v - own * x * x,
    gradient: (x, v) => 2 * x * v,
    Shapley: (x, v) => x * v,
    "filled in": (x, v, own) => (v * v) / own,
  };
  function parts(way, xi, load) {
    const [leans, own] = lean(xi, load);
    return xi.map((x, j) => WAYS[way](x, leans[j], own));
  }

  function apart(stage, data) {
    let way = "occlusion", at = 0, xi, load, known = false;
    const two = (v, digits = 1) => v.toFixed(digits).replace(/^-(?=0\.?0*$)/, "").replace("-", "\u2212");
    const told = make("p", { class: "play-told play-figures", "aria-live": "polite" });
    const ways = Object.keys(WAYS).map((name) => button(name, () => ((way = name), show())));
    const shown = make("b"), [input, row] = slider("load: ", { min: 0, max: 0.9, step: 0.1 }, () => ((load = Number(input.value)), show()), shown);

    const X = (j) => 50 + 65 * j, Y = (x) => 120 - 30 * x;
    const picture = make("svg", { viewBox: "0 0 290 240", role: "group", "aria-label": "four sensors, each above or below its normal mean" });
    const set = (j, value) => {
      xi[j] = Math.round(10 * Math.max(-LIMIT, Math.min(LIMIT, value))) / 10;
      show();
    };
    const handles = data.readings[0].xi.map((_, j) => {
      const node = make("g", {
        role: "slider", tabindex: 0, class: "play-handle", "aria-label": `sensor ${j + 1}`, "aria-orientation": "vertical", "aria-valuemin": -LIMIT, "aria-valuemax": LIMIT,
      });
      const grip = make("circle", { class: "play-touch", r: 16, cx: X(j) }), mark = make("g");
      node.append(grip, mark);
      draggable(node, picture, ([, v]) => set(j, (120 - v) / 30), ([right, down]) => set(j, xi[j] + (right - down) / 10));
      return { node, grip, mark };
    });
    picture.append(
      path("play-axis", `M20 ${Y(0)}H280`), path("play-orbit", `M20 ${Y(2)}H280M20 ${Y(-2)}H280`),
      ...[2, 0, -2].map((x) => text(16, Y(x) + 4, two(x, 0), "end")), ...handles.map((_, j) => text(X(j), 236, `sensor ${j + 1}`)),
      ...handles.map(({ node }) => node));

    const chart = make("svg", { viewBox: "0 0 290 240", role: "img" });
    const next = (to) => {
      at = to % data.readings.length;
      xi = [...data.readings[at].xi];
      known = false;
      show();
    };
    const tell = button("Which is broken?", () => ((known = true), show()));

    function show() {
      const own = parts(way, xi, load), whole = score(xi, load), top = own.indexOf(Math.max(...own)), { broken } = data.readings[at];
      handles.forEach(({ node, grip, mark }, j) => {
        const place = [X(j), Y(xi[j])];
        grip.setAttribute("cy", place[1]);
        mark.replaceChildren(known && j === broken ? triangle(place, 10, "play-faulty") : circle(place, 8, "play-normal"));
        node.setAttribute("aria-valuenow", xi[j]);
        node.setAttribute("aria-valuetext", `${two(xi[j])} deviations`);
      });
      ways.forEach((made, i) => made.setAttribute("aria-pressed", Object.keys(WAYS)[i] === way));
      shown.textContent = two(load);
      const low = Math.min(0, ...own), high = Math.max(0, ...own), scale = 160 / Math.max(1, high - low), zero = 34 + scale * Math.max(high, 1 + low);
      const box = (v, j, kind) => make("rect", { class: kind, x: X(j) - 20, width: 40, y: v > 0 ? zero - scale * v : zero, height: Math.abs(scale * v) });
      chart.setAttribute("aria-label", `parts by ${way}: ${own.map((v, j) => `sensor ${j + 1} ${two(v)}`).join(", ")}`);
      chart.replaceChildren(
        path("play-axis", `M20 ${zero}H280`), text(280, 14, `parts: ${way}`, "end"),
        ...own.flatMap((v, j) => [
          box(v, j, known && j === broken ? "play-faulty" : "play-bar"), ...(j === top ? [box(v, j, "play-unknown")] : []),
          text(X(j), v > 0 ? zero - scale * v - 5 : zero + scale * -v + 14, two(v)), text(X(j), 236, `sensor ${j + 1}`),
        ]));
      told.textContent =
        `Score ${two(whole)}; the parts add up to ${two(sum(own))}. Largest part: sensor ${top + 1}.` + (known ? ` Broken: sensor ${broken + 1}.` : "");
    }

    const start = () => {
      way = "occlusion";
      load = data.load;
      input.value = load;
      next(0);
    };
    start();
    stage.replaceChildren(
      make("div", { class: "play-buttons" }, ...ways), told, make("div", { class: "play-panels" }, picture, chart),
      make("div", { class: "play-buttons" }, row, tell, button("Another reading", () => next(at + 1)), button("Start again", start)));
    stage.playFigures = { score, parts, now: () => ({ xi: [...xi], load, way }) }; // compared with the package's by the checks
  }

  PLAY.figures.apart = apart;
})();
