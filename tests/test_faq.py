"""The code that book/faq.md prints runs, on data of the shapes that it speaks of, with short trainings."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_score

from metaad_tutorial import MAML, MetaDetector, table_tasks

PAGE = (Path(__file__).resolve().parents[1] / "book" / "faq.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
RNG = np.random.default_rng(0)


def table(n=60):
    """n points, of which every third is an anomaly."""
    y = (np.arange(n) % 3 == 0).astype(int)
    return RNG.normal(size=(n, 4)) + 3 * y[:, None], y


@pytest.fixture
def given(monkeypatch):
    """What the blocks take for granted."""
    monkeypatch.setattr(MetaDetector, "usual", (0.02, 3, 5))
    (X1, y1), (X2, y2), (X, y) = table(), table(), table()
    detector = MAML(random_state=0).meta_fit(table_tasks({"a": (X1, y1), "b": (X2, y2)}))
    return {
        "X1": X1, "y1": y1, "X2": X2, "y2": y2, "X": X, "y": y, "X_support": X1[y1 == 0][:5], "X_new": X2[:7],
        "detector": detector.fit(X1[y1 == 0][:5]), "torch": torch, "roc_auc_score": roc_auc_score,
        "cross_val_score": cross_val_score, "StratifiedKFold": StratifiedKFold,
    }  # fmt: skip


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of PyTorch's exporter
@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.splitlines()[0])
def test_the_code_runs(block, given, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    if "class_tasks(X, y" in block:
        given |= {"X": RNG.normal(size=(400, 4)), "y": np.arange(400) % 10}
    exec(block, given)


def test_the_translated_labels_and_signs_are_right(given):
    (block,) = [block for block in BLOCKS if "roc_auc_score" in block]
    exec(block, given)
    detector, X, y = given["detector"], given["X"], given["y"]
    assert np.array_equal(given["flagged"], given["score"] > detector.threshold_)
    assert given["auroc"](detector, X, y) == roc_auc_score(y, -detector.decision_function(X))
