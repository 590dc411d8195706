"""Cards for links: what an equation, a figure, a citation, a term, a theorem or a name of the package is.

After the build, every target that some link points at is taken from its page into `_static/cards.js`, which a page
loads at the first hover, focus or tap (`hover.js`). Formulas that are one symbol of the notation page, in the chapters
that its table names, get the symbol's rows.
"""

from __future__ import annotations

import html
import json
import posixpath
import re
from pathlib import Path

from docutils import nodes
from sphinx.errors import ExtensionError

NOTATION = "book/notation"
LINK = re.compile(r'<a class="[^"]*\breference internal\b[^"]*" href="(?P<page>[^"#]*)#(?P<id>[^"]+)"')
# Everything that gets a card. The pages are made by one program, so that patterns are enough.
TARGETS = [
    re.compile(pattern, re.DOTALL)
    for pattern in (
        r'<div class="math[^"]*" id="(?P<id>equation-[^"]+)">.*?</div>',
        r'<figure [^>]*?id="(?P<id>[^"]+)"[^>]*>.*?</figure>',
        r'<div class="citation" id="(?P<id>[^"]+)"[^>]*>.*?</div>',
        r'<dt id="(?P<id>term-[^"]+)">.*?</dt>\s*<dd>.*?</dd>',
        r'<div class="(?:proof|exercise) [^"]*" id="(?P<id>[^"]+)">.*?</section>\s*</div>',
        r'<dt class="sig[^"]*" id="(?P<id>[^"]+)">.*?</dt>\s*<dd>(?:<p>.*?</p>)?',
        r'<tr class="row-\w+" id="(?P<id>symbol-\d+)">.*?</tr>',
    )
]
# Links that must find their card, or the build fails.
EXPECTED = re.compile(r"equation-|term-|fig-")
# What a card leaves out: links to the place itself, ticks, names and roles of places.
LEFT_OUT = re.compile(
    r'<a class="(?:headerlink|eq-check)".*?</a>|<span class="label">.*?</span>\s*(?=<p>)| (?:id|role)="[^"]*"',
    re.DOTALL,
)
MATH = re.compile(r'<span class="math notranslate nohighlight">\\\((?P<tex>[^<]*?)\\\)</span>')
CHAPTERS = re.compile(r"^Chapters? (?P<list>\d[\d, andto]*)\.$", re.MULTILINE)
# Letters that a chapter uses for something else, on the spot.
LOCAL = {2: {"A"}, 3: {"V"}, 7: {"s"}, 8: {"s"}}


def card(text: str) -> str:
    """What the card of a target shows, given the target's HTML."""
    text = LEFT_OUT.sub("", text)
    if text.startswith("<tr"):
        symbol, meaning, code = re.findall(r"<td>(.*?)</td>", text, re.DOTALL)
        return f'<div class="hover-row">{symbol}{meaning}{code.replace("<p>", "<p>In code: ", 1)}</div>'
    if text.startswith('<dt class="sig'):
        signature, words = text.partition("</dt>")[::2]
        signature = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", signature)).strip()
        return f"<p><code>{signature}</code></p>{words.partition('<dd>')[2]}"
    if text.startswith("<dt"):
        return re.sub(r"<dt>(.*?)</dt>\s*<dd>(.*)</dd>", r"<p><strong>\1</strong></p>\2", text, flags=re.DOTALL)
    return text


def article(page: str) -> str:
    """A page without what the theme puts around it, which has links of its own."""
    return page.partition('<article class="bd-article"')[2].rpartition("</article>")[0]


def collect(pages: dict[str, str]) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Cards by page and target for all links of the pages, and the links that should have one and have none."""
    wanted: dict[str, set[str]] = {}
    for name, body in pages.items():
        for link in LINK.finditer(body):
            page = posixpath.normpath(posixpath.join(posixpath.dirname(name), link["page"])) if link["page"] else name
            wanted.setdefault(page, set()).add(html.unescape(link["id"]))
        for ids in re.findall(r'data-symbol="([^"]+)"', body):
            wanted.setdefault(f"{NOTATION}.html", set()).update(ids.split())
    cards = {}
    for page, ids in sorted(wanted.items()):
        found = [target for pattern in TARGETS for target in pattern.finditer(pages.get(page, ""))]
        cards[page] = {id_: card(target[0]) for target in found if (id_ := html.unescape(target["id"])) in ids}
    missing = [f"{page}#{id_}" for page in wanted for id_ in wanted[page] - set(cards[page]) if EXPECTED.match(id_)]
    return {page: found for page, found in cards.items() if found}, sorted(missing)


# --- Symbols ------------------------------------------------------------------------------------------


def canonical(tex: str) -> str:
    """One spelling of a formula: no spaces that do not matter, no braces around a single sign."""
    text = " ".join(re.findall(r"\\[a-zA-Z]+|\\.|[^\s\\]", tex))
    while (shorter := re.sub(r"\{ (\S+) \}", r"\1", text)) != text:
        text = shorter
    return text


def names(tex: str) -> set[str]:
    """The symbols that a cell of the notation page introduces: the left side of each part, and the parts of a pair."""
    found = set()
    for part in re.split(r"[,;]\\ ", tex):
        left, _, right = part.partition("=")
        left = re.split(r"\\in\b", left)[0].strip()
        found |= {part, left, re.sub(r"\((x|x; w|f\(x\), y|\\theta; w)\)$", "", left)}
        if pair := re.fullmatch(r"\s*\(([^()]*)\)\s*", right):
            found |= set(pair[1].split(","))
    found |= {name.replace("\\pm", sign) for name in found if "\\pm" in name for sign in "+-"}
    return {canonical(name) for name in found}


def numbers(text: str) -> set[int]:
    """The numbers of "2, 4 to 6 and 8"."""
    spans = re.findall(r"(\d+)(?: to (\d+))?", text)
    return {number for first, last in spans for number in range(int(first), int(last or first) + 1)}


def read_symbols(doctree: nodes.document) -> list[tuple[str, set[str], set[int] | None]]:
    """Number the rows of the symbol tables; (row's id, symbols, chapters or None for all) of each."""
    rows = []
    for table in doctree.findall(nodes.table):
        if next(table.findall(nodes.entry)).astext() != "Symbol":
            continue
        said = CHAPTERS.search("\n".join(p.astext() for p in table.parent.children if isinstance(p, nodes.paragraph)))
        chapters = numbers(said["list"]) if said else None
        for row in next(table.findall(nodes.tbody)).children:
            found = {name for math in row.children[0].findall(nodes.math) for name in names(math.astext())}
            row["ids"].append(f"symbol-{len(rows)}")
            rows.append((f"symbol-{len(rows)}", found, chapters))
    return rows


def mark_symbols(body: str, rows, chapter: int) -> str:
    """The page of a chapter, with the rows of every formula that is one symbol named on it."""

    def marked(match: re.Match) -> str:
        tex = canonical(html.unescape(match["tex"]))
        ids = [row for row, found, chapters in rows if tex in found and (chapters is None or chapter in chapters)]
        if not ids or tex in LOCAL.get(chapter, ()):
            return match[0]
        return match[0].replace("<span ", f'<span data-symbol="{" ".join(ids)}" ', 1)

    return MATH.sub(marked, body)


# --- The build ----------------------------------------------------------------------------------------


def _read(app, doctree):
    if app.env.docname == NOTATION:
        app.env.symbols = read_symbols(doctree)


def _mark(app, pagename, templatename, context, doctree):
    number = re.match(r"notebooks/(\d\d)_", pagename)
    if number and context.get("body"):
        context["body"] = mark_symbols(context["body"], getattr(app.env, "symbols", []), int(number[1]))


def _write(app, exception):
    if exception is not None or app.builder.format != "html":
        return
    root, pages = Path(app.outdir), {}
    for name in app.env.found_docs:
        address = app.builder.get_target_uri(name)
        pages[address] = article((root / address).read_text(encoding="utf-8"))
    cards, missing = collect(pages)
    if missing:
        raise ExtensionError(f"links without a card: {', '.join(missing)}")
    text = json.dumps(cards, ensure_ascii=False, separators=(",", ":"))
    (root / "_static" / "cards.js").write_text(f"window.hoverCards = {text};\n", encoding="utf-8")


def setup(app):
    app.connect("doctree-read", _read)
    app.connect("html-page-context", _mark)
    app.connect("build-finished", _write)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
