// Threshold and ROC.
(() => {
  const { make, circle, triangle, draggable, slider, button, mean } = PLAY;

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
      draggable(dot, line, ([u]) => to((high * (u - 10)) / 340), ([right, down]) => to(scores[i] + 0.1 * (right - down)));
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

  PLAY.figures.threshold = threshold;
})();
