"""Cells that print nothing but "these are equal" are tagged, and the page shows a tick in the place of the words."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import nbformat
import pytest
from docutils import nodes
from docutils.utils import new_document

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
sys.path.insert(0, str(ROOT / "book" / "_ext"))
from check_cells import tick_cells  # noqa: E402

EQUAL = re.compile(r"\b(?:agrees?|equal|1e-\d+)\b")
HIDDEN = {"hide-cell", "remove-cell", "remove-output"}


def problems(nb):
    """Cells whose every printed line says "equal" without the tag; tagged ones that say more or assert nothing."""
    found = []
    for i, cell in enumerate((c for c in nb.cells if c.cell_type == "code"), 1):
        tags, printed = set(cell.metadata.get("tags", [])), [o for o in cell.outputs if o.output_type == "stream"]
        alone = len(printed) == len(cell.outputs) == 1
        if "check" in tags:
            if not alone or len(printed[0].text.splitlines()) > 2:
                found.append(f"code cell {i} is tagged check, but shows more than a line or two of words")
            if not re.search(r"\bassert\b|\bassert_\w+\(", cell.source):
                found.append(f"code cell {i} is tagged check and asserts nothing")
        elif alone and not HIDDEN & tags and all(map(EQUAL.search, printed[0].text.splitlines())):
            found.append(f"code cell {i} only says that things are equal: tag it check")
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_cells_that_only_say_equal_are_tagged(path):
    assert problems(nbformat.read(path, as_version=4)) == []


@pytest.mark.parametrize(
    ("source", "printed", "tags", "count"),
    [
        ("assert a == b", ["equal to 1e-12\n"], ["check"], 0),
        ("assert a == b", ["equal to 1e-12\n"], [], 1),
        ("assert a == b", ["the losses agree\n"], ["remove-cell"], 0),
        ("assert a == b", ["equal to 1e-12\nAUROC 0.9\n"], [], 0),
        ("print(a)", ["equal to 1e-12\n"], ["check"], 1),
        ("assert a == b", ["one\ntwo\nthree\n"], ["check"], 1),
        ("assert a == b", [], ["check"], 1),
    ],
)
def test_problems_are_found(source, printed, tags, count):
    new = nbformat.v4
    outputs = [new.new_output("stream", name="stdout", text=text) for text in printed]
    cell = new.new_code_cell(source, outputs=outputs, metadata={"tags": tags})
    assert len(problems(new.new_notebook(cells=[cell]))) == count


def built(tag):
    """A cell as MyST-NB hands it over: code, then output."""
    cell = nodes.container("", classes=["cell", tag], nb_element="cell_code")
    for part, text in (("cell_code_source", "assert a == b"), ("cell_code_output", 'equal "to"\n1e-12')):
        cell += nodes.container("", nodes.literal_block(text, text), nb_element=part)
    doctree = new_document("chapter")
    doctree += cell
    tick_cells(doctree)
    return cell


def test_the_output_becomes_a_tick_and_the_code_stays():
    code, tick = built("tag_check").children
    assert code.astext() == "assert a == b" and isinstance(tick, nodes.raw)
    assert 'aria-label="Checked: equal &quot;to&quot; 1e-12"' in tick.astext() and "\u2713" in tick.astext()
    assert 'tabindex="0"' in tick.astext()
    assert built("tag_hide-input").children[1].astext() == 'equal "to"\n1e-12'
