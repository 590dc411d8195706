// The most frequent kind is the norm.
(() => {
  const { make, circle, path, text, triangle, slider, button, mean } = PLAY;

  const KINDS = [1, 2, 3];
  const METHODS = { mean: ["batch mean", null], neighbour: ["third neighbour", "7 3"], line: ["known direction", "2 3"] };
  const apart = ([a, b], [c, d]) => Math.sqrt((a - c) ** 2 + (b - d) ** 2);

  /** Centres of k + 1 kinds: corners of a regular polygon, so that none of them is special. */
  function corners(k, gap) {
    const angles = Array.from({ length: k + 1 }, (_, q) => (2 * Math.PI * q) / (k + 1)), radius = gap / 2 / Math.sin(Math.PI / (k + 1));
    return angles.map((angle) => [-radius * Math.cos(angle), -radius * Math.sin(angle)]);
  }

  /** A batch in which the kind `own` is normal and the others share the anomalies evenly: points and labels. */
  function fill({ gap, size }, noise, k, anomalies, own) {
    const x = [], y = [];
    corners(k, gap).forEach((centre, q) => {
      const place = (q - own + k) % (k + 1), n = q === own ? size - anomalies : Math.floor((anomalies + k - 1 - place) / k);
      for (const e of noise[q].slice(0, n)) {
        x.push(centre.map((c, j) => c + e[j]));
        y.push(q === own ? 0 : 1);
      }
    });
    return { x, y };
  }

  const middle = (x) => [0, 1].map((j) => mean(x.map((point) => point[j])));

  /** Scores of a batch. The line alone is told which kind is the normal one: it looks away from that kind's centre. */
  function score(method, x, centre) {
    const from = middle(x);
    if (method === "mean") return x.map((a) => apart(a, from));
    if (method === "line") return x.map((a) => ((from[0] - a[0]) * centre[0] + (from[1] - a[1]) * centre[1]) / apart(centre, [0, 0]));
    return x.map((a) => x.map((b) => apart(a, b)).sort((p, q) => p - q)[3]); // the nearest is the point itself
  }

  function auroc(scores, y) {
    const odd = scores.filter((_, i) => y[i]), usual = scores.filter((_, i) => !y[i]);
    return mean(odd.map((s) => mean(usual.map((t) => (s > t ? 1 : s === t ? 0.5 : 0)))));
  }

  function majority(stage, data) {
    const { size, gap, noise } = data, names = Object.keys(METHODS), known = {};
    let k, batch, own, method;
    const value = (method, k, anomalies, batch, own) => {
      const { x, y } = fill(data, noise[batch], k, anomalies, own);
      return auroc(score(method, x, corners(k, gap)[own]), y);
    };
    /** Mean AUROCs of a method for 1, 2, ... anomalies, over all batches and with each kind as the normal one. */
    const curve = (method, k) =>
      (known[`${method} ${k}`] ??= Array.from({ length: size - 1 }, (_, i) =>
        mean(noise.flatMap((_, b) => Array.from({ length: k + 1 }, (_, own) => value(method, k, i + 1, b, own))))));

    const shown = make("span", { class: "play-figures" });
    const [input, row] = slider("anomalies: ", { min: 1, max: size - 1, step: 1 }, () => show(), shown);
    const kinds = KINDS.map((each) => button(`${each} kind${each > 1 ? "s" : ""}`, () => ((k = each), (own = 0), show()), { "aria-label": `${each} kind${each > 1 ? "s" : ""} of anomalies` }));
    const ways = names.map((each) => button(METHODS[each][0], () => ((method = each), show())));
    const told = make("p", { class: "play-told play-figures", "aria-live": "polite" });
    const plane = make("svg", { viewBox: "0 0 260 258", role: "img" }), chart = make("svg", { viewBox: "0 0 260 258", role: "img" });
    const place = ([a, b]) => [130 + 21 * a, 138 - 21 * b], X = (share) => 34 + 218 * share, Y = (v) => 222 - 196 * v;
    const line = (points) => `M${points.map((at) => at.map((v) => v.toFixed(1)).join(" ")).join("L")}`;

    /** The batch; filled are as many points with the highest scores as there are anomalies. */
    function left({ x, y }, scores, anomalies) {
      const order = scores.map((_, i) => i).sort((i, j) => scores[j] - scores[i]), top = new Set(order.slice(0, anomalies));
      const cut = (scores[order[anomalies - 1]] + scores[order[anomalies]]) / 2, from = middle(x), [u, v] = place(from);
      const marks = x.map((at, i) => (y[i] ? triangle : circle)(place(at), y[i] ? 6 : 4.5, `${top.has(i) ? "" : "play-hollow "}play-${y[i] ? "faulty" : "normal"}`));
      const drawn = [];
      if (method !== "neighbour") drawn.push(path("play-level", `M${u - 6} ${v}h12M${u} ${v - 6}v12`));
      if (method === "mean") drawn.push(make("circle", { class: "play-cut", fill: "none", cx: u, cy: v, r: 21 * cut }));
      if (method === "line") {
        const centre = corners(k, gap)[own], way = centre.map((c) => -c / apart(centre, [0, 0])), foot = from.map((c, j) => c + cut * way[j]);
        drawn.push(path("play-cut", line([-20, 20].map((t) => place([foot[0] - t * way[1], foot[1] + t * way[0]])))));
      }
      return [
        ...drawn, ...marks, make("rect", { class: "play-ground", x: 0, y: 0, width: 260, height: 24 }),
        circle([10, 12], 4.5, "play-normal"), text(19, 16, "normal", "start"), triangle([72, 12], 6, "play-faulty"), text(82, 16, "anomaly", "start"),
        text(256, 16, `filled: ${anomalies} highest`, "end"),
      ];
    }

    /** Mean AUROC for each share, of the three methods, and where this batch stands. */
    function right(anomalies, now, average) {
      const fair = k / (k + 1);
      return [
        path("play-axis", "M34 26V222H252"), path("play-orbit", `M34 ${Y(0.5)}H252M${X(fair)} 26V222`),
        ...[0, 0.5, 1].flatMap((v) => [text(30, Y(v) + 4, v ? String(v) : "0", "end"), ...(v === 0.5 && k === 1 ? [] : [text(X(v), 236, v ? String(v) : "0")])]),
        text(X(fair), 236, `${k}/${k + 1}`),
        ...names.flatMap((each, i) => [
          path(each === method ? "play-thick" : "play-level", line(curve(each, k).map((v, j) => [X((j + 1) / size), Y(v)])), { "stroke-dasharray": METHODS[each][1] }),
          path(each === method ? "play-thick" : "play-level", `M40 ${182 + 15 * i}h20`, { "stroke-dasharray": METHODS[each][1] }), text(64, 186 + 15 * i, each === "line" ? "direction" : each, "start"),
        ]),
        circle([X(anomalies / size), Y(average)], 6, "play-here"), make("circle", { class: "play-level", cx: X(anomalies / size), cy: Y(now), r: 4 }),
        text(4, 16, "AUROC", "start"), text(252, 252, "share of anomalies", "end"),
      ];
    }

    function show() {
      const anomalies = Number(input.value), filled = fill(data, noise[batch], k, anomalies, own), percent = `${((100 * anomalies) / size).toFixed(0)} %`;
      const scores = score(method, filled.x, corners(k, gap)[own]), now = auroc(scores, filled.y), average = curve(method, k)[anomalies - 1];
      const each = Array.from({ length: k + 1 }, (_, q) => value(method, k, anomalies, batch, q));
      shown.textContent = `${anomalies} of ${size}`;
      input.setAttribute("aria-valuetext", `${anomalies} of ${size} are anomalies`);
      kinds.forEach((made, i) => made.setAttribute("aria-pressed", KINDS[i] === k));
      ways.forEach((made, i) => made.setAttribute("aria-pressed", names[i] === method));
      plane.setAttribute("aria-label", `a batch with ${size - anomalies} normal points and ${anomalies} anomalies, those with the highest scores filled`);
      plane.replaceChildren(...left(filled, scores, anomalies));
      chart.setAttribute("aria-label", `mean AUROC ${average.toFixed(2)} at ${anomalies} anomalies of ${size}, on its curve beside those of the two other methods`);
      chart.replaceChildren(...right(anomalies, now, average));
      const equal = (k * size) / (k + 1);
      told.textContent =
        `${percent} anomalies of ${k} kind${k > 1 ? "s" : ""}. AUROC of this batch ${now.toFixed(2)}; with each kind as the normal one ` +
        `${each.map((v) => v.toFixed(2)).join(", ")}: mean ${mean(each).toFixed(2)}. Over ${noise.length} batches ${average.toFixed(2)}. ` +
        (method === "line" ? "The line is told which side is abnormal: no majority is needed."
          : anomalies === equal ? "All kinds are equally frequent: exactly one half, in every batch."
            : `One half is due at ${equal} of ${size}.`);
    }

    function start() {
      [k, batch, own, method] = [data.k, 0, 0, names[0]];
      input.value = data.anomalies;
      show();
    }
    stage.replaceChildren(
      make("div", { class: "play-buttons" }, row, ...kinds), make("div", { class: "play-buttons" }, ...ways),
      make("div", { class: "play-panels" }, plane, chart),
      make("div", { class: "play-buttons" },
        button("Call another kind normal", () => ((own = (own + 1) % (k + 1)), show())),
        button("Next batch", () => ((batch = (batch + 1) % noise.length), show())), button("Start again", start)),
      told);
    start();
    stage.playFigures = { // compared with the package's by the checks
      curve,
      scores: (method, k, anomalies, batch, own) => score(method, fill(data, noise[batch], k, anomalies, own).x, corners(k, gap)[own]),
    };
  }

  PLAY.figures.majority = majority;
})();
