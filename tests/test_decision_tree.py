"""Chapter 13's table and tree are those of the stored comparisons."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import nbformat
from test_benchmarks import EVIDENCE, report

CHAPTER = Path(__file__).resolve().parents[1] / "notebooks" / "13_from_score_to_decision.ipynb"
CELLS = nbformat.read(CHAPTER, as_version=4).cells
# What a leaf of the figure calls each way.
WORDS = {
    "neighbour": "nearest neighbour",
    "mixed": "mean of simple detectors, with the labels",
    "emp. Bayes": "empirical Bayes",
    "Gaussian-ized": "Gaussianized empirical Bayes",
    "features": "features of an ordinary classifier",
    "prototypes": "prototypes",
}


def shown():
    """The tree that the figure draws."""
    (cell,) = [c for c in CELLS if c.cell_type == "code" and "draw.tree(" in c.source]
    return ast.literal_eval(ast.parse(cell.source).body[0].value)


def computed(tree=report.TREE):
    if report.is_leaf(tree):
        way, against = report.leaf(EVIDENCE, tree)
        assert not against, "a line contradicts its leaf: name it in the chapter"
        return f"{WORDS[way]} ({len(tree)} line{'s' * (len(tree) > 1)})"
    return tree[0], computed(tree[1]), computed(tree[2])


def test_the_figure_draws_the_tree_of_the_table():
    assert shown() == computed()


def test_every_line_falls_into_one_leaf_and_stands_in_the_text():
    lines = [key for leaf in report.leaves() for key in leaf]
    assert sorted(lines) == sorted(report.ASKED)
    (text,) = [c.source for c in CELLS if c.cell_type == "markdown" and "## Do you need meta-learning?" in c.source]
    assert all(f"<!--evidence::ask-{key}-gap-->" in text for key in lines)


def test_a_leaf_follows_its_lines():
    assert report.leaf(EVIDENCE, ("known", "known-2", "new"))[0] == "features"
    assert report.leaf(EVIDENCE, ("known-2", "new"))[0] == "logistic"  # simpler, and level on both
    way, against = report.leaf(EVIDENCE, ("omni-2", "omni-5", "letters"))
    assert (way, against) == ("prototypes", ("letters",))


def test_level_is_behind_none():
    standing = report.standing(report.row_of(EVIDENCE, "labels-100"))
    assert not standing["neighbour"][1] and standing["mixed"][1]
    found = report.row_of(EVIDENCE, "omni-2")
    level = [way for way, (_, on) in report.standing(found).items() if on]
    assert level == ["prototypes"] and found.minus("pooled features", "prototypes").high < 0


def test_counts_of_the_text_are_those_of_the_lines():
    cells = report.asked(EVIDENCE)
    assert cells["ask-ahead"] + cells["ask-level"] + cells["ask-behind"] == len(report.ASKED) == cells["ask-lines"]
    single = sum(len(leaf) == 1 for leaf in report.leaves())
    assert cells["ask-tried"] == len(report.ASKED) - single >= cells["ask-right"]
    quoted = json.loads((report.RESULTS / "quoted.json").read_text())
    assert cells == {key: value for key, value in quoted.items() if key.startswith("ask-")}
