"""Summaries compare methods only where a cell or an equation carries it, and the page of claims lists each."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from equation_checks import read_folder

from metaad_tutorial import Fleet, Mahalanobis, NearestNeighbor, evaluate
from metaad_tutorial.claims import claim
from metaad_tutorial.metrics import Interval, interval

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
sys.path.insert(0, str(ROOT / "book" / "_ext"))
import claims as page  # noqa: E402

WORDS = {"method": "A", "opponent": "B", "sees": "the same", "unit": "machines"}
OURS, THEIRS = np.array([0.9, 0.8, 0.9, 0.8]), np.array([0.7, 0.6, 0.8, 0.7])
FOUND = claim(OURS, THEIRS, **WORDS)
LABELS = {check.label for check in read_folder(ROOT / "tests" / "equations")}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_a_summary_compares_has_its_evidence(path):
    assert page.problems(nbformat.read(path, as_version=4), LABELS) == []


def test_stored_evidence_carries_its_sentence():
    for path in NOTEBOOKS:
        for key, found in page.evidence(nbformat.read(path, as_version=4)).items():
            assert set(found) == set(FOUND), key
            mean, low, high = map(float, re.findall(r"[-+]\d\.\d+", found["difference"]))
            claim(Interval(mean, low, high), **{k: found[k] for k in (*WORDS, "figure", "says")})
            assert re.match(r"\d+ \w", found["unit"]) and found["runs"] >= 1, key


def test_most_chapters_compare():
    named = {path.stem: sum(map(len, map(page.named, page.bullets(nbformat.read(path, as_version=4)))))
             for path in NOTEBOOKS}  # fmt: skip
    assert sum(n > 0 for n in named.values()) >= 8, named


# --- What a claim is -----------------------------------------------------------------------------


def test_a_claim_is_the_paired_interval_over_units():
    expected = interval(OURS - THEIRS)
    assert FOUND["difference"] == f"{expected:+.3f}" and FOUND["unit"] == "4 machines" and FOUND["runs"] == 1
    three = claim([OURS, OURS - 0.1, OURS + 0.1], THEIRS, **WORDS)
    assert three["difference"] == FOUND["difference"] and (three["runs"], three["opponent_runs"]) == (3, 1)


def test_a_claim_takes_evaluations():
    fleet = Fleet(n_machines=30, n_features=4)
    near, ellipse = (evaluate(d, fleet, 60, 1) for d in (NearestNeighbor(), Mahalanobis()))
    found = claim(near, ellipse, figure="accuracy", **WORDS)
    assert found["difference"] == f"{near.minus(ellipse, 'accuracy'):+.3f}" and found["unit"] == "30 machines"


@pytest.mark.parametrize(
    ("shift", "says", "carried"),
    [
        (0, "above", True), (0, "below", False), (0, "open", False), (0, 0.3, True), (0, 0.2, False),
        (0.3, "below", True), (0.3, "above", False), (0.15, "open", True), (0.15, "above", False),
        (0.15, "no gain", True), (0.3, "no gain", True), (0, "no gain", False),
    ],
)  # fmt: skip
def test_a_claim_must_carry_its_sentence(shift, says, carried):
    if carried:
        assert claim(OURS, THEIRS + shift, says=says, **WORDS)["says"] == says
    else:
        with pytest.raises(AssertionError, match="A minus B"):
            claim(OURS, THEIRS + shift, says=says, **WORDS)


def test_a_claim_refuses_other_units_and_unknown_words():
    with pytest.raises(ValueError, match="same units"):
        claim(OURS, THEIRS[:3], **WORDS)
    with pytest.raises(KeyError, match="better"):
        claim(OURS, THEIRS, says="better", **WORDS)


# --- The checks bite -----------------------------------------------------------------------------


def chapter(summary, **stored):
    new = nbformat.v4
    outputs = [
        new.new_output(
            "display_data",
            data={"application/papermill.record/text/plain": repr(value)},
            metadata={"scrapbook": {"name": name, "mime_prefix": ""}},
        )
        for name, value in stored.items()
    ]
    cells = [
        new.new_code_cell("...", outputs=outputs),
        new.new_markdown_cell(f"# A\n\nMAML is better than AADML.\n\n## Summary\n\n{summary}\n\n## Exercises\n\n- Do."),
    ]
    return new.new_notebook(cells=cells)


@pytest.mark.parametrize(
    ("summary", "stored", "found"),
    [
        ("- MAML is better than Reptile.<!--claim a-->", {"a": FOUND}, ""),
        ("- MAML is better than Reptile,\n  and AADML lost.", {}, "names no cell"),
        ("- Nearest neighbour came out ahead.", {}, "names no cell"),
        ("- Pooled training was as good as prototypes.", {}, "names no cell"),
        ("- A step learns.\n- MAML is behind Mahalanobis distance.", {}, "names no cell"),
        ("- MAML is better than Reptile.<!--claim b-->", {"a": FOUND}, "stores the evidence 'b'"),
        ("- MAML is better than Reptile.<!--claim a-->", {"a": 0.7}, "stores the evidence 'a'"),
        ("- A step learns.", {"a": FOUND}, "no bullet names the evidence 'a'"),
        ("- The best score is MAML's.<!--claim equation::loss-->", {}, ""),
        ("- The best score is MAML's.<!--claim equation::gone-->", {}, "no equation"),
        ("- MAML learns a start.\n- Scale the points.", {}, ""),
    ],
)
def test_problems_are_found(summary, stored, found):
    problems = page.problems(chapter(summary, **stored), {"loss"})
    assert (found in problems[0]) if found else problems == []


def test_a_tick_stands_in_the_place_of_the_mark():
    body = "<li><p>MAML wins. <!--claim ch4-a ch4-b--></p></li><li>x<!--claim other--></li>"
    ticked = page.add_ticks(body, {"ch4-a": 'Rests on: "A" minus B'}, "../book/claims.html")
    assert 'id="said-ch4-a" href="../book/claims.html#claim-ch4-a"' in ticked and "<!--claim other-->" in ticked
    assert 'aria-label="Rests on: &quot;A&quot; minus B"' in ticked and ticked.count("\u2713") == 1


def test_words_for_readers():
    assert page.compared(FOUND) == f"A minus B, AUROC: {FOUND['difference']}; 4 machines, 1 run"
    assert page.over(FOUND | {"runs": 3}) == "4 machines, 3 runs against 1"
    assert page.told([]) == "Rests on an equation, which a test checks"
    assert page.told(["A", "B", "C"]) == "Rests on A (and 2 more)"
    assert [page.outcome({"says": says}) for says in ("above", "below", "no gain", "open", 0.01)] == [
        "ahead", "behind", "no gain shown", "not decided", "less than 0.01 apart",
    ]  # fmt: skip
