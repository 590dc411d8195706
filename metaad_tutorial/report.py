"""Result tables: the same rows as plain text, and as HTML with the best of each column in bold."""

from __future__ import annotations

import html
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from .metrics import Interval


class Table:
    """A table of results that a notebook shows as HTML and everything else as text.

    Args:
        columns: names of the columns.
        rows: name of a row, as of a method -> its values, one for each column: a number, an `Interval` or a text.
        digits: decimals of numbers that are not whole.
        best: which value of a column is the best: "max", "min", or None for none; or one of these for each column.
        running: names of the rows that can be the best, None is all; a limit is none.
        corner: what the rows are.
        caption: a line below.

    Raises:
        ValueError: if a row has more or fewer values than there are columns.

    Example:
        >>> print(Table(["AUROC", "s"], {"prototypes": [0.934, 49], "MAML": [0.887, 120]}, best=("max", None)))
                    AUROC    s
        prototypes  0.934   49
        MAML        0.887  120
    """

    def __init__(
        self, columns: Sequence[str], rows: Mapping[str, Sequence], *, digits: int = 3, best=None,
        running: Collection[str] | None = None, corner: str = "", caption: str = "",
    ) -> None:  # fmt: skip
        for name, values in rows.items():
            if len(values) != len(columns):
                raise ValueError(f"Row {name!r} has {len(values)} values for {len(columns)} columns.")
        self.caption, self.digits = caption, digits
        self.cells = [[corner, *columns], *([name, *map(self._shown, values)] for name, values in rows.items())]
        ways = [best] * len(columns) if best is None or isinstance(best, str) else best
        own = {i: values for i, (name, values) in enumerate(rows.items(), 1) if running is None or name in running}
        self.bold = set()
        for j, way in enumerate(ways):
            if way:
                top = (max if way == "max" else min)(own, key=lambda i, j=j: _number(own[i][j]))
                self.bold |= {(i, j + 1) for i in own if self.cells[i][j + 1] == self.cells[top][j + 1]}

    def _shown(self, value) -> str:
        if isinstance(value, str):
            return value
        if isinstance(value, int | np.integer):
            return str(value)
        return f"{value:.{self.digits}f}"

    def __str__(self) -> str:
        widths = [max(map(len, column)) for column in zip(*self.cells, strict=True)]
        lines = []
        for name, *values in self.cells:
            lines.append("  ".join([name.ljust(widths[0]), *map(str.rjust, values, widths[1:])]))
        return "\n".join([*map(str.rstrip, lines), *filter(None, [self.caption])])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        top, *body = [[html.escape(cell) for cell in row] for row in self.cells]
        lines = []
        for i, (name, *values) in enumerate(body, 1):
            marked = (f"<strong>{v}</strong>" if (i, j) in self.bold else v for j, v in enumerate(values, 1))
            lines.append(f'<tr><th scope="row">{name}</th>{"".join(f"<td>{v}</td>" for v in marked)}</tr>')
        head = "".join(f'<th scope="col">{cell}</th>' if cell else "<td></td>" for cell in top)
        caption = f"<caption>{html.escape(self.caption)}</caption>" if self.caption else ""
        return "\n".join(
            [f'<table class="results">{caption}<thead><tr>{head}</tr></thead><tbody>', *lines, "</tbody></table>"]
        )


def _number(value) -> float:
    return value.mean if isinstance(value, Interval) else value
