"""Folded parts of a page say what is in them, and a click on their bar opens them.

The bar of a hidden cell is named after the figure that the cell draws, or else after its code. The title of a solution
is no longer a link that leads away; the link back to the exercise stands below it.
"""

from __future__ import annotations

import ast

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform


def code_name(code: str, figures: tuple[str, ...] = (), prints: bool = False) -> str:
    """What the bar of a hidden cell says.

    Args:
        figures: the numbers of the figures that the cell draws.
        prints: whether something is printed below the cell.
    """
    if figures:
        return f"Code: figure{'s' * (len(figures) > 1)} {', '.join(figures)}"
    if (first := code.strip().split("\n")[0]).startswith("#"):
        return f"Code: {first.strip('# .')}"
    try:
        body = ast.parse(code).body
    except SyntaxError:  # a magic command
        return "Code"
    if body and isinstance(body[0], ast.Import | ast.ImportFrom):
        return "Code: set-up"
    if prints:
        return "Code: the numbers below"
    if names := [node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)]:
        return f"Code: {', '.join(names[:3])}{', …' * (len(names) > 3)}"
    return "Code: a check" if "assert" in code else "Code: a calculation"


class NameCodeBars(SphinxPostTransform):
    """Before myst-nb makes the bars, and after figures have their numbers."""

    default_priority = 190
    formats = ("html",)

    def run(self, **kwargs):
        numbers = self.env.toc_fignumbers.get(self.env.docname, {}).get("figure", {})
        for cell in self.document.findall(nodes.container):
            if cell.get("nb_element") != "cell_code" or not cell.get("hide_mode"):
                continue
            source = next(cell.findall(nodes.literal_block), None)
            if source is None:
                continue
            shown = tuple(
                ".".join(map(str, numbers[ident]))
                for figure in cell.findall(nodes.figure)
                for ident in figure["ids"]
                if ident in numbers
            )
            printed = any(
                part.get("nb_element") == "cell_code_output" and part.astext().strip()
                for part in cell.findall(nodes.container)
            )
            cell["prompt_show"] = cell["prompt_hide"] = code_name(source.astext(), shown, printed)


class OpenSolutions(SphinxPostTransform):
    """After sphinx-exercise has made the titles of solutions, which are links to their exercises."""

    default_priority = 25
    formats = ("html",)

    def run(self, **kwargs):
        for solution in self.document.findall(lambda node: type(node).__name__ == "solution_node"):
            title = solution.next_node(nodes.title)
            link = title.next_node(nodes.reference)
            if link is None:
                continue
            words = link.children
            title.replace(link, words)
            back = nodes.reference("", "Back to the exercise", internal=True, refuri=link["refuri"])
            solution.insert(1, nodes.paragraph("", "", back, classes=["back-to-exercise"]))


def setup(app):
    app.add_post_transform(NameCodeBars)
    app.add_post_transform(OpenSolutions)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
