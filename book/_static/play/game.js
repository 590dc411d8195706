// The game of C and G, on one line.
(() => {
  const { make, circle, path, text, triangle, draggable, button } = PLAY;

  const softplus = (l) => Math.max(l, 0) + Math.log1p(Math.exp(-Math.abs(l)));
  const sigmoid = (l) => 1 / (1 + Math.exp(-l));
  const logBell = (x, mu, sigma) => -(((x - mu) / sigma) ** 2) / 2 - Math.log(sigma * Math.sqrt(2 * Math.PI));

  /** The logit of C*: log density of a virtual point less that of a normal one. */
  const logit = (mu, sigma, x) => logBell(x, mu, sigma) - logBell(x, 0, 1);

  /**
   * C's loss against the two densities, their Jensen-Shannon divergence, G's loss against C*, and the slopes of this
   * loss in location and width while C* stands still: trapezoids, which for such smooth functions are all but exact.
   */
  function game(mu, sigma) {
    const low = Math.min(-9, mu - 9 * sigma), high = Math.max(9, mu + 9 * sigma), n = Math.ceil((16 * (high - low)) / Math.min(sigma, 1));
    const h = (high - low) / n, sums = [0, 0, 0, 0, 0];
    for (let i = 0; i <= n; i++) {
      const x = low + i * h, l = logit(mu, sigma, x), p = Math.exp(logBell(x, 0, 1)), g = Math.exp(logBell(x, mu, sigma));
      const slope = sigmoid(l) * (x - (x - mu) / sigma ** 2); // of softplus(l)
      sums[0] += p * softplus(l) + g * softplus(-l);
      sums[1] += (p * (Math.LN2 - softplus(l)) + g * (Math.LN2 - softplus(-l))) / 2;
      sums[2] += g * softplus(l);
      sums[3] += g * slope;
      sums[4] += (g * slope * (x - mu)) / sigma;
    }
    return sums.map((sum) => sum * h);
  }

  function play(stage, data) {
    const { rate } = data;
    let mu, sigma;

    const picture = make("svg", { viewBox: "0 0 360 286", role: "group", "aria-label": "the densities of normal and virtual points, and below the best C" });
    const X = (x) => 180 + 29 * x, P = (p) => 146 - 118 * p, Q = (c) => 262 - 90 * c;
    const grid = Array.from({ length: 241 }, (_, i) => -6 + i / 20);
    const curve = (points) => (points.length ? `M${points.map((at) => at.map((v) => v.toFixed(2)).join(" ")).join("L")}` : "");
    const virtual = path("play-bell play-other", ""), faint = path("play-contour", ""), best = path("play-thick", "");

    const handle = (name, mark, [low, high], to) => {
      const node = make("g", { role: "slider", tabindex: 0, class: "play-handle", "aria-label": name, "aria-valuemin": low, "aria-valuemax": high });
      node.append(make("circle", { class: "play-touch", r: 15 }), mark);
      draggable(node, picture, ([u]) => to((u - 180) / 29), ([along, down]) => to(null, (along - down) / 10));
      return node;
    };
    const within = (value, [low, high]) => Math.max(low, Math.min(high, value));
    const place = handle("location of the virtual points", triangle([0, 0], 9, "play-faulty"), data.places, (at, more) =>
      set(at === null ? mu + more : at, sigma));
    const width = handle("width of the virtual density", circle([0, 0], 7, "play-faulty"), data.widths, (at, more) =>
      set(mu, at === null ? sigma + more : at - mu));
    picture.append(
      path("play-axis", `M6 ${P(0)}H354M6 ${Q(0)}H354`), path("play-orbit", `M6 ${Q(0.5)}H354`),
      ...[0, 0.5, 1].map((c) => text(4, Q(c) - 3, c ? String(c) : "0", "start")),
      ...[-4, -2, 0, 2, 4].map((x) => text(X(x), 278, String(x).replace("-", "\u2212"))),
      path("play-bell", curve(grid.map((x) => [X(x), P(Math.exp(logBell(x, 0, 1)))]))), virtual, faint, best,
      circle([16, 14], 4, "play-normal"), text(26, 18, "normal", "start"), triangle([92, 14], 5, "play-faulty"), text(102, 18, "virtual", "start"),
      text(354, Q(1) - 6, "C*", "end"), place, width);

    const result = make("div", { class: "play-result play-figures" });
    const told = make("p", { class: "play-told play-figures", "aria-live": "polite" });

    function set(location, spread) {
      mu = within(location, data.places);
      sigma = within(spread, data.widths);
      show();
    }

    function show() {
      const g = (x) => Math.exp(logBell(x, mu, sigma)), c = (x) => sigmoid(logit(mu, sigma, x));
      const seen = grid.filter((x) => g(x) + Math.exp(logBell(x, 0, 1)) > 0.01), values = seen.map(c);
      virtual.setAttribute("d", curve(grid.map((x) => [X(x), P(g(x))])));
      faint.setAttribute("d", curve(grid.map((x) => [X(x), Q(c(x))])));
      // two pieces where no point can be in between
      const pieces = seen.reduce((all, x, i) => (i && x - seen[i - 1] < 0.06 ? all.at(-1).push(x) : all.push([x]), all), []);
      best.setAttribute("d", pieces.map((piece) => curve(piece.map((x) => [X(x), Q(c(x))]))).join(""));
      for (const [node, x, value] of [[place, mu, mu], [width, mu + sigma, sigma]]) {
        node.setAttribute("transform", `translate(${X(x)} ${P(g(x))})`);
        node.setAttribute("aria-valuenow", value.toFixed(2));
      }
      const [loss, divergence, other] = game(mu, sigma).map((v) => Math.max(0, v)), two = (v) => v.toFixed(2);
      const line = (name, cells, kind = "td") => make("tr", {}, make("th", { scope: kind === "th" ? "col" : "row" }, name), ...cells.map((cell) => make(kind, kind === "th" ? { scope: "col" } : {}, cell)));
      result.replaceChildren(
        make("table", {},
          line("virtual points", ["C\u2019s loss", "JS divergence", "G\u2019s loss"], "th"),
          line("here", [loss, divergence, other].map(two)),
          line("on the normal ones", [2 * Math.LN2, 0, Math.LN2].map(two)),
          line("far from them", [two(0), two(Math.LN2), "no limit"])));
      const [low, high] = [Math.min(...values), Math.max(...values)].map(two);
      told.textContent =
        `Virtual points around ${two(mu).replace("-", "\u2212")}, deviation ${two(sigma)}. ` +
        (low === "0.50" && high === "0.50" ? "C* is 0.50 wherever a point can be: flat." : `Where points can be, C* lies between ${low} and ${high}.`);
    }

    /** G takes a step down its loss while C* stands still; then C answers anew. */
    function round() {
      const [, , , along, apart] = game(mu, sigma);
      set(mu - rate * along, sigma - rate * apart);
    }

    const start = () => set(data.start[0], data.start[1]);
    stage.replaceChildren(
      told, picture,
      make("div", { class: "play-buttons" }, button("A step of G", round), button("Onto the normal one", () => set(0, 1)), button("Start again", start)), result);
    start();
    stage.playFigures = { game, best: (mu, sigma, x) => sigmoid(logit(mu, sigma, x)), now: () => [mu, sigma] }; // compared with SciPy's by the checks
  }

  PLAY.figures.game = play;
})();
