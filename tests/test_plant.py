"""The script that book/plant.md prints runs, and gives the results printed below it."""

import re
from pathlib import Path

PAGE = (Path(__file__).resolve().parents[1] / "book" / "plant.md").read_text(encoding="utf-8")

BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
SCRIPT = [text for language, text in BLOCKS if language == "python"]
PRINTED = [text for language, text in BLOCKS if not language]


def test_the_script_prints_what_the_page_says(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec("\n".join(SCRIPT), {})
    assert capsys.readouterr().out == "".join(PRINTED)


def test_the_script_is_thirty_lines_once_the_data_are_there():
    _data, learning, watching, _filling = SCRIPT
    assert len([line for line in (learning + watching).splitlines() if line]) <= 30
