"""Numbers in the prose that cells computed: literal text, then an invisible comment with the key of the value.

A cell stores a value with ``glue("ch4-gain", value, display=False)``, and the text says ``0.04<!--ch4-gain:.2f-->``: it
reads right wherever Markdown is shown. Text that is not one number, with a percent sign or an interval if need be,
begins with a mark of its own: ``<!--(-->7% to 10%<!--ch10-alarm-->``. On pages of the book the key says which notebook
stores it, ``<!--04_aadml::ch4-gain:.2f-->``; what a benchmark stores is ``<!--evidence::hand-features:.2f-->`` there
and in chapters. The key
``given`` marks what no cell computes: somebody else's figure, a prediction, an example; ``reading-minutes`` is computed
from the notebook itself.
"""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import nbformat
import reading_time

ROOT = Path(__file__).resolve().parents[1]
TEXT = "application/papermill.record/text/plain"
ONE = r"[-+−]?\d[\d,]*(?:\.\d+)?(?: ?%)?(?: \[[-+]?[\d.]+, [-+]?[\d.]+\])?"
KEY = r"<!--(?P<key>(?:\w+::)?[a-z][\w-]*)(?::(?P<format>[^<>]*))?-->"
MARKED = re.compile(
    rf"(?P<begin><!--\(-->)(?P<several>[^<]*){KEY}|(?<![\d.])(?P<one>{ONE}){KEY.replace('?P<', '?P<one_')}"
)
MARK = re.compile(KEY)
GIVEN = "given"
ROLE = re.compile(r"\{glue:\w*\}`[^`]+`")


def stored_values(nb) -> dict[str, object]:
    """Key -> value of everything that the notebook's cells have stored, and the time to read it."""
    return {"reading-minutes": reading_time.minutes(nb)} | {
        output.metadata["scrapbook"]["name"]: ast.literal_eval(output.data[TEXT])
        for cell in nb.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if "scrapbook" in output.get("metadata", {}) and TEXT in output.data
    }


def shown(value, spec: str | None) -> str:
    """What the text says."""
    return format(value, spec or "") if spec else str(value)


def updated(text: str, values: dict[str, object]) -> str:
    """The text with every marked number as its cell computed it; one whose key is unknown stays."""

    def rewrite(match: re.Match) -> str:
        several = match["begin"] is not None
        key, spec = (match["key"], match["format"]) if several else (match["one_key"], match["one_format"])
        if key not in values:
            return match[0]
        mark = f"<!--{key}{'' if spec is None else ':' + spec}-->"
        new = shown(values[key], spec)
        begin = "" if re.fullmatch(ONE, new) else "<!--(-->"
        return f"{begin}{new}{mark}"

    return MARKED.sub(rewrite, text)


def problems(text: str, values: dict[str, object]) -> list[str]:
    """Marks whose key no cell stores, that follow no number, or whose number is not the stored one; glue roles."""
    found = [f"{{glue}} is for the page alone: write the number, then a comment, {role}" for role in ROLE.findall(text)]
    ends = {match.end() for match in MARKED.finditer(text)}
    for mark in MARK.finditer(text):
        if mark["key"] == GIVEN:
            continue
        if mark["key"] not in values:
            found.append(f"no cell stores the key {mark['key']!r}")
        elif mark.end() not in ends:
            found.append(f"no number stands before {mark[0]}")
    if not found and updated(text, values) != text:
        pairs = zip(MARKED.finditer(text), MARKED.finditer(updated(text, values)), strict=True)
        found += [f"{old[0]} should be {new[0]}: run make notebooks" for old, new in pairs if old[0] != new[0]]
    return found


def quoted_values(root: Path = ROOT) -> dict[str, object]:
    """What the benchmarks' report quotes, for pages and chapters."""
    quoted = json.loads((root / "benchmarks" / "results" / "evidence" / "quoted.json").read_text("utf-8"))
    return {f"evidence::{key}": value for key, value in quoted.items()}


def values_of_pages(root: Path = ROOT) -> dict[str, object]:
    """What pages of the book may show: the values of all notebooks, and what the benchmarks' report quotes."""
    values = quoted_values(root)
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        own = stored_values(nbformat.read(path, as_version=4))
        values |= {f"{path.stem}::{key}": value for key, value in own.items()}
    return values


def main() -> None:
    """Bring the numbers on the pages of the book up to date."""
    values = values_of_pages()
    for path in sorted((ROOT / "book").glob("*.md")):
        text = path.read_text("utf-8")
        if (new := updated(text, values)) != text:
            path.write_text(new, "utf-8")
            print(f"{path.name}: written")


if __name__ == "__main__":
    main()
