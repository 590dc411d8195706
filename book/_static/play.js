// What figures to play with share. Each figure is a function of its stage and its data, in a file of the folder play,
// which a page that has the figure loads after this one.
const PLAY = (() => {
  const SVG = "http://www.w3.org/2000/svg";

  /** An element with attributes and children; names of SVG elements make SVG elements. */
  function make(name, attributes = {}, ...children) {
    const drawn = ["svg", "g", "circle", "rect", "path", "polygon", "line", "text", "image"].includes(name);
    const node = drawn ? document.createElementNS(SVG, name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) if (value !== null) node.setAttribute(key, value);
    node.append(...children);
    return node;
  }

  const circle = ([x, y], r, kind) => make("circle", { class: kind, cx: x, cy: y, r });
  const path = (kind, d, more) => make("path", { class: kind, d, ...more });
  const text = (x, y, words, anchor = "middle") => make("text", { class: "play-text", x, y, "text-anchor": anchor }, words);
  const triangle = ([x, y], r, kind) =>
    make("polygon", { class: kind, points: `${x},${y - r} ${x + 0.9 * r},${y + 0.7 * r} ${x - 0.9 * r},${y + 0.7 * r}` });

  /**
   * Let a node be dragged by mouse or finger: `to` gets the place in the units of the picture's view box; and be moved
   * by arrow keys: `move` gets their direction.
   */
  function draggable(node, picture, to, move) {
    node.addEventListener("pointerdown", (event) => {
      node.setPointerCapture(event.pointerId);
      event.preventDefault();
    });
    node.addEventListener("pointermove", (event) => {
      if (!node.hasPointerCapture(event.pointerId)) return;
      const box = picture.getBoundingClientRect(), { x, y, width, height } = picture.viewBox.baseVal;
      to([x + ((event.clientX - box.left) / box.width) * width, y + ((event.clientY - box.top) / box.height) * height]);
    });
    node.addEventListener("keydown", (event) => {
      const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (!way) return;
      event.preventDefault();
      move(way);
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

  const figures = {};
  document.addEventListener("DOMContentLoaded", () => {
    for (const figure of document.querySelectorAll("figure.play[data-play]")) {
      const data = JSON.parse(figure.querySelector("script[type='application/json']").textContent);
      figures[figure.dataset.play](figure.querySelector(".play-stage"), data);
    }
  });
  return { make, circle, path, text, triangle, draggable, slider, button, mean, bell, tail, binomial, figures };
})();
