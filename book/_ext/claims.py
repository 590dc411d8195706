"""The directive {claims}: what the summaries say of two methods, with its evidence; and a tick beside each bullet.

A bullet of a summary that compares methods ends in an invisible comment that names what carries it,
``<!--claim ch4-one-maml equation::aadml-step-->``: a key under which a cell of the chapter has stored what
`metaad_tutorial.claims.claim` found, or a labelled equation, whose check the page of derivation checks describes.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import nbformat
from docutils import nodes
from docutils.statemachine import StringList
from equation_checks import tick
from sphinx.util.docutils import SphinxDirective

sys.path.append(str(Path(__file__).resolve().parents[2] / "tools"))
from prose_numbers import stored_values

MARK = re.compile(r"[ ]?<!--claim (?P<keys>[\w: -]+?)-->")
LABEL = re.compile(r"\{[\w:]+\}`[^`]*`")
SUMMARY = re.compile(r"^## Summary\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
BULLET = re.compile(r"^- (.*(?:\n[ ]+\S.*)*)", re.MULTILINE)
COMPARING = re.compile(
    r"\b(?:better|best|worse|worst|beats?|wins?|won|loses?|lost|above|below|than|as (?:good|well)|ahead|behind|level"
    r"|leads?|lags?|match(?:es)?|tied|reach(?:es)?|outperforms?|difference|add(?:s|ed)?|changed)\b",
    re.IGNORECASE,
)
METHOD = re.compile(
    r"\b(?:AADML|(?:FO)?MAML|ANIL|Meta-?SGD|Reptile|(?:Meta)?AAE|ACR|nearest neighbours?|Mahalanobis|prototypes?|pooled"
    r"|from scratch|classifiers?|detectors?|baselines?|never an alarm|likelihood ratio|exact gradient|learnt steps?"
    r"|inner steps?|plain loss|autoencoder|the error alone|virtual anomalies)\b",
    re.IGNORECASE,
)
FIGURES = {"auroc": "AUROC"}
EQUATION = "equation::"
COLUMNS = ("Method and opponent", "Difference, 95 % interval", "Over")
WIDTHS = (46, 30, 24)


def bullets(nb) -> list[str]:
    """The bullets of a chapter's summary, marks included."""
    text = "\n\n".join(cell.source for cell in nb.cells if cell.cell_type == "markdown")
    return [bullet for summary in SUMMARY.findall(text) for bullet in BULLET.findall(summary)]


def named(bullet: str) -> list[str]:
    """What a bullet says it rests on."""
    return [key for mark in MARK.finditer(bullet) for key in mark["keys"].split()]


def evidence(nb) -> dict[str, dict]:
    """Key -> what `claim` found, of all cells."""
    return {key: value for key, value in stored_values(nb).items() if isinstance(value, dict) and "opponent" in value}


def problems(nb, labels) -> list[str]:
    """Bullets that compare and name nothing, names behind which nothing stands, evidence that no bullet names."""
    stored, found, used = evidence(nb), [], set()
    for bullet in bullets(nb):
        keys = named(bullet)
        used |= set(keys)
        words = LABEL.sub("", MARK.sub("", bullet))
        if not keys and COMPARING.search(words) and METHOD.search(words):
            found.append(f"compares methods and names no cell: {words[:90]!r}")
        for key in keys:
            if key.startswith(EQUATION) and key.removeprefix(EQUATION) not in labels:
                found.append(f"no equation has the label of {key!r}")
            elif not key.startswith(EQUATION) and key not in stored:
                found.append(f"no cell stores the evidence {key!r}")
    return found + [f"no bullet names the evidence {key!r}" for key in sorted(set(stored) - used)]


def compared(found: dict) -> str:
    """ "AADML minus MAML, accuracy: +0.013 [+0.009, +0.017]; 120 machines, 4 runs"."""
    figure = FIGURES.get(found["figure"], found["figure"])
    return f"{found['method']} minus {found['opponent']}, {figure}: {found['difference']}; {over(found)}"


def over(found: dict) -> str:
    """ "120 machines, 4 runs against 1"."""
    runs, other = found["runs"], found["opponent_runs"]
    return f"{found['unit']}, {runs} run{'s' * (runs > 1)}{f' against {other}' * (runs != other)}"


def told(rows: list[str]) -> str:
    """What the tick beside a bullet says."""
    more = f" (and {len(rows) - 1} more)" if rows[1:] else ""
    return f"Rests on {rows[0] if rows else 'an equation, which a test checks'}{more}"


def outcome(found: dict) -> str:
    """What the sentence says of the difference, in a word or two."""
    says = found["says"]
    words = {"above": "ahead", "below": "behind", "no gain": "no gain shown", "open": "not decided"}
    return words.get(says, f"less than {says} apart")


class Claims(SphinxDirective):
    """``{claims} ../notebooks``, the path relative to the page: a card for each bullet that names its evidence."""

    required_arguments = 1

    def run(self):
        relative = self.arguments[0]
        folder = Path(self.env.relfn2path(relative)[1])
        known = self.env.__dict__.setdefault("claims", {"page": self.env.docname, "told": {}})
        made, n_bullets, n_rows = [], 0, 0
        for path in sorted(folder.glob("*.ipynb")):
            self.env.note_dependency(str(path))
            nb = nbformat.read(path, as_version=4)
            stored, cards = evidence(nb), []
            for bullet in filter(named, bullets(nb)):
                keys = named(bullet)
                if missing := [key for key in keys if not key.startswith(EQUATION) and key not in stored]:
                    raise self.error(f"{path.name}: no cell stores the evidence {missing}: run make notebooks")
                cards.append(self._card(path, bullet, keys, stored))
                rows = [compared(stored[key]) for key in keys if key in stored]
                known["told"][keys[0]] = told(rows)
                n_bullets, n_rows = n_bullets + 1, n_rows + sum(key in stored for key in keys)
            if cards:
                title = next(line[2:] for cell in nb.cells for line in cell.source.splitlines() if line[:2] == "# ")
                made.append(nodes.section("", nodes.title("", title), *cards, ids=[f"claims-{path.stem}"]))
        if not made:
            raise self.error(f"no summary in {relative} names its evidence")
        return [nodes.paragraph("", f"{n_bullets} statements, {n_rows} paired differences."), *made]

    def _card(self, path: Path, bullet: str, keys: list[str], stored: dict[str, dict]) -> nodes.Node:
        card = nodes.container("", classes=["claim-card"], ids=[f"claim-{anchor(keys[0])}"])
        text = " ".join(MARK.sub("", bullet).split())
        place = self.env.app.builder.get_relative_uri(self.env.docname, self.env.path2doc(str(path)))
        quoted = self._parsed(text, nodes.container("", classes=["claim-words"]))
        quoted[-1] += [
            nodes.Text(" "),
            nodes.reference("", "In the chapter", refuri=f"{place}#said-{anchor(keys[0])}", internal=True),
        ]
        card += quoted
        if equations := [key.removeprefix(EQUATION) for key in keys if key.startswith(EQUATION)]:
            words = ", ".join(f"{{eq}}`{label}`" for label in equations)
            card += self._parsed(f"Follows from equation {words}, which a test checks.", nodes.container(""))
        if rows := [stored[key] for key in keys if key in stored]:
            card += self._table(rows)
        return card

    def _table(self, rows: list[dict]) -> nodes.Node:
        table = nodes.table("", classes=["claims"])
        group = nodes.tgroup("", cols=len(COLUMNS))
        table += group
        group += [nodes.colspec("", colwidth=width) for width in WIDTHS]
        head, body = nodes.thead(""), nodes.tbody("")
        group += [head, body]
        head += self._row(COLUMNS)
        for found in rows:
            pair = (
                f"**{found['method']}** minus **{found['opponent']}**, "
                f"{FIGURES.get(found['figure'], found['figure'])}. The opponent sees: {found['sees']}."
            )
            together = found["difference"].replace(", ", ",\u00a0")
            body += self._row((pair, f"{outcome(found)}: {together}", over(found)))
        return table

    def _row(self, texts):
        row = nodes.row("")
        row += [self._parsed(text, nodes.entry("")) for text in texts]
        return row

    def _parsed(self, text: str, into: nodes.Element) -> nodes.Element:
        self.state.nested_parse(StringList([text], "claims"), 0, into)
        return into


def anchor(key: str) -> str:
    return key.replace("::", "-")


def add_ticks(body: str, told: dict[str, str], page: str) -> str:
    """A page with a tick in the place of each mark, which leads to its card on the page of claims."""

    def ticked(match: re.Match) -> str:
        first = match["keys"].split()[0]
        if first not in told:
            return match[0]
        name = anchor(first)
        place = {"class": "eq-check claim-check", "id": f"said-{name}", "href": f"{page}#claim-{name}"}
        return f" {tick(told[first], **place)}"

    return MARK.sub(ticked, body)


def _tick_page(app, pagename, templatename, context, doctree):
    known = getattr(app.env, "claims", None)
    if known and context.get("body"):
        context["body"] = add_ticks(context["body"], known["told"], context["pathto"](known["page"]))


def setup(app):
    app.add_directive("claims", Claims)
    app.connect("html-page-context", _tick_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
