// Draw five, then draw another: the network of play/data/draw.js, in plain JavaScript.
(() => {
  const { make, circle, path, text, button } = PLAY;
  const KNOWN = 5, SIDE = 14, PAD = 200, PEN = 1.3; // half the width of the pen, in pixels of 28 x 28

  const bytes = (packed) => Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
  const sigmoid = (z) => 1 / (1 + Math.exp(-z));

  /** Convolution of 3 x 3 with stride 2, normalised over all channels and pixels, with gain, bias and ReLU. */
  function convolve({ values, channels, side }, weight, gain, bias) {
    const out = bias.length, size = Math.ceil(side / 2), made = new Float64Array(out * size * size);
    for (let o = 0; o < out; o++)
      for (let r = 0; r < size; r++)
        for (let c = 0; c < size; c++) {
          let sum = 0;
          for (let i = 0; i < channels; i++)
            for (let a = 0; a < 3; a++) {
              const row = 2 * r + a - 1;
              if (row < 0 || row >= side) continue;
              for (let b = 0; b < 3; b++) {
                const column = 2 * c + b - 1;
                if (column >= 0 && column < side) sum += values[(i * side + row) * side + column] * weight[((o * channels + i) * 3 + a) * 3 + b];
              }
            }
          made[(o * size + r) * size + c] = sum;
        }
    const mean = made.reduce((a, b) => a + b, 0) / made.length;
    const root = Math.sqrt(made.reduce((a, b) => a + (b - mean) ** 2, 0) / made.length + 1e-5);
    const each = size * size;
    return { values: made.map((v, k) => Math.max(0, ((v - mean) / root) * gain[Math.floor(k / each)] + bias[Math.floor(k / each)])), channels: out, side: size };
  }

  /** The functions of the network: features of an image, and the score of features given those of the known images. */
  function network(stored) {
    const all = new Float32Array(bytes(stored.packed).buffer), params = {};
    let from = 0;
    for (const [name, shape] of Object.entries(stored.shapes)) {
      const size = shape.reduce((a, b) => a * b, 1);
      params[name] = all.subarray(from, (from += size));
    }
    const last = Object.keys(stored.shapes).filter((name) => name.startsWith("gain")).length;
    const embed = (image) => {
      let x = { values: Float64Array.from(image, (v) => (v - stored.location) / stored.scale), channels: 1, side: SIDE };
      for (let i = 0; i < last; i++) x = convolve(x, params[`weight${i}`], params[`gain${i}`], params[`bias${i}`]);
      const weight = params[`weight${last}`], bias = params[`bias${last}`];
      return Array.from(bias, (b, o) => x.values.reduce((sum, v, k) => sum + v * weight[k * bias.length + o], b));
    };
    // for the normal class, then for anomalies, of which the support set says nothing
    const total = stored.log_variance.map(Math.exp), between = total.map((v, k) => v * sigmoid(stored.share[k])), within = total.map((v, k) => v - between[k]);
    const score = (known, phi) => {
      const density = [known, []].map((seen, k) => {
        const unsure = 1 / (1 / between[k] + seen.length / within[k]), variance = within[k] + unsure;
        const center = phi.map((_, j) => (unsure / within[k]) * seen.reduce((sum, one) => sum + one[j], 0));
        return -(distance(phi, center) / phi.length / variance + Math.log(variance)) / 2;
      });
      return Math.exp(stored.log_scale) * (density[1] - density[0]) + stored.bias;
    };
    return { embed, score };
  }

  const distance = (p, q) => p.reduce((sum, v, j) => sum + (v - q[j]) ** 2, 0);

  /** Distance of a point to a piece of a line. */
  function apart(x, y, [a, b], [c, d]) {
    const [u, v] = [c - a, d - b], length = u * u + v * v;
    const t = length ? Math.max(0, Math.min(1, ((x - a) * u + (y - b) * v) / length)) : 0;
    return Math.hypot(x - a - t * u, y - b - t * v);
  }

  /** Ink of 28 x 28 pixels under a round pen along strokes, lists of points in pixels. */
  function inked(strokes) {
    const pieces = strokes.flatMap((stroke) => stroke.map((point, i) => [stroke[Math.max(0, i - 1)], point]));
    return Float64Array.from({ length: 784 }, (_, k) => {
      const x = (k % 28) + 0.5, y = Math.floor(k / 28) + 0.5;
      return Math.max(0, Math.min(1, PEN + 0.5 - Math.min(...pieces.map(([p, q]) => apart(x, y, p, q)))));
    });
  }

  /** Strokes as an image of 14 x 14, as MNIST makes them: scaled into 20 x 20, centred by mass, averaged over 2 x 2. */
  function imaged(strokes) {
    const points = strokes.flat(), [x, y] = [0, 1].map((j) => points.map((p) => p[j]));
    const [left, right, top, bottom] = [Math.min(...x), Math.max(...x), Math.min(...y), Math.max(...y)];
    const scale = (20 - 2 * PEN) / Math.max(right - left, bottom - top, PAD / 10); // a dot stays small
    const at = (dx, dy) => strokes.map((stroke) => stroke.map(([u, v]) => [14 + dx + scale * (u - (left + right) / 2), 14 + dy + scale * (v - (top + bottom) / 2)]));
    const first = inked(at(0, 0)), mass = first.reduce((a, b) => a + b, 0);
    const middle = (place) => first.reduce((sum, v, k) => sum + v * (place(k) + 0.5), 0) / mass;
    const ink = inked(at(14 - middle((k) => k % 28), 14 - middle((k) => Math.floor(k / 28))));
    return Array.from({ length: SIDE * SIDE }, (_, k) => {
      const corner = 56 * Math.floor(k / SIDE) + 2 * (k % SIDE);
      return (ink[corner] + ink[corner + 1] + ink[corner + 28] + ink[corner + 29]) / 4;
    });
  }

  /** An image as a small picture. */
  function shown(image, name) {
    const picture = make("svg", { viewBox: `0 0 ${SIDE} ${SIDE}`, role: "img", "aria-label": name, class: "play-ink" });
    image.forEach((ink, k) => {
      if (ink > 0.03) picture.append(make("rect", { x: k % SIDE, y: Math.floor(k / SIDE), width: 1.03, height: 1.03, "fill-opacity": ink.toFixed(2) }));
    });
    return picture;
  }

  function draw(stage, data) {
    const { embed, score } = network(PLAY.weights), grey = bytes(data.images), size = SIDE * SIDE;
    const samples = Array.from({ length: grey.length / size }, (_, k) => Array.from(grey.subarray(k * size, (k + 1) * size), (v) => v / 255));
    const turns = data.digits.map(() => 0);
    let known = [], strokes = [], image = null, pen = null; // known: {image, phi}; image: what is to be judged

    const told = make("p", { class: "play-told play-figures", "aria-live": "polite" });
    const pad = make("svg", { viewBox: `0 0 ${PAD} ${PAD}`, role: "img", "aria-label": "a pad to draw on", class: "play-pad" });
    const place = (event) => {
      const box = pad.getBoundingClientRect();
      return [((event.clientX - box.left) / box.width) * PAD, ((event.clientY - box.top) / box.height) * PAD];
    };
    pad.addEventListener("pointerdown", (event) => {
      if (pen !== null || event.button) return;
      event.preventDefault();
      pen = event.pointerId;
      pad.setPointerCapture(pen);
      if (!strokes.length) image = null; // of a sample
      strokes.push([place(event)]);
      trace();
    });
    pad.addEventListener("pointermove", (event) => {
      if (event.pointerId !== pen) return;
      const stroke = strokes.at(-1), point = place(event), before = stroke.at(-1);
      if (Math.hypot(point[0] - before[0], point[1] - before[1]) < 2) return;
      stroke.push(point);
      trace();
    });
    for (const end of ["pointerup", "pointercancel"])
      pad.addEventListener(end, (event) => {
        if (event.pointerId !== pen) return;
        pen = null;
        image = imaged(strokes);
        show();
      });
    const line = (stroke) => `M${stroke.map((point) => point.map((v) => v.toFixed(1)).join(" ")).join("L")}${stroke.length > 1 ? "" : "h0.1"}`;
    const trace = () => pad.replaceChildren(path("play-stroke", strokes.map(line).join("")));

    const slots = make("div", { class: "play-slots" });
    const gauge = make("svg", { viewBox: "0 0 300 52", role: "img" });
    const keep = button("Keep it", () => take());
    const wipe = button("Wipe", () => clear());
    const again = button("Start again", () => {
      known = [];
      turns.fill(0);
      clear();
    });
    const ready = data.digits.map((digit, i) =>
      button(String(digit), () => {
        strokes = [];
        image = samples[i * data.each + (turns[i]++ % data.each)];
        if (known.length < KNOWN) return take();
        trace();
        show();
      }, { "aria-label": `take a handwritten ${digit}` }));

    function clear() {
      [strokes, image] = [[], null];
      pad.replaceChildren();
      show();
    }

    /** The drawing becomes one of the five. */
    function take() {
      known.push({ image, phi: embed(image) });
      clear();
    }

    function show() {
      const full = known.length === KNOWN, left = KNOWN - known.length;
      keep.hidden = full;
      keep.disabled = !image;
      wipe.disabled = !image;
      let nearest = -1, value = null;
      if (full && image) {
        const phi = embed(image), gaps = known.map((one) => distance(one.phi, phi));
        value = score(known.map((one) => one.phi), phi);
        nearest = gaps.indexOf(Math.min(...gaps));
      }
      slots.replaceChildren(
        ...Array.from({ length: KNOWN + 1 }, (_, k) => {
          const one = k < KNOWN ? known[k]?.image : image, name = k < KNOWN ? `drawing ${k + 1}` : "the drawing in hand";
          const box = make("div", { class: k === nearest ? "play-nearest" : k === KNOWN ? "play-asks" : null });
          box.append(shown(one ?? [], one ? `${name}, as the network sees it` : `${name}: none yet`), make("span", {}, k === nearest ? "nearest" : k < KNOWN ? String(k + 1) : "now"));
          return box;
        }));
      const u = 150 + 14 * Math.max(-10, Math.min(10, value ?? 0));
      gauge.replaceChildren(
        path("play-axis", "M8 18H292"), path("play-cut", "M150 4V32"), text(146, 47, "the same sign", "end"), text(154, 47, "another sign", "start"),
        ...(value === null ? [] : [circle([u, 18], 7, value > 0 ? "play-faulty" : "play-normal")]));
      gauge.setAttribute("aria-label", value === null ? "a line for the score, with the threshold 0" : `the score ${value.toFixed(2)} on a line with the threshold 0`);
      told.textContent = !full
        ? `Draw a sign, as large as you like, and keep it; then the same again, ${KNOWN} in all. ${left} to go.`
        : value === null
          ? "Five are kept. Now draw another: the same sign, or a different one."
          : `Score ${value.toFixed(2).replace("-", "\u2212")}, ${value > 0 ? "above" : "not above"} the threshold 0: ${value > 0 ? "another sign" : "the same sign"}. Nearest of the five: drawing ${nearest + 1}.`;
    }

    const { auroc, pixels, hits, false_alarms: alarms } = data.about, percent = (v) => `${Math.round(100 * v)}\u00a0%`;
    stage.replaceChildren(
      told, pad, make("div", { class: "play-buttons" }, keep, wipe, again),
      make("div", { class: "play-buttons" }, make("span", {}, "or a digit of MNIST:"), ...ready), slots, gauge,
      make("p", { class: "play-measured" },
        `Measured on handwritten digits, five images of one against all others: AUROC ${auroc.toFixed(2)} (nearest neighbour in pixels ${pixels.toFixed(2)}); ` +
        `at this threshold it reports ${percent(hits)} of the other digits and ${percent(alarms)} of the same.`));
    show();
    // compared with the package's by the checks
    stage.playFigures = { samples, embed, score, imaged, now: () => ({ known: known.length, image }) };
  }

  PLAY.figures.draw = draw;
})();
