"""The program of the five-minute tour gives the result printed below it."""

import re
from pathlib import Path

TOUR = (Path(__file__).resolve().parents[1] / "book" / "tour.md").read_text(encoding="utf-8")


def test_the_program_prints_what_the_page_says(capsys):
    code, printed = re.search(r"```python\n(.*?)```\s+```\n(.*?)```", TOUR, re.DOTALL).groups()
    exec(code, {})
    assert capsys.readouterr().out == printed
