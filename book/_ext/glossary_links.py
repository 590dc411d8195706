"""The first use of each glossary term in a chapter becomes a link to the glossary.

Only running text is searched: no headings, captions, code, formulas or links, and no word inside a longer one.
"""

from __future__ import annotations

import re

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.nodes import make_refnode

# Where no term is linked.
CLOSED = (
    nodes.title, nodes.caption, nodes.figure, nodes.table, nodes.literal, nodes.literal_block, nodes.math,
    nodes.math_block, nodes.reference, nodes.raw, nodes.rubric, nodes.term, nodes.image, nodes.citation,
)  # fmt: skip
# Phrases, as patterns, that hold a term's word in another sense.
OTHER = (
    "standard normal", "normal (?:distribution|mode)", "recall (?:that|from|how)", "(?:arbitrary|hidden|one) units?",
    "units? (?:vectors?|variance|covariance|length|circle|of)", "in units", "Its precision", "cost precision",
    "public domain", "Adaptive Anomaly Detection",
)  # fmt: skip


def _pattern(term: str) -> str:
    """A term with its plural; a capital may begin a sentence, abbreviations are as they are."""
    words = [re.escape(word) for word in term.split()]
    last = words[-1]
    if last.endswith("y") and last[-2:-1] not in "aeiou":
        words[-1] = f"{last[:-1]}(?:y|ies)"
    elif last.endswith("s"):
        words[-1] = f"{last[:-1]}s?" if not last.endswith("ss") else last
    else:
        words[-1] = f"{last}(?:s|es)?"
    pattern = r"\s+".join(words)
    return f"[{pattern[0].upper()}{pattern[0]}]{pattern[1:]}" if term[0].islower() else pattern


class Terms:
    """Finds the terms of a glossary in text, the longest first, each once.

    Args:
        names: the terms as the glossary spells them.
    """

    def __init__(self, names):
        self.names = sorted(names, key=lambda name: (-len(name), name))
        other = [f"(?i:{phrase})".replace(" ", r"\s+") for phrase in OTHER]
        phrases = [*other, *(f"(?P<t{i}>{_pattern(name)})" for i, name in enumerate(self.names))]
        self.pattern = re.compile(rf"(?<![\w-])(?:{'|'.join(phrases)})(?![\w-])")
        self.left = set(self.names)

    def split(self, text: str) -> list[str | tuple[str, str]]:
        """The text in parts: strings, and (words, term) for a first use."""
        parts, end = [], 0
        for match in self.pattern.finditer(text):
            name = self.names[int(match.lastgroup[1:])] if match.lastgroup else None
            if name in self.left:
                self.left.discard(name)
                parts += [text[end : match.start()], (match[0], name)]
                end = match.end()
        return [*parts, text[end:]]


class LinkTerms(SphinxPostTransform):
    default_priority = 500

    def run(self, **kwargs):
        docname = self.env.docname
        if not docname.startswith("notebooks/") or self.app.builder.format != "html":
            return
        objects = self.env.get_domain("std").objects
        places = {name: place for (kind, name), place in objects.items() if kind == "term"}
        terms = Terms(places)
        for text in list(self.document.findall(nodes.Text)):
            if not _is_prose(text):
                continue
            parts = terms.split(str(text))
            if len(parts) > 1:
                text.parent.replace(text, [self._node(docname, part, places) for part in parts if part])

    def _node(self, docname, part, places):
        if isinstance(part, str):
            return nodes.Text(part)
        words, name = part
        page, anchor = places[name]
        link = make_refnode(self.app.builder, docname, page, anchor, nodes.Text(words))
        link["classes"].append("term")
        return link


def _is_prose(text: nodes.Text) -> bool:
    node, in_paragraph = text.parent, False
    while node is not None:
        if isinstance(node, CLOSED) or "bibtex-citation" in node.get("classes", ()):
            return False
        in_paragraph = in_paragraph or isinstance(node, nodes.paragraph)
        node = node.parent
    return in_paragraph


def setup(app):
    app.add_post_transform(LinkTerms)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
