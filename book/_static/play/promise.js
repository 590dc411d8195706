// A promise, and what one calibration keeps of it.
(() => {
  const { make, circle, path, text, triangle, slider, button, mean, bell, tail, binomial } = PLAY;

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

  PLAY.figures.promise = promise;
})();
