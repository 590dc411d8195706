// One learnt step.
(() => {
  const { make, circle, triangle, draggable, slider, button, mean } = PLAY;

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
      draggable(made, picture, to, (way) => to(place(points[i]).map((v, j) => v + 6 * way[j])));
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

  PLAY.figures.step = step;
})();
