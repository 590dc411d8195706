"""Notebooks for readers: the book's chapters as every notebook program shows them, written into the built site.

The chapters are written in MyST, which only the page resolves: references, citations, admonitions, exercises, captions.
A reader's notebook says the same in plain Markdown, with the same code and outputs. The build fails if one does not.
"""

from __future__ import annotations

import copy
import re
from pathlib import Path

import nbformat
from book_tweaks import repository_url
from ipykernel.ipkernel import IPythonKernel
from sphinx.errors import ExtensionError

ROLE = re.compile(r"\{(?P<role>[a-z]+(?::[a-z]+)?)\}`(?P<target>[^`]+)`")
OPENING = re.compile(r"^(?P<fence>:{3,}|`{3,})\{(?P<name>[\w:-]+)\}[ ]*(?P<title>.*)$")
OPTION = re.compile(r"^:(?P<name>[\w-]+):[ ]*(?P<value>.*)$")
LABELLED = re.compile(r"(?P<body>.*?)\$\$[ ]*\((?P<label>[\w-]+)\)", re.DOTALL)
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
FORMULA = re.compile(r"(\$\$?)([^$]+)\1")
LEFT = re.compile(r"\{[a-z]+(?::[a-z]+)?\}`|^(?::{3,}|`{3,})\{|^\([\w-]+\)=|<!--", re.MULTILINE)
NAMED = {"definition": "Definition", "theorem": "Theorem", "algorithm": "Algorithm"}
HIDDEN = {"hide-input", "hide-cell", "remove-cell", "remove-input"}
INSTALL = """import importlib.util

if importlib.util.find_spec("metaad_tutorial") is None:
    {how}
"""


class References:
    """What the labels of the book are called: numbers from the build, citations from the bibliography.

    Args:
        numbers: label -> its number, such as "3.1": equations, figures, exercises, theorems.
        places: label -> name of the notebook that holds it.
        citations: key -> (authors, year, address or "").
    """

    def __init__(self, numbers: dict[str, str], places: dict[str, str], citations: dict[str, tuple[str, str, str]]):
        self.numbers, self.places, self.citations = numbers, places, citations

    def number(self, label: str) -> str:
        if label not in self.numbers:
            raise ExtensionError(f"a notebook refers to {label!r}, which has no number")
        return self.numbers[label]

    def linked(self, words: str, label: str, here: str) -> str:
        """The words, a link where another notebook holds the label."""
        place = self.places.get(label, here)
        return words if place == here else f"[{words}]({place}.ipynb)"

    def role(self, match: re.Match, here: str) -> str:
        """The words for one role of MyST in the notebook `here`."""
        role, target = match["role"], match["target"]
        explicit = re.fullmatch(r"(.*?)\s*<([^>]*)>", target, re.DOTALL)
        words, label = explicit.groups() if explicit else ("", target)
        if role == "eq":
            return self.linked(f"({self.number(label)})", label, here)
        if role == "numref":
            return self.linked(words or f"Figure {self.number(label)}", label, here)
        if role in ("ref", "prf:ref"):
            return self.linked(words or f"Exercise {self.number(label)}" if role == "ref" else
                               f"Theorem {self.number(label)}", label, here)  # fmt: skip
        if role == "doc":
            page = label.rsplit("/", 1)[-1]
            return f"[{words or page}]({page}.ipynb)" if re.match(r"\d\d_", page) else (words or page)
        if role.startswith("cite:"):
            return self.cited(label, in_text=role == "cite:t")
        if role.startswith("py:"):
            return f"`{words or label.lstrip('~').rsplit('.', 1)[-1]}`"
        raise ExtensionError(f"a notebook uses the role {role}, for which reader_notebooks.py has no words")

    def cited(self, keys: str, in_text: bool) -> str:
        """ "Finn et al. (2017)" in the text, "(Finn et al., 2017; Nichol et al., 2018)" in brackets, with links."""
        shown = []
        for key in keys.split(","):
            authors, year, address = self.citations[key.strip()]
            words = f"{authors} ({year})" if in_text else f"{authors}, {year}"
            shown.append(f"[{words}]({address})" if address else words)
        return " and ".join(shown) if in_text else f"({'; '.join(shown)})"


def plain(text: str, references: References, here: str) -> str:
    """Markdown that needs no MyST."""
    text = re.sub(r"^\([\w-]+\)=\n", "", text, flags=re.MULTILINE)
    text = COMMENT.sub("", "\n".join(_blocks(text.split("\n"), references)))
    text = LABELLED.sub(lambda m: _numbered(m["body"], references.number(m["label"])), text)
    return ROLE.sub(lambda m: references.role(m, here), text)


def _numbered(body: str, number: str) -> str:
    """The end of a formula with its number, on lines of its own unless a quote has put the formula on one."""
    if re.search(r"\n[ \t]*$", body):
        return f"{body.rstrip()}\n\\tag{{{number}}}\n$$"
    return f"{body.rstrip()} \\tag{{{number}}} $$"


def _blocks(lines: list[str], references: References) -> list[str]:
    """Directives as quotes with a title; the lines around them as they are."""
    made, i = [], 0
    while i < len(lines):
        opening = OPENING.match(lines[i])
        if opening is None:
            made.append(lines[i])
            i += 1
            continue
        fence = opening["fence"]
        end = next(j for j in range(i + 1, len(lines)) if lines[j].rstrip() == fence)
        inside, options = lines[i + 1 : end], {}
        while inside and (option := OPTION.match(inside[0])):
            options[option["name"]] = option["value"]
            inside = inside[1:]
        while inside and not inside[0].strip():
            inside = inside[1:]
        made += _directive(opening["name"], opening["title"].strip(), options, _blocks(inside, references), references)
        i = end + 1
    return made


def _directive(name: str, title: str, options: dict, inside: list[str], references: References) -> list[str]:
    kind = name.removeprefix("prf:")
    if kind == "solution-start":
        return [f"<details><summary>Solution of exercise {references.number(title)}</summary>", ""]
    if kind == "solution-end":
        return ["", "</details>"]
    if kind == "exercise":
        heading = f"**Exercise {references.number(options['label'])}**" + (f" ({title})" if title else "")
        return [heading, "", *inside]
    if "dropdown" in options.get("class", "").split():
        return [f"<details><summary>{title}</summary>", "", *inside, "", "</details>"]
    if kind in NAMED:
        number = f" {references.number(options['label'])}" if "label" in options else ""
        head = [f"**{NAMED[kind]}{number}**" + (f" ({title})" if title else ""), ""]
    elif kind == "proof":
        head = ["*Proof.*", ""]
    elif kind in ("admonition", "margin"):
        head = [f"**{title}**", ""] if title else []
    else:
        raise ExtensionError(f"a notebook uses the directive {name}, for which reader_notebooks.py has no words")
    # formulas on one line, for JupyterLab takes the marks of a quote inside a formula for part of it
    text = FORMULA.sub(lambda m: " ".join(m[0].split()), "\n".join([*head, *inside]))
    return [f"> {line}".rstrip() for line in text.split("\n")]


def reader_notebook(nb, references: References, here: str, repository: str | None):
    """The chapter `here` for readers: the same code and outputs; a first cell that installs what is missing."""
    made = copy.deepcopy(nb)
    how = "raise ImportError(\"In a copy of the project, run: pip install '.[data]' myst-nb\")"
    if repository:
        how = f'%pip install -q "metaad-tutorial[data] @ git+{repository}" myst-nb'
    install = nbformat.v4.new_code_cell(INSTALL.format(how=how).strip(), id="install", execution_count=None)
    cells, solving = [], False
    for cell in made.cells:
        if cell.cell_type == "markdown":
            cell.source, solving = _closed(plain(cell.source, references, here), solving)
            cells.append(cell)
            continue
        tags, figure = set(cell.metadata.get("tags", [])), cell.metadata.get("mystnb", {}).get("figure")
        folded = dict(cell.metadata.get("jupyter", {}))
        cell.metadata = nbformat.from_dict({"tags": sorted(tags)} if tags else {})
        if folded:
            cell.metadata.jupyter = folded
        if HIDDEN & tags or folded:
            cell.metadata.cellView = "form"
        cells.append(cell)
        if figure:
            caption = plain(figure["caption"], references, here)
            words = f"**Figure {references.number(figure['name'])}.** {caption}"
            cells.append(nbformat.v4.new_markdown_cell(words, id=f"{cell.id}-caption"))
    made.cells = [install, *cells]
    made.metadata.colab = {"provenance": []}
    # as a kernel writes it, so that opening a notebook in JupyterLab changes nothing
    made.metadata.language_info = IPythonKernel.language_info
    return made


def _closed(text: str, solving: bool) -> tuple[str, bool]:
    """Close what a cell leaves open of a solution, for no HTML element spans cells; whether the next one is inside."""
    opens, closes = text.rfind("<details>"), text.rfind("</details>")
    if solving and (first := text.find("</details>")) >= 0 and not 0 <= text.find("<details>") < first:
        before, after = text[:first].strip(), text[first + len("</details>") :]
        text = (f"<details><summary>Solution, continued</summary>\n\n{before}\n\n</details>" if before else "") + after
    elif solving and closes < 0:
        text = f"<details><summary>Solution, continued</summary>\n\n{text.strip()}\n\n</details>"
    inside = opens > closes or (solving and closes < 0)
    if opens > closes:
        text = f"{text.rstrip()}\n\n</details>"
        if re.search(r"</summary>\s*</details>$", text):  # nothing but code follows
            text = re.sub(r"<details><summary>(.*)</summary>\s*</details>$", r"*\1*, in code:", text)
    return text.strip("\n"), inside


def problems(made, original) -> list[str]:
    """What a reader's notebook must not have: MyST, other code or outputs, or a form that programs refuse."""
    found = []
    for i, cell in enumerate(made.cells, 1):
        if cell.cell_type == "markdown" and (left := LEFT.search(cell.source)):
            found.append(f"cell {i} holds {left[0].strip()!r}")
        if cell.cell_type == "markdown" and any("\n>" in m[2] for m in FORMULA.finditer(cell.source)):
            found.append(f"cell {i} holds a formula with the marks of a quote")
    code = [(cell.source, cell.outputs) for cell in made.cells[1:] if cell.cell_type == "code"]
    if code != [(cell.source, cell.outputs) for cell in original.cells if cell.cell_type == "code"]:
        found.append("code or outputs differ")
    try:
        nbformat.validate(made)
    except nbformat.ValidationError as error:
        found.append(str(error).splitlines()[0])
    return found


# --- What the build knows -----------------------------------------------------------------------------


def _numbers(env) -> tuple[dict[str, str], dict[str, str]]:
    """Label -> number, and label -> notebook, of everything that the pages number."""
    numbers, places = {}, {}
    labels = {(doc, anchor): label for label, (doc, anchor, _) in env.get_domain("std").labels.items()}
    labels |= {(doc, anchor): label for label, (doc, anchor) in env.get_domain("std").anonlabels.items()}
    for doc, kinds in env.toc_fignumbers.items():
        for kind, anchors in kinds.items():
            for anchor, number in anchors.items():
                label = anchor.removeprefix("equation-") if kind == "displaymath" else labels.get((doc, anchor), anchor)
                for name in {label, anchor}:
                    numbers[name], places[name] = ".".join(map(str, number)), doc.rsplit("/", 1)[-1]
    return numbers, places


def _citations(files: list[Path]) -> dict[str, tuple[str, str, str]]:
    """Key -> authors as in "Finn et al.", year, and an address if the entry has one."""
    from pybtex.database import parse_file
    from pybtex.richtext import Text

    def text(latex: str) -> str:
        return str(Text.from_latex(latex))

    found = {}
    for file in files:
        for key, entry in parse_file(str(file)).entries.items():
            names = [text(" ".join([*person.prelast_names, *person.last_names])) for person in
                     entry.persons.get("author") or entry.persons.get("editor") or []]  # fmt: skip
            if not names:
                names = [text(entry.fields.get("key") or entry.fields.get("organization") or entry.fields["title"])]
            words = " and ".join(names) if len(names) < 3 else f"{names[0]} et al."
            address = entry.fields.get("url") or (f"https://doi.org/{doi}" if (doi := entry.fields.get("doi")) else "")
            found[key] = words, entry.fields.get("year", "n.d."), address.replace("\\_", "_")
    return found


def _write(app, exception) -> None:
    if exception is not None or app.builder.name != "html":
        return
    root = Path(app.srcdir)
    numbers, places = _numbers(app.env)
    references = References(numbers, places, _citations([root / file for file in app.config.bibtex_bibfiles]))
    folder, downloads = Path(app.outdir) / "reader", Path(app.outdir) / "_sources" / "notebooks"
    folder.mkdir(exist_ok=True)
    downloads.mkdir(parents=True, exist_ok=True)
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        original = nbformat.read(path, as_version=4)
        made = reader_notebook(original, references, path.stem, repository_url())
        if found := problems(made, original):
            raise ExtensionError(f"the reader's notebook of {path.name}: {'; '.join(found)}")
        for place in (folder, downloads):  # the second is what the download button of the page gives
            (place / path.name).write_text(nbformat.writes(made).rstrip("\n") + "\n", encoding="utf-8")


def setup(app):
    app.connect("build-finished", _write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
