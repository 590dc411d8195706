"""The checks of the labelled equations, chapter by chapter."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from equations import equation
from scipy import integrate, stats
from scipy.special import logsumexp

import metaad_tutorial as metaad
from metaad_tutorial import metrics

# Chapter 1: Scores and thresholds


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
        detector.offset_ = -score[40]  # a threshold that point 40 reaches but does not exceed
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
    from sklearn.metrics import accuracy_score

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
    assert metrics.efficiency(y, flagged, 0.25) == pytest.approx(right / 0.25)
    assert metrics.efficiency(y, flagged, 0.5) == pytest.approx(right / 0.5)


@equation(
    "rates",
    statement=r"$\mathrm{TPR} = \mathrm{TP}/n_+$ and $\mathrm{FPR} = \mathrm{FP}/n_-$",
    how="the counts against means over each class and a point of scikit-learn's ROC curve",
)
def test_rates():
    from sklearn.metrics import roc_curve

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
    from fractions import Fraction

    import sympy

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
    from sklearn.metrics import precision_score, recall_score

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
    import sympy
    from sklearn.metrics import f1_score

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
    from sklearn.metrics import auc, roc_curve

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
    from scipy.integrate import quad
    from scipy.stats import norm

    for shift, scale in ((1.0, 1.0), (0.7, 2.0)):
        # S_- ~ N(0, 1), S_+ ~ N(shift, scale^2); at a false positive rate p the threshold is -ppf(p)
        area, _ = quad(lambda p, m=shift, s=scale: norm.sf((-norm.ppf(p) - m) / s), 0, 1)
        assert area == pytest.approx(norm.cdf(shift / np.sqrt(1 + scale**2)), abs=1e-7)


@equation(
    "auroc-ranks",
    statement=r"$\mathrm{AUROC} = (R_+ - n_+(n_+ + 1)/2) / (n_+ n_-)$",
    how="ranks against pairs on 50 random samples with many ties; scipy's Mann-Whitney U",
)
def test_auroc_ranks():
    from scipy.stats import mannwhitneyu, rankdata

    for seed in range(50):
        y, score = _scored_points(seed, n_plus=5 + seed % 7, n_minus=9, grid=1 + seed % 3)
        n_plus, n_minus = y.sum(), (1 - y).sum()
        u = rankdata(score)[y == 1].sum() - n_plus * (n_plus + 1) / 2
        gap = score[y == 1][:, None] - score[y == 0]
        assert u / (n_plus * n_minus) == pytest.approx(np.mean((gap > 0) + 0.5 * (gap == 0)))
        assert u == pytest.approx(mannwhitneyu(score[y == 1], score[y == 0]).statistic)


@equation(
    "precision-base-rate",
    statement=r"precision from TPR, FPR and the base rate $\pi$ (Bayes' theorem)",
    how="symbolic identity of count form, rate form and odds form; a sample whose normal points are repeated",
)
def test_precision_base_rate():
    import sympy

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
    from scipy.stats import t

    rng = np.random.default_rng(0)
    values = rng.normal(0.8, 0.1, size=(4000, 8))
    found = metrics.interval(values[0])
    expected = t.interval(0.95, 7, values[0].mean(), values[0].std(ddof=1) / np.sqrt(8))
    assert (found.low, found.high) == pytest.approx(expected)
    half = t.ppf(0.975, 7) * values.std(1, ddof=1) / np.sqrt(8)
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
    from scipy.stats import beta, kstest

    rng = np.random.default_rng(0)
    n, k = 39, 4
    threshold = np.sort(rng.exponential(size=(20_000, n)), axis=1)[:, -k]
    fpr = np.exp(-threshold)  # P(S > threshold) for exponential scores
    assert kstest(fpr, beta(k, n + 1 - k).cdf).pvalue > 0.01
    assert fpr.mean() == pytest.approx(k / (n + 1), rel=0.01)
    assert kstest(fpr, beta(k, n - k).cdf).pvalue < 0.01  # a neighbouring law is told apart


# Chapter 2: Tasks and episodes


def _fleet_facts(fleet, machine=0):
    """Covariance Sigma, anomaly shift delta u and separation Delta of one machine."""
    shift = fleet.shifts[machine]
    return fleet.covariance, shift, np.sqrt(shift @ np.linalg.solve(fleet.covariance, shift))


@equation(
    "meta-objective",
    statement="$L(\\theta; w)$ is the expected query loss after adaptation to the support set",
    how="`MetaDetector`'s loss and its gradient against a loop over tasks with gradient descent written out",
)
def test_meta_objective():
    episodes = metaad.Fleet(n_machines=20, n_features=3).sample(4, random_state=0)
    detector = metaad.MAML(hidden=(), inner_steps=2, inner_lr=0.3, balanced=False, standardize=False)
    w = torch.tensor([0.3, -0.2, 0.1, 0.4], dtype=torch.float64, requires_grad=True)
    meta = {
        "location": torch.zeros(1, 1, 3, dtype=torch.float64),
        "scale": torch.ones(1, 1, 3, dtype=torch.float64),
        "start.weight0": w[:3].reshape(detector._start(3, np.random.default_rng(0))["start.weight0"].shape),
        "start.bias0": w[3:],
    }
    found = detector._query_loss(meta, episodes)

    def with_one(x):
        return torch.cat([x[0], torch.ones(len(x[0]), 1, dtype=torch.float64)], 1)

    losses = []
    for task in episodes:
        support, query, adapted = with_one(task.support_x), with_one(task.query_x), w
        for _ in range(2):
            error = torch.sigmoid(support @ adapted) - task.support_y[0]
            adapted = adapted - 0.3 * support.T @ error / len(support)
        losses.append(F.binary_cross_entropy_with_logits(query @ adapted, task.query_y[0]))
    expected = torch.stack(losses).mean()
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(*(torch.autograd.grad(loss, w)[0] for loss in (found, expected)))


@equation(
    "optimism",
    statement="Least squares errs by $\\sigma^2 (1 - d/n)$ on its own points, by $\\sigma^2 (1 + d/n)$ on fresh ones",
    how="exactly, as traces of the error covariances, and by simulation within four standard errors",
)
def test_optimism():
    n, d, sigma = 20, 6, 0.7
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, d))
    fit = np.linalg.pinv(X)
    own = np.eye(n) - X @ fit  # error on the own points = own @ noise
    fresh = np.hstack([-X @ fit, np.eye(n)])  # error on fresh ones = fresh @ (noise, fresh noise)
    expected = sigma**2 * np.array([1 - d / n, 1 + d / n])
    traces = sigma**2 * np.array([np.trace(own @ own.T), np.trace(fresh @ fresh.T)]) / n
    np.testing.assert_allclose(traces, expected)

    w = rng.normal(size=d)
    r, r_fresh = X @ w + sigma * rng.normal(size=(2, 4000, n))
    prediction = (X @ (fit @ r.T)).T
    errors = np.array([((r - prediction) ** 2).mean(1), ((r_fresh - prediction) ** 2).mean(1)])
    assert (np.abs(errors.mean(1) - expected) < 4 * errors.std(1) / np.sqrt(4000)).all()


@equation(
    "fleet-model",
    statement="$x = \\mu_i + A e + y\\, \\delta_i u_i$ with $e$ standard normal and $\\mu_i \\sim N(0, \\rho^2 I)$",
    how="means and covariance of many points of one machine, and variance of the means, within five standard errors",
)
def test_fleet_model():
    fleet = metaad.Fleet(n_features=4, directions=2, normal_queries=20000, anomalous_queries=20000, spread=2.0)
    task = fleet.restrict([7]).sample(1, random_state=0)
    x, y = task.query_x[0].numpy(), task.query_y[0].numpy()
    np.testing.assert_allclose(fleet.covariance, fleet.mixing @ fleet.mixing.T)
    spread = np.sqrt(np.diag(fleet.covariance) / 20000)
    assert (np.abs(x[y == 0].mean(0) - fleet.means[7]) < 5 * spread).all()
    assert (np.abs(x[y == 1].mean(0) - fleet.means[7] - fleet.shifts[7]) < 5 * spread).all()
    for label in (0, 1):  # faults move a reading and leave its scatter as it is
        error = 5 * np.sqrt(2 / 20000) * np.diag(fleet.covariance).max()
        assert np.abs(np.cov(x[y == label].T) - fleet.covariance).max() < error
    n = fleet.means.size
    assert abs(fleet.means.var() - 4) < 5 * 4 * np.sqrt(2 / n)
    assert np.linalg.matrix_rank(fleet.shifts) == 2


@equation(
    "fleet-bayes",
    statement="Log likelihood ratio $\\delta u^T \\Sigma^{-1} (x - \\mu) - \\frac{1}{2} \\delta^2 u^T \\Sigma^{-1} u$",
    how="against the difference of SciPy's two Gaussian log densities",
)
def test_fleet_bayes():
    fleet = metaad.Fleet(n_machines=5, n_features=6)
    covariance, shift, separation = _fleet_facts(fleet, 3)
    mu, x = fleet.means[3], np.random.default_rng(0).normal(size=(30, 6))
    formula = (x - mu) @ np.linalg.solve(covariance, shift) - separation**2 / 2
    densities = [stats.multivariate_normal(mu + s, covariance).logpdf(x) for s in (shift, 0 * shift)]
    np.testing.assert_allclose(formula, densities[0] - densities[1])


@equation(
    "fleet-ceiling",
    statement="The best AUROC is $\\Phi(\\delta \\sqrt{u^T \\Sigma^{-1} u / 2})$",
    how="against `Fleet.bayes_auroc`, numerical integration of the ROC curve, and simulated scores",
)
def test_fleet_ceiling():
    for ceiling, directions in ((0.75, 1), (0.97, 3)):
        fleet = metaad.Fleet(n_machines=300, n_features=5, directions=directions, ceiling=ceiling)
        for machine in (0, 17):
            separation = _fleet_facts(fleet, machine)[2]
            formula = stats.norm.cdf(separation / np.sqrt(2))
            assert formula == pytest.approx(ceiling) == fleet.bayes_auroc
            area, _ = integrate.quad(lambda t, s=separation: stats.norm.cdf(s + stats.norm.ppf(t)), 0, 1)
            assert area == pytest.approx(ceiling, abs=1e-6)
        tasks = fleet.sample(300, random_state=0)
        weights = np.linalg.solve(fleet.covariance, fleet.shifts[tasks.units].T).T
        scores = np.einsum("tqd,td->tq", tasks.query_x.numpy(), weights)
        per_task = metrics.auroc(tasks.query_y.numpy(), scores)
        assert abs(per_task.mean() - ceiling) < 4 * per_task.std() / np.sqrt(300)


@equation(
    "fleet-accuracy",
    statement="The best accuracy at even prior is $\\Phi(\\Delta / 2)$, $\\Delta = \\delta \\sqrt{u^T \\Sigma^{-1} u}$",
    how="against numerical integration of the larger of two Gaussian densities, and simulated decisions",
)
def test_fleet_accuracy():
    fleet = metaad.Fleet(n_machines=300, n_features=5, ceiling=0.9)
    covariance, shift, separation = _fleet_facts(fleet)
    formula = stats.norm.cdf(separation / 2)

    def larger(t):  # along the best direction, in units of the standard deviation
        return max(stats.norm.pdf(t), stats.norm.pdf(t - separation)) / 2

    area, _ = integrate.quad(larger, -10, 10 + separation, points=[separation / 2])
    assert area == pytest.approx(formula, abs=1e-8)
    tasks = fleet.sample(600, random_state=0)
    gap = tasks.query_x.numpy() - fleet.means[tasks.units][:, None]
    flagged = gap @ np.linalg.solve(covariance, shift) > separation**2 / 2
    right = flagged == tasks.query_y.numpy()
    assert abs(right.mean() - formula) < 4 * np.sqrt(formula * (1 - formula) / right.size)


@equation(
    "fleet-linear",
    statement="Linear score $\\gamma^T x$: AUROC $\\Phi(\\delta \\gamma^T u / \\sqrt{2 \\gamma^T \\Sigma \\gamma})$",
    how="simulation for random $\\gamma$ within four standard errors; at $\\gamma = \\Sigma^{-1} u$ it is the ceiling",
)
def test_fleet_linear():
    fleet = metaad.Fleet(n_machines=300, n_features=4, normal_queries=40, anomalous_queries=40)
    covariance, shift, _ = _fleet_facts(fleet)

    def formula(v):
        return stats.norm.cdf(v @ shift / np.sqrt(2 * v @ covariance @ v))

    best = np.linalg.solve(covariance, shift)
    assert formula(best) == pytest.approx(fleet.bayes_auroc)
    tasks, rng = fleet.sample(200, random_state=0), np.random.default_rng(0)
    for v in rng.normal(size=(4, 4)):
        per_task = metrics.auroc(tasks.query_y.numpy(), tasks.query_x.numpy() @ v)
        assert abs(per_task.mean() - formula(v)) < 4 * per_task.std() / np.sqrt(200)
        assert formula(v) < formula(best)


def _stacked_log_density(points, labels, shift, fleet):
    """Log density of all points of a machine at once, its mean integrated out: one large Gaussian."""
    n, d = points.shape
    joint = np.kron(np.eye(n), fleet.covariance) + np.kron(np.ones((n, n)), fleet.spread**2 * np.eye(d))
    center = (labels[:, None] * shift).ravel()
    return stats.multivariate_normal(center, joint).logpdf(points.ravel())


def _odds(task, shifts, fleet):
    """Log odds of each query point by joint densities of support and query point, averaged over shifts."""
    x, y = task.support_x[0].numpy(), task.support_y[0].numpy()
    found = []
    for point in task.query_x[0].numpy():
        both = np.vstack([x, point])
        total = [
            logsumexp([_stacked_log_density(both, np.append(y, label), s, fleet) for s in shifts]) for label in (0, 1)
        ]
        found.append(total[1] - total[0])
    return np.array(found)


@equation(
    "fleet-posterior",
    statement="$\\mu$ given the support set is $N(c, V)$ with $V = (n \\Sigma^{-1} + \\rho^{-2} I)^{-1}$",
    how="against conditioning the joint Gaussian of the mean and all support points",
)
def test_fleet_posterior():
    fleet = metaad.Fleet(n_machines=5, n_features=3, normal_shots=3, anomalous_shots=2, spread=1.5)
    task = fleet.sample(1, random_state=0)
    x, y = task.support_x[0].numpy(), task.support_y[0].numpy()
    (n, d), shift = x.shape, fleet.shifts[0]
    precision = np.linalg.inv(fleet.covariance)
    V = np.linalg.inv(n * precision + np.eye(d) / fleet.spread**2)
    c = V @ precision @ (x - y[:, None] * shift).sum(0)

    prior = fleet.spread**2 * np.eye(d)
    between = np.kron(np.ones((1, n)), prior)  # covariance of the mean with the stacked points
    joint = np.kron(np.eye(n), fleet.covariance) + np.kron(np.ones((n, n)), prior)
    gain = between @ np.linalg.inv(joint)
    np.testing.assert_allclose(c, gain @ (x - y[:, None] * shift).ravel())
    np.testing.assert_allclose(V, prior - gain @ between.T, atol=1e-12)


@equation(
    "fleet-support-bayes",
    statement="Given the support set: the odds of a known machine with $c$ for $\\mu$, $\\Sigma + V$ for $\\Sigma$",
    how="the formula and `Fleet.bayes_scores` against ratios of joint densities of support and query points",
)
def test_fleet_support_bayes():
    fleet = metaad.Fleet(n_machines=9, n_features=3, normal_queries=3, anomalous_queries=3, spread=0.8)
    tasks = fleet.sample(3, random_state=1)
    shift, precision = fleet.shifts[0], np.linalg.inv(fleet.covariance)
    for task, package in zip(tasks, fleet.bayes_scores(tasks), strict=True):
        x, y = task.support_x[0].numpy(), task.support_y[0].numpy()
        V = np.linalg.inv(len(x) * precision + np.eye(3) / fleet.spread**2)
        c = V @ precision @ (x - y[:, None] * shift).sum(0)
        weights = np.linalg.solve(fleet.covariance + V, shift)
        formula = (task.query_x[0].numpy() - c) @ weights - shift @ weights / 2
        np.testing.assert_allclose(formula, package)
        np.testing.assert_allclose(formula, _odds(task, [shift], fleet))


@equation(
    "fleet-directions",
    statement="With unknown direction: log odds of two mixtures, each shift weighed by $p(S \\mid \\delta_k u_k)$",
    how="`Fleet.bayes_scores` against joint densities of support and query points, summed over the same shifts",
)
def test_fleet_directions():
    fleet = metaad.Fleet(n_machines=9, n_features=4, directions=2, normal_queries=2, anomalous_queries=2, spread=0.8)
    tasks = fleet.sample(2, random_state=1)
    shifts = fleet._shift(np.random.default_rng(0).normal(size=(12, 2)))
    for task, package in zip(tasks, fleet.bayes_scores(tasks, n_directions=12), strict=True):
        np.testing.assert_allclose(_odds(task, shifts, fleet), package)


@equation(
    "fleet-support-accuracy",
    statement="Best accuracy from $n$ points; $\\Phi((\\Delta / 2) / \\sqrt{1 + 1/n})$ for $\\rho \\to \\infty$",
    how="simulated decisions of `Fleet.bayes_scores` within four standard errors; the limit at $\\rho = 10^4$",
)
def test_fleet_support_accuracy():
    def formula(fleet, n):
        covariance, shift, _ = _fleet_facts(fleet)
        V = np.linalg.inv(n * np.linalg.inv(covariance) + np.eye(len(shift)) / fleet.spread**2)
        return stats.norm.cdf(np.sqrt(shift @ np.linalg.solve(covariance + V, shift)) / 2)

    for normal, anomalous in ((1, 0), (5, 2)):
        fleet = metaad.Fleet(normal, anomalous, n_machines=1500, n_features=6, ceiling=0.9, spread=0.8)
        tasks = fleet.sample(1500, random_state=0)
        right = (fleet.bayes_scores(tasks) > 0) == tasks.query_y.numpy()
        per_task = right.mean(1)  # points of one task share the error in its mean
        expected = formula(fleet, normal + anomalous)
        assert abs(per_task.mean() - expected) < 4 * per_task.std() / np.sqrt(1500)
        wide = metaad.Fleet(n_machines=2, n_features=6, ceiling=0.9, spread=1e4)
        n, separation = normal + anomalous, _fleet_facts(wide)[2]
        assert formula(wide, n) == pytest.approx(stats.norm.cdf(separation / 2 / np.sqrt(1 + 1 / n)), abs=1e-6)


@equation(
    "winners-curse",
    statement="$E \\max_{j \\le M} \\xi_j \\le \\sigma \\sqrt{2 \\log M}$ for Gaussian noise of deviation $\\sigma$",
    how="exact expected maximum by numerical integration, and simulated dependent noise",
)
def test_winners_curse():
    s, rng = 0.3, np.random.default_rng(0)
    for k in (2, 10, 1000, 10**6):

        def density(t, k=k):  # of the maximum of k independent standard normal variables
            return t * k * np.exp(stats.norm.logpdf(t) + (k - 1) * stats.norm.logcdf(t))

        exact = s * integrate.quad(density, -12, 12, points=[0, 2, 4, 5, 6])[0]
        bound = s * np.sqrt(2 * np.log(k))
        assert (0.9 if k == 10**6 else 0.4) * bound < exact < bound  # it becomes sharp as k grows
        if k > 1000:
            continue
        z = s * (np.sqrt(0.5) * rng.normal(size=(2000, 1)) + np.sqrt(0.5) * rng.normal(size=(2000, k)))
        assert z.max(1).mean() < exact < bound


# Chapter 3: AADML


def _aadml_task(seed=0, T=3, n=7, m=9, d=4):
    """Start, rule, and T tasks with inputs that carry a constant 1: w, theta, X, y, X_query, y_query."""
    g = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    def inputs(points):
        return torch.cat([draw(T, points, d), torch.ones(T, points, 1, dtype=torch.float64)], -1)

    X, X_query = inputs(n), inputs(m)
    y, y_query = (draw(T, k).gt(0).double() for k in (n, m))
    return draw(d + 1), 0.1 * draw(d + 1, 2), X, y, X_query, y_query


def _support_loss(name):
    from metaad_tutorial.losses import LOSSES

    return lambda w, X, y: LOSSES[name]((X @ w.unsqueeze(-1)).squeeze(-1), y).mean(-1)


def _gradient(loss, w, X, y):
    w = w.clone().requires_grad_()
    return torch.autograd.grad(_support_loss(loss)(w, X, y), w)[0]


def _hessian(loss, w, X, y):
    return torch.autograd.functional.hessian(lambda v: _support_loss(loss)(v, X, y), w)


def _adapted(w, theta, X, y, K, loss="squared"):
    """Adapted parameters of all tasks, by the package's inner loop and rule."""
    from metaad_tutorial.adapt import per_task

    return metaad.adapt(
        lambda p: _support_loss(loss)(p["w"], X, y),
        per_task({"w": w}, len(X)),
        lambda name, value, grad: value - metaad.mgd(torch.stack([value, grad], -1), theta),
        steps=K,
    )["w"]


def _query_loss(w, theta, X, y, X_query, y_query, K, loss="squared"):
    logit = (X_query @ _adapted(w, theta, X, y, K, loss).unsqueeze(-1)).squeeze(-1)
    return F.binary_cross_entropy_with_logits(logit, y_query)


def _numerical_gradient(f, x, h=1e-6):
    """Central differences of a scalar function, entry by entry."""
    flat, grad = x.flatten(), torch.zeros(x.numel(), dtype=x.dtype)
    for i in range(len(flat)):
        e = torch.zeros_like(flat)
        e[i] = h
        grad[i] = (f((flat + e).view_as(x)) - f((flat - e).view_as(x))) / (2 * h)
    return grad.view_as(x)


@equation(
    "aadml-broadcast",
    statement="the mean over all pairs is a constant plus the spread of predictions around the mean label",
    how="both sides on random labels and predictions, and the gradient by autograd",
)
def test_aadml_broadcast():
    g = torch.Generator().manual_seed(0)
    y = torch.rand(40, generator=g, dtype=torch.float64).round()
    p = torch.randn(40, 1, generator=g, dtype=torch.float64, requires_grad=True)
    pairs = ((y - p) ** 2).mean()
    split = ((y - y.mean()) ** 2).mean() + ((p - y.mean()) ** 2).mean()
    assert torch.isclose(pairs, split)
    slope = torch.autograd.grad(pairs, p)[0]
    assert torch.allclose(slope, 2 * (p - y.mean()) / 40)


@equation(
    "aadml-agd",
    statement=r"$g(x; w) = \omega^\top x + b$",
    how="the network without hidden layers against NumPy, with and without a task axis",
)
def test_aadml_agd():
    rng = np.random.default_rng(0)
    omega, b, x = rng.normal(size=(3, 1, 5)), rng.normal(size=(3, 1)), rng.normal(size=(3, 7, 5))
    params = {"weight0": torch.as_tensor(omega), "bias0": torch.as_tensor(b)}
    logit = metaad.MLP(5)(params, torch.as_tensor(x)).numpy()
    expected = np.stack([x[i] @ omega[i, 0] + b[i] for i in range(3)])
    np.testing.assert_allclose(logit, expected, rtol=1e-12)
    alone = metaad.MLP(5)({name: value[0] for name, value in params.items()}, torch.as_tensor(x[0]))
    np.testing.assert_allclose(alone.numpy(), expected[0], rtol=1e-12)


@equation(
    "logistic-loss",
    statement=r"$l = \frac1n \sum_i [\log(1 + e^{z_i}) - y_i z_i]$ is the negative log-likelihood",
    how="package loss against minus the log of the Bernoulli probability, large logits included",
)
def test_logistic_loss():
    from metaad_tutorial.losses import cross_entropy

    z = np.array([-40.0, -3, -0.1, 0, 0.2, 5, 40])
    for y in (0.0, 1.0):
        likelihood = stats.bernoulli.logpmf(int(y), 1 / (1 + np.exp(-z)))
        loss = cross_entropy(torch.as_tensor(z), torch.tensor(y, dtype=torch.float64)).numpy()
        finite = np.isfinite(likelihood)
        assert finite.sum() >= 6
        np.testing.assert_allclose(loss[finite], -likelihood[finite], rtol=1e-9, atol=1e-15)
        np.testing.assert_allclose(loss, np.logaddexp(0, z) - y * z, rtol=1e-9, atol=1e-15)


@equation(
    "logistic-gradient",
    statement=r"$\nabla l = \frac1n \tilde X^\top(\sigma(z) - y)$ and the Hessian with weights $\sigma(1-\sigma)$",
    how="closed forms against automatic first and second derivatives",
)
def test_logistic_gradient():
    w, _, X, y, *_ = _aadml_task()
    X, y = X[0], y[0]
    p = torch.sigmoid(X @ w)
    assert torch.allclose(_gradient("cross_entropy", w, X, y), X.T @ (p - y) / 7)
    hessian = _hessian("cross_entropy", w, X, y)
    assert torch.allclose(hessian, X.T @ torch.diag(p * (1 - p)) @ X / 7)


@equation(
    "squared-loss",
    statement=r"$l = \frac1{2n} \sum_i (z_i - t_i)^2$ with $t = 2y - 1$, its gradient and Hessian",
    how="value by hand, closed forms against automatic first and second derivatives",
)
def test_squared_loss():
    w, _, X, y, *_ = _aadml_task()
    X, y = X[0], y[0]
    residual = X @ w - (2 * y - 1)
    loss = _support_loss("squared")
    assert torch.isclose(loss(w, X, y), (residual**2).sum() / 14)
    assert torch.allclose(_gradient("squared", w, X, y), X.T @ residual / 7)
    assert torch.allclose(_hessian("squared", w, X, y), X.T @ X / 7)


@equation(
    "aadml-mgd",
    statement=r"$MGD(v; \theta)_j = \theta_{w,j} w_j + \theta_{g,j} [\nabla l_{\mathcal S}(w)]_j$",
    how="package function against the sum written out, coordinate by coordinate",
)
def test_aadml_mgd():
    g = torch.Generator().manual_seed(0)
    w, gradient, decay, rate = torch.randn(4, 3, 5, generator=g, dtype=torch.float64)
    proposed = metaad.mgd(torch.stack([w, gradient], -1), torch.stack([decay, rate], -1))
    assert torch.allclose(proposed, decay * w + rate * gradient)


@pytest.mark.parametrize("loss", ["squared", "cross_entropy"])
@equation(
    "aadml-step",
    statement=r"$w'_j = (1 - \theta_{w,j}) w_j - \theta_{g,j} [\nabla l_{\mathcal S}(w)]_j$",
    how="one step of `AADML.fit` from a given start and rule against NumPy, both losses",
)
def test_aadml_step(loss):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(7, 4)), np.array([0, 0, 1, 0, 1, 0, 0])
    w, theta = rng.normal(size=5), 0.3 * rng.normal(size=(5, 2))
    detector = metaad.AADML(inner_steps=1, loss=loss, standardize=False)
    values = {
        "start.weight0": w[None, :4], "start.bias0": w[4:],
        "rule.weight0": theta[None, :4], "rule.bias0": theta[4:],
        "location": np.zeros((1, 1, 4)), "scale": np.ones((1, 1, 4)),
    }  # fmt: skip
    detector.meta_ = {name: torch.as_tensor(value) for name, value in values.items()}
    detector.n_features_in_ = 4
    detector.fit(X, y)
    with_one = np.c_[X, np.ones(7)]
    z = with_one @ w
    residual = z - (2 * y - 1) if loss == "squared" else 1 / (1 + np.exp(-z)) - y
    expected = (1 - theta[:, 0]) * w - theta[:, 1] * (with_one.T @ residual / 7)
    found = np.r_[detector.params_["weight0"].numpy().ravel(), detector.params_["bias0"].numpy().ravel()]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(detector.anomaly_score(X), with_one @ expected, rtol=1e-12)


@equation(
    "inner-loop",
    statement=r"$w^{(k+1)} = w^{(k)} - MGD(v^{(k)}; \theta)$, $K$ times",
    how="package loop over all tasks at once against a plain loop over tasks and steps, $K$ = 1, 2, 5",
)
def test_inner_loop():
    w, theta, X, y, *_ = _aadml_task()
    for K in (1, 2, 5):
        found = _adapted(w.clone().requires_grad_(), theta, X, y, K, "cross_entropy")
        for i in range(len(X)):
            path = w
            for _ in range(K):
                gradient = X[i].T @ (torch.sigmoid(X[i] @ path) - y[i]) / 7
                path = path - theta[:, 0] * path - theta[:, 1] * gradient
            assert torch.allclose(found[i], path, atol=1e-12)


@equation(
    "aadml-objective",
    statement=r"$L(\theta; w) = \mathbb E[l_{\mathcal Q}(w')]$, estimated by the mean over a meta-batch",
    how="the loss that the first step of `meta_fit` records against the query losses of the same tasks, one by one",
)
def test_aadml_objective():
    family = metaad.Fleet(n_machines=40)
    detector = metaad.AADML(meta_steps=1, meta_batch=5, inner_steps=2, standardize=False, random_state=3)
    detector.meta_fit(family)
    rng = np.random.default_rng(3)
    family.sample(100, rng)  # what the width and scale are read from
    metaad.MLP(16).init(rng)
    batch = family.sample(5, rng)
    scratch = metaad.AADML(inner_steps=2, standardize=False, random_state=3)
    losses = []
    for i in range(5):
        scratch.fit(batch.support_x[i], batch.support_y[i])
        logit = torch.as_tensor(scratch.anomaly_score(batch.query_x[i]))
        losses.append(F.binary_cross_entropy_with_logits(logit, batch.query_y[i]).item())
    assert detector.history_["loss"][0] == pytest.approx(np.mean(losses), rel=1e-10)


@equation(
    "aadml-updates",
    statement=r"$\theta \leftarrow \theta - \beta_\theta \partial_\theta L$, $w \leftarrow w - \beta_w \partial_w L$",
    how="small steps lower $L$ as the gradient says; the first outer step of `meta_fit` has its signs",
)
def test_aadml_updates():
    family = metaad.Fleet(n_machines=40, n_features=4)
    settings = {"meta_steps": 1, "meta_batch": 5, "inner_steps": 1, "loss": "squared", "standardize": False}
    detector = metaad.AADML(**settings, meta_lr=0.01, random_state=3).meta_fit(family)
    rng = np.random.default_rng(3)
    family.sample(100, rng)  # what the width and scale are read from
    metaad.MLP(4).init(rng)
    batch = family.sample(5, rng)
    with_one = [torch.cat([x, torch.ones_like(x[..., :1])], -1) for x in (batch.support_x, batch.query_x)]
    start = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    rule = torch.tensor([[0.0, 0.1]], dtype=torch.float64).repeat(5, 1).requires_grad_()
    before = _query_loss(start, rule, with_one[0], batch.support_y, with_one[1], batch.query_y, K=1)
    slopes = dict(zip(("start", "rule"), torch.autograd.grad(before, [start, rule]), strict=True))
    for name, old in {"start": start, "rule": rule}.items():
        learnt = [detector.meta_[f"{name}.weight0"][0], detector.meta_[f"{name}.bias0"]]
        moved = torch.cat(learnt) - old.detach()
        clear = slopes[name].abs() > 1e-5
        assert clear.sum() >= 5
        assert torch.allclose(moved[clear], -0.01 * slopes[name][clear].sign(), rtol=1e-2)

    w, theta, *tasks = _aadml_task()
    w.requires_grad_(), theta.requires_grad_()
    L = _query_loss(w, theta, *tasks, K=2)
    d_theta, d_w = torch.autograd.grad(L, [theta, w])
    beta = 1e-6
    for after, slope in (((w, theta - beta * d_theta), d_theta), ((w - beta * d_w, theta), d_w)):
        drop = L - _query_loss(*(v.detach().requires_grad_() for v in after), *tasks, K=2)
        assert drop.item() == pytest.approx(beta * slope.square().sum().item(), rel=1e-3)


@equation(
    "aadml-grad-theta",
    statement=r"$\partial L/\partial\theta_j = -\mathbb E[[\nabla l_{\mathcal Q}(w')]_j\, v_j]$ for one step",
    how="closed form against automatic differentiation and central differences, both losses",
)
def test_aadml_grad_theta():
    w, theta, X, y, X_query, y_query = _aadml_task()
    for loss in ("squared", "cross_entropy"):
        closed = torch.zeros_like(theta)
        for i in range(len(X)):
            gradient = _gradient(loss, w, X[i], y[i])
            state = torch.stack([w, gradient], -1)
            after = w - (theta * state).sum(-1)
            query = X_query[i].T @ (torch.sigmoid(X_query[i] @ after) - y_query[i]) / 9
            closed -= query[:, None] * state / len(X)

        def L(t, loss=loss):
            return _query_loss(w.clone().requires_grad_(), t, X, y, X_query, y_query, 1, loss)

        t = theta.clone().requires_grad_()
        assert torch.allclose(torch.autograd.grad(L(t), t)[0], closed, atol=1e-12)
        assert torch.allclose(_numerical_gradient(L, theta).detach(), closed, atol=1e-8)


@equation(
    "aadml-grad-w",
    statement=r"$\partial L/\partial w = \mathbb E[J^\top \nabla l_{\mathcal Q}(w')]$, $J = \partial w'/\partial w$",
    how="closed form against automatic differentiation and central differences, both losses",
)
def test_aadml_grad_w():
    w, theta, X, y, X_query, y_query = _aadml_task()
    for loss in ("squared", "cross_entropy"):
        closed = torch.zeros_like(w)
        for i in range(len(X)):
            after = w - theta[:, 0] * w - theta[:, 1] * _gradient(loss, w, X[i], y[i])
            J = torch.eye(5) - torch.diag(theta[:, 0]) - torch.diag(theta[:, 1]) @ _hessian(loss, w, X[i], y[i])
            closed += J.T @ (X_query[i].T @ (torch.sigmoid(X_query[i] @ after) - y_query[i])) / 9 / len(X)

        def L(start, loss=loss):
            return _query_loss(start.clone().requires_grad_(), theta, X, y, X_query, y_query, 1, loss)

        start = w.clone().requires_grad_()
        automatic = torch.autograd.grad(_query_loss(start, theta, X, y, X_query, y_query, 1, loss), start)[0]
        assert torch.allclose(automatic, closed, atol=1e-12)
        assert torch.allclose(_numerical_gradient(L, w).detach(), closed, atol=1e-8)


@equation(
    "aadml-k-steps",
    statement="the chain rule through $K$ steps: the query gradient is carried back by $J_k^\\top$",
    how="backward recursion against automatic differentiation, $K$ = 1, 2, 4, both losses",
)
def test_aadml_k_steps():
    w, theta, X, y, X_query, y_query = _aadml_task()
    for loss, K in itertools.product(("squared", "cross_entropy"), (1, 2, 4)):
        d_theta, d_w = torch.zeros_like(theta), torch.zeros_like(w)
        for i in range(len(X)):
            path, visited = w, []
            for _ in range(K):
                state = torch.stack([path, _gradient(loss, path, X[i], y[i])], -1)
                J = torch.eye(5) - torch.diag(theta[:, 0])
                J = J - torch.diag(theta[:, 1]) @ _hessian(loss, path, X[i], y[i])
                visited.append((state, J))
                path = path - (theta * state).sum(-1)
            a = X_query[i].T @ (torch.sigmoid(X_query[i] @ path) - y_query[i]) / 9
            for state, J in reversed(visited):
                d_theta -= a[:, None] * state / len(X)
                a = J.T @ a
            d_w += a / len(X)
        leaves = [theta.clone().requires_grad_(), w.clone().requires_grad_()]
        L = _query_loss(leaves[1], leaves[0], X, y, X_query, y_query, K, loss)
        for automatic, closed in zip(torch.autograd.grad(L, leaves), (d_theta, d_w), strict=True):
            assert torch.allclose(automatic, closed, atol=1e-12)


@equation(
    "maml-inner",
    statement=r"the rule $(0, \alpha)$ is MAML's step $w' = w - \alpha \nabla l_{\mathcal S}(w)$",
    how="scores of `MAML` and of `AADML` with that rule, equal to the last bit, and one step against NumPy",
)
def test_maml_inner():
    task = metaad.Fleet(n_machines=5).sample(1, 0)
    support, labels, query = task.support_x[0], task.support_y[0], task.query_x[0]
    for K in (1, 5):
        settings = {"inner_steps": K, "inner_lr": 0.3, "standardize": False}
        fixed = metaad.MAML(**settings).fit(support, labels).anomaly_score(query)
        rule = metaad.AADML(**settings).fit(support, labels).anomaly_score(query)
        np.testing.assert_array_equal(fixed, rule)
        if K == 1:  # from w = 0: sigma(0) = 1/2
            with_one = np.c_[support.numpy(), np.ones(7)]
            after = -0.3 * with_one.T @ (0.5 - labels.numpy()) / 7
            np.testing.assert_allclose(fixed, np.c_[query.numpy(), np.ones(30)] @ after, rtol=1e-12)


@equation(
    "aadml-offset",
    statement=r"squared loss, step 1 on the bias alone: $g(x; w') = \omega^\top(x - \bar x_{\mathcal S}) + \bar t$",
    how="the package's step with that rule, on points far from the origin",
)
def test_aadml_offset():
    w, _, X, y, *_ = _aadml_task()
    X = X + torch.tensor([100.0, -50, 20, 7, 0], dtype=torch.float64)
    theta = torch.zeros(5, 2, dtype=torch.float64)
    theta[4, 1] = 1
    after = _adapted(w.clone().requires_grad_(), theta, X, y, 1)
    mean, target = X[..., :4].mean(1, keepdim=True), (2 * y - 1).mean(1, keepdim=True)
    expected = (X[..., :4] - mean) @ w[:4] + target
    assert torch.allclose((X @ after.unsqueeze(-1)).squeeze(-1), expected, atol=1e-10)
