"""Readers' notebooks say in plain Markdown what the chapters say in MyST, with the same code."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from sphinx.errors import ExtensionError

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book" / "_ext"))
import reader_notebooks as rn  # noqa: E402

new = nbformat.v4
REFERENCES = rn.References(
    {"loss": "3.1", "fig-a": "3.2", "ex-one": "3.3", "ex-two": "3.4", "def-task": "3.5", "far": "5.7", "thm": "5.1"},
    {"loss": "03_a", "fig-a": "03_a", "ex-one": "03_a", "ex-two": "03_a", "far": "05_b", "thm": "05_b"},
    {"finn": ("Finn et al.", "2017", "https://example.org/f"), "book": ("Baxter", "2000", "")},
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("By {eq}`loss` and {eq}`far`.", "By (3.1) and [(5.7)](05_b.ipynb)."),
        ("{numref}`fig-a` shows", "Figure 3.2 shows"),
        ("see {ref}`ex-one`, {ref}`the rest <ex-two>`", "see Exercise 3.3, the rest"),
        ("{prf:ref}`thm`", "[Theorem 5.1](05_b.ipynb)"),
        ("{doc}`Chapter 5 <05_b>`, {doc}`../book/faq`", "[Chapter 5](05_b.ipynb), faq"),
        ("{cite:t}`finn,book` say", "[Finn et al. (2017)](https://example.org/f) and Baxter (2000) say"),
        ("so {cite:p}`finn,book`.", "so ([Finn et al., 2017](https://example.org/f); Baxter, 2000)."),
        ("{py:meth}`~a.b.Fleet.split` and {py:func}`draw <a.draw>`", "`split` and `draw`"),
        ("It is 0.85<!--ch4-x:.2f-->.", "It is 0.85."),
        ("$$\na=b\n$$ (loss)\n\nand $$c$$", "$$\na=b\n\\tag{3.1}\n$$\n\nand $$c$$"),
        ("(ch4-here)=\n## Title", "## Title"),
        (":::{admonition} Note\n:class: tip\n\n- one\n:::\nrest", "> **Note**\n>\n> - one\nrest"),
        (":::{admonition} Why\n:class: dropdown\n\nSo.\n:::", "<details><summary>Why</summary>\n\nSo.\n\n</details>"),
        ("```{prf:definition} Task\n:label: def-task\n\nA set.\n```", "> **Definition 3.5** (Task)\n>\n> A set."),
        (":::{prf:proof}\nBy {eq}`loss`.\n:::", "> *Proof.*\n>\n> By (3.1)."),
        (":::{prf:proof}\n$$\na=\nb\n$$ (loss)\n:::", "> *Proof.*\n>\n> $$ a= b \\tag{3.1} $$"),
        (":::{prf:proof}\nSo $a\n>b$.\n:::", "> *Proof.*\n>\n> So $a >b$."),
        ("```{exercise} Why?\n:label: ex-one\n\nShow it.\n```", "**Exercise 3.3** (Why?)\n\nShow it."),
        ("::::{admonition} Outer\n:::{margin}\nIn {eq}`loss`.\n:::\n::::", "> **Outer**\n>\n> > In (3.1)."),
        ("```python\nx = 1\n```", "```python\nx = 1\n```"),
    ],
)  # fmt: skip
def test_plain_markdown(text, expected):
    assert rn.plain(text, REFERENCES, "03_a") == expected


@pytest.mark.parametrize("text", ["{eq}`gone`", "{term}`task`", ":::{tabs}\nx\n:::"])
def test_what_has_no_words_stops_the_build(text):
    with pytest.raises(ExtensionError, match=r"refers to 'gone'|has no words"):
        rn.plain(text, REFERENCES, "03_a")


FIRST = "```{exercise}\n:label: ex-one\n\nDo.\n```\n\n```{solution-start} ex-one\n:class: dropdown\n```\n\nFirst."
LAST = (
    "Last.\n\n```{solution-end}\n```\n\n```{exercise}\n:label: ex-two\n\nMore.\n```\n\n```{solution-start} ex-two\n```"
)


def chapter():
    """A chapter with a figure, a solution over several cells and one in a single cell."""
    folded = {"source_hidden": True}
    figure = {"figure": {"caption": "A loss, {eq}`loss`.", "name": "fig-a"}, "image": {"alt": "A curve"}}
    cells = [
        new.new_markdown_cell("# A\n\nBy {eq}`loss`."),
        new.new_code_cell("draw()", metadata={"tags": ["hide-input"], "jupyter": folded, "mystnb": figure}),
        new.new_markdown_cell(FIRST),
        new.new_code_cell("solve()", metadata={"jupyter": {"outputs_hidden": True, "source_hidden": True}},
                          outputs=[new.new_output("stream", name="stdout", text="7\n")]),
        new.new_markdown_cell("Between."),
        new.new_code_cell("again()"),
        new.new_markdown_cell(LAST),
        new.new_code_cell("more()"),
        new.new_markdown_cell("```{solution-end}\n```\n\nThe end."),
    ]  # fmt: skip
    nb = new.new_notebook(cells=cells)
    for i, cell in enumerate(nb.cells):
        cell.id = f"c{i}"
    return nb


def test_a_chapter_for_readers():
    original = chapter()
    before = copy.deepcopy(original)
    made = rn.reader_notebook(original, REFERENCES, "03_a", "https://example.org/repo")
    assert original == before and rn.problems(made, original) == []
    assert "git+https://example.org/repo" in made.cells[0].source and "importlib" in made.cells[0].source
    texts = [cell.source for cell in made.cells if cell.cell_type == "markdown"]
    assert texts[1] == "**Figure 3.2.** A loss, (3.1)."
    for text in texts:
        assert text.count("<details>") == text.count("</details>")
    assert "Solution of exercise 3.3" in texts[2] and "First." in texts[2]
    assert texts[3] == "<details><summary>Solution, continued</summary>\n\nBetween.\n\n</details>"
    assert "Last." in texts[4] and texts[4].endswith("*Solution of exercise 3.4*, in code:")
    assert texts[5] == "The end."
    drawn, solved = made.cells[2], made.cells[5]
    assert drawn.metadata.cellView == "form" and drawn.metadata.jupyter.source_hidden and "mystnb" not in drawn.metadata
    assert solved.metadata.jupyter == {"outputs_hidden": True, "source_hidden": True}


def test_without_an_address_the_first_cell_says_what_to_do():
    made = rn.reader_notebook(chapter(), REFERENCES, "03_a", None)
    assert "raise ImportError" in made.cells[0].source and "http" not in made.cells[0].source
    compile(made.cells[0].source, "install", "exec")


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda nb: nb.cells[1].update(source="{eq}`loss`"), "holds"),
        (lambda nb: nb.cells[1].update(source=":::{note}\nx\n:::"), "holds"),
        (lambda nb: nb.cells[1].update(source="a <!-- key -->"), "holds"),
        (lambda nb: nb.cells[1].update(source="> $$\n> a=b\n> $$"), "marks of a quote"),
        (lambda nb: nb.cells[2].update(source="other()"), "code or outputs"),
        (lambda nb: nb.cells[5].update(outputs=[]), "code or outputs"),
        (lambda nb: nb.cells[1].update(id="no good id"), "id"),
    ],
)
def test_what_a_readers_notebook_must_not_have(change, found):
    original = chapter()
    made = rn.reader_notebook(original, REFERENCES, "03_a", None)
    change(made)
    assert any(found in problem for problem in rn.problems(made, original))


def test_citations_have_authors_year_and_address(tmp_path):
    (tmp_path / "a.bib").write_text(
        '@article{one, author = {M{\\"u}ller, Anna}, year = 2001, doi = {10.1/x}, title = {T}}\n'
        "@article{two, author = {A, B and C, D}, year = 2002, url = {https://e.org/a}, title = {T}}\n"
        "@article{more, author = {A, B and C, D and E, F}, year = 2003, title = {T}}\n"
    )
    assert rn._citations([tmp_path / "a.bib"]) == {
        "one": ("Müller", "2001", "https://doi.org/10.1/x"),
        "two": ("A and C", "2002", "https://e.org/a"),
        "more": ("A et al.", "2003", ""),
    }


def test_every_reference_of_the_book_has_words():
    """All citations of the chapters are in the bibliography that the book is built from."""
    known = rn._citations([ROOT / "book" / "references.bib"])
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            for match in rn.ROLE.finditer(cell.source):
                if match["role"].startswith("cite:"):
                    for key in match["target"].split(","):
                        authors, year, _ = known[key.strip()]
                        assert authors and (year.isdigit() or year == "n.d."), key


def test_the_branch_of_the_launch_buttons_holds_readers_notebooks_and_leaves_the_tree_alone(tmp_path):
    def git(*words):
        name = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
        return subprocess.run(["git", *name, *words], cwd=clone, check=True, capture_output=True, text=True).stdout

    clone, made = tmp_path / "clone", tmp_path / "reader"
    (clone / "notebooks").mkdir(parents=True), made.mkdir()
    (clone / "notebooks" / "01_a.ipynb").write_text("chapter\n"), (clone / "page.md").write_text("page\n")
    (made / "01_a.ipynb").write_text("for readers\n")
    git("init", "-q", "-b", "main"), git("config", "user.name", "A"), git("config", "user.email", "a@example.org")
    git("add", "."), git("commit", "-qm", "first")
    subprocess.run(["bash", ROOT / "tools" / "reader_branch.sh", made], cwd=clone, check=True, capture_output=True)
    assert git("show", "reader:notebooks/01_a.ipynb") == "for readers\n"
    assert git("show", "reader:page.md") == "page\n"
    assert git("ls-tree", "reader", "postBuild").startswith("100755")
    assert git("log", "--format=%s", "reader").splitlines()[1] == "first"
    assert git("status", "--porcelain", "-b") == "## main\n"
