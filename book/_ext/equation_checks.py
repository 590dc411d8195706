"""The directive {equation-checks}: a table of the labelled equations and how each is checked; and a tick beside each.

It reads the @equation decorators of the test files in the folder named in its argument without importing them, so
the book needs neither pytest nor the time of the tests.
"""

from __future__ import annotations

import ast
import html
import re
from dataclasses import dataclass
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

COLUMNS = ("Equation", "Statement, and how it is checked")
WIDTHS = (10, 90)


@dataclass(frozen=True)
class Check:
    label: str
    statement: str
    how: str
    test: str
    file: str


def read_checks(source: str, filename: str = "<tests>") -> list[Check]:
    """The @equation decorators of a test file, in the order of the file."""
    checks = []
    for node in ast.walk(ast.parse(source, filename)):
        if not isinstance(node, ast.FunctionDef):
            continue
        for decorator in node.decorator_list:
            if not (isinstance(decorator, ast.Call) and _name(decorator.func) == "equation"):
                continue
            try:
                values = {"label": ast.literal_eval(decorator.args[0])}
                values |= {kw.arg: ast.literal_eval(kw.value) for kw in decorator.keywords}
                checks.append((decorator.lineno, Check(test=node.name, file=filename, **values)))
            except (ValueError, IndexError, TypeError) as error:
                raise ValueError(
                    f"{filename}, line {decorator.lineno}: @equation takes a label, statement= and "
                    f"how= as literal strings ({error})"
                ) from None
    return [check for _, check in sorted(checks, key=lambda pair: pair[0])]


def read_folder(folder: Path) -> list[Check]:
    """The @equation decorators of all test files of a folder, in the order of their names.

    Raises:
        ValueError: if a decorator cannot be read, or if an equation has two checks.
    """
    checks: dict[str, Check] = {}
    for path in sorted(folder.glob("test_*.py")):
        for check in read_checks(path.read_text(encoding="utf-8"), path.name):
            if check.label in checks:
                other = checks[check.label]
                raise ValueError(
                    f"equation {check.label!r} already has the check {other.test} in {other.file}, now {check.test} in "
                    f"{path.name}: put both assertions into one test"
                )
            checks[check.label] = check
    return list(checks.values())


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


class EquationChecks(SphinxDirective):
    """``{equation-checks} ../tests/equations``, the path relative to the page."""

    required_arguments = 1

    def run(self):
        folder = Path(self.env.relfn2path(self.arguments[0])[1])
        try:
            checks = read_folder(folder)
        except (OSError, ValueError) as error:
            raise self.error(f"cannot read the equation checks: {error}") from None
        if not checks:
            raise self.error(f"no @equation decorator in {self.arguments[0]}")
        for file in dict.fromkeys(check.file for check in checks):
            self.env.note_dependency(str(folder / file))
        table = nodes.table("", classes=["equation-checks"])
        group = nodes.tgroup("", cols=len(COLUMNS))
        table += group
        group += [nodes.colspec("", colwidth=width) for width in WIDTHS]
        head, body = nodes.thead(""), nodes.tbody("")
        group += [head, body]
        head += self._row(COLUMNS)
        known = self.env.__dict__.setdefault("equation_checks", {"page": self.env.docname, "how": {}})
        for check in checks:
            row = self._row((f"{{eq}}`{check.label}`", f"{check.statement}\n\n{check.how}: `{check.test}`"))
            row["ids"].append(f"check-{check.label}")
            known["how"][check.label] = re.sub(r"[`$]", "", check.how)
            body += row
        count = nodes.paragraph("", f"{len(checks)} equations, each with its check.")
        return [count, table]

    def _row(self, texts):
        row = nodes.row("")
        for text in texts:
            entry = nodes.entry("")
            self.state.nested_parse(StringList(text.split("\n"), "equation-checks"), 0, entry)
            row += entry
        return row


NUMBER = re.compile(
    r'<span class="eqno">(?P<number>\([^<)]*\))(?P<link><a class="headerlink" href="#equation-(?P<label>[^"]+)")'
)


def tick(words: str, **attributes: str) -> str:
    """A tick that tells on hover, on focus and to screen readers what is checked; a link where it has an `href`."""
    told = html.escape(words, quote=True)
    own = {"class": "eq-check"} | attributes | {"aria-label": told, "data-how": told}
    kind = "a" if "href" in own else "span"
    written = " ".join(f'{name}="{value}"' for name, value in own.items())
    return f"<{kind} {written}>\u2713</{kind}>"


def add_ticks(body: str, how: dict[str, str], page: str) -> str:
    """A page with a tick before the number of every checked equation, which links to its row on the page of checks."""

    def ticked(match: re.Match) -> str:
        if (told := how.get(match["label"])) is None:
            return match[0]
        mark = tick(f"Checked: {told}", href=f"{page}#check-{match['label']}")
        return f'<span class="eqno">{mark}{match["number"]}{match["link"]}'

    return NUMBER.sub(ticked, body)


def _tick_page(app, pagename, templatename, context, doctree):
    known = getattr(app.env, "equation_checks", None)
    if known and context.get("body"):
        context["body"] = add_ticks(context["body"], known["how"], context["pathto"](known["page"]))


def setup(app):
    app.add_directive("equation-checks", EquationChecks)
    app.connect("html-page-context", _tick_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
