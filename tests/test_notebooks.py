"""Rules for the stored notebooks: what nbval and the book's build cannot see for themselves.

A rule is a function from a notebook to the list of its problems. Every rule runs on every
notebook, and every rule is shown to find what it is for, on a sound notebook broken in one place.
"""

from __future__ import annotations

import copy
import re
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PAGES = sorted((ROOT / "book").rglob("*.md"))
MAX_COLUMNS = 88

sys.path.insert(0, str(ROOT / "tools"))
from execute_notebooks import cell_ids, hidden_in_the_lab, main  # noqa: E402
from prose_numbers import MARKED, quoted_values, stored_values, updated, values_of_pages  # noqa: E402
from prose_numbers import problems as number_problems  # noqa: E402

VOLATILE = {
    "a memory address": re.compile(r"0x[0-9a-fA-F]{6,}"),
    "a path of this machine": re.compile(
        r"(?<![\w.:/])/(?:tmp|home|root|Users|usr|opt|work|var|mnt|private|build)/|[A-Z]:\\\w"
    ),
    "a timing": re.compile(
        r"(?<![a-z])(?:it/s|s/it)\b|CPU times:|Wall time:|±\s*[\d.]+\s*[mµun]?s\b"
        r"|\b\d[\d.,]*\s*(?:[mµun]s|secs?|seconds?|milliseconds?|minutes?)\b"
    ),
}
WIDGET_MIME = "application/vnd.jupyter.widget-view+json"
UNCOMPARED = re.compile(r"nbval[-_](?:ignore[-_]output|skip|raises[-_]exception|test[-_]name)", re.IGNORECASE)
ADMONITION = re.compile(r"^(`{3,}|:{3,})\{admonition\}", re.MULTILINE)
RUNNING = re.compile(r"Running:\**\s+at most \d+ seconds")
READING = re.compile(r"Reading:\**\s+\d+<!--reading-minutes--> minutes")
DECIMAL = re.compile(r"(?<![\w.,/#-])(?<!line )\d+\.\d+(?!\w|\.\d)")
NOT_PROSE = re.compile(
    r"```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$]*\$|\]\([^)]*\)|<[^>]*>|^%.*?$|\{\w[\w:]*\}`[^`]*`", re.DOTALL | re.MULTILINE
)
MARKDOWN_IMAGE = re.compile(r"!\[([^\]]*)\]\(")


def code_cells(nb):
    return [cell for cell in nb.cells if cell.cell_type == "code"]


def tags(cell):
    return cell.metadata.get("tags", [])


def output_texts(cell):
    """Every text that a cell's outputs store."""
    for output in cell.outputs:
        if output.output_type == "stream":
            yield output.text
        elif output.output_type == "error":
            yield output.evalue
        else:
            for mime, data in output.data.items():
                if not mime.startswith("image/"):
                    yield data if isinstance(data, str) else str(data)


def image_outputs(cell):
    return [output for output in cell.outputs if any(mime.startswith("image/") for mime in output.get("data", {}))]


def image_cells(nb):
    return [(i, cell) for i, cell in enumerate(code_cells(nb), 1) if image_outputs(cell)]


def executed_in_order(nb):
    """nbval compares nothing for a cell whose execution_count is null."""
    counts = [cell.execution_count for cell in code_cells(nb)]
    if counts != list(range(1, len(counts) + 1)):
        return [f"execution counts are {counts}, not 1 to {len(counts)}: run 'make notebooks'"]
    return []


def no_stderr(nb):
    return [
        f"code cell {i} writes to stderr: {output.text[:80]!r}"
        for i, cell in enumerate(code_cells(nb), 1)
        for output in cell.outputs
        if output.output_type == "stream" and output.name == "stderr"
    ]


def no_unannounced_error(nb):
    return [
        f"code cell {i} fails with {output.ename} but lacks the tag raises-exception"
        for i, cell in enumerate(code_cells(nb), 1)
        for output in cell.outputs
        if output.output_type == "error" and "raises-exception" not in tags(cell)
    ]


def no_volatile_output(nb):
    return [
        f"code cell {i} shows {what}: {found.group()!r}"
        for i, cell in enumerate(code_cells(nb), 1)
        for text in output_texts(cell)
        for what, pattern in VOLATILE.items()
        if (found := pattern.search(text))
    ]


def no_widgets(nb):
    problems = [
        f"code cell {i} stores a widget, which would load scripts from the network"
        for i, cell in enumerate(code_cells(nb), 1)
        for output in cell.outputs
        if WIDGET_MIME in output.get("data", {})
    ]
    return problems + (["the notebook stores widget state"] if "widgets" in nb.metadata else [])


def no_trailing_semicolon(nb):
    """nbval runs cells without history, and then IPython shows the value despite the ';'."""
    return [
        f"code cell {i} ends in ';': use plt.show() or an assignment"
        for i, cell in enumerate(code_cells(nb), 1)
        if re.sub(r"\s*#[^\n]*$", "", cell.source.rstrip()).rstrip().endswith(";")
    ]


def figures_described(nb):
    problems = []
    for i, cell in image_cells(nb):
        mystnb = cell.metadata.get("mystnb", {})
        found = {
            "image.alt": mystnb.get("image", {}).get("alt"),
            "figure.caption": mystnb.get("figure", {}).get("caption"),
            "figure.name": mystnb.get("figure", {}).get("name"),
        }
        problems += [
            f"code cell {i} draws a figure without mystnb.{key} in its metadata"
            for key, value in found.items()
            if not (isinstance(value, str) and value.strip())
        ]
    names = [c.metadata.get("mystnb", {}).get("figure", {}).get("name") for _, c in image_cells(nb)]
    repeated = sorted({n for n in names if n and names.count(n) > 1})
    return problems + [f"the figure name {name!r} is used twice" for name in repeated]


def one_figure_per_cell(nb):
    return [
        f"code cell {i} draws {len(image_outputs(cell))} figures, but has one caption"
        for i, cell in image_cells(nb)
        if len(image_outputs(cell)) > 1
    ]


def clean_metadata(nb):
    problems = []
    if set(nb.metadata) != {"kernelspec", "language_info"}:
        problems.append(f"notebook metadata holds {sorted(nb.metadata)}: run 'make notebooks'")
    if dict(nb.metadata.get("language_info", {})) != {"name": "python"}:
        problems.append("language_info holds more than the language's name: run 'make notebooks'")
    for i, cell in enumerate(nb.cells, 1):
        extra = sorted(set(cell.metadata) - {"tags", "mystnb", "jupyter"})
        if extra:
            problems.append(f"cell {i} has the metadata {extra}: run 'make notebooks'")
    for i, (cell, folded) in enumerate(zip(nb.cells, hidden_in_the_lab(nb), strict=True), 1):
        if dict(cell.metadata.get("jupyter", {})) != folded:
            problems.append(f"JupyterLab should fold of cell {i} {sorted(folded) or 'nothing'}: run 'make notebooks'")
    return problems


def python3_kernel(nb):
    name = nb.metadata.get("kernelspec", {}).get("name")
    return [] if name == "python3" else [f"the kernel is {name!r}, not 'python3'"]


def unique_ids(nb):
    ids = [cell.get("id") for cell in nb.cells]
    if len(set(ids)) != len(ids):
        return ["two cells have the same id: run 'make notebooks'"]
    if ids != cell_ids(nb):
        return ["cell ids do not follow from the cells' content: run 'make notebooks'"]
    return []


def header_box(nb):
    """Title, then at once the box with the minutes to read and the seconds to run."""
    text = ""
    for cell in nb.cells:
        if cell.cell_type != "markdown":
            break
        text += cell.source + "\n\n"
    title = re.search(r"^# .+$", text, re.MULTILINE)
    if not title:
        return ["the notebook does not open with a title (# ...)"]
    after = text[title.end() :].lstrip()
    opening = ADMONITION.match(after)
    if not opening:
        return ["the title is not followed at once by an {admonition}"]
    fence = opening.group(1)
    closing = re.search(rf"^{fence}\s*$", after[opening.end() :], re.MULTILINE)
    box = after[: opening.end() + closing.start()] if closing else after
    problems = []
    if not READING.search(box):
        problems.append('the header box lacks "Reading: M<!--reading-minutes--> minutes"')
    if not RUNNING.search(box):
        problems.append('the header box lacks "Running: at most N seconds"')
    return problems


def package_names(nb):
    """The package and the names that the notebook imports from it."""
    names = {"metaad_tutorial"}
    for cell in code_cells(nb):
        for block in re.findall(r"^from metaad_tutorial[\w.]* import (\([^)]*\)|[^\n]*)", cell.source, re.MULTILINE):
            for part in re.sub(r"#[^\n]*|[()]", "", block).split(","):
                if part.strip():
                    names.add(part.split(" as ")[-1].strip())
        names |= set(re.findall(r"^import metaad_tutorial[\w.]* as (\w+)", cell.source, re.M))
    return names


def from_scratch_matches_package(nb):
    """Each cell tagged from-scratch is answered by one tagged matches-package that asserts."""
    names = package_names(nb)
    uses_package = re.compile("|".join(rf"\b{re.escape(name)}\b" for name in sorted(names)))
    problems, waiting, pairs = [], None, 0
    for i, cell in enumerate(code_cells(nb), 1):
        if "from-scratch" in tags(cell):
            if waiting:
                problems.append(f"code cell {waiting} (from-scratch) has no matches-package cell")
            waiting = i
        if "matches-package" in tags(cell):
            if not re.search(r"\bassert\b|\bassert_\w+\(", cell.source):
                problems.append(f"code cell {i} (matches-package) asserts nothing")
            elif not uses_package.search(cell.source):
                problems.append(f"code cell {i} (matches-package) names nothing of the package")
            elif waiting:
                waiting, pairs = None, pairs + 1
    if waiting:
        problems.append(f"code cell {waiting} (from-scratch) has no matches-package cell")
    if not pairs:
        problems.append("no from-scratch cell is compared with the package")
    return problems


def narrow_code(nb):
    return [
        f"code cell {i}, line {j} has {len(line)} columns, more than {MAX_COLUMNS}"
        for i, cell in enumerate(code_cells(nb), 1)
        for j, line in enumerate(cell.source.splitlines(), 1)
        if len(line) > MAX_COLUMNS
    ]


def nothing_left_uncompared(nb):
    return [
        f"cell {i} asks nbval not to compare it ({found.group()})"
        for i, cell in enumerate(nb.cells, 1)
        if (found := UNCOMPARED.search(" ".join(tags(cell)) + "\n" + cell.source)) and cell.cell_type == "code"
    ]


def numbers_are_stored(nb):
    """Every marked number is what its cell stored."""
    values = stored_values(nb) | quoted_values()
    return [
        f"cell {i}: {problem}"
        for i, cell in enumerate(nb.cells, 1)
        if cell.cell_type == "markdown"
        for problem in number_problems(cell.source, values)
    ]


def decimals_are_marked_or_settings(nb):
    """A decimal in the prose that no mark explains is a setting: it stands in the code."""
    settings = {number for cell in code_cells(nb) for number in re.findall(r"\d+\.\d+", cell.source)}
    return [
        f"cell {i}: where does {number} come from? Store it, or mark it <!--given-->"
        for i, cell in enumerate(nb.cells, 1)
        if cell.cell_type == "markdown"
        for number in DECIMAL.findall(NOT_PROSE.sub(" ", MARKED.sub(" ", cell.source)))
        if number not in settings
    ]


def markdown_images_described(nb):
    problems = []
    for i, cell in enumerate(nb.cells, 1):
        if cell.cell_type == "markdown":
            problems += image_problems(cell.source, f"cell {i}")
    return problems


RULES = [
    executed_in_order,
    no_stderr,
    no_unannounced_error,
    no_volatile_output,
    no_widgets,
    no_trailing_semicolon,
    figures_described,
    one_figure_per_cell,
    clean_metadata,
    python3_kernel,
    unique_ids,
    header_box,
    from_scratch_matches_package,
    narrow_code,
    nothing_left_uncompared,
    markdown_images_described,
    numbers_are_stored,
    decimals_are_marked_or_settings,
]


def image_problems(text, where):
    """Images of a MyST text without a text for those who do not see them."""
    problems = [f"{where}: an image has no alt text" for alt in MARKDOWN_IMAGE.findall(text) if not alt.strip()]
    for opening in re.finditer(
        r"^\s*(`{3,}|:{3,})\{(?:image|figure)\}[^\n]*\n((?:\s*:\w[^\n]*\n)*)", text, re.MULTILINE
    ):
        if not re.search(r"^\s*:alt:\s*\S", opening.group(2), re.MULTILINE):
            problems.append(f"{where}: an image directive has no :alt:")
    for tag in re.findall(r"<img\b[^>]*>", text):
        if not re.search(r"\balt=[\"'][^\"']", tag):
            problems.append(f"{where}: an <img> has no alt text")
    return problems


def read(path):
    return nbformat.read(path, as_version=4)


@pytest.fixture(scope="module")
def values_of():
    return values_of_pages(ROOT)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_keeps_the_rule(path, rule):
    nb = read(path)
    nbformat.validate(nb)
    assert rule(nb) == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_pages_show_stored_numbers_and_describe_images(path, values_of):
    text = path.read_text(encoding="utf-8")
    assert number_problems(text, values_of) == []
    assert image_problems(text, path.name) == []


def test_figure_names_are_unique_in_the_book():
    names = [
        cell.metadata.get("mystnb", {}).get("figure", {}).get("name")
        for path in NOTEBOOKS
        for _, cell in image_cells(read(path))
    ]
    assert len(names) == len(set(names)), names


# --- The rules bite -----------------------------------------------------------------------------


def sound_notebook():
    """A small notebook that keeps every rule."""
    new = nbformat.v4
    image = {"image/png": "iVBORw0KGgo=", "text/plain": "<Figure size 500x300 with 1 Axes>"}
    glue = {"application/papermill.record/text/plain": "0.75"}
    nb = new.new_notebook(
        metadata={
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        cells=[
            new.new_markdown_cell(
                "# A chapter\n\n```{admonition} What you will be able to do\n- judge a score\n\n"
                "Reading: 5<!--reading-minutes--> minutes. Running: at most 10 seconds.\n```"
            ),
            new.new_markdown_cell("The value is 0.75<!--value:.2f-->. ![A drawing](a.svg)"),
            new.new_code_cell(
                "from metaad_tutorial import (\n    metrics,\n)\nscore = 0.75\nprint(score)",
                metadata={"tags": ["from-scratch"]},
                outputs=[new.new_output("stream", name="stdout", text="0.75\n")],
            ),
            new.new_code_cell("assert metrics.accuracy([1], [1]) == 1", metadata={"tags": ["matches-package"]}),
            new.new_code_cell(
                "plt.show()",
                metadata={
                    "mystnb": {
                        "image": {"alt": "A curve that rises"},
                        "figure": {"caption": "A curve.", "name": "fig-curve"},
                    }
                },
                outputs=[new.new_output("display_data", data=image)],
            ),
            new.new_code_cell(
                'glue("value", 0.75, display=False)',
                outputs=[
                    new.new_output(
                        "display_data",
                        data=glue,
                        metadata={"scrapbook": {"name": "value", "mime_prefix": ""}},
                    )
                ],
            ),
        ],
    )
    for count, cell in enumerate(code_cells(nb), 1):
        cell.execution_count = count
    return with_ids(nb)


def with_ids(nb):
    for cell, cell_id in zip(nb.cells, cell_ids(nb), strict=True):
        cell.id = cell_id
    return nb


def output(text, name="stdout"):
    return nbformat.v4.new_output("stream", name=name, text=text)


def _set(path, value):
    """A change of a notebook: assign ``value`` at ``path`` (keys and indices)."""

    def change(nb):
        place = nb
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = nbformat.from_dict(value)

    return change


def _print(text, name="stdout"):
    return _set(["cells", 2, "outputs"], [output(text, name)])


def _error(nb):
    nb.cells[2].outputs = [nbformat.v4.new_output("error", ename="ValueError", evalue="no", traceback=[])]


def _widget(nb):
    nb.cells[2].outputs = [nbformat.v4.new_output("display_data", data={WIDGET_MIME: {}})]


def _second_image(nb):
    nb.cells[4].outputs.append(copy.deepcopy(nb.cells[4].outputs[0]))


def _drop(path):
    def change(nb):
        place = nb
        for step in path[:-1]:
            place = place[step]
        del place[path[-1]]

    return change


def _replace(cell, old, new):
    def change(nb):
        assert old in nb.cells[cell].source
        nb.cells[cell].source = nb.cells[cell].source.replace(old, new)

    return change


BREAKS = [
    (executed_in_order, _set(["cells", 3, "execution_count"], None)),
    (executed_in_order, _set(["cells", 3, "execution_count"], 7)),
    (no_stderr, _print("careful", "stderr")),
    (no_unannounced_error, _error),
    (no_volatile_output, _print("<object at 0x7f3a5c0d1e20>")),
    (no_volatile_output, _print("read /home/reader/data.csv")),
    (no_volatile_output, _print(r"read C:\Users\reader")),
    (no_volatile_output, _print("took 3.2 seconds")),
    (no_volatile_output, _print("12.5 ms ± 0.3 ms per loop")),
    (no_volatile_output, _print("100%|###| 5/5 [00:01, 4.9it/s]")),
    (no_widgets, _widget),
    (no_widgets, _set(["metadata", "widgets"], {})),
    (no_trailing_semicolon, _set(["cells", 4, "source"], "ax.plot([1, 2]);")),
    (no_trailing_semicolon, _set(["cells", 4, "source"], "ax.plot([1, 2]);  # a line")),
    (figures_described, _drop(["cells", 4, "metadata", "mystnb", "image"])),
    (figures_described, _drop(["cells", 4, "metadata", "mystnb", "figure", "caption"])),
    (figures_described, _drop(["cells", 4, "metadata", "mystnb", "figure", "name"])),
    (figures_described, _set(["cells", 4, "metadata", "mystnb", "image", "alt"], " ")),
    (figures_described, lambda nb: nb.cells.append(nb.cells[4])),
    (one_figure_per_cell, _second_image),
    (clean_metadata, _set(["cells", 2, "metadata", "execution"], {"iopub.execute_input": "now"})),
    (clean_metadata, _set(["cells", 2, "metadata", "jupyter"], {"source_hidden": True})),
    (clean_metadata, _set(["cells", 2, "metadata", "tags"], ["hide-input"])),
    (numbers_are_stored, _set(["cells", 1, "source"], "The value is 0.76<!--value:.2f-->.")),
    (numbers_are_stored, _set(["cells", 1, "source"], "The value is {glue:text}`value:.2f`.")),
    (decimals_are_marked_or_settings, _set(["cells", 1, "source"], "The value is 0.77.")),
    (clean_metadata, _set(["metadata", "toc"], {})),
    (clean_metadata, _set(["metadata", "language_info", "version"], "3.11.7")),
    (python3_kernel, _set(["metadata", "kernelspec", "name"], "my-env")),
    (unique_ids, lambda nb: nb.cells[1].update(id=nb.cells[0].id)),
    (unique_ids, _set(["cells", 1, "id"], "another")),
    (header_box, _replace(0, "# A chapter", "A chapter")),
    (header_box, _replace(0, "```{admonition}", "First some words.\n\n```{admonition}")),
    (header_box, _replace(0, "Reading: 5<!--reading-minutes--> minutes", "It is short")),
    (header_box, _replace(0, "at most 10 seconds", "some time")),
    (header_box, _replace(0, "Reading: 5", "```\n\nReading: 5")),
    (from_scratch_matches_package, _set(["cells", 3, "metadata", "tags"], [])),
    (from_scratch_matches_package, _replace(3, "assert ", "")),
    (from_scratch_matches_package, _replace(3, "metrics.accuracy([1], [1])", "1")),
    (from_scratch_matches_package, _set(["cells", 4, "metadata", "tags"], ["from-scratch"])),
    (from_scratch_matches_package, _set(["cells", 2, "metadata", "tags"], [])),
    (narrow_code, _set(["cells", 3, "source"], "x = " + "1 + " * 30 + "1")),
    (nothing_left_uncompared, _set(["cells", 2, "metadata", "tags"], ["nbval-ignore-output"])),
    (nothing_left_uncompared, _set(["cells", 2, "metadata", "tags"], ["nbval-skip"])),
    (nothing_left_uncompared, _replace(2, "score = 0.75", "# NBVAL_IGNORE_OUTPUT")),
    (markdown_images_described, _replace(1, "![A drawing]", "![]")),
    (markdown_images_described, _set(["cells", 1, "source"], "```{image} a.svg\n:width: 3\n```\n")),
    (markdown_images_described, _set(["cells", 1, "source"], '<img src="a.svg">')),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule_accepts_a_sound_notebook(rule):
    assert rule(sound_notebook()) == []


@pytest.mark.parametrize(
    ("rule", "change"),
    BREAKS,
    ids=[f"{rule.__name__}-{i}" for i, (rule, _) in enumerate(BREAKS)],
)
def test_rule_finds_the_break(rule, change):
    nb = sound_notebook()
    change(nb)
    assert rule(nb) != []


def test_every_rule_has_a_break():
    assert {rule for rule, _ in BREAKS} == set(RULES)


def test_plain_numbers_are_not_volatile():
    nb = sound_notebook()
    _print("AUROC 0.975, 3 steps, 12 tasks, 4.8 % anomalies, shape (5, 2), a/b, 7 items")(nb)
    assert no_volatile_output(nb) == []


VALUES = {"value": 0.754, "words": "7% to 10%", "gap": "0.16 [0.15, 0.17]", "n": 1203, "01_a::auroc": 0.9}


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("It is 0.75<!--value:.2f-->, 1203<!--n--> times.", 0),
        ("| 0.754<!--value--> | 75%<!--value:.0%--> |", 0),
        ("Gains 0.16 [0.15, 0.17]<!--gain-->.", 1),  # no such key
        ("Gains 0.16 [0.15, 0.17]<!--gap-->, from <!--(-->7% to 10%<!--words-->.", 0),
        ("It is 0.76<!--value:.2f-->.", 1),
        ("From <!--(-->7% to 11%<!--words-->, 5<!--n-->.", 2),
        ("Nothing stands <!--value-->here.", 1),
        ("{glue:text}`value:.2f`", 1),
        ("On a page 0.900<!--01_a::auroc:.3f-->.", 0),
        ("<!-- a remark -->", 0),
        ("They report 0.92<!--given-->.", 0),
    ],
)
def test_number_rule(text, count):
    assert len(number_problems(text, VALUES)) == count


def test_numbers_are_brought_up_to_date():
    text = (
        "It is 0.1<!--value:.2f-->, from <!--(-->1% to 2%<!--words--> by 0 [0, 1]<!--gap-->; "
        "7<!--other--> stays, 0.5<!--given-->."
    )
    assert updated(text, VALUES) == (
        "It is 0.75<!--value:.2f-->, from <!--(-->7% to 10%<!--words--> by 0.16 [0.15, 0.17]<!--gap-->; "
        "7<!--other--> stays, 0.5<!--given-->."
    )
    assert updated("3<!--words-->", VALUES) == "<!--(-->7% to 10%<!--words-->"


# --- The execution tool -------------------------------------------------------------------------


def test_cell_ids_follow_content_not_position():
    nb = sound_notebook()
    before = {cell.source: cell.id for cell in nb.cells}
    nb.cells.insert(0, nbformat.v4.new_markdown_cell("New."))
    nb.cells.append(nbformat.v4.new_markdown_cell("New."))
    with_ids(nb)
    assert all(cell.id == before.get(cell.source, cell.id) for cell in nb.cells)
    assert len({cell.id for cell in nb.cells}) == len(nb.cells)


@pytest.mark.filterwarnings("default")  # jupyter_client leaves sockets to the garbage collector
def test_execution_is_stable_and_fails_loudly(tmp_path, capfd):
    path = tmp_path / "small.ipynb"
    nb = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell("a = 1\nprint(a)"),
            nbformat.v4.new_code_cell("print(a + 1)", metadata={"collapsed": True, "tags": []}),
        ]
    )
    nbformat.write(nb, path)
    assert main([str(path)]) == 0
    first = path.read_bytes()
    stored = read(path)
    assert executed_in_order(stored) == clean_metadata(stored) == unique_ids(stored) == []
    assert stored.cells[1].outputs[0].text == "2\n"

    modified = path.stat().st_mtime_ns
    assert main(["--check", str(path)]) == 0
    assert main([str(path)]) == 0
    assert path.stat().st_mtime_ns == modified, "an unchanged notebook is not written again"
    assert path.read_bytes() == first

    stored.cells[1].source = "raise RuntimeError('broken')"
    nbformat.write(stored, path)
    broken = path.read_bytes()
    capfd.readouterr()
    assert main([str(path)]) == 1
    assert path.read_bytes() == broken, "a failing notebook stays as it was"
    message = capfd.readouterr().err
    assert "code cell 2 of 2" in message
    assert "RuntimeError" in message
