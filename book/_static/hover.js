// Cards: what a link points at, shown beside it on hover, on keyboard focus or on a first tap. The contents are made
// by hover_cards.py and loaded when they are first asked for. Escape puts a card away; so does leaving it.
(() => {
  const ROOT = new URL(document.documentElement.dataset.content_root || "./", location.href);
  const NOTATION = "book/notation.html";
  const OWNERS = ".bd-article :is(a.reference.internal[href*='#'], [data-symbol])";
  const SHOW_AFTER = 250, HIDE_AFTER = 300; // milliseconds
  let card, owner, timer, cards, touched;

  function script(path, ready) {
    return new Promise((done) => {
      const tag = document.createElement("script");
      tag.src = new URL(path, ROOT);
      tag.onload = tag.onerror = () => done(ready());
      document.head.append(tag);
    });
  }
  const load = () => (cards ??= script("_static/cards.js", () => window.hoverCards ?? {}));

  async function formulas() {
    if (!window.MathJax) {
      window.MathJax = { startup: { typeset: false }, options: { processHtmlClass: "math" } };
      await script("_static/mathjax/tex-chtml.js", () => {});
    }
    await MathJax.startup.promise;
    await MathJax.typesetPromise([card]);
  }

  /** The page and the targets that a link or a symbol stands for. */
  function targets(el) {
    if (el.dataset.symbol) return [NOTATION, el.dataset.symbol.split(" ")];
    const url = new URL(el.href);
    return [decodeURI(url.pathname.slice(ROOT.pathname.length)), [decodeURIComponent(url.hash.slice(1))]];
  }

  /** Nodes of a card. Its addresses are written for the page that they come from. */
  function parse(text, page) {
    const { body } = new DOMParser().parseFromString(text, "text/html");
    for (const name of ["href", "src"])
      for (const el of body.querySelectorAll(`[${name}]`))
        el.setAttribute(name, new URL(el.getAttribute(name), new URL(page, ROOT)));
    return [...body.childNodes];
  }

  function build() {
    card = document.createElement("div");
    card.id = card.className = "hover-card";
    card.setAttribute("role", "note");
    card.setAttribute("aria-label", "Preview");
    card.hidden = true;
    document.querySelector("main").append(card);
  }

  /** Show the card of a link or symbol; false if it has none. `y` is where the pointer is. */
  async function show(el, { y = 0, tapped = false } = {}) {
    if (el === owner) return true;
    hide();
    owner = el;
    const known = await load();
    const [page, ids] = targets(el);
    const texts = ids.map((id) => known[page]?.[id]).filter(Boolean);
    if (owner !== el || !texts.length) return owner !== el;
    if (!card) build();
    el.removeAttribute("title"); // the card says the same
    card.replaceChildren(...texts.flatMap((text) => parse(text, page)));
    if (tapped || el.dataset.symbol) {
      const go = document.createElement("a");
      go.className = "hover-go";
      go.href = el.href ?? new URL(`${NOTATION}#${ids[0]}`, ROOT);
      go.textContent = el.dataset.symbol ? "Notation" : "Go there";
      card.append(go);
    }
    card.style.visibility = "hidden";
    card.hidden = false;
    if (card.querySelector(".math")) await formulas();
    if (owner !== el) return true;
    place(y);
    for (const box of [card, ...card.querySelectorAll("div.math, mjx-container")])
      if (box.scrollWidth > box.clientWidth + 1 || box.scrollHeight > box.clientHeight + 1) box.tabIndex = 0;
    card.style.visibility = "";
    el.setAttribute("aria-describedby", card.id);
    for (const img of card.querySelectorAll("img")) img.addEventListener("load", () => owner === el && place(y));
    return true;
  }

  /** Below the link's line, or above where there is more room. On a phone the style sheet puts it at the head or foot. */
  function place(y) {
    const lines = [...owner.getClientRects()];
    const line = lines.find((box) => box.bottom >= y) ?? lines[0];
    const below = innerHeight - line.bottom, above = line.top;
    const { width, height } = card.getBoundingClientRect();
    const down = below > height + 8 || below > above;
    card.classList.toggle("hover-head", below < above);
    card.style.left = `${Math.max(8, Math.min(line.left, document.documentElement.clientWidth - width - 8))}px`;
    card.style.top = `${Math.max(8, down ? Math.min(line.bottom + 4, innerHeight - height - 8) : line.top - height - 4)}px`;
  }

  function hide() {
    clearTimeout(timer);
    owner?.removeAttribute("aria-describedby");
    owner = undefined;
    if (!card || card.hidden) return;
    card.hidden = true;
    card.removeAttribute("tabindex");
    window.MathJax?.typesetClear?.([card]);
  }

  const later = (what, time) => { clearTimeout(timer); timer = setTimeout(what, time); };
  const inCard = (node) => card && card.contains(node);
  const ownerOf = (node) => node instanceof Element && node.closest(OWNERS);

  document.addEventListener("pointerover", (e) => {
    if (e.pointerType === "touch") return;
    const el = ownerOf(e.target);
    if (inCard(e.target) || (el && el === owner)) clearTimeout(timer);
    else if (el) later(() => show(el, { y: e.clientY }), SHOW_AFTER);
  });
  document.addEventListener("pointerout", (e) => {
    if (e.pointerType === "touch" || !(inCard(e.target) || ownerOf(e.target))) return;
    later(hide, HIDE_AFTER);
  });
  document.addEventListener("focusin", (e) => {
    if (inCard(e.target)) return;
    const el = ownerOf(e.target);
    if (el && e.target.matches(":focus-visible")) show(el);
    else if (!touched) hide();
  });
  document.addEventListener("keydown", (e) => { if (e.key === "Escape") hide(); });
  document.addEventListener("scroll", () => { if (owner && card && !card.hidden) place(0); }, { passive: true });
  document.addEventListener("pointerdown", (e) => { touched = e.pointerType === "touch"; }, true);
  document.addEventListener("click", (e) => {
    if (inCard(e.target)) return;
    const el = ownerOf(e.target);
    if (!touched || !el) return hide();
    if (el === owner && !card?.hidden) return; // the second tap follows the link
    e.preventDefault();
    show(el, { y: e.clientY, tapped: true }).then((shown) => {
      if (!shown && el.href) location.href = el.href;
    });
  });
})();
