"""Result tables: text and HTML say the same, and mark the best."""

from __future__ import annotations

import re

import numpy as np
import pytest

from metaad_tutorial.metrics import Interval
from metaad_tutorial.report import Table

ROWS = {"a < b": [Interval(0.9, 0.85, 0.95), 3, "yes"], "c": [Interval(0.95, 0.9, 1.0), np.int64(2), "no"]}
HEAD = ["AUROC", "s", "good"]


def marked(table):
    return re.findall("<strong>(.*?)</strong>", table._repr_html_())


def test_text_is_aligned():
    text = str(Table(HEAD, ROWS, digits=2, corner="method", caption="two units"))
    assert text.splitlines() == [
        "method              AUROC  s  good",
        "a < b   0.90 [0.85, 0.95]  3   yes",
        "c       0.95 [0.90, 1.00]  2    no",
        "two units",
    ]
    assert repr(Table(HEAD, ROWS)) == str(Table(HEAD, ROWS))


def test_the_page_shows_the_same_cells():
    table = Table(HEAD, ROWS, caption="<two>")
    page = table._repr_html_()
    assert page.count("<tr>") == 3 and "a &lt; b" in page and "<caption>&lt;two&gt;</caption>" in page
    for row in table.cells[1:]:
        assert all(cell.replace("<", "&lt;") in page for cell in row)


def test_the_best_is_marked():
    assert marked(Table(HEAD, ROWS)) == []
    assert marked(Table(HEAD, ROWS, best=("max", "min", None))) == ["0.950 [0.900, 1.000]", "2"]
    assert marked(Table(["x"], {"a": [1.0], "b": [2.0]}, best="min")) == ["1.000"]
    assert marked(Table(["x"], {"a": [0.1], "limit": [2.0]}, best="max", running=["a"])) == ["0.100"]
    equal = {"a": [0.9501], "b": [0.9502]}  # not told apart by what is shown
    assert marked(Table(["x"], equal, best="max")) == ["0.950", "0.950"]


def test_no_header_is_empty():
    assert (
        "<td></td>" in Table(["x"], {"a": [1]})._repr_html_() and "></th>" not in Table(["x"], {"a": [1]})._repr_html_()
    )
    assert '<th scope="col">method</th>' in Table(["x"], {"a": [1]}, corner="method")._repr_html_()


def test_rows_must_fit():
    with pytest.raises(ValueError, match="Row 'a' has 1 values for 2 columns"):
        Table(["x", "y"], {"a": [1]})
