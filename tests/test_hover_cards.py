"""Cards, links of terms and links in code: what they are made of, on small pages."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from docutils import nodes

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book" / "_ext"))
import code_links  # noqa: E402
import glossary_links  # noqa: E402
import hover_cards  # noqa: E402

PAGES = {
    "notebooks/01_a.html": """
<p>See <a class="reference internal" href="#equation-loss">(1.1)</a>,
<a class="reference internal" href="02_b.html#fig-b"><span>Fig. 2.1</span></a>,
<a class="term reference internal" href="../book/glossary.html#term-task">tasks</a>,
<a class="reference internal" href="../book/glossary.html#terms">all</a> and
<span data-symbol="symbol-1" class="math notranslate nohighlight">\\(w\\)</span>.</p>
<div class="math notranslate nohighlight" id="equation-loss">
<span class="eqno"><a class="eq-check" href="x">tick</a>(1.1)<a class="headerlink" href="#e">#</a></span>
\\[a\\]</div>
<div class="math notranslate nohighlight" id="equation-alone">\\[b\\]</div>""",
    "notebooks/02_b.html": """
<figure class="align-default" id="fig-b">
<img alt="A curve" src="../_images/b.png" /><figcaption><p>A curve.</p></figcaption></figure>
<div class="proof definition admonition" id="def-b"><p class="admonition-title">Definition 2.1</p>
<section class="definition-content" id="proof-content"><p>Words.</p>
<div class="math" id="equation-in"> \\[c\\]</div>
</section>
</div><p>See <a class="reference internal" href="#def-b">2.1</a> and
<a class="reference internal" href="../book/api/a.html#pkg.draw"><code>draw</code></a>.</p>""",
    "book/glossary.html": """<dl><dt id="term-task">task<a class="headerlink" href="#t">#</a></dt>
<dd><p>One problem.</p></dd></dl>""",
    "book/notation.html": """<table>
<tr class="row-even" id="symbol-0"><td><p>x</p></td><td><p>a point</p></td><td></td></tr>
<tr class="row-odd" id="symbol-1"><td><p>w</p></td><td><p>weights</p></td><td><p>start</p></td></tr></table>""",
    "book/api/a.html": """<dl><dt class="sig sig-object py" id="pkg.draw">
<span class="n">draw</span><span>(</span><em>n</em><span>)</span><a class="headerlink" href="#pkg.draw">#</a></dt>
<dd><p>Draw n points.</p>
<p>More.</p></dd></dl>""",
}


def test_every_link_gets_the_card_of_its_target_and_no_other_is_stored():
    cards, missing = hover_cards.collect(PAGES)
    assert missing == []
    assert {page: set(found) for page, found in cards.items()} == {
        "notebooks/01_a.html": {"equation-loss"},
        "notebooks/02_b.html": {"fig-b", "def-b"},
        "book/glossary.html": {"term-task"},
        "book/notation.html": {"symbol-1"},
        "book/api/a.html": {"pkg.draw"},
    }
    equation = cards["notebooks/01_a.html"]["equation-loss"]
    assert "(1.1)" in equation and "\\[a\\]" in equation
    assert not any(mark in equation for mark in ("tick", "headerlink", " id="))
    assert "A curve." in cards["notebooks/02_b.html"]["fig-b"] and "<img" in cards["notebooks/02_b.html"]["fig-b"]
    definition = cards["notebooks/02_b.html"]["def-b"]
    assert "\\[c\\]" in definition and definition.endswith("</section>\n</div>")
    assert cards["book/glossary.html"]["term-task"].startswith("<p><strong>task</strong></p><p>One problem.</p>")
    row = cards["book/notation.html"]["symbol-1"]
    assert row == '<div class="hover-row"><p>w</p><p>weights</p><p>In code: start</p></div>'
    assert cards["book/api/a.html"]["pkg.draw"] == "<p><code>draw(n)</code></p><p>Draw n points.</p>"


def test_a_link_to_an_equation_that_is_not_there_is_told():
    page = '<a class="reference internal" href="01_a.html#equation-gone">(9)</a>'
    assert hover_cards.collect(PAGES | {"notebooks/03_c.html": page})[1] == ["notebooks/01_a.html#equation-gone"]


@pytest.mark.parametrize(
    ("cell", "tex"),
    [
        (r"w = (\omega, b)", r"w"), (r"w = (\omega, b)", r"\omega"), (r"w = (\omega, b)", r"w=(\omega,b)"),
        (r"n_-,\ n_+", r"n_+"), (r"x \in \mathbb{R}^d", r"x\in\mathbb R^d"), (r"x \in \mathbb{R}^d", r"x"),
        (r"f(x)", r"f"), (r"\mathcal{S}_i", r"\mathcal S_i"), (r"\zeta_\pm,\ \eta_\pm", r"\eta_-"),
    ],
)  # fmt: skip
def test_a_cell_of_the_notation_page_names_its_symbols(cell, tex):
    assert hover_cards.canonical(tex) in hover_cards.names(cell)
    assert hover_cards.canonical("q") not in hover_cards.names(cell)


def test_a_formula_of_one_symbol_gets_its_rows_in_the_chapters_of_the_table():
    rows = [
        ("symbol-0", {"x"}, None),
        ("symbol-1", {"m"}, {5}),
        ("symbol-2", {"m", "s"}, hover_cards.numbers("4, 6 to 8")),
    ]
    body = "".join(rf'<p><span class="math notranslate nohighlight">\({tex}\)</span></p>' for tex in ("m", "x + m"))
    assert hover_cards.mark_symbols(body, rows, 1) == body
    for chapter, row in ((5, "symbol-1"), (7, "symbol-2")):
        marked = hover_cards.mark_symbols(body, rows, chapter)
        assert marked.count("data-symbol") == 1 and f'<span data-symbol="{row}" class="math' in marked
    body = body.replace("m", "s", 1).replace(r"\(m\)", r"\(s\)")
    assert "s" in hover_cards.LOCAL[7] and hover_cards.mark_symbols(body, rows, 7) == body


def test_the_tables_of_the_notation_page_say_their_chapters():
    text = (ROOT / "book" / "notation.md").read_text(encoding="utf-8")
    said = [section for section in text.split("\n## ") if "\n| Symbol |" in section]
    assert len(said) == 11
    without = [section.split("\n")[0] for section in said if not hover_cards.CHAPTERS.search(section)]
    assert without == ["Points, labels, scores"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Support sets and a support set.", ["Support sets"]),
        ("The set supports it.", []),
        ("Anomalies, an anomaly", ["Anomalies"]),
        ("first-order MAML and MAML", ["first-order MAML", "MAML"]),
        ("first-order MAML and\nfirst-order\nMAML, MAML-like, a maml", ["first-order MAML"]),
        ("Standard normal, a unit vector, then normal units", []),
        ("a standard normal, then normal readings of a unit", ["normal", "unit"]),
        ("in arbitrary\nunits, a hidden unit", []),
        ("generative method", ["generative method"]),
        ("self-supervised, abnormal, subtask", []),
    ],
)
def test_terms_are_found_once_and_as_whole_words(text, found):
    names = ["support set", "anomaly", "MAML", "first-order MAML", "normal", "unit", "generative methods", "supervised"]
    names.append("task")
    terms = glossary_links.Terms(names)
    if text.startswith("Standard"):
        terms.left -= {"unit", "normal"}
    parts = terms.split(text)
    assert "".join(part if isinstance(part, str) else part[0] for part in parts) == text
    assert [part[0] for part in parts if not isinstance(part, str)] == found


@pytest.mark.parametrize(
    ("kinds", "prose"),
    [
        ([nodes.section, nodes.paragraph, nodes.emphasis], True),
        ([nodes.section, nodes.title], False),
        ([nodes.paragraph, nodes.literal], False),
        ([nodes.paragraph, nodes.reference], False),
        ([nodes.paragraph, nodes.math], False),
        ([nodes.figure, nodes.caption], False),
        ([nodes.figure, nodes.paragraph], False),
        ([nodes.table, nodes.entry, nodes.paragraph], False),
    ],
)
def test_only_running_text_is_prose(kinds, prose):
    inner = outer = kinds[0]()
    for kind in kinds[1:]:
        inner += (below := kind())
        inner = below
    inner += nodes.Text("task")
    assert glossary_links._is_prose(next(outer.findall(nodes.Text))) == prose


CODE = """from metaad_tutorial import AADML, evaluate, plots
from metaad_tutorial.losses import focal
%matplotlib inline
def focal(z):
    return z
"""


def test_names_are_those_of_the_package_unless_the_chapter_has_its_own():
    assert code_links.imported(CODE) == {
        "AADML": "metaad_tutorial.aadml.AADML",
        "evaluate": "metaad_tutorial.evaluation.evaluate",
        "plots": "metaad_tutorial.plots",
    }


def test_names_in_code_are_linked_once_in_a_cell():
    n, o = '<span class="n">{}</span>'.format, '<span class="o">{}</span>'.format
    line = f"{n('AADML')}\n{n('AADML')} {n('plots')}{o('.')}{n('points')}"
    line += f" {n('own')}{o('.')}{n('AADML')} {n('AADML')}{o('=')}"
    cell = f'<div class="highlight-python notranslate"><pre>{line}</pre></div>'
    places = {"a.AADML": "r.html#a", "a.plots.points": "r.html#p", "a.plots": "r.html#m"}
    names = {"AADML": "a.AADML", "plots": "a.plots"}
    made = code_links.link_code(f"<p>{n('AADML')}</p>{cell}{cell}", names, places.get)
    link = '<a class="reference internal code-link" href="{}">{}</a>'.format
    assert made.count(link("r.html#a", n("AADML"))) == 2 == made.count("r.html#a")
    assert made.count(link("r.html#p", f"{n('plots')}{o('.')}{n('points')}")) == 2 and "r.html#m" not in made
    assert made.startswith(f"<p>{n('AADML')}</p>")
