"""A formula in the text keeps its punctuation: no comma at the head of a line, no bracket at the end of one.

MathJax makes a box of a formula, and a browser may break the line on both sides of a box.
"""

from __future__ import annotations

import re

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform

AFTER = re.compile(r"(?:-\w+|[^\s\w(])+")
BEFORE = re.compile(r"[(\[“‘]+$")


def keep_punctuation(document) -> None:
    """Formula and punctuation become one span that does not break."""
    for math in list(document.findall(nodes.math)):
        parent, i = math.parent, math.parent.index(math)
        before, after = parent[i - 1] if i else None, parent[i + 1] if i + 1 < len(parent) else None
        head = BEFORE.search(before) if isinstance(before, nodes.Text) else None
        tail = AFTER.match(after) if isinstance(after, nodes.Text) else None
        if not head and not tail:
            continue
        span = nodes.inline("", head[0] if head else "", classes=["nobreak"])
        parent[i] = span
        span += math
        if tail:
            span += nodes.Text(tail[0])
            parent[i + 1] = nodes.Text(after[tail.end() :])
        if head:
            parent[i - 1] = nodes.Text(before[: head.start()])


class KeepPunctuation(SphinxPostTransform):
    """On every page."""

    default_priority = 700
    formats = ("html",)

    def run(self, **kwargs):
        keep_punctuation(self.document)


def setup(app):
    app.add_post_transform(KeepPunctuation)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
