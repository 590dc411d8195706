"""Equations of chapter 1, Scores and thresholds."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
import sympy
from scipy import integrate, stats
from sklearn.metrics import accuracy_score, auc, f1_score, precision_score, recall_score, roc_curve

import metaad_tutorial as metaad
from equations import equation
from metaad_tutorial import Evaluation, metrics


def _scored_points(seed=0, n_plus=12, n_minus=30, grid=None):
    """Labels and scores of both classes; rounded to `grid` steps, scores tie."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.repeat([1, 0], [n_plus, n_minus]))
    score = rng.normal(size=len(y)) + 1.2 * y
    return y, score if grid is None else np.round(score * grid) / grid


@equation(
    "decision",
    statement=r"$\hat y(x) = 1$ if $f(x) > \tau$, else 0",
    how="`predict` of both distance detectors against the rule, a score equal to the threshold included",
)
def test_decision():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 3)) * np.repeat([1, 3], 30)[:, None]  # the second half lies wider
    for detector in (metaad.NearestNeighbor(), metaad.Mahalanobis()):
        detector.fit(x[:30])
        score = detector.anomaly_score(x)
        flagged = np.array([1 if s > detector.threshold_ else 0 for s in score])
        assert 0 < flagged.sum() < len(flagged)
        assert np.array_equal(detector.predict(x) == -1, flagged == 1)
        detector.threshold_ = score[40]  # a threshold that point 40 reaches but does not exceed
        assert detector.predict(x[40:41]) == 1


@equation(
    "confusion",
    statement="TP, FP, TN and FN as sums of products of $y$ and $\\hat y$",
    how="the package's counts against a loop over points",
)
def test_confusion():
    y, score = _scored_points()
    flagged = score > 0.5
    found = {"tp": 0, "fp": 0, "tn": 0, "fn": 0}
    for truth, decided in zip(y, flagged, strict=True):
        found[("t" if truth == decided else "f") + ("p" if decided else "n")] += 1
    assert metrics.counts(y, flagged)._asdict() == found
    hat = flagged.astype(int)
    sums = ((y * hat).sum(), ((1 - y) * hat).sum(), ((1 - y) * (1 - hat)).sum(), (y * (1 - hat)).sum())
    assert tuple(metrics.counts(y, flagged)) == sums


@equation(
    "accuracy",
    statement=r"accuracy is $(\mathrm{TP} + \mathrm{TN}) / N$",
    how="the package against the share of equal labels and against scikit-learn",
)
def test_accuracy():
    y, score = _scored_points()
    flagged = score > 0.5
    assert metrics.accuracy(y, flagged) == pytest.approx(np.mean(y == flagged))
    assert metrics.accuracy(y, flagged) == pytest.approx(accuracy_score(y, flagged))


@equation(
    "efficiency",
    statement="efficiency is the number of right decisions per unit of time",
    how="the package against a count divided by the time; doubling the time halves it",
)
def test_efficiency():
    y, score = _scored_points()
    flagged = score > 0.5
    right = sum(int(truth == decided) for truth, decided in zip(y, flagged, strict=True))
    for seconds in (0.25, 0.5):
        result = Evaluation(y[None], score[None], flagged[None], np.zeros(1), seconds)
        assert result.efficiency == pytest.approx(right / seconds)


@equation(
    "rates",
    statement=r"$\mathrm{TPR} = \mathrm{TP}/n_+$ and $\mathrm{FPR} = \mathrm{FP}/n_-$",
    how="the counts against means over each class and a point of scikit-learn's ROC curve",
)
def test_rates():
    y, score = _scored_points()
    fpr, tpr, thresholds = roc_curve(y, score, drop_intermediate=False)
    for i in range(1, len(thresholds), 5):
        flagged = score >= thresholds[i]
        c = metrics.counts(y, flagged)
        assert c.tp / (c.tp + c.fn) == pytest.approx(flagged[y == 1].mean())
        assert (c.tp / (c.tp + c.fn), c.fp / (c.fp + c.tn)) == pytest.approx((tpr[i], fpr[i]))


@equation(
    "accuracy-base-rate",
    statement=r"accuracy is $\pi\, \mathrm{TPR} + (1 - \pi)(1 - \mathrm{FPR})$",
    how="symbolic identity; above $1 - \\pi$ exactly where TP exceeds FP, over all counts up to 5",
)
def test_accuracy_base_rate():
    tp, fp, tn, fn = sympy.symbols("tp fp tn fn", positive=True)
    n = tp + fp + tn + fn
    pi, tpr, fpr = (tp + fn) / n, tp / (tp + fn), fp / (fp + tn)
    assert sympy.simplify(pi * tpr + (1 - pi) * (1 - fpr) - (tp + tn) / n) == 0
    for a, b, c, d in itertools.product(range(6), repeat=4):
        if a + d > 0 and b + c > 0:
            base = Fraction(a + d, a + b + c + d)
            value = base * Fraction(a, a + d) + (1 - base) * (1 - Fraction(b, b + c))
            assert (value > 1 - base) == (a > b)
    y, score = _scored_points()
    flagged = score > 0.5
    c = metrics.counts(y, flagged)
    mixed = y.mean() * c.tp / y.sum() + (1 - y.mean()) * c.tn / (1 - y).sum()
    assert metrics.accuracy(y, flagged) == pytest.approx(mixed)


@equation(
    "precision-recall",
    statement=r"precision is $\mathrm{TP}/(\mathrm{TP}+\mathrm{FP})$, recall is the TPR",
    how="the counts against the share of right alarms, the share of found anomalies and scikit-learn",
)
def test_precision_recall():
    y, score = _scored_points()
    flagged = score > 0.5
    c = metrics.counts(y, flagged)
    precision, recall = c.tp / (c.tp + c.fp), c.tp / (c.tp + c.fn)
    assert (precision, recall) == pytest.approx((y[flagged].mean(), flagged[y == 1].mean()))
    assert (precision, recall) == pytest.approx((precision_score(y, flagged), recall_score(y, flagged)))


@equation(
    "f1",
    statement=r"F1 is the harmonic mean of precision and recall, $2\mathrm{TP}/(2\mathrm{TP}+\mathrm{FP}+\mathrm{FN})$",
    how="symbolic identity of the two forms; the package against scikit-learn",
)
def test_f1():
    tp, fp, fn = sympy.symbols("tp fp fn", positive=True)
    precision, recall = tp / (tp + fp), tp / (tp + fn)
    harmonic = 1 / ((1 / precision + 1 / recall) / 2)
    assert sympy.simplify(harmonic - 2 * tp / (2 * tp + fp + fn)) == 0
    y, score = _scored_points()
    assert metrics.f1(y, score > 0.5) == pytest.approx(f1_score(y, score > 0.5))


@equation(
    "auroc",
    statement="AUROC is the share of (anomaly, normal) pairs in the right order, ties one half",
    how="the package against a loop over pairs and the area under scikit-learn's ROC curve, with ties",
)
def test_auroc():
    for grid in (None, 2):
        y, score = _scored_points(grid=grid)
        pairs = itertools.product(score[y == 1], score[y == 0])
        right = np.mean([1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs])
        fpr, tpr, _ = roc_curve(y, score)
        assert metrics.auroc(y, score) == pytest.approx(right)
        assert metrics.auroc(y, score) == pytest.approx(auc(fpr, tpr))
        assert metrics.auroc(y, score**3) == pytest.approx(right)  # increasing: the order stays


@equation(
    "roc-area",
    statement=r"$\int \mathrm{TPR}\, d\mathrm{FPR} = P(S_+ > S_-)$",
    how="numerical integral over the ROC curve of two normal distributions against the closed form "
    r"$\Phi(m/\sqrt{1+s^2})$ of the probability",
)
def test_roc_area():
    for shift, scale in ((1.0, 1.0), (0.7, 2.0)):
        # S_- ~ N(0, 1), S_+ ~ N(shift, scale^2); at a false positive rate p the threshold is -ppf(p)
        area, _ = integrate.quad(lambda p, m=shift, s=scale: stats.norm.sf((-stats.norm.ppf(p) - m) / s), 0, 1)
        assert area == pytest.approx(stats.norm.cdf(shift / np.sqrt(1 + scale**2)), abs=1e-7)


@equation(
    "auroc-ranks",
    statement=r"$\mathrm{AUROC} = (R_+ - n_+(n_+ + 1)/2) / (n_+ n_-)$",
    how="ranks against pairs on 50 random samples with many ties; scipy's Mann-Whitney U",
)
def test_auroc_ranks():
    for seed in range(50):
        y, score = _scored_points(seed, n_plus=5 + seed % 7, n_minus=9, grid=1 + seed % 3)
        n_plus, n_minus = y.sum(), (1 - y).sum()
        u = stats.rankdata(score)[y == 1].sum() - n_plus * (n_plus + 1) / 2
        gap = score[y == 1][:, None] - score[y == 0]
        assert u / (n_plus * n_minus) == pytest.approx(np.mean((gap > 0) + 0.5 * (gap == 0)))
        assert u == pytest.approx(stats.mannwhitneyu(score[y == 1], score[y == 0]).statistic)


@equation(
    "precision-base-rate",
    statement=r"precision from TPR, FPR and the base rate $\pi$ (Bayes' theorem)",
    how="symbolic identity of count form, rate form and odds form; a sample whose normal points are repeated",
)
def test_precision_base_rate():
    tp, fp, tn, fn = sympy.symbols("tp fp tn fn", positive=True)
    pi = (tp + fn) / (tp + fp + tn + fn)
    tpr, fpr = tp / (tp + fn), fp / (fp + tn)
    rates = pi * tpr / (pi * tpr + (1 - pi) * fpr)
    odds = 1 / (1 + (1 - pi) / pi * fpr / tpr)
    assert sympy.simplify(rates - tp / (tp + fp)) == 0
    assert sympy.simplify(odds - tp / (tp + fp)) == 0

    y, score = _scored_points()
    flagged = score > 0.5
    tpr, fpr = flagged[y == 1].mean(), flagged[y == 0].mean()
    rarer = np.r_[flagged[y == 1], np.tile(flagged[y == 0], 20)]  # the same rates, rarer anomalies
    truth = np.repeat([1, 0], [y.sum(), 20 * (1 - y).sum()])
    pi = truth.mean()
    predicted = 1 / (1 + (1 - pi) / pi * fpr / tpr)
    assert truth[rarer].mean() == pytest.approx(predicted)
    assert predicted < y[flagged].mean() / 2


@equation(
    "average-precision",
    statement="AP is the mean over anomalies of the precision at their own score",
    how="the package against the sum over anomalies and the area of the recall steps, with and without ties",
)
def test_average_precision():
    for grid in (None, 2):
        y, score = _scored_points(grid=grid)
        by_anomaly = [y[score >= s].sum() / (score >= s).sum() for s in score[y == 1]]
        area, before = 0.0, 0.0
        for s in np.unique(score)[::-1]:
            recall = (score[y == 1] >= s).mean()
            area, before = area + (recall - before) * y[score >= s].mean(), recall
        assert metrics.average_precision(y, score) == pytest.approx(np.mean(by_anomaly))
        assert metrics.average_precision(y, score) == pytest.approx(area)


@equation(
    "auroc-variance",
    statement="variance of an estimated AUROC from $A$, $Q_1$, $Q_2$, $n_+$ and $n_-$",
    how="20,000 simulated samples with $A = 2/3$, $Q_1 = 8/15$, $Q_2 = 1/2$ in closed form; 5 % tolerance",
)
def test_auroc_variance():
    # S_- uniform on [0, 1], S_+ the larger of two uniforms: P(S_+ > s) = 1 - s^2
    area, q1, q2 = 2 / 3, 8 / 15, 1 / 2
    rng = np.random.default_rng(0)
    for n_plus, n_minus in ((2, 9), (7, 4)):
        plus = rng.uniform(size=(20_000, n_plus, 2)).max(-1)
        minus = rng.uniform(size=(20_000, n_minus))
        estimates = (plus[:, :, None] > minus[:, None, :]).mean((1, 2))
        shared = (n_plus - 1) * (q1 - area**2) + (n_minus - 1) * (q2 - area**2)
        variance = (area * (1 - area) + shared) / (n_plus * n_minus)
        assert estimates.var() == pytest.approx(variance, rel=0.05)


@equation(
    "task-interval",
    statement="Student's 95 % interval for the mean over independent tasks",
    how="the package against scipy's interval; coverage in 4000 simulated experiments of 8 tasks",
)
def test_task_interval():
    rng = np.random.default_rng(0)
    values = rng.normal(0.8, 0.1, size=(4000, 8))
    found = metrics.interval(values[0])
    expected = stats.t.interval(0.95, 7, values[0].mean(), values[0].std(ddof=1) / np.sqrt(8))
    assert (found.low, found.high) == pytest.approx(expected)
    half = stats.t.ppf(0.975, 7) * values.std(1, ddof=1) / np.sqrt(8)
    covered = np.abs(values.mean(1) - 0.8) <= half
    assert covered.mean() == pytest.approx(0.95, abs=0.015)
    assert (found.high - found.low) / 2 == pytest.approx(half[0])


@equation(
    "likelihood-ratio",
    statement="no rule with at most the FPR of a likelihood-ratio threshold has a larger TPR",
    how="exhaustive: all 1024 rules on a space of ten points, three pairs of distributions; AUROC too",
)
def test_likelihood_ratio():
    rng = np.random.default_rng(0)
    rules = np.array(list(itertools.product([0, 1], repeat=10)))
    for _ in range(3):
        p0, p1 = rng.dirichlet(np.ones(10), size=2)
        ratio = p1 / p0
        fpr, tpr = rules @ p0, rules @ p1
        for tau in ratio:
            best = ratio > tau
            allowed = fpr <= best @ p0 + 1e-12
            assert tpr[allowed].max() <= best @ p1 + 1e-12

        def area(score, p0=p0, p1=p1):
            gap = score[:, None] - score
            return p1 @ ((gap > 0) + 0.5 * (gap == 0)) @ p0

        others = [area(rng.normal(size=10)) for _ in range(200)]
        assert max(others) <= area(ratio)
        assert area(np.log(ratio)) == pytest.approx(area(ratio))


@equation(
    "quantile-threshold",
    statement="$P(f(x_{new}) > s_{(r)}) = r/(n+1)$ for exchangeable scores",
    how="exhaustive: all orders of $n + 1 = 6$ scores, every $r$; with ties the probability is at most that",
)
def test_quantile_threshold():
    for scores, tied in (((1, 2, 3, 4, 5, 6), False), ((1, 2, 2, 3, 3, 3), True)):
        orders = np.array(list(itertools.permutations(scores)))
        new, calibration = orders[:, 0], np.sort(orders[:, 1:], axis=1)[:, ::-1]
        for k in range(1, 6):
            alarms = np.mean(new > calibration[:, k - 1])
            if tied:
                assert alarms <= k / 6 + 1e-12
            else:
                assert alarms == pytest.approx(k / 6)


@equation(
    "false-alarm-spread",
    statement=r"given the calibration points, the FPR follows $\mathrm{Beta}(r, n + 1 - r)$",
    how="Kolmogorov-Smirnov test of 20,000 calibrations with exponential scores; mean $r/(n+1)$ to 1 %",
)
def test_false_alarm_spread():
    rng = np.random.default_rng(0)
    n, k = 39, 4
    threshold = np.sort(rng.exponential(size=(20_000, n)), axis=1)[:, -k]
    fpr = np.exp(-threshold)  # P(S > threshold) for exponential scores
    assert stats.kstest(fpr, stats.beta(k, n + 1 - k).cdf).pvalue > 0.01
    assert fpr.mean() == pytest.approx(k / (n + 1), rel=0.01)
    assert stats.kstest(fpr, stats.beta(k, n - k).cdf).pvalue < 0.01  # a neighbouring law is told apart


@equation(
    "conformal-p",
    statement="A p-value from ranks: at most $\\varepsilon$ exactly where the calibrated threshold flags",
    how="every order of few scores, and random scores with ties, against the rule and against all orders being alike",
)
def test_conformal_p():
    rng = np.random.default_rng(0)

    def p_value(scores, new):
        return (1 + np.sum(scores >= new)) / (len(scores) + 1)

    for n, rate in ((3, 0.25), (9, 0.1), (19, 0.05), (19, 0.12)):
        r = int(rate * (n + 1) + 1e-9)
        for _ in range(200):
            scores, new = rng.integers(0, 12, size=n) / 2, rng.integers(0, 12) / 2
            threshold = np.sort(scores)[-r]
            assert (new > threshold) == (p_value(scores, new) <= rate + 1e-9)
    for n in (3, 7):  # of n + 1 places in the order, k give a p-value of at most k / (n + 1)
        row = np.arange(n + 1.0)
        found = sorted(p_value(np.delete(row, i), row[i]) for i in range(n + 1))
        np.testing.assert_allclose(found, np.arange(1, n + 2) / (n + 1))


@equation(
    "paired-variance",
    statement="Variance of a mean paired difference: less by the correlation of the two figures",
    how="from the moments of drawn pairs, exactly, and against the spread of many simulated means",
)
def test_paired_variance():
    rng = np.random.default_rng(0)
    cov = np.array([[1.0, 0.9], [0.9, 2.25]])
    T, pairs = 20, rng.multivariate_normal([0, 0], cov, size=(4000, 20))
    d = pairs[..., 0] - pairs[..., 1]
    rho = 0.9 / 1.5
    formula = (1 + 2.25 - 2 * rho * 1.5) / T
    found = d.mean(1).var()
    assert abs(found - formula) < 4 * formula * np.sqrt(2 / 4000)
    a, b = pairs[0].T
    own = np.corrcoef(a, b)[0, 1]
    assert np.isclose((a - b).var(), a.var() + b.var() - 2 * own * a.std() * b.std())
