"""The example of README.md, which the package's own page repeats, gives the result printed below it."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = re.compile(r"```python\n(.*?)```\s+```\n(.*?)```", re.DOTALL)


def page(name):
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_example_prints_what_the_page_says(capsys):
    code, printed = EXAMPLE.search(page("README.md")).groups()
    exec(code, {})
    assert capsys.readouterr().out == printed


def test_the_page_of_an_index_has_the_same_example_and_no_file_beside_it():
    index = page("metaad_tutorial/README.md")
    assert EXAMPLE.search(index).groups() == EXAMPLE.search(page("README.md")).groups()
    assert not re.search(r"\]\(|src=|href=", index)


@pytest.mark.parametrize("target", re.findall(r'(?:\]\(|src=")([^)":]+)[)"]', page("README.md")))
def test_what_the_page_links_to_exists(target):
    assert (ROOT / target).is_file()
