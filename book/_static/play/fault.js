// Turn the fault.
(() => {
  const { make, circle, path, text, triangle, draggable, button, bell, tail, binomial } = PLAY;

  const KINDS = [1, 2, 4, 8], radians = (degrees) => (degrees * Math.PI) / 180;

  /**
   * AUROC of the best score for m known directions, for a fault turned by an angle (chapter 6). For even m a noncentral
   * chi-square is a Poisson mixture of central ones, and one of them exceeds another if a coin falls often enough.
   */
  function auroc(delta, m, degrees) {
    const reach = delta * Math.cos(radians(degrees));
    if (m === 1) return 1 - tail(reach / Math.SQRT2);
    const half = reach ** 2 / 2;
    let weight = Math.exp(-half), sum = 0;
    for (let j = 0; j < 60; weight *= half / ++j) {
      let below = 0;
      for (let i = 0; i < m / 2; i++) below += binomial(m - 1 + j, i, 0.5);
      sum += weight * (1 - below);
    }
    return sum;
  }

  /** Density of the score of points whose centre lies at `reach`: a coordinate for m = 1, else a length. */
  function density(m, reach, s) {
    if (m === 1) return bell(s - reach);
    if (s <= 0) return 0;
    let term = 2 * s * Math.exp(-(reach ** 2 + s * s) / 2) / 2, sum = 0;
    for (let i = 1; i < m / 2; i++) term *= (s * s) / 2 / i;
    for (let j = 0; j < 60; term *= (reach ** 2 * s * s) / 4 / ++j / (m / 2 - 1 + j)) sum += term;
    return sum;
  }

  function fault(stage, data) {
    let m = 1, angle = 0;
    const { delta, levels: [single, pooled] } = data, value = (m, degrees) => auroc(delta, m, degrees);
    const told = make("p", { class: "play-told play-figures", "aria-live": "polite" });
    const kinds = KINDS.map((each) => button(`m = ${each}`, () => ((m = each), show())));
    kinds.forEach((made, i) => made.setAttribute("aria-label", `m = ${KINDS[i]} known direction${i ? "s" : ""}`));

    // the plane of the known direction and the new one
    const scale = 29, place = ([x, y]) => [92 + scale * x, 192 - scale * y];
    const plane = make("svg", { viewBox: "0 0 260 290", role: "group", "aria-label": "normal points, the known fault and the turned one" });
    const [ox, oy] = place([0, 0]), [kx] = place([delta, 0]);
    const sees = path("play-sees", ""), drop = path("play-cut", ""), cloud = make("g");
    const handle = make("g", { role: "slider", tabindex: 0, class: "play-handle", "aria-label": "angle of the new fault", "aria-valuemin": 0, "aria-valuemax": 90 });
    handle.append(make("circle", { class: "play-touch", r: 16 }), triangle([0, 0], 10, "play-faulty"));
    const turn = (degrees) => {
      angle = Math.max(0, Math.min(90, Math.round(degrees)));
      show();
    };
    draggable(handle, plane, ([u, v]) => turn((Math.atan2(oy - v, u - ox) * 180) / Math.PI), ([right, down]) => turn(angle + right - down));
    plane.append(
      path("play-axis", `M4 ${oy}H256M${ox} 24V286`), path("play-orbit", `M${kx} ${oy}A${scale * delta} ${scale * delta} 0 0 0 ${ox} ${oy - scale * delta}`),
      ...data.noise.slice(0, 40).map((e) => circle(place(e), 3, "play-normal play-faint")), cloud, drop, sees,
      triangle([kx, oy], 9, "play-hollow play-faulty"), handle,
      text(kx, oy + 22, "known fault"), text(254, oy + 42, "known direction", "end"), text(ox + 6, 20, "new direction", "start"));

    const charts = make("svg", { viewBox: "0 0 260 290", role: "img" });
    const X = (degrees) => 30 + (degrees * 216) / 90, Y = (share) => 132 - (share - 0.4) * 190;
    const curve = (from, to, at) => `M${Array.from({ length: 91 }, (_, i) => at(from + ((to - from) * i) / 90).map((v) => v.toFixed(1)).join(" ")).join("L")}`;

    /** The predicted AUROC for each angle, and those of methods that have seen no fault. */
    function above() {
      return [
        path("play-axis", "M30 18V132H246"),
        ...[0.5, 0.6, 0.7, 0.8, 0.9, 1].map((v) => text(26, Y(v) + 4, v.toFixed(1), "end")),
        ...[0, 30, 60, 90].map((v) => text(X(v), 146, `${v}°`)),
        ...[["pooled", pooled, "9 3", 98], ["Mahalanobis", single, "2 3", 113]].flatMap(([name, level, dash, row]) => [
          path("play-level", `M30 ${Y(level)}H246M34 ${row}h24`, { "stroke-dasharray": dash }),
          text(62, row + 4, `${name} ${level.toFixed(2)}`, "start"),
        ]),
        ...KINDS.map((each) => path(each === m ? "play-thick" : "play-contour", curve(0, 90, (d) => [X(d), Y(value(each, d))]))),
        circle([X(angle), Y(value(m, angle))], 6, "play-here"), text(252, 14, "AUROC by angle of the fault", "end"),
      ];
    }

    /** The densities of the score at normal and at anomalous points. */
    function below() {
      const [from, to] = m === 1 ? [-3.5, 6.2] : [0, 6.5], x = (s) => 8 + ((s - from) * 244) / (to - from), y = (p) => 270 - p * 145;
      const reach = delta * Math.cos(radians(angle)), each = (reach) => curve(from, to, (s) => [x(s), y(density(m, reach, s))]);
      return [
        path("play-axis", "M8 270H252"), path("play-bell", each(0)), path("play-bell play-other", each(reach)),
        text(252, 178, `score: ${m === 1 ? "along the known direction" : `length in ${m} directions`}`, "end"),
        circle([20, 282], 4, "play-normal"), text(30, 286, "normal", "start"), triangle([100, 282], 5, "play-faulty"), text(110, 286, "new fault", "start"),
      ];
    }

    function show() {
      const way = [Math.cos(radians(angle)), Math.sin(radians(angle))].map((v) => v * delta), [u, v] = place(way), now = value(m, angle);
      handle.setAttribute("transform", `translate(${u} ${v})`);
      handle.setAttribute("aria-valuenow", angle);
      handle.setAttribute("aria-valuetext", `${angle} degrees`);
      cloud.replaceChildren(...data.noise.slice(40).map((e) => triangle(place(e.map((x, j) => x + way[j])), 4, "play-faulty play-faint")));
      drop.setAttribute("d", `M${u} ${v}V${oy}`);
      sees.setAttribute("d", `M${ox} ${oy}H${u}`);
      kinds.forEach((made, i) => made.setAttribute("aria-pressed", KINDS[i] === m));
      charts.setAttribute("aria-label", `predicted AUROC against the angle, ${now.toFixed(2)} at ${angle} degrees, and the densities of the score`);
      charts.replaceChildren(...above(), ...below());
      const last = (level) => Array.from({ length: 91 }, (_, d) => value(m, d) > level).lastIndexOf(true);
      told.textContent =
        `${m} known direction${m === 1 ? "" : "s"}, a fault at ${angle}°: AUROC ${now.toFixed(2)} (at 0° ${value(m, 0).toFixed(2)}, ceiling ${data.ceiling.toFixed(2)}). ` +
        `Experience of faults ${now > single ? "pays" : "no longer pays"}: it beats the Mahalanobis distance up to ${last(single)}°, the pooled one up to ${last(pooled)}°.`;
    }

    stage.replaceChildren(
      make("div", { class: "play-buttons" }, ...kinds), make("div", { class: "play-panels" }, plane, charts), told);
    turn(data.angle);
    stage.playFigures = { auroc: value, density: (m, degrees, s) => density(m, delta * Math.cos(radians(degrees)), s) }; // compared with SciPy's by the checks
  }

  PLAY.figures.fault = fault;
})();
