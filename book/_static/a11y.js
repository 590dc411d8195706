// Accessibility of sphinx-book-theme 1.3 (names that differ from the visible text, a nameless
// region, a nameless switch in the table of contents) and of boxes that scroll sideways (reachable by keyboard).
(() => {
  function repairTheme() {
    for (const el of document.querySelectorAll("summary[aria-label], .search-button-field[aria-label]"))
      el.removeAttribute("aria-label");
    for (const el of document.querySelectorAll(".has-children > details > summary"))
      el.setAttribute("aria-label", `Pages below ${el.closest("li").querySelector("a").textContent}`);
    for (const button of document.querySelectorAll(".theme-switch-button")) silenceIcons(button);
    const bar = document.getElementById("pst-primary-sidebar");
    if (bar && bar.tagName === "DIV") {
      bar.setAttribute("role", "region");
      bar.setAttribute("aria-label", "Book contents and search");
    }
    for (const entry of document.querySelectorAll("[role='doc-biblioentry']"))
      entry.setAttribute("role", "listitem");
  }

  // Font Awesome replaces icons by drawings with titles, some time after the page has loaded.
  function silenceIcons(button) {
    const silence = () => {
      for (const icon of button.querySelectorAll("span, i, svg")) {
        if (icon.getAttribute("aria-hidden") !== "true") icon.setAttribute("aria-hidden", "true");
        for (const title of icon.querySelectorAll("title")) title.remove();
      }
    };
    silence();
    new MutationObserver(silence).observe(button, { childList: true, subtree: true });
  }

  // What can be scrolled must be reachable without a mouse.
  const SCROLLABLE =
    "div.math, mjx-container[display='true'], .equation-checks mjx-container, .pst-scrollable-table-container, " +
    ".cell_output .output, pre, dl.py dt.sig";
  function reachScrollable() {
    for (const box of document.querySelectorAll(SCROLLABLE))
      if (box.scrollWidth > box.clientWidth + 1) {
        if (!box.hasAttribute("tabindex")) box.dataset.scrollStop = box.tabIndex = 0;
      } else if (box.dataset.scrollStop) {
        box.removeAttribute("tabindex");
        delete box.dataset.scrollStop;
      }
  }

  document.addEventListener("DOMContentLoaded", repairTheme);
  window.addEventListener("load", () => {
    const formulas = window.MathJax?.startup?.promise ?? Promise.resolve();
    formulas.then(reachScrollable);
    let timer;
    window.addEventListener("resize", () => {
      clearTimeout(timer);
      timer = setTimeout(reachScrollable, 200);
    });
  });
})();
