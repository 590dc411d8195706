// Search in the sections of the book (sections.js), from disk as well: every word of the query must be in a section or
// in the title of its page. A word finds those that begin with it, in American and in British spelling.
(() => {
  // Both spellings, both numbers and both past tenses become one. It need not be a word, only the same for both.
  const RULES = [
    [/(neighb|col|behavi|fav|lab|hon|harb|rum|vap|hum|flav|endeav|rig|vig)our/, "$1or"],
    [/z/g, "s"],
    [/ll(?=ed$|ing$|er$|ers$)/, "l"],
    [/^(cent|met|lit|fib)re/, "$1er"],
    [/^center?(ed|d)$/, "centerd"],
    [/^cent(?:r|er)ing$/, "centering"],
    [/^(defen|offen|licen|practi)c(?=e|ing)/, "$1s"],
    [/^gray/, "grey"],
    [/^artefact/, "artifact"],
    [/^judgement/, "judgment"],
    [/^programme(?=s?$)/, "program"],
    [/(ana|cata|dia)logue/, "$1log"],
    [/^(learn|burn|dream|lean)ed$/, "$1t"],
    [/([^s])s$/, "$1"],
  ];
  const SMALL = new Set("a an and are as at be by for from how in is it of on or the to what which with".split(" "));
  const FIRST = 25; // results shown before the button
  const known = new Map();

  function spelling(word) {
    const low = word.toLowerCase();
    if (!known.has(low)) known.set(low, RULES.reduce((made, [from, to]) => made.replace(from, to), low));
    return known.get(low);
  }

  const tokens = (text) =>
    [...text.matchAll(/[\p{L}\p{N}]+/gu)].map((m) => ({ at: m.index, end: m.index + m[0].length, word: spelling(m[0]) }));
  const fits = (word, wanted) => word === wanted || (wanted.length > 2 && word.startsWith(wanted));

  let sections;
  function load() {
    sections ??= window.bookSections.flatMap(([url, parts]) =>
      parts.map(([anchor, title, text]) => ({
        url: url + anchor, title, text, page: parts[0][1],
        inTitle: tokens(title), inText: tokens(text), inPage: tokens(parts[0][1]),
      })));
    return sections;
  }

  /** How well a section fits all words; 0 if one of them is missing or all are in the page's title alone. */
  function score(section, words) {
    let sum = 0, own = false;
    for (const word of words) {
      const times = (list) => list.reduce((n, t) => n + (t.word === word ? 1 : fits(t.word, word) ? 0.5 : 0), 0);
      const [title, text, page] = [section.inTitle, section.inText, section.inPage].map(times);
      if (!title && !text && !page) return 0;
      own ||= title + text > 0;
      sum += 8 * Math.min(title, 1) + 2 * Math.min(page, 1) + Math.log2(1 + text);
    }
    if (!own) return 0;
    for (const [list, bonus] of [[section.inTitle, 12], [section.inText, 4]])
      if (words.length > 1 && list.some((_, i) => words.every((word, k) => list[i + k] && fits(list[i + k].word, word))))
        sum += bonus;
    return sum;
  }

  const wordsOf = (query) => {
    const all = [...new Set(tokens(query).map((t) => t.word))];
    const telling = all.filter((word) => !SMALL.has(word));
    return telling.length ? telling : all;
  };

  /** Sections that hold all words of the query, best first. */
  function find(query) {
    const words = wordsOf(query);
    if (!words.length) return [];
    return load()
      .map((section) => ({ section, score: score(section, words) }))
      .filter((each) => each.score > 0)
      .sort((a, b) => b.score - a.score)
      .map((each) => each.section);
  }

  /** The text with its hits in <mark>. */
  function marked(box, text, hits, from = 0, to = text.length) {
    let at = from;
    for (const hit of hits.filter((h) => h.at >= from && h.end <= to)) {
      const mark = document.createElement("mark");
      mark.textContent = text.slice(hit.at, hit.end);
      box.append(text.slice(at, hit.at), mark);
      at = hit.end;
    }
    box.append(text.slice(at, to));
    return box;
  }

  /** About 200 letters of the section around the place with the most different words of the query. */
  function excerpt(section, words) {
    const box = document.createElement("p"), { text, inText } = section;
    const hits = inText.filter((t) => words.some((word) => fits(t.word, word)));
    const rich = (hit) => new Set(hits.filter((h) => h.at >= hit.at && h.at < hit.at + 140).map((h) => h.word)).size;
    const best = hits.reduce((a, b) => (a && rich(a) >= rich(b) ? a : b), null);
    const start = Math.max(0, (best?.at ?? 0) - 60);
    const from = start ? text.indexOf(" ", start) + 1 : 0;
    const end = Math.max(from, text.length > from + 210 ? text.lastIndexOf(" ", from + 210) : text.length);
    if (from) box.append("… ");
    marked(box, text, hits, from, end);
    if (end < text.length) box.append(" …");
    return box;
  }

  function item(section, words) {
    const row = document.createElement("li"), link = document.createElement("a");
    link.href = section.url;
    marked(link, section.title, section.inTitle.filter((t) => words.some((word) => fits(t.word, word))));
    row.append(link);
    if (section.page !== section.title)
      row.append(Object.assign(document.createElement("span"), { className: "search-page", textContent: section.page }));
    row.append(excerpt(section, words));
    return row;
  }

  /** What to try where nothing is found. */
  function advice(query) {
    const box = document.createElement("div");
    const missing = tokens(query).map((t) => query.slice(t.at, t.end)).filter((word) => !find(word).length);
    box.innerHTML =
      "<p></p><p>Try fewer words, or the beginning of one: it finds all that begin so. Or look into the " +
      '<a href="book/glossary.html">glossary</a>, the <a href="book/notation.html">notation</a>, the ' +
      '<a href="book/faq.html">questions and answers</a> or the <a href="book/api.html">package reference</a>.</p>';
    box.firstChild.textContent = missing.length
      ? `Not in the book: ${missing.join(", ")}.`
      : "Each of these words is in the book, but no section has them all.";
    return box;
  }

  function show(query, out, status) {
    const words = wordsOf(query);
    out.replaceChildren();
    document.title = document.title.replace(/^.*?Search/, query ? `${query} - Search` : "Search");
    if (!words.length) return void (status.textContent = "Type one word or more.");
    const found = find(query), pages = new Set(found.map((section) => section.page)).size;
    const count = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;
    if (!found.length) {
      status.textContent = `Nothing found for “${query}”.`;
      return out.append(advice(query));
    }
    status.textContent = `${count(found.length, "section")} on ${count(pages, "page")}.`;
    const list = document.createElement("ol");
    list.append(...found.slice(0, FIRST).map((section) => item(section, words)));
    out.append(list);
    if (found.length <= FIRST) return;
    const more = Object.assign(document.createElement("button"), {
      className: "search-more", type: "button", textContent: `Show all ${found.length}`,
    });
    more.addEventListener("click", () => {
      list.append(...found.slice(FIRST).map((section) => item(section, words)));
      list.children[FIRST].querySelector("a").focus();
      more.remove();
    });
    out.append(more);
  }

  document.addEventListener("DOMContentLoaded", () => {
    const results = document.getElementById("search-results");
    const fields = [...document.querySelectorAll("input[name='q']")];
    const status = document.createElement("p"), out = document.createElement("div");
    status.setAttribute("role", "status");
    results.append(status, out);
    const run = (query) => {
      for (const field of fields) if (field.value !== query) field.value = query;
      show(query.trim(), out, status);
    };
    // the region must be there before its words, or a screen reader does not say them
    setTimeout(() => run(new URLSearchParams(location.search).get("q") ?? ""), 100);
    let timer;
    for (const field of fields)
      field.addEventListener("input", () => {
        clearTimeout(timer);
        timer = setTimeout(() => run(field.value), 250);
      });
  });
  window.bookSearch = { find, spelling };
})();
