"""An index of all sections for the search page: one script, which a page opened from disk may load.

Sphinx's own search needs a server to show where in a page a word stands. Here a section has its own entry, as have an
object of the package and a term of the glossary: title, anchor and text. ``_static/search.js`` looks them through.
"""

from __future__ import annotations

import json
import re
import unicodedata
from pathlib import Path

from docutils import nodes
from sphinx import addnodes

SKIPPED = (nodes.comment, nodes.raw, nodes.math_block, nodes.system_message, nodes.image, addnodes.index)
STYLES = r"\\(?:mathrm|mathbf|mathcal|mathbb|text|operatorname|boldsymbol|bar|hat|tilde|left|right)\b\*?"
NAMES = {"lambda": "λ", "varepsilon": "ε", "le": "≤", "ge": "≥", "times": "×", "cdot": "·", "infty": "∞", "in": "∈"}


def readable(tex: str) -> str:
    """A short formula in plain letters, as far as there are such."""

    def letter(match: re.Match) -> str:
        name = match[1]
        case = "CAPITAL" if name[0].isupper() else "SMALL"
        try:
            return NAMES.get(name) or unicodedata.lookup(f"GREEK {case} LETTER {name}")
        except KeyError:
            return " "

    tex = re.sub(r"\\([a-zA-Z]+)", letter, re.sub(STYLES, "", tex))
    return re.sub(r"\\.|[{}$&~]", "", tex).strip()


def text_of(node) -> str:
    """What a reader sees of a node, without the sections in it, display formulas, hidden code and outputs."""
    if isinstance(node, nodes.Text):
        return node.astext()
    if isinstance(node, nodes.math):
        return readable(node.astext())
    if isinstance(node, SKIPPED) or type(node).__name__ == "HideCodeCellNode":
        return " "
    children = node.children
    if node.get("nb_element") == "cell_code_output":
        children = node.findall(nodes.caption)
    inside = "".join(text_of(child) for child in children if not is_part(child))
    return inside if isinstance(node, nodes.Inline) else f" {inside} "


def is_part(node) -> bool:
    """Whether a node has an entry of its own."""
    if isinstance(node, nodes.section):  # an exercise has sections without a title
        return any(isinstance(child, nodes.title) for child in node.children)
    term = isinstance(node, nodes.definition_list_item) and isinstance(node.parent.parent, addnodes.glossary)
    return isinstance(node, addnodes.desc) or term


def entries(doctree, numbers: dict[str, tuple[int, ...] | None]) -> list[tuple[str, str, str]]:
    """Anchor, title and text of every part of a page; the first is the page itself, with an empty anchor.

    Args:
        numbers: anchor -> numbers of the section, as Sphinx counts them.
    """
    found = []
    for part in doctree.findall(is_part):
        if isinstance(part, addnodes.desc):
            head = next(part.findall(addnodes.desc_signature))
            ident, title = head["ids"][:1], head["ids"][0] if head["ids"] else ""
        elif isinstance(part, nodes.section):
            head = part.next_node(nodes.title)
            ident, title = part["ids"][:1], text_of(head)
        else:
            head = part.next_node(nodes.term)
            ident, title = head["ids"][:1], text_of(head)
        if not ident:
            continue
        anchor = f"#{ident[0]}" if found else ""
        number = ".".join(map(str, numbers.get(anchor) or ()))
        body = "".join(text_of(child) for child in part.children if child is not head and not is_part(child))
        title = " ".join(f"{number}. {title}".split()) if number else " ".join(title.split())
        found.append((anchor, title, " ".join(body.split())))
    return found


def _collect(app, doctree, docname):
    if app.builder.name != "html":
        return
    pages = app.env.__dict__.setdefault("search_pages", {})
    pages[docname] = entries(doctree, app.env.toc_secnumbers.get(docname, {}))


def _write(app, exception):
    if exception is not None or app.builder.name != "html":
        return
    pages = {name: parts for name, parts in sorted(app.env.search_pages.items()) if parts}
    packed = json.dumps(
        [[app.builder.get_target_uri(name), parts] for name, parts in pages.items()],
        ensure_ascii=False,
        separators=(",", ":"),
    )
    (Path(app.outdir) / "_static" / "sections.js").write_text(f"window.bookSections={packed}\n", encoding="utf-8")


def setup(app):
    app.config.templates_path.append(str(Path(__file__).parents[1] / "_templates"))
    app.connect("doctree-resolved", _collect, priority=900)
    app.connect("build-finished", _write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
