// Which would you report?
(() => {
  const { make, circle, triangle, mean } = PLAY;

  /** Places in a box for points, the same scale for all of them. */
  function placing(points, width, height, margin) {
    const range = (i) => [Math.min(...points.map((p) => p[i])), Math.max(...points.map((p) => p[i]))];
    const [x0, x1] = range(0), [y0, y1] = range(1);
    return ([x, y]) => [
      margin + ((width - 2 * margin) * (x - x0)) / (x1 - x0),
      height - margin - ((height - 2 * margin) * (y - y0)) / (y1 - y0),
    ];
  }

  /** Distance to the nearest known normal point, each sensor in units of their standard deviation. */
  function neighbourScores(known, asked) {
    const columns = known[0].map((_, j) => known.map((p) => p[j]));
    const scale = columns.map((c) => Math.sqrt(mean(c.map((v) => (v - mean(c)) ** 2))) || 1);
    const distance = (p, q) => Math.hypot(...p.map((v, j) => (v - q[j]) / scale[j]));
    return asked.map((q) => Math.min(...known.map((p) => distance(p, q))));
  }

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

  PLAY.figures.guess = guess;
})();
