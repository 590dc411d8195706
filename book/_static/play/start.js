// Drag the start.
(() => {
  const { make, circle, path, text, draggable, slider, button } = PLAY;

  const LEFT = -4, TOP = 3, WIDE = 10, N = 61, SIDE = 240; // the frame of (omega, b), its grid, its size in the picture

  /** Mean cross-entropy of the logistic learner w = (omega, b), its gradient and the entries of its Hessian. */
  function slopes([omega, b], { x, y }) {
    let loss = 0, g0 = 0, g1 = 0, h00 = 0, h01 = 0, h11 = 0;
    for (let i = 0; i < x.length; i++) {
      const z = omega * x[i] + b, p = 1 / (1 + Math.exp(-z)), off = p - y[i], bend = p * (1 - p);
      loss += Math.max(z, 0) + Math.log1p(Math.exp(-Math.abs(z))) - y[i] * z;
      g0 += off * x[i];
      g1 += off;
      h00 += bend * x[i] * x[i];
      h01 += bend * x[i];
      h11 += bend;
    }
    const n = x.length;
    return { loss: loss / n, gradient: [g0 / n, g1 / n], hessian: [h00 / n, h01 / n, h11 / n] };
  }

  /** K steps on the support set, and the two gradients of the query loss after them (chapter 5). */
  function meta(w, { seen, asked }, alpha, K) {
    const walk = [w], bends = [];
    for (let k = 0; k < K; k++) {
      const { gradient, hessian } = slopes(w, seen);
      w = w.map((v, j) => v - alpha * gradient[j]);
      walk.push(w);
      bends.push(hessian);
    }
    const { loss, gradient } = slopes(w, asked);
    const exact = bends.reduceRight(([a, b], [h00, h01, h11]) =>
      [a - alpha * (h00 * a + h01 * b), b - alpha * (h01 * a + h11 * b)], gradient);
    return { walk, loss, exact, first: gradient };
  }

  const place = ([omega, b]) => [((omega - LEFT) / WIDE) * SIDE, ((TOP - b) / WIDE) * SIDE];
  const back = ([u, v]) => [LEFT + (u / SIDE) * WIDE, TOP - (v / SIDE) * WIDE];
  const within = (w) => place(w).map((v) => Math.max(6, Math.min(SIDE - 6, v)));

  /** A landscape as a picture and its contours, of the logarithm of a loss. */
  function landscape(loss) {
    const step = SIDE / (N - 1);
    const height = Float64Array.from({ length: N * N }, (_, i) => Math.log(loss(back([(i % N) * step, Math.floor(i / N) * step]))));
    const low = Math.min(...height), range = Math.max(...height) - low, levels = 26;
    const canvas = make("canvas", { width: N, height: N }), context = canvas.getContext("2d"), pixels = context.createImageData(N, N);
    height.forEach((h, i) => pixels.data.set([128, 128, 128, (120 * (h - low)) / range], 4 * i));
    context.putImageData(pixels, 0, 0);
    let lines = "";
    for (let i = 0; i < N - 1; i++)
      for (let j = 0; j < N - 1; j++) {
        const corners = [[j, i], [j + 1, i], [j + 1, i + 1], [j, i + 1]], own = corners.map(([x, y]) => ((height[y * N + x] - low) / range) * levels);
        for (let level = Math.ceil(Math.min(...own)); level < Math.max(...own); level++) {
          const cuts = corners.flatMap((c, k) => {
            const next = (k + 1) % 4, part = (level - own[k]) / (own[next] - own[k]);
            return own[k] < level !== own[next] < level ? [c.map((v, d) => ((v + part * (corners[next][d] - v)) * step).toFixed(1)).join(" ")] : [];
          });
          for (let k = 0; k < cuts.length; k += 2) lines += `M${cuts[k]}L${cuts[k + 1]}`;
        }
      }
    const over = step / 2; // a pixel's middle is its point of the grid
    return [
      make("image", { href: canvas.toDataURL(), x: -over, y: -over, width: SIDE + step, height: SIDE + step, preserveAspectRatio: "none" }),
      path("play-contour", lines),
    ];
  }

  function start(stage, data) {
    let w, trail, drawn;
    const told = make("p", { class: "play-told play-figures", "aria-live": "polite" });
    const [alphaShown, stepsShown] = [make("b"), make("b")];
    const [alpha, alphaRow] = slider("inner step size α: ", { min: 0, max: 3, step: 0.1 }, show, alphaShown);
    const [steps, stepsRow] = slider("inner steps K: ", { min: 0, max: 5 }, show, stepsShown);

    /** Axes, a place for a landscape and what lies on it, and the start, which can be moved in each panel. */
    function panel(label, legend) {
      const picture = make("svg", { viewBox: "-20 -22 266 300", role: "group", "aria-label": label });
      const inner = make("svg", { width: SIDE, height: SIDE }), under = make("g"), over = make("g");
      const handle = make("g", { role: "button", tabindex: 0, class: "play-handle", "aria-label": "start; arrow keys move it" });
      handle.append(make("circle", { class: "play-touch", r: 15 }), circle([0, 0], 6, "play-here"));
      draggable(handle, picture, (p) => to(back(p)), (way) => to(back(place(w).map((v, j) => v + 4 * way[j]))));
      inner.append(under, over, handle);
      const title = text(SIDE / 2, -8, label);
      picture.append(inner, make("rect", { class: "play-frame", width: SIDE, height: SIDE }), title, ...legend);
      for (const v of [-4, -2, 0, 2]) picture.append(text(place([v, 0])[0], SIDE + 13, `${v}`.replace("-", "−")));
      for (const v of [-6, -3, 0, 3]) picture.append(text(-4, place([0, v])[1] + 4, `${v}`.replace("-", "−"), "end"));
      picture.append(text(SIDE, SIDE + 13, "weight ω", "end"));
      picture.append(make("g", { transform: "translate(-8 108) rotate(-90)" }, text(0, 0, "bias b")));
      return { picture, title, under, over, handle };
    }

    const line = (x, y, kind) => path(kind, `M${x} ${y}h22`);
    const seen = panel("support loss, and the inner loop", [
      circle([12, 268], 5, "play-here"), text(22, 272, "start", "start"),
      line(70, 268, "play-walk"), circle([81, 268], 3, "play-here"), text(98, 272, "inner steps", "start"),
    ]);
    const asked = panel("query loss after the inner loop", [
      text(0, 272, "downhill:", "start"), line(58, 268, "play-thick"), text(84, 272, "exact", "start"),
      line(128, 268, "play-first"), text(154, 272, "first order", "start"),
    ]);
    seen.under.append(...landscape((w) => slopes(w, data.seen).loss));

    /** Another start, by hand. */
    function to(next) {
      trail = [];
      move(next);
    }
    function move(next) {
      w = back(within(next));
      trail.push(place(w).join(" "));
      show();
    }
    const outer = (name) => () => {
      const slope = meta(w, data, Number(alpha.value), Number(steps.value))[name];
      move(w.map((v, j) => v - data.beta * slope[j]));
    };
    function reset() {
      [alpha.value, steps.value] = [data.alpha, data.K];
      to(data.start);
    }

    function show() {
      const a = Number(alpha.value), K = Number(steps.value), { walk, loss, exact, first } = meta(w, data, a, K);
      if (drawn !== `${a} ${K}`) asked.under.replaceChildren(...landscape((w) => meta(w, data, a, K).loss));
      drawn = `${a} ${K}`;
      [alphaShown.textContent, stepsShown.textContent] = [a.toFixed(1), K];
      asked.title.textContent = `query loss after ${K} step${K === 1 ? "" : "s"}, by start`;
      const points = walk.map(place), here = place(w);
      seen.over.replaceChildren(path("play-walk", `M${points.map((p) => p.join(" ")).join("L")}`), ...points.slice(1).map((p) => circle(p, 3, "play-here")));
      const arrow = (kind, slope) => {
        const angle = (Math.atan2(slope[1], -slope[0]) * 180) / Math.PI; // b grows upwards
        const way = { transform: `translate(${here.join(" ")}) rotate(${angle})` };
        return make("g", way, path(kind, "M0 0H44"), path(kind, "M36 -5L44 0L36 5", { style: "stroke-dasharray: none" }));
      };
      asked.over.replaceChildren(path("play-trail", `M${trail.join("L")}`), arrow("play-thick", exact), arrow("play-first", first));
      for (const { handle } of [seen, asked]) handle.setAttribute("transform", `translate(${here.join(" ")})`);
      const cosine = (exact[0] * first[0] + exact[1] * first[1]) / Math.hypot(...exact) / Math.hypot(...first);
      const two = (value) => value.toFixed(2).replace("-", "−");
      told.textContent =
        `Start ω = ${two(w[0])}, b = ${two(w[1])}. Support loss ${two(slopes(w, data.seen).loss)}, after ${K} step${K === 1 ? "" : "s"} ` +
        `${two(slopes(walk[K], data.seen).loss)}; query loss ${two(slopes(w, data.asked).loss)}, then ${two(loss)}. ` +
        `Exact and first-order gradient: ${Math.round((Math.acos(Math.min(1, cosine)) * 180) / Math.PI)}° apart.`;
    }

    stage.replaceChildren(
      make("div", { class: "play-buttons" }, alphaRow, stepsRow),
      make("div", { class: "play-panels" }, seen.picture, asked.picture), told,
      make("div", { class: "play-buttons" },
        button("Outer step, exact", outer("exact")), button("Outer step, first order", outer("first")), button("Start again", reset)));
    reset();
    stage.playFigures = { // compared with PyTorch's by the checks
      at: (w, alpha, K) => {
        const { walk, loss, exact, first } = meta(w, data, alpha, K);
        return [...walk[K], slopes(w, data.seen).loss, slopes(walk[K], data.seen).loss, slopes(w, data.asked).loss, loss, ...exact, ...first];
      },
      start: () => w,
    };
  }

  PLAY.figures.start = start;
})();
