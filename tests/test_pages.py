"""What the build adds to the pages: index of sections, names of folded code, line under the title, reading time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import folded
import nbformat
import nobreak
import page_head
import pytest
import section_search
from docutils import nodes
from docutils.core import publish_doctree
from sphinx import addnodes

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))
import reading_time  # noqa: E402

PAGE = """
Scores
======

What a :math:`\\theta_j` is.

The threshold
-------------

Words, and a *second* sentence.

.. math:: a = b

Deeper
~~~~~~

.. note::

   Inside a box.
"""


def page():
    return publish_doctree(PAGE, settings_overrides={"doctitle_xform": False})


def test_every_section_has_an_entry_with_its_own_text():
    numbers = {"": (1,), "#the-threshold": (1, 2), "#deeper": None}
    assert section_search.entries(page(), numbers) == [
        ("", "1. Scores", "What a θ_j is."),
        ("#the-threshold", "1.2. The threshold", "Words, and a second sentence."),
        ("#deeper", "Deeper", "Inside a box."),
    ]


def test_terms_and_objects_have_entries_hidden_code_and_outputs_have_none():
    tree = page()
    item = nodes.definition_list_item("", nodes.term("", "Episode", ids=["term-Episode"]))
    item += nodes.definition("", nodes.paragraph("", "A small task."))
    tree[0] += addnodes.glossary("", nodes.definition_list("", item))
    head = addnodes.desc_signature("", "judge(x)", ids=["package.judge"])
    tree[0] += addnodes.desc("", head, addnodes.desc_content("", nodes.paragraph("", "Judges.")))
    hidden = type("HideCodeCellNode", (nodes.Element,), {})()
    hidden += nodes.literal_block("", "secret()")
    printed = nodes.container("", nodes.literal_block("", "0.123"), nb_element="cell_code_output")
    printed += nodes.figure("", nodes.caption("", "A drawing."))
    tree[0].insert(1, [hidden, printed, nodes.literal_block("", "shown()")])
    found = section_search.entries(tree, {})
    assert ("#term-Episode", "Episode", "A small task.") in found
    assert ("#package.judge", "package.judge", "Judges.") in found
    assert found[0][2] == "A drawing. shown() What a θ_j is."


@pytest.mark.parametrize(
    ("tex", "words"), [(r"\theta_{w,j}", "θ_w,j"), (r"\mathbf x\le\Delta", "x≤Δ"), (r"\nosuch a\,b", "ab")]
)
def test_formulas_are_readable_in_an_excerpt(tex, words):
    assert section_search.readable(tex).replace(" ", "") == words


@pytest.mark.parametrize(
    ("code", "figures", "prints", "name"),
    [
        ("import torch\nplots.use_style()", (), False, "Code: set-up"),
        ("fig, ax = plots.panels()", ("3.1",), True, "Code: figure 3.1"),
        ("a = 1", ("3.1", "3.2"), False, "Code: figures 3.1, 3.2"),
        ("# Two tables.\nprint(1)", (), True, "Code: Two tables"),
        ("def a(): pass\nclass B: pass\ndef c(): pass\ndef d(): pass", (), False, "Code: a, B, c, …"),
        ("def a(): pass\nprint(a())", (), True, "Code: the numbers below"),
        ("x = 1\nassert x", (), False, "Code: a check"),
        ("x = 1", (), False, "Code: a calculation"),
        ("%matplotlib inline", (), False, "Code"),
    ],
)
def test_a_bar_of_hidden_code_says_what_is_in_it(code, figures, prints, name):
    assert folded.code_name(code, figures, prints) == name


@pytest.mark.parametrize(
    ("parts", "kept"),
    [
        (("First ", "a", ", then"), ["a,"]),
        (("Or (", "b", ") here"), ["(b)"]),
        (("A ", "c", "-fold; x"), ["c-fold;"]),
        (("At ", "d", " alone"), []),
        (("Both (", "a", " and ", "b", "), here"), ["(a", "b),"]),
    ],
)
def test_a_formula_keeps_its_punctuation_and_nothing_else(parts, kept):
    tree = publish_doctree("")
    kinds = (nodes.Text, lambda tex: nodes.math("", tex))
    tree += nodes.paragraph("", "", *(kinds[i % 2](part) for i, part in enumerate(parts)))
    nobreak.keep_punctuation(tree)
    assert tree.astext() == "".join(parts)
    assert [span.astext() for span in tree.findall(nodes.inline)] == kept


def git(folder, *args):
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b.test", *args], cwd=folder, check=True)


def test_the_date_is_that_of_the_release_or_of_the_last_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2001-02-03T12:00:00+00:00")
    file = tmp_path / "CITATION.cff"
    file.write_text("version: 1.2.3\n")
    assert page_head.edition(tmp_path) == ("1.2.3", None)
    git(tmp_path, "init", "-q")
    assert page_head.edition(tmp_path) == ("1.2.3", None)
    git(tmp_path, "add", "CITATION.cff")
    git(tmp_path, "commit", "-q", "-m", "first")
    assert page_head.edition(tmp_path) == ("1.2.3", "2001-02-03")
    file.write_text("version: 1.2.3\ndate-released: 2000-01-02\n")
    assert page_head.edition(tmp_path) == ("1.2.3", "2000-01-02")


def test_the_line_under_a_title_says_what_is_known():
    line = page_head.head("1.2.3", "2001-02-03", "home.html#l", "https://git.test/issues", ("45", "90"))
    for words in ("45 minutes to read", "90 s to run", "Version 1.2.3", "3 February 2001", 'href="home.html#l"'):
        assert words in line
    assert '<a href="https://git.test/issues">Report an error</a>' in line
    bare = page_head.head("1.2.3", None, "home.html#l", None, None)
    assert "to read" not in bare and "<time" not in bare and "Report" not in bare


def test_the_time_moves_from_the_box_to_the_line():
    words = "Reading: 45<!--reading-minutes--> minutes. Running: at most 90 seconds."
    assert page_head.TIME.fullmatch(words).groups() == ("45", "90")


def chapter(*cells):
    return nbformat.v4.new_notebook(cells=list(cells))


def test_reading_time_counts_what_a_reader_sees():
    new = nbformat.v4
    shown = new.new_markdown_cell(
        "# Five plain words are here\n\n:::{note}\n:name: x\nTwo more<!--no-key-->\n:::\n\n$$a=b$$ (label)\n\n"
        "With {numref}`fig <a>` and $x$.\n\n```{figure} a.svg\n```\n\n"
        ":::{admonition} Proof\n:class: dropdown\n\nFolded words\n\n$$c=d$$\n:::\n"
    )
    code = new.new_code_cell("a = 1\n\nb = 2", metadata={"mystnb": {"figure": {}}})
    solving = new.new_code_cell("d = 4")
    hidden = new.new_code_cell("c = 3", metadata={"tags": ["hide-input"]})
    start = new.new_markdown_cell("Solve it.\n\n```{solution-start} a\n```\nNot counted")
    end = new.new_markdown_cell("nor this\n```{solution-end}\n```\nCounted")
    found = reading_time.counts(chapter(shown, code, hidden, start, solving, end))
    assert found == {"word": 15, "formula": 1, "code line": 2, "figure": 2}


@pytest.mark.parametrize(("words", "minutes"), [(180, 5), (1800, 10), (2300, 15)])
def test_reading_time_is_rounded_to_five_minutes(words, minutes):
    assert reading_time.minutes(chapter(nbformat.v4.new_markdown_cell("word " * words))) == minutes
