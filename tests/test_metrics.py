"""Figures of merit against scikit-learn, and the interval by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as reference

from metaad_tutorial import Evaluation, metrics
from metaad_tutorial.metrics import Interval, interval


def batch(seed, tasks=20, n=13, ties=False):
    """Random labels, both classes in every task, and scores."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, (tasks, n))
    y[:, 0], y[:, 1] = 0, 1
    score = rng.normal(size=y.shape)
    return y, np.round(score) if ties else score


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(metrics.auroc, reference.roc_auc_score), (metrics.average_precision, reference.average_precision_score)],
)
def test_ranking_figures_agree_with_scikit_learn(ours, theirs, ties):
    y, score = batch(0, ties=ties)
    got = ours(y, score)
    assert got.shape == (20,)
    assert np.allclose(got, [theirs(a, b) for a, b in zip(y, score, strict=True)], rtol=0, atol=1e-12)
    assert float(ours(y[0], score[0])) == got[0]  # one task needs no task axis
    assert ours(y.reshape(4, 5, 13), score.reshape(4, 5, 13)).shape == (4, 5)


def test_auroc_counts_pairs_and_halves_ties():
    assert metrics.auroc([0, 0, 1, 1], [0, 1, 1, 2]) == (1 + 1 + 0.5 + 1) / 4
    assert metrics.auroc([0, 1, 0, 1], [5, 5, 5, 5]) == 0.5
    assert metrics.auroc([0, 1], [0, 1]) == 1 and metrics.auroc([1, 0], [0, 1]) == 0


def test_decision_figures_agree_with_scikit_learn():
    y, score = batch(1)
    flagged = score > 0
    counts = metrics.counts(y, flagged)
    for t in range(len(y)):
        tn, fp, fn, tp = reference.confusion_matrix(y[t], flagged[t], labels=[0, 1]).ravel()
        assert (counts.tp[t], counts.fp[t], counts.tn[t], counts.fn[t]) == (tp, fp, tn, fn)
        assert metrics.accuracy(y, flagged)[t] == pytest.approx(reference.accuracy_score(y[t], flagged[t]))
        assert metrics.f1(y, flagged)[t] == pytest.approx(reference.f1_score(y[t], flagged[t]))


def test_rates_agree_with_scikit_learn():
    y, score = batch(1)
    flagged = score > 0
    for t in range(len(y)):
        assert metrics.hits(y, flagged)[t] == pytest.approx(reference.recall_score(y[t], flagged[t]))
        assert metrics.false_alarms(y, flagged)[t] == pytest.approx(1 - reference.recall_score(1 - y[t], ~flagged[t]))


def test_rates_without_the_points_they_are_about():
    assert metrics.false_alarms([0, 0, 0, 0], [True, False, False, False]) == 0.25
    assert metrics.hits([1, 1], [True, False]) == 0.5
    with pytest.raises(ValueError, match="at least one anomaly in every task"):
        metrics.hits([[0, 1], [0, 0]], np.zeros((2, 2), bool))
    with pytest.raises(ValueError, match="at least one normal point in every task"):
        metrics.false_alarms([[0, 1], [1, 1]], np.zeros((2, 2), bool))


def test_f1_of_nothing_found_is_zero_and_of_nothing_to_find_undefined():
    assert metrics.f1([0, 0, 1], [False, False, False]) == 0
    with pytest.raises(ValueError, match="at least one anomaly in every task"):
        metrics.f1([[0, 1], [0, 0]], np.zeros((2, 2), bool))


def test_efficiency_is_correct_decisions_per_second():
    y, flagged = np.array([[0, 0, 1, 1]]), np.array([[True, False, True, False]])
    for seconds, efficiency in ((0.5, 4), (2, 1), (np.nan, np.nan)):
        found = Evaluation(y, flagged * 1.0, flagged, np.zeros(1), seconds).efficiency
        assert np.array_equal(found, efficiency, equal_nan=True)


RANKING = (metrics.auroc, metrics.average_precision)
ALL = (*RANKING, metrics.accuracy, metrics.f1, metrics.counts, metrics.false_alarms, metrics.hits)


@pytest.mark.parametrize("figure", ALL)
@pytest.mark.parametrize(
    ("y", "values", "message"),
    [
        ([0, 1, 1], [0.1, 0.2], "one non-empty shape"),
        ([[0, 1]], [0.1, 0.2], "one non-empty shape"),
        ([], [], "one non-empty shape"),
        ([0, 1], [np.nan, 0.2], "must be finite; found NaN"),
        ([0, 1], [np.inf, 0.2], "must be finite"),
        ([1, 2], [0.1, 0.2], r"must be 0 \(normal\) or 1"),
        ([-1, 1], [0.1, 0.2], r"must be 0 \(normal\) or 1"),
        ([np.nan, 1], [0.1, 0.2], r"must be 0 \(normal\) or 1"),
    ],
)
def test_bad_values(figure, y, values, message):
    with pytest.raises(ValueError, match=message):
        figure(y, values)


@pytest.mark.parametrize("figure", RANKING)
@pytest.mark.parametrize("y", [[0, 0], [1, 1], [[0, 1], [1, 1]], [[0, 1], [0, 0]]])
def test_ranking_needs_both_classes_in_every_task(figure, y):
    with pytest.raises(ValueError, match="one class is missing"):
        figure(y, np.zeros(np.shape(y)))


def test_interval_is_student_s():
    values = np.random.default_rng(0).normal(size=12)
    for level in (0.9, 0.95):
        want = stats.ttest_1samp(values, 0).confidence_interval(level)
        got = interval(values, level)
        assert got.mean == pytest.approx(values.mean())
        assert (got.low, got.high) == pytest.approx((want.low, want.high))
    assert interval([2.0, 2.0, 2.0]) == (2.0, 2.0, 2.0)


def test_interval_covers_the_truth_as_often_as_it_says():
    samples = np.random.default_rng(0).normal(loc=1.0, size=(1000, 5))
    for level in (0.8, 0.95):
        held = np.mean([low <= 1.0 <= high for _, low, high in (interval(s, level) for s in samples)])
        assert abs(held - level) < 4 * np.sqrt(level * (1 - level) / 1000)


@pytest.mark.parametrize("n", [1, 5, 18, 19, 39, 100])
@pytest.mark.parametrize("share", [0.05, 0.1, 0.5])
def test_the_threshold_keeps_its_promise(n, share):
    """A new score exceeds it with probability r/(n + 1): at most the share, unless too few scores can promise that."""
    scores = np.random.default_rng(0).normal(size=(4000, n + 1))
    thresholds = [metrics.rank_threshold(row[1:], share) for row in scores]
    expected = max(1, np.floor(share * (n + 1) + 1e-9)) / (n + 1)
    rate = np.mean(scores[:, 0] > thresholds)
    assert rate == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / 4000))
    assert expected <= share or n < 1 / share - 1


def test_the_threshold_is_a_score_counted_from_above():
    scores = np.random.default_rng(0).permutation(np.arange(1.0, 20))  # 19 scores: 5 % of 20 places is one
    assert metrics.rank_threshold(scores, 0.05) == 19
    assert metrics.rank_threshold(scores, 0.1) == 18
    assert metrics.rank_threshold(scores, 0.5) == 10
    assert metrics.rank_threshold([3.0], 0.05) == 3


@pytest.mark.parametrize(
    ("scores", "share", "message"),
    [
        ([], 0.05, "at least one finite score"),
        ([[1.0]], 0.05, "at least one finite score"),
        ([1.0, np.nan], 0.05, "finite score"),
        ([1.0, np.inf], 0.05, "finite score"),
        ([1.0], 0, r"share must be a finite number in \(0, 1\)"),
        ([1.0], 1, r"share must be a finite number in \(0, 1\)"),
        ([1.0], np.nan, r"share must be a finite number in \(0, 1\)"),
    ],
)
def test_a_threshold_of_nothing(scores, share, message):
    with pytest.raises(ValueError, match=message):
        metrics.rank_threshold(scores, share)


@pytest.mark.parametrize("values", [[0.5], [], [[0.5, 0.6]], 0.5])
def test_interval_needs_two_values(values):
    with pytest.raises(ValueError, match="at least 2 units"):
        interval(values)


def test_interval_prints_short():
    assert f"{Interval(0.5, 0.25, 0.75)}" == "0.500 [0.250, 0.750]"
    assert f"{Interval(0.5, 0.25, 0.75):.1f}" == "0.5 [0.2, 0.8]"
