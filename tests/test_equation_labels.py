"""Every labelled equation of the book has a check, and every check a labelled equation."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from equation_checks import add_ticks, read_folder
from equations import equation

ROOT = Path(__file__).resolve().parents[1]
FENCE = re.compile(r"^\s*(?P<fence>`{3,}|~{3,}|:{3,})\s*(?:\{(?P<directive>[^}]+)\})?(?P<rest>.*)$")
DOLLAR_LABEL = re.compile(r"\$\$\s*\(([^()\s]+)\)\s*$")
OPTION_LABEL = re.compile(r"^\s*:?label:\s*(\S+)\s*$")
TEX_LABEL = re.compile(r"\\label\{([^}]+)\}")


def labels(text):
    """Labels of the displayed equations in a MyST text, in order, repeats included."""
    found, open_fences = [], []
    for line in text.splitlines():
        fence = FENCE.match(line)
        if fence and open_fences and not fence["directive"] and not fence["rest"].strip():
            mark = open_fences[-1][0]
            if fence["fence"][0] == mark[0] and len(fence["fence"]) >= len(mark):
                open_fences.pop()
                continue
        if fence and not (open_fences and open_fences[-1][1] == "text"):
            # what is fenced without a directive, or as code, is shown and not rendered
            kind = fence["directive"] or "text"
            kind = "text" if kind.startswith(("code", "literalinclude")) else kind
            open_fences.append((fence["fence"], kind))
            continue
        kind = open_fences[-1][1] if open_fences else "prose"
        if kind == "text":
            continue
        if kind == "math" and (option := OPTION_LABEL.match(line)):
            found.append(option.group(1))
            continue
        if dollar := DOLLAR_LABEL.search(line):
            found.append(dollar.group(1))
        found += TEX_LABEL.findall(line)
    return found


def book_labels():
    """label -> the files that define it."""
    texts = {path: path.read_text(encoding="utf-8") for path in (ROOT / "book").rglob("*.md")}
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        texts[path] = "\n\n".join(c.source for c in cells if c.cell_type == "markdown")
    where: dict[str, list[str]] = {}
    for path, text in sorted(texts.items()):
        for label in labels(text):
            where.setdefault(label, []).append(path.name)
    return where


def checks():
    """label -> its check."""
    return {check.label: check for check in read_folder(ROOT / "tests" / "equations")}


def mismatches(in_book, checked):
    """What to do about the labels that are on one side only."""
    problems = [
        f"equation {label!r} has no check: add one to its chapter's file in tests/equations"
        for label in sorted(set(in_book) - set(checked))
    ]
    return problems + [
        f"the check of {label!r} has no equation: label it in the book or drop the check"
        for label in sorted(set(checked) - set(in_book))
    ]


def test_every_label_has_a_check_and_every_check_a_label():
    assert mismatches(book_labels(), checks()) == []


def test_every_check_stands_in_the_file_of_its_chapter():
    found = {label: re.match(r"test_ch(\d+)_", check.file) for label, check in checks().items()}
    chapters = {label: int(match[1]) if match else None for label, match in found.items()}
    in_book = {label: re.match(r"(\d+)_", files[0]) for label, files in book_labels().items()}
    assert chapters == {label: int(match[1]) if match else None for label, match in in_book.items()}


def test_no_label_is_defined_twice():
    assert {label: files for label, files in book_labels().items() if len(files) > 1} == {}


def test_labels_are_found_where_they_are_rendered():
    text = r"""
$$
a = b
$$ (dollar)

$$c = d$$ (dollar-line)

```{math}
:label: fence
e = f
```

:::{math}
:label: colon
g = h
:::

````{admonition} Nested
```{math}
:label: nested
x
```
````

\begin{align}
x &= y \label{tex}
\end{align}

```{math}
---
label: yaml
---
z
```
"""
    assert labels(text) == ["dollar", "dollar-line", "fence", "colon", "nested", "tex", "yaml"]


def test_labels_of_other_things_are_not_equations():
    text = """
```{exercise}
:label: an-exercise
Show it, with $x$ (see below).
```

````text
```{math}
:label: shown-only
x
```
$$x$$ (shown-too)
````

```{figure} a.svg
:label: a-figure
```
"""
    assert labels(text) == []


@pytest.mark.parametrize(
    ("in_book", "checked", "count"),
    [(["a", "b"], ["a", "b"], 0), (["a", "b"], ["a"], 1), (["a"], ["a", "c"], 1), (["a"], [], 1)],
)
def test_mismatches_are_found(in_book, checked, count):
    assert len(mismatches(in_book, checked)) == count


@pytest.mark.parametrize("texts", [{"label": " "}, {"statement": ""}, {"how": None}], ids=["label", "statement", "how"])
def test_a_check_without_a_text_is_refused(texts):
    with pytest.raises(ValueError, match=next(iter(texts))):
        equation(**{"label": "a", "statement": "s", "how": "h"} | texts)


def test_checked_equations_get_a_tick_and_others_do_not():
    number = '<span class="eqno">({})<a class="headerlink" href="#equation-{}" title="Link">#</a></span>'
    body = number.format("3.1", "one") + number.format("3.2", "two")
    ticked = add_ticks(body, {"one": 'closed form, "exact"'}, "../book/derivation_checks.html")
    assert ticked.count("eq-check") == 1 and ticked.endswith(number.format("3.2", "two"))
    assert 'href="../book/derivation_checks.html#check-one"' in ticked
    assert 'aria-label="Checked: closed form, &quot;exact&quot;"' in ticked and ">\u2713</a>(3.1)<a" in ticked
    assert add_ticks("no equation", {"one": "x"}, "p") == "no equation"
