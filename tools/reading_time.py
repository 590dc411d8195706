"""How long a chapter takes to read, from its words, formulas, code and figures.

The number stands in the box at its head, ``Reading: 45<!--reading-minutes--> minutes``, and is brought up to date like
every other number of the prose. What a reader finds folded, code, proofs and solutions, is not counted.
"""

from __future__ import annotations

import re

WORDS_A_MINUTE = 180
SECONDS = {"formula": 35, "code line": 6, "figure": 60}
HIDDEN = {"hide-input", "hide-cell", "remove-input", "remove-cell"}
FORMULA = re.compile(r"\$\$.*?\$\$|\\begin\{(\w+\*?)\}.*?\\end\{\1\}", re.DOTALL)
FIGURE = re.compile(r"^`{3,}\{figure\}|^!\[|<!-- play ", re.MULTILINE)
MARKUP = re.compile(r"(?s:<!--.*?-->)|^[`:]{3,}.*$|^:[\w-]+:.*$|^\([\w-]+\)=$", re.MULTILINE)
ROLE = re.compile(r"\{[\w:-]+\}`(?:([^`<]*)<)?[^`]*`")
FOLDED = re.compile(r"^(:{3,})\{admonition\}[^\n]*\n:class: dropdown\n.*?^\1$", re.DOTALL | re.MULTILINE)
SOLUTION = re.compile(r"\{solution-start\}.*?(?:\{solution-end\}|\Z)", re.DOTALL)


def counts(nb) -> dict[str, int]:
    """Words, display formulas, visible lines of code, and figures of a chapter."""
    found = dict.fromkeys(("word", *SECONDS), 0)
    solving = False
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            text = ("{solution-start}" if solving else "") + cell.source
            solving = text.rfind("{solution-start}") > text.rfind("{solution-end}")
            text = FOLDED.sub(" ", SOLUTION.sub(" ", text))
            found["figure"] += len(FIGURE.findall(text))
            text, formulas = FORMULA.subn(" ", text)
            found["formula"] += formulas
            text = re.sub(r"\$[^$]+\$", "x", MARKUP.sub("", text))
            text = ROLE.sub(lambda role: role[1] or "it", text)
            found["word"] += len(re.findall(r"[^\W_][\w’'.-]*", text))
        elif cell.cell_type == "code" and not solving:
            found["figure"] += "figure" in cell.metadata.get("mystnb", {})
            if not HIDDEN & set(cell.metadata.get("tags", [])):
                found["code line"] += sum(bool(line.strip()) for line in cell.source.split("\n"))
    return found


def minutes(nb) -> int:
    """Minutes to read a chapter, to the nearest five."""
    found = counts(nb)
    needed = found["word"] / WORDS_A_MINUTE + sum(found[kind] * seconds for kind, seconds in SECONDS.items()) / 60
    return max(5, 5 * round(needed / 5))
