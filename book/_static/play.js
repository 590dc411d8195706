// Figures to play with. Each is a function of its stage and its data in PLAY; what all share comes first.
(() => {
  const SVG = "http://www.w3.org/2000/svg";

  /** An element with attributes and children; names of SVG elements make SVG elements. */
  function make(name, attributes = {}, ...children) {
    const drawn = ["svg", "g", "circle", "rect", "path", "polygon", "line", "text", "title"].includes(name);
    const node = drawn ? document.createElementNS(SVG, name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) if (value !== null) node.setAttribute(key, value);
    node.append(...children);
    return node;
  }

  /** Places in a box for points, the same scale for all of them. */
  function placing(points, width, height, margin) {
    const range = (i) => [Math.min(...points.map((p) => p[i])), Math.max(...points.map((p) => p[i]))];
    const [x0, x1] = range(0), [y0, y1] = range(1);
    return ([x, y]) => [
      margin + ((width - 2 * margin) * (x - x0)) / (x1 - x0),
      height - margin - ((height - 2 * margin) * (y - y0)) / (y1 - y0),
    ];
  }

  const circle = ([x, y], r, kind) => make("circle", { class: kind, cx: x, cy: y, r });
  const triangle = ([x, y], r, kind) =>
    make("polygon", { class: kind, points: `${x},${y - r} ${x + 0.9 * r},${y + 0.7 * r} ${x - 0.9 * r},${y + 0.7 * r}` });

  /** Let a node be dragged by mouse or finger; `to` gets the place in the units of the picture's view box. */
  function draggable(node, picture, to) {
    node.addEventListener("pointerdown", (event) => {
      node.setPointerCapture(event.pointerId);
      event.preventDefault();
    });
    node.addEventListener("pointermove", (event) => {
      if (!node.hasPointerCapture(event.pointerId)) return;
      const box = picture.getBoundingClientRect(), { width, height } = picture.viewBox.baseVal;
      to([((event.clientX - box.left) / box.width) * width, ((event.clientY - box.top) / box.height) * height]);
    });
  }

  /** A slider beside its name; returns the input and the row of both. */
  function slider(name, attributes, act, ...more) {
    const input = make("input", { type: "range", ...attributes });
    input.addEventListener("input", act);
    return [input, make("label", { class: "play-slider" }, make("span", {}, name, ...more), input)];
  }

  function button(name, act, attributes = {}) {
    const made = make("button", { type: "button", class: "play-button", ...attributes }, name);
    made.addEventListener("click", act);
    return made;
  }

  const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;

  /** Distance to the nearest known normal point, each sensor in units of their standard deviation. */
  function neighbourScores(known, asked) {
    const columns = known[0].map((_, j) => known.map((p) => p[j]));
    const scale = columns.map((c) => Math.sqrt(mean(c.map((v) => (v - mean(c)) ** 2))) || 1);
    const distance = (p, q) => Math.hypot(...p.map((v, j) => (v - q[j]) / scale[j]));
    return asked.map((q) => Math.min(...known.map((p) => distance(p, q))));
  }

  // --- Which would you report? ---------------------------------------------------------------------

  function guess(stage, data) {
    const allowed = data.faulty.reduce((a, b) => a + b, 0);
    const place = placing([...data.known, ...data.asked], 360, 260, 22);
    const marked = new Set();
    const found = () => [...marked].filter((i) => data.faulty[i]).length;
    let alone = null, phase = 0;

    const told = make("p", { class: "play-told", "aria-live": "polite" });
    const picture = make("svg", { viewBox: "0 0 360 260", role: "group", "aria-label": "readings of machine F" });
    for (const p of data.known) picture.append(circle(place(p), 6, "play-normal"));
    const squares = data.asked.map((p, i) => {
      const [x, y] = place(p);
      const square = make("g", {
        class: "play-square", role: "checkbox", tabindex: 0, "aria-checked": "false",
        "aria-label": `reading ${i + 1} of ${data.asked.length}`, transform: `translate(${x} ${y})`,
      });
      // a generous target for fingers under the visible mark
      square.append(make("circle", { class: "play-touch", r: 13 }), make("rect", { x: -5.5, y: -5.5, width: 11, height: 11 }));
      square.addEventListener("click", () => toggle(i));
      square.addEventListener("keydown", (event) => {
        if (event.key !== " " && event.key !== "Enter") return;
        event.preventDefault();
        toggle(i);
      });
      picture.append(square);
      return square;
    });

    const row = make("div", { class: "play-siblings", hidden: "" });
    data.siblings.forEach((one, i) => {
      const at = placing([...one.normal, ...one.faulty], 120, 100, 10);
      const small = make("svg", {
        viewBox: "0 0 120 100", role: "img",
        "aria-label": `machine ${"ABCDE"[i]}: its faults lie beside its normal readings, in the direction that all machines share`,
      });
      for (const p of one.normal) small.append(circle(at(p), 3.5, "play-normal"));
      for (const p of one.faulty) small.append(triangle(at(p), 5, "play-faulty"));
      row.append(make("div", {}, make("span", {}, "ABCDE"[i]), small));
    });

    const next = make("button", { type: "button", class: "play-button" });
    const again = make("button", { type: "button", class: "play-button", hidden: "" }, "Start again");
    const result = make("div", { class: "play-result" });

    function toggle(i) {
      if (phase === 2) return;
      if (marked.has(i)) marked.delete(i);
      else if (marked.size < allowed) marked.add(i);
      show();
    }

    function show() {
      squares.forEach((square, i) => {
        square.setAttribute("aria-checked", marked.has(i));
        square.classList.toggle("play-marked", marked.has(i));
        square.classList.toggle("play-is-faulty", phase === 2 && data.faulty[i] === 1);
        square.classList.toggle("play-is-normal", phase === 2 && data.faulty[i] === 0);
      });
      row.hidden = phase === 0;
      again.hidden = phase === 0;
      next.hidden = phase === 2;
      next.disabled = marked.size < allowed;
      next.textContent = phase === 0 ? "Show the other machines" : "Reveal";
      const left = allowed - marked.size;
      const rest = left ? `${left} to go.` : "That is all.";
      told.textContent = [
        `Circles are normal readings of machine F. Of the ${data.asked.length} squares ${allowed} are faults: mark them. ${rest}`,
        `Five other machines, with their faults as triangles. Would you mark others now? ${rest}`,
        "Orange squares were faults, blue ones normal.",
      ][phase];
      result.replaceChildren();
      if (phase < 2) return;
      const line = (name, hits, average) =>
        make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, `${hits} of ${allowed}`), make("td", {}, average));
      const one = (name) => [data.found[name], data.mean[name].toFixed(2)];
      result.append(
        make("table", {},
          make("tr", {}, make("th", { scope: "col" }, "who"), make("th", { scope: "col" }, "faults found on F"),
            make("th", { scope: "col" }, `mean of ${data.machines} machines`)),
          line("you, with F alone", alone, ""), line("you, beside the others", found(), ""),
          line("nearest neighbour, F alone", ...one("neighbour")),
          line(`learnt from ${data.learnt_from} other machines`, ...one("learnt")), line("best possible", ...one("limit"))),
      );
    }

    next.addEventListener("click", () => {
      if (phase === 0) alone = found();
      phase += 1;
      show();
      if (phase === 2) again.focus();
    });
    again.addEventListener("click", () => {
      marked.clear();
      [alone, phase] = [null, 0];
      show();
      squares[0].focus();
    });
    stage.replaceChildren(told, picture, row, make("div", { class: "play-buttons" }, next, again), result);
    show();
    stage.playScores = neighbourScores(data.known, data.asked); // compared with the package's by the checks
  }

  // --- Threshold and ROC ----------------------------------------------------------------------------

  function threshold(stage, data) {
    const high = 5, x = (score) => 10 + (340 * Math.max(0, Math.min(score, high))) / high;
    const picks = (label, scores) => scores.filter((_, i) => data.labels[i] === label).sort((a, b) => b - a);
    const rates = (scores, cut) =>
      [1, 0].map((label) => mean(picks(label, scores).map((s) => (s > cut ? 1 : 0))));
    const won = (a, b) => (a > b ? 1 : a === b ? 0.5 : 0);
    const auroc = (scores) => mean(picks(1, scores).flatMap((a) => picks(0, scores).map((b) => won(a, b))));
    let scores, squared;

    const told = make("p", { class: "play-told play-figures", "aria-live": "polite" });
    const line = make("svg", { viewBox: "0 0 360 70", role: "group", "aria-label": "scores" });
    const axis = make("line", { class: "play-axis", x1: 5, x2: 355, y1: 35, y2: 35 });
    const cutLine = make("line", { class: "play-cut", y1: 4, y2: 66 });
    line.append(axis, cutLine);
    const dots = data.labels.map((label, i) => {
      const dot = make("g", { role: "slider", tabindex: 0, class: "play-dot", "aria-valuemin": 0, "aria-valuemax": high });
      dot.append(make("circle", { class: "play-touch", r: 12 }), label ? triangle([0, 0], 7, "play-faulty") : circle([0, 0], 6, "play-normal"));
      const to = (value) => {
        scores[i] = Math.round(10 * Math.max(0, Math.min(value, high))) / 10;
        show();
      };
      draggable(dot, line, ([u]) => to((high * (u - 10)) / 340));
      dot.addEventListener("keydown", (event) => {
        const step = { ArrowLeft: -0.1, ArrowDown: -0.1, ArrowRight: 0.1, ArrowUp: 0.1 }[event.key];
        if (step === undefined) return;
        event.preventDefault();
        to(scores[i] + step);
      });
      line.append(dot);
      return dot;
    });

    const [cut, cutRow] = slider("threshold", { min: 0, max: high, step: 0.1 }, show);
    const [rare, rareRow] = slider("share of anomalies", { min: 1, max: 50, step: 1 }, show);
    const roc = make("svg", { viewBox: "-8 -8 136 136", role: "img" });
    const pairs = make("g"), stairs = make("path", { class: "play-stairs" }), here = make("circle", { class: "play-here", r: 5 });
    roc.append(pairs, stairs, make("rect", { class: "play-frame", width: 120, height: 120 }), here);

    function show() {
      const seen = squared ? scores.map((s) => (s * s) / high) : scores;
      const t = Number(cut.value), share = Number(rare.value) / 100;
      const [hits, alarms] = rates(seen, t);
      dots.forEach((dot, i) => {
        const lift = data.labels[i] ? -12 : 12;
        dot.setAttribute("transform", `translate(${x(seen[i])} ${35 + lift})`);
        dot.setAttribute("aria-valuenow", seen[i].toFixed(1));
        dot.setAttribute("aria-label", `score of ${data.labels[i] ? "an anomaly" : "a normal point"}`);
      });
      for (const end of ["x1", "x2"]) cutLine.setAttribute(end, x(t));
      const up = picks(1, seen), right = picks(0, seen), [w, h] = [120 / right.length, 120 / up.length];
      pairs.replaceChildren(
        ...up.flatMap((a, i) =>
          right.map((b, j) =>
            make("rect", { class: "play-pair", x: j * w, y: 120 - (i + 1) * h, width: w, height: h, "fill-opacity": won(a, b) }))));
      const steps = [...new Set(seen)].sort((a, b) => b - a).map((s) => rates(seen, s - 1e-9));
      stairs.setAttribute("d", `M0 120 ${steps.map(([up, along]) => `L${120 * along} ${120 - 120 * up}`).join(" ")}`);
      here.setAttribute("cx", 120 * alarms);
      here.setAttribute("cy", 120 - 120 * hits);
      const area = auroc(seen), right_share = share * hits + (1 - share) * (1 - alarms);
      const flagged = share * hits + (1 - share) * alarms;
      const n = up.length * right.length;
      told.textContent =
        `AUROC ${area.toFixed(2)}: ${(area * n).toFixed(1)} of ${n} pairs. Hits ${hits.toFixed(2)}, false alarms ${alarms.toFixed(2)}. ` +
        `With ${rare.value} % anomalies: accuracy ${right_share.toFixed(2)} (never an alarm: ${(1 - share).toFixed(2)}), ` +
        `precision ${flagged ? ((share * hits) / flagged).toFixed(2) : "undefined"}.`;
      roc.setAttribute("aria-label", `ROC curve: at this threshold hits ${hits.toFixed(2)}, false alarms ${alarms.toFixed(2)}`);
      square.setAttribute("aria-pressed", squared);
      stage.playFigures = { auroc: area, at: (cut) => rates(seen, cut) }; // compared with the package's by the checks
    }

    const reset = () => {
      [scores, squared, cut.value, rare.value] = [[...data.scores], false, 2.5, 40];
      show();
    };
    const cardboard = button("Cardboard", () => ((cut.value = high), show()));
    const square = button("Square the scores", () => ((squared = !squared), show()));
    const again = button("Start again", reset);
    stage.replaceChildren(
      line, make("div", { class: "play-buttons" }, cutRow, rareRow), roc, told,
      make("div", { class: "play-buttons" }, cardboard, square, again));
    reset();
  }

  // --- A promise, and what one calibration keeps of it ----------------------------------------------

  const bell = (z) => Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI);

  /** Probability that a standard normal exceeds z, by the series of its integral from 0. */
  function tail(z) {
    let term = z, sum = z;
    for (let k = 3; Math.abs(term) > 1e-16; k += 2) sum += term *= (z * z) / k;
    return 0.5 - bell(z) * sum;
  }

  /** Probability of k successes in n trials of probability x, 0 < x < 1. */
  function binomial(n, k, x) {
    let log = k * Math.log(x) + (n - k) * Math.log1p(-x);
    for (let i = 1; i <= k; i++) log += Math.log((n - k + i) / i);
    return Math.exp(log);
  }

  const rank = (n, share) => Math.max(1, Math.floor(share * (n + 1) + 1e-9)); // 0.05 * 20 is 1
  /** Beta(r, n + 1 - r): the r-th smallest of n uniform numbers is below x if at least r of them are. */
  function cdf(n, r, x) {
    if (x <= 0 || x >= 1) return x <= 0 ? 0 : 1;
    let above = 0;
    for (let k = 0; k < r; k++) above += binomial(n, k, x);
    return 1 - above;
  }
  const density = (n, r, x) => n * binomial(n - 1, r - 1, x);

  /** Uniform numbers, the same after each loading of the page (mulberry32). */
  function uniform(seed) {
    return () => {
      seed = (seed + 0x6d2b79f5) | 0;
      let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
      t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
      return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
    };
  }

  function promise(stage, data) {
    const random = uniform(1);
    const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
    const percent = (share) => `${Number((100 * share).toPrecision(2))}\u00a0%`;
    const chosen = () => {
      const [n, share] = [data.sizes[size.value], data.shares[asked.value]], r = rank(n, share);
      return { n, share, r, promised: r / (n + 1), possible: share * (n + 1) >= 1 - 1e-9 };
    };
    let scores, rates;

    const [nShown, askedShown] = [make("b"), make("b")];
    const [size, sizeRow] = slider("normal points: ", { min: 0, max: data.sizes.length - 1 }, () => fresh(), nShown);
    const [asked, askedRow] = slider(
      "asked for: ", { min: 0, max: data.shares.length - 1, "aria-label": "asked for: share of false alarms" }, () => fresh(scores), askedShown);
    const picture = make("svg", { viewBox: "0 0 360 208", role: "img" });
    const told = make("p", { class: "play-told play-figures", "aria-live": "polite" });

    const cutOf = (scores) => Float64Array.from(scores).sort()[scores.length - chosen().r];
    /** Calibrate `times` times; the last scores stay in sight. */
    function calibrate(times) {
      for (let i = 0; i < times; i++) {
        scores = new Float64Array(chosen().n).map(normal);
        rates.push(tail(cutOf(scores)));
      }
      show();
    }
    /** Forget the rates: they belong to another promise. */
    function fresh(kept) {
      rates = [];
      if (!kept) return calibrate(1);
      scores = kept;
      rates.push(tail(cutOf(scores)));
      show();
    }
    function reset() {
      [size.value, asked.value] = [data.sizes.indexOf(data.n), data.shares.indexOf(data.share)];
      fresh(data.scores);
    }

    const path = (kind, d, more) => make("path", { class: kind, d, ...more });
    const text = (x, y, words, anchor = "middle") => make("text", { class: "play-text", x, y, "text-anchor": anchor }, words);
    const curve = (from, to, at) => Array.from({ length: 81 }, (_, i) => at(from + ((to - from) * i) / 80).join(" ")).join("L");
    const ticks = (values, x, y) =>
      path("play-ticks", [...values].map((v) => `M${x(v).toFixed(1)} ${y}v9`).join(""), { opacity: Math.max(0.15, Math.min(1, 12 / values.length)) });

    /** The scores, their density, and the threshold with what lies beyond it. */
    function above(cut) {
      const x = (z) => 180 + 48 * Math.max(-3.6, Math.min(z, 3.6)), at = (z) => [x(z), 70 - 125 * bell(z)];
      const aside = x(cut) < 180 ? [6, "start"] : [-6, "end"];
      return [
        path("play-tail", `M${x(cut)} 70L${curve(Math.min(cut, 3.6), 3.6, at)}V70z`), path("play-bell", `M${curve(-3.6, 3.6, at)}`),
        path("play-axis", "M5 70H355"), ticks(scores, x, 74), path("play-cut", `M${x(cut)} 4V86`),
        circle([x(cut), 78.5], 4, "play-normal"), text(6, 14, "scores", "start"),
        text(x(cut) + aside[0], 14, `this time ${percent(tail(cut))}`, aside[1]),
      ];
    }

    /** The rates of all calibrations so far; from a hundred on as a histogram, beside their law. */
    function below({ n, share, r, promised, possible }) {
      let end = 3 * share;
      while (end < 1 && cdf(n, r, end) < 0.9995) end += share;
      end = Math.min(1, end);
      const x = (rate) => 20 + (320 * Math.min(rate, end)) / end, bins = 40, many = rates.length >= 100, base = 176;
      const shares = new Array(bins).fill(0), expected = (rate) => (density(n, r, rate) * end) / bins;
      for (const rate of rates) shares[Math.min(bins - 1, Math.floor((rate / end) * bins))] += 1 / rates.length;
      const at = Array.from({ length: 161 }, (_, i) => (end * (i + 0.01)) / 160.1);
      const top = Math.max(...shares, ...at.map(expected)), y = (value) => base - (70 * value) / top;
      const step = [0.01, 0.02, 0.05, 0.1, 0.2].find((each) => end / each <= 8);
      const labels = [];
      for (let rate = 0; rate <= end + 1e-9; rate += step) labels.push(text(x(rate), 203, percent(rate)));
      const legend = [
        ["play-asked", `asked for ${percent(share)}`], ["play-cut", `${possible ? "promised" : "at best"} ${percent(promised)}`],
        ...(many ? [["play-mean", `mean ${percent(mean(rates))}`]] : []),
      ].map(([kind, words], i) => [
        kind === "play-mean" ? triangle([246, 111 + 15 * i], 5, kind) : path(kind, `M238 ${111 + 15 * i}h16`), text(260, 115 + 15 * i, words, "start"),
      ]);
      return [
        ...(many ? shares : []).map((value, i) =>
          make("rect", { class: "play-bar", x: 20 + (320 * i) / bins, y: y(value), width: 320 / bins, height: base - y(value) })),
        ...(many ? [path("play-stairs", `M${at.map((rate) => `${x(rate)} ${y(expected(rate))}`).join("L")}`)] : []),
        path("play-asked", `M${x(share)} 102V${base}`), path("play-cut", `M${x(promised)} 102V${base}`), path("play-axis", `M5 ${base}H355`),
        ticks(rates, x, 179), many ? triangle([x(mean(rates)), 182], 6, "play-mean") : circle([x(rates.at(-1)), 183.5], 4, "play-normal"),
        ...labels, ...legend.flat(), text(180, 99, "false positive rates"),
      ];
    }

    function show() {
      const now = chosen(), { n, share, r, promised, possible } = now;
      const cut = cutOf(scores), last = percent(tail(cut));
      [nShown.textContent, askedShown.textContent] = [n, percent(share)];
      size.setAttribute("aria-valuetext", `${n} normal points`);
      asked.setAttribute("aria-valuetext", `${percent(share)} false alarms`);
      picture.replaceChildren(...above(cut), ...below(now));
      picture.setAttribute("aria-label", `${n} scores, a threshold with ${last} of the normal points beyond it, and the false positive rates so far`);
      const sorted = [...rates].sort((a, b) => a - b), quantile = (q) => percent(sorted[Math.floor(q * sorted.length)]);
      told.textContent =
        (possible
          ? `Asked for ${percent(share)}: r = ${r}, so ${r}/${n + 1} = ${percent(promised)} is promised on average.`
          : `${n} points cannot promise ${percent(share)}: the best is 1/${n + 1} = ${percent(promised)}, with r = 1.`) +
        ` This calibration: ${last}.` +
        (rates.length >= 100
          ? ` ${rates.length} calibrations: mean ${percent(mean(rates))}, nine in ten from ${quantile(0.05)} to ${quantile(0.95)}.`
          : "");
    }

    stage.replaceChildren(
      make("div", { class: "play-buttons" }, sizeRow, askedRow), picture,
      make("div", { class: "play-buttons" },
        button("Calibrate once", () => calibrate(1)),
        button("× 1000", () => calibrate(1000), { "aria-label": "× 1000: calibrate a thousand times" }), button("Start again", reset)),
      told);
    reset();
    const promised = (n, share) => rank(n, share) / (n + 1);
    stage.playFigures = { rank, promised, cdf, achieved: rates[0], rates: () => rates }; // compared with the package's by the checks
  }

  // --- One learnt step ------------------------------------------------------------------------------

  const dot3 = (w, x) => w[0] * x[0] + w[1] * x[1] + w[2];

  /** Gradient steps of a linear model with a decay and a step size for each parameter (chapter 4). */
  function adapted(w, rule, X, y, squared, steps) {
    for (let k = 0; k < steps; k++) {
      const gradient = [0, 0, 0];
      X.forEach((x, i) => {
        const z = dot3(w, x), off = squared ? z - (2 * y[i] - 1) : 1 / (1 + Math.exp(-z)) - y[i];
        [x[0], x[1], 1].forEach((v, j) => (gradient[j] += (off * v) / X.length));
      });
      w = w.map((v, j) => (1 - rule[j][0]) * v - rule[j][1] * gradient[j]);
    }
    return w;
  }

  /** The score as a function of a point, for each way to adapt to the support points sx, sy. */
  function scorer(kind, data, sx, sy, alpha) {
    let { location, scale } = data;
    if (kind === "scratch") {
      const columns = [0, 1].map((j) => sx.filter((_, i) => !sy[i]).map((p) => p[j]));
      location = columns.map(mean);
      scale = columns.map((c, j) => Math.sqrt(mean(c.map((v) => (v - location[j]) ** 2))) || 1);
    }
    const scaled = (p) => p.map((v, j) => (v - location[j]) / scale[j]);
    const X = sx.map(scaled), same = (a) => [[0, a], [0, a], [0, a]];
    const w = {
      scratch: () => adapted([0, 0, 0], same(0.5), X, sy, false, 50),
      start: () => data.start,
      learnt: () => adapted(data.start, data.rule, X, sy, true, 1),
      own: () => adapted(data.start, same(alpha), X, sy, true, 1),
    }[kind]();
    return (p) => dot3(w, scaled(p));
  }

  function step(stage, data) {
    const names = { scratch: "50 steps from scratch", start: "learnt start", learnt: "one learnt step", own: "my step size" };
    const W = 360, H = 260;
    let at = 0, kind = "scratch", points;
    const told = make("p", { class: "play-told play-figures", "aria-live": "polite" });
    const picture = make("svg", { viewBox: `0 0 ${W} ${H}`, role: "group", "aria-label": "readings of one machine" });
    const [size, sizeRow] = slider("step size", { min: -2, max: 0.3, step: 0.01, value: -1 }, show);
    const kinds = Object.entries(names).map(([name, words]) => [name, button(words, () => ((kind = name), show()))]);
    const other = button("Another machine", () => load((at + 1) % data.tasks.length));
    let place, back, handles, queries, area;

    function load(i) {
      at = i;
      const one = data.tasks[at];
      points = one.sx.map((p) => [...p]);
      const all = [...one.sx, ...one.qx];
      const [x, y] = [0, 1].map((j) => [Math.min(...all.map((p) => p[j])) - 1, Math.max(...all.map((p) => p[j])) + 1]);
      place = (p) => [(W * (p[0] - x[0])) / (x[1] - x[0]), H - (H * (p[1] - y[0])) / (y[1] - y[0])];
      back = ([u, v]) => [x[0] + (u / W) * (x[1] - x[0]), y[0] + ((H - v) / H) * (y[1] - y[0])];
      area = make("polygon", { class: "play-alarm" });
      queries = one.qx.map((p, i) => {
        const c = place(p);
        return one.qy[i] ? triangle(c, 6, "play-hollow play-faulty") : circle(c, 5, "play-hollow play-normal");
      });
      handles = points.map((_, i) => handle(i, one.sy[i]));
      picture.replaceChildren(area, ...queries, ...handles);
      show();
    }

    function handle(i, label) {
      const made = make("g", { role: "button", tabindex: 0, class: "play-handle" });
      made.setAttribute("aria-label", `${label ? "faulty" : "normal"} support point ${i + 1}; arrow keys move it`);
      made.append(make("circle", { class: "play-touch", r: 13 }), label ? triangle([0, 0], 9, "play-faulty") : circle([0, 0], 7, "play-normal"));
      const to = ([u, v]) => {
        points[i] = back([Math.max(6, Math.min(W - 6, u)), Math.max(6, Math.min(H - 6, v))]);
        show();
      };
      draggable(made, picture, to);
      made.addEventListener("keydown", (event) => {
        const move = { ArrowLeft: [-6, 0], ArrowRight: [6, 0], ArrowUp: [0, -6], ArrowDown: [0, 6] }[event.key];
        if (!move) return;
        event.preventDefault();
        const [u, v] = place(points[i]);
        to([u + move[0], v + move[1]]);
      });
      return made;
    }

    /** The part of the frame where the score is positive: its corners, cut where the score passes 0. */
    function alarming(score) {
      const corners = [[0, 0], [W, 0], [W, H], [0, H]], kept = [];
      corners.forEach((c, i) => {
        const next = corners[(i + 1) % 4], [a, b] = [score(back(c)), score(back(next))];
        if (a > 0) kept.push(c);
        if (a > 0 !== b > 0) kept.push([0, 1].map((j) => c[j] + ((next[j] - c[j]) * a) / (a - b)));
      });
      return kept.map((c) => c.join(",")).join(" ");
    }

    function show() {
      const alpha = 10 ** Number(size.value), one = data.tasks[at];
      const score = scorer(kind, data, points, one.sy, alpha);
      const right = (score, task) => task.qx.filter((p, i) => score(p) > 0 === task.qy[i] > 0).length;
      area.setAttribute("points", alarming(score));
      handles.forEach((made, i) => made.setAttribute("transform", `translate(${place(points[i]).join(" ")})`));
      queries.forEach((made, i) => made.classList.toggle("play-wrong", score(one.qx[i]) > 0 !== one.qy[i] > 0));
      for (const [name, made] of kinds) made.setAttribute("aria-pressed", name === kind);
      sizeRow.hidden = kind !== "own";
      const all = data.tasks.map((task) => right(scorer(kind, data, task.sx, task.sy, alpha), task));
      const of = one.qx.length;
      told.textContent =
        `${names[kind]}${kind === "own" ? ` ${alpha.toFixed(2)}` : ""}: ${right(score, one)} of ${of} query points right; ` +
        `all ${all.length} machines, points in place: ${(mean(all) / of).toFixed(2)}.`;
    }

    stage.replaceChildren(
      told, picture, make("div", { class: "play-buttons" }, ...kinds.map(([, made]) => made)),
      make("div", { class: "play-buttons" }, sizeRow, other));
    load(0);
    stage.playScores = Object.fromEntries(
      ["scratch", "start", "learnt"].map((name) => {
        const { sx, sy, qx } = data.tasks[0];
        return [name, qx.map(scorer(name, data, sx, sy, 1))];
      })); // compared with the package's by the checks
  }

  const PLAY = { guess, threshold, promise, step };

  document.addEventListener("DOMContentLoaded", () => {
    for (const figure of document.querySelectorAll("figure.play[data-play]")) {
      const data = JSON.parse(figure.querySelector("script[type='application/json']").textContent);
      PLAY[figure.dataset.play](figure.querySelector(".play-stage"), data);
    }
  });
})();
