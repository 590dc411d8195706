"""A cell tagged `check` shows a tick on the page in the place of its output, which says that two things are equal.

The notebook keeps the output, so that a fresh run is compared with it.
"""

from __future__ import annotations

from docutils import nodes
from equation_checks import tick


def tick_cells(doctree: nodes.document) -> None:
    """Put a tick with the printed words in the place of the output of each cell tagged `check`."""
    for cell in list(doctree.findall(nodes.container)):
        if cell.get("nb_element") != "cell_code" or "tag_check" not in cell["classes"]:
            continue
        for output in [part for part in cell.children if part.get("nb_element") == "cell_code_output"]:
            mark = tick(f"Checked: {' '.join(output.astext().split())}", role="img", tabindex="0")
            output.replace_self(nodes.raw("", f'<div class="cell-check">{mark}</div>', format="html"))


def setup(app):
    app.connect("doctree-read", lambda app, doctree: tick_cells(doctree))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
