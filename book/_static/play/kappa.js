// The weight of the unknown direction.
(() => {
  const { make, circle, path, text, triangle, slider, button, bell, tail } = PLAY;

  const SHARES = [0.5, 0.2, 0.05, 0.01], ASKED = 0.05; // false alarms at the contours, and at the thick one
  const below = (z) => (z > 6.5 ? 1 : z < -6.5 ? 0 : 1 - tail(z));

  /** Mean of exp(s u) over the first coordinate u of unit vectors in d dimensions, and its slope: Bessel's series. */
  function sphere(d, s) {
    const half = (s * s) / 2;
    let term = 1, sum = 1, slope = 0;
    for (let k = 1; term > 1e-16 * sum; k++) {
      term *= half / (k * (d + 2 * k - 2));
      sum += term;
      slope += 2 * k * term;
    }
    return [sum, s ? slope / s : 0];
  }

  /** Log of the hedge at x along the known direction and rho across it, and its slope in x (chapter 9). */
  function hedge(delta, d, kappa, x, rho) {
    const r = Math.sqrt(x * x + rho * rho), [mean, slope] = kappa ? sphere(d, delta * r) : [0, 0];
    const known = (1 - kappa) * Math.exp(delta * x), both = known + kappa * mean;
    return [Math.log(both) - delta ** 2 / 2, (delta * (known + (r && (kappa * slope * x) / r))) / both];
  }

  /** Density of rho, the length of noise in the other directions. */
  function across(d, rho) {
    let scale = d % 2 ? 1 : Math.sqrt(2 / Math.PI);
    for (let k = d - 1; k > 2; k -= 2) scale /= k - 2;
    return scale * rho ** (d - 2) * Math.exp((-rho * rho) / 2);
  }

  /**
   * A contour of the hedge whose highest point lies at rho = R: the log of the score there, the shares of normal points,
   * known and new faults inside, and its two sides. The hedge is convex, so that each rho has one stretch inside; in
   * the angle with R sin(angle) = rho trapezoids are all but exact.
   */
  function contour(delta, d, kappa, R, n = 24) {
    const most = Math.min(R, Math.sqrt(d - 1 + delta ** 2) + 5.5); // no length is greater
    let [low, high] = [-14, 0];
    for (let i = 0; i < 50; i++) hedge(delta, d, kappa, (low + high) / 2, R)[1] < 0 ? (low = (low + high) / 2) : (high = (low + high) / 2);
    const [score] = hedge(delta, d, kappa, high, R), inside = [0, 0, 0], sides = [[[high, R]], [[high, R]]];
    for (let i = n - 1; i >= 0; i--) {
      const angle = (i * Math.PI) / 2 / n, rho = most * Math.sin(angle);
      const ends = [-1, 1].map((way, j) => {
        let x = sides[j].at(-1)[0], wide = 0.2;
        while (hedge(delta, d, kappa, x, rho)[0] < score) x += way * (wide *= 2);
        for (let gap = 1, slope, k = 0; gap > 1e-12 && k < 60; k++) {
          [gap, slope] = hedge(delta, d, kappa, x, rho);
          x -= (gap -= score) / slope; // from outside, so that it never jumps over
        }
        sides[j].push([x, rho]);
        return x;
      });
      const weight = (across(d, rho) * most * Math.cos(angle) * Math.PI) / 2 / n / (i ? 1 : 2);
      const [normal, known] = [0, delta].map((shift) => weight * (below(ends[1] - shift) - below(ends[0] - shift)));
      const turned = sphere(d - 1, delta * rho)[0] * Math.exp((-delta * delta) / 2); // rho of new faults is noncentral
      [normal, known, normal * turned].forEach((share, j) => (inside[j] += share));
    }
    return { R, score, inside, line: [...sides[0].reverse(), ...sides[1].slice(1)] };
  }

  /** AUROC of known and of new faults, their shares found at 5 % false alarms, and contours: for kappa > 0. */
  function hedged(delta, d, kappa) {
    const h = 0.2, all = [{ R: 0, inside: [0, 0, 0] }];
    while (all.at(-1).inside.some((share) => share < 1 - 1e-7)) all.push(contour(delta, d, kappa, h * all.length));
    const at = (i) => all[Math.min(Math.abs(i), all.length - 1)].inside; // even in R
    const slope = (i) => [4 / 5, -1 / 5, 4 / 105, -1 / 280].reduce((sum, a, k) => sum + a * (at(i + k + 1)[0] - at(i - k - 1)[0]), 0);
    const aurocs = [1, 2].map((j) => all.reduce((left, _, i) => left - at(i)[j] * slope(i), 1));
    const contours = SHARES.map((share) => {
      let b = all.find(({ inside }) => inside[0] > 1 - share), a = all[all.indexOf(b) - 1], next = b;
      const off = (one) => one.inside[0] - 1 + share;
      for (let k = 0; k < 40 && Math.abs(off(next)) > 1e-9; k++) {
        const straight = a.R - (off(a) * (b.R - a.R)) / (off(b) - off(a));
        next = contour(delta, d, kappa, k % 3 < 2 ? straight : (a.R + b.R) / 2);
        off(next) > 0 ? (b = next) : (a = next);
      }
      return next;
    });
    return { aurocs, contours };
  }

  /** The same for kappa = 0, where the score is the place along the known direction. */
  function deaf(delta) {
    const contours = SHARES.map((share) => {
      let [a, b] = [-1, 5];
      for (let k = 0; k < 60; k++) tail((a + b) / 2) > share ? (a = (a + b) / 2) : (b = (a + b) / 2);
      return { score: delta * a - delta ** 2 / 2, inside: [1 - share, below(a - delta), 1 - share], line: [[a, 0], [a, 99]] };
    });
    return { aurocs: [below(delta / Math.SQRT2), 0.5], contours };
  }

  function kappa(stage, data) {
    const { delta } = data, curve = (d) => data.checks.filter((check) => check.d === d);
    let d = data.dims.at(-1);
    const values = (d, kappa) => (kappa ? hedged(delta, d, kappa) : deaf(delta));
    const found = ({ aurocs, contours }) => [...aurocs, ...contours[SHARES.indexOf(ASKED)].inside.slice(1).map((share) => 1 - share)];

    const shown = make("span", { class: "play-figures" });
    const [input, row] = slider("weight ", { min: 0, max: 1, step: 0.01, value: data.kappa }, () => show(), shown);
    const sizes = data.dims.map((each) => button(`${each} sensors`, () => ((d = each), show())));
    const told = make("p", { class: "play-told play-figures", "aria-live": "polite" });
    const result = make("div", { class: "play-result play-figures" });

    const place = ([x, rho]) => [96 + 24 * x, 222 - 24 * rho], draw = (line) => `M${line.map((at) => place(at).map((v) => v.toFixed(1)).join(" ")).join("L")}`;
    const plane = make("svg", { viewBox: "0 0 260 258", role: "img" });
    const chart = make("svg", { viewBox: "0 0 260 258", role: "img" });
    const X = (v) => 34 + (v - 0.45) * 385, Y = (v) => 222 - (v - 0.45) * 345;

    const square = ([x, y], r, kind) => make("rect", { class: kind, x: x - r, y: y - r, width: 2 * r, height: 2 * r });
    const MARKS = { normal: [circle, 3, "play-normal"], known: [triangle, 4.5, "play-faulty"], fresh: [square, 3.4, "play-faulty"] };

    /** Points, filled where they lie outside the thick contour, and the contours. */
    function left(k, contours) {
      const cut = contours[SHARES.indexOf(ASKED)], foot = place(cut.line.findLast(([, rho]) => rho < 1e-6))[0];
      const points = Object.entries(MARKS).flatMap(([kind, [mark, r, tone]]) => data.points[d][kind].map((at) =>
        mark(place(at), r, hedge(delta, d, k, ...at)[0] > cut.score ? tone : `play-hollow ${tone}`)));
      const key = [["normal", "normal", 8], ["known", "known fault", 82], ["fresh", "new fault", 180]].flatMap(([kind, name, x]) => {
        const [mark, r, tone] = MARKS[kind];
        return [mark([x, 12], r + 0.5, tone), text(x + 8, 16, name, "start")];
      });
      return [
        ...points, path("play-axis", "M4 222H256"),
        ...contours.map((one, i) => path(SHARES[i] === ASKED ? "play-thick" : "play-level", draw(one.line), SHARES[i] === ASKED ? {} : { "stroke-opacity": 0.5 })),
        make("rect", { class: "play-ground", x: 0, y: 0, width: 260, height: 24 }), ...key,
        text(foot, 236, "5 %"), text(4, 252, "along the known direction \u2192", "start"), text(4, 38, "\u2191 length across it", "start"),
      ];
    }

    /** The pairs of AUROCs for all shares, and where this one stands. */
    function right([known, fresh]) {
      const way = (d) => `M${curve(d).map((check) => `${X(check.values[0]).toFixed(1)} ${Y(check.values[1]).toFixed(1)}`).join("L")}`;
      const end = curve(d).at(-1).values;
      return [
        path("play-axis", "M34 24V222H252"),
        ...[0.5, 0.6, 0.7, 0.8, 0.9, 1].flatMap((v) => [text(30, Y(v) + 4, v.toFixed(1), "end"), text(X(v), 236, v.toFixed(1))]),
        ...data.dims.map((each) => path(each === d ? "play-thick" : "play-contour", way(each))),
        circle([X(known), Y(fresh)], 6, "play-here"),
        text(X(data.ceiling) - 6, Y(0.5) + 4, "\u03ba = 0", "end"), text(X(end[0]) - 6, Y(end[1]) - 8, "\u03ba = 1", "end"),
        text(4, 16, "AUROC of new faults", "start"), text(252, 252, "AUROC of known faults", "end"),
      ];
    }

    function show() {
      const k = Number(input.value), now = values(d, k), [known, fresh, hits, caught] = found(now);
      shown.textContent = `\u03ba = ${k.toFixed(2)}`;
      input.setAttribute("aria-valuetext", `kappa ${k.toFixed(2)}`);
      sizes.forEach((made, i) => made.setAttribute("aria-pressed", data.dims[i] === d));
      plane.setAttribute("aria-label", `points and contours of the score for kappa ${k.toFixed(2)}`);
      plane.replaceChildren(...left(k, now.contours));
      chart.setAttribute("aria-label", `AUROC ${known.toFixed(2)} of known faults and ${fresh.toFixed(2)} of new ones, on the curve of all kappas`);
      chart.replaceChildren(...right([known, fresh]));
      const line = (name, cells, kind = "td") => make("tr", {}, make("th", { scope: kind === "th" ? "col" : "row" }, name), ...cells.map((cell) => make(kind, kind === "th" ? { scope: "col" } : {}, cell)));
      const two = (v) => v.toFixed(2), percent = (v) => `${(100 * v).toFixed(0)} %`;
      result.replaceChildren(make("table", {},
        line("faults", ["AUROC", "found at 5 % false alarms"], "th"), line("known", [two(known), percent(hits)]), line("new", [two(fresh), percent(caught)])));
      const signed = (v) => `${Math.abs(v) < 0.0005 ? "" : v < 0 ? "\u2212" : "+"}${Math.abs(v).toFixed(3)}`;
      told.textContent = `${d} sensors, \u03ba = ${two(k)}. Against \u03ba = 0, AUROC: known faults ${signed(known - data.ceiling)}, new ones ${signed(fresh - 0.5)}.`;
    }

    stage.replaceChildren(
      make("div", { class: "play-buttons" }, row, ...sizes), make("div", { class: "play-panels" }, plane, chart), told, result);
    show();
    stage.playFigures = { values: (d, kappa) => found(values(d, kappa)), score: (d, kappa, x, rho) => hedge(delta, d, kappa, x, rho)[0] }; // compared with SciPy's by the checks
  }

  PLAY.figures.kappa = kappa;
})();
