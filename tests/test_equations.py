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
        lambda name, value, grad, k: value - metaad.mgd(torch.stack([value, grad], -1), theta),
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
    logit = metaad.MLP()(params, torch.as_tensor(x)).numpy()
    expected = np.stack([x[i] @ omega[i, 0] + b[i] for i in range(3)])
    np.testing.assert_allclose(logit, expected, rtol=1e-12)
    alone = metaad.MLP()({name: value[0] for name, value in params.items()}, torch.as_tensor(x[0]))
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
    metaad.MLP().init(rng, 16)
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
    metaad.MLP().init(rng, 4)
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
        np.testing.assert_allclose(fixed, rule, rtol=0, atol=1e-13)
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


# Chapter 4: MAML


def _tanh_loss(w, X, y, hidden=3):
    """Cross-entropy of a network with tanh units, all parameters in one vector: w (..., h*d + h) -> (...)."""
    d = X.shape[-1]
    inner = w[..., : hidden * d].unflatten(-1, (d, hidden))
    z = (torch.tanh(X @ inner) @ w[..., hidden * d :].unsqueeze(-1)).squeeze(-1)
    return F.binary_cross_entropy_with_logits(z, y, reduction="none").mean(-1)


def _maml_task(seed=0):
    """Start, and T tasks, for the network of `_tanh_loss`: w, X, y, X_query, y_query."""
    _, _, X, y, X_query, y_query = _aadml_task(seed)
    g = torch.Generator().manual_seed(seed + 100)
    return torch.randn(3 * X.shape[-1] + 3, generator=g, dtype=torch.float64), X, y, X_query, y_query


def _slope(loss, w, *data):
    w = w.detach().clone().requires_grad_()
    return torch.autograd.grad(loss(w, *data).sum(), w)[0]


def _curvature(loss, w, *data):
    return torch.autograd.functional.hessian(lambda v: loss(v, *data), w.detach())


def _descent(loss, w, alpha, K, *data):
    """The points of K plain gradient steps on one task."""
    path = [w]
    for _ in range(K):
        path.append(path[-1] - alpha * _slope(loss, path[-1], *data))
    return path


def _maml_adapt(loss, w, alpha, K, second_order=True):
    """The package's inner loop; loss: (T, p) -> (T,) or, from a list, one loss for each task."""
    from metaad_tutorial.adapt import per_task

    one = loss if callable(loss) else lambda v: torch.stack([own(v[i]) for i, own in enumerate(loss)])
    n_tasks = 3 if callable(loss) else len(loss)
    return metaad.adapt(
        lambda p: one(p["w"]), per_task({"w": w}, n_tasks), lambda n, v, grad, k: v - alpha * grad, K, second_order
    )["w"]


@equation(
    "maml-gradient",
    statement=r"$\nabla_w l_{\mathcal Q}(w^{(K)}) = \prod_k (I - \alpha H_{\mathcal S}(w^{(k)}))\, "
    r"\nabla l_{\mathcal Q}(w^{(K)})$, the first step's factor on the left",
    how="product of explicit Hessians against autograd through the package's loop and central differences "
    "through a plain one, network with hidden units, $K$ = 1, 2, 4",
)
def test_maml_gradient():
    w, X, y, X_query, y_query = _maml_task()
    for K in (1, 2, 4):
        product = torch.zeros_like(w)
        for i in range(3):
            *path, last = _descent(_tanh_loss, w, 0.7, K, X[i], y[i])
            a = _slope(_tanh_loss, last, X_query[i], y_query[i])
            for point in reversed(path):
                a = (torch.eye(len(w)) - 0.7 * _curvature(_tanh_loss, point, X[i], y[i])) @ a
            product += a / 3
        start = w.clone().requires_grad_()
        adapted = _maml_adapt(lambda v: _tanh_loss(v, X, y), start, 0.7, K)
        automatic = torch.autograd.grad(_tanh_loss(adapted, X_query, y_query).mean(), start)[0]
        assert torch.allclose(automatic, product, atol=1e-12)

        def L(v, K=K):
            ends = [_descent(_tanh_loss, v, 0.7, K, X[i], y[i])[-1] for i in range(3)]
            return _tanh_loss(torch.stack(ends), X_query, y_query).mean()

        assert torch.allclose(_numerical_gradient(L, w), product, atol=1e-8)


@equation(
    "hessian-vector",
    statement=r"$H_{\mathcal S}\, a = \nabla_w (\nabla l_{\mathcal S}(w)^\top a)$ with $a$ held constant",
    how="two backward passes against the explicit Hessian and differences of two gradients",
)
def test_hessian_vector():
    w, X, y, *_ = _maml_task()
    a = torch.linspace(-1, 1, len(w), dtype=torch.float64)
    v = w.clone().requires_grad_()
    slope = torch.autograd.grad(_tanh_loss(v, X[0], y[0]), v, create_graph=True)[0]
    twice = torch.autograd.grad(slope @ a, v)[0]
    assert torch.allclose(twice, _curvature(_tanh_loss, w, X[0], y[0]) @ a, atol=1e-12)
    shifted = [_slope(_tanh_loss, w + h * a, X[0], y[0]) for h in (1e-5, -1e-5)]
    assert torch.allclose(twice, (shifted[0] - shifted[1]) / 2e-5, atol=1e-8)


def _quadratic_tasks(T=5, d=3, seed=0):
    """Curvatures (T, d, d) with eigenvalues in (0, 1) and optima (T, d)."""
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(T, d, d)))[0]
    values = rng.uniform(0.05, 0.95, size=(T, d))
    return torch.as_tensor(turn * values[:, None] @ turn.transpose(0, 2, 1)), torch.as_tensor(rng.normal(size=(T, d)))


@equation(
    "maml-quadratic",
    statement=r"for $l_i = \frac12 (w - c_i)^\top H_i (w - c_i)$ the best start is the mean of the $c_i$ "
    r"with the weights $H_i (I - \alpha H_i)^{2K}$",
    how="gradient of the package's query loss vanishes there to 1e-10, a Newton step from elsewhere lands there, and "
    "adapted parameters are $c_i + (I - \\alpha H_i)^K (w - c_i)$; $K$ = 1, 3",
)
def test_maml_quadratic():
    H, c = _quadratic_tasks()
    losses = [lambda v, i=i: (v - c[i]) @ H[i] @ (v - c[i]) / 2 for i in range(5)]
    for K in (1, 3):
        shrink = torch.linalg.matrix_power(torch.eye(3) - 0.8 * H, K)
        weight = shrink @ H @ shrink
        best = torch.linalg.solve(weight.sum(0), (weight @ c.unsqueeze(-1)).sum(0))[:, 0]

        def L(v, K=K):
            adapted = _maml_adapt(losses, v, 0.8, K)
            return torch.stack([loss(adapted[i]) for i, loss in enumerate(losses)]).mean()

        start = best.clone().requires_grad_()
        assert torch.autograd.grad(L(start), start)[0].abs().max() < 1e-10
        other = torch.ones(3, dtype=torch.float64, requires_grad=True)
        slope = torch.autograd.grad(L(other), other)[0]
        newton = other.detach() - torch.linalg.solve(torch.autograd.functional.hessian(L, other.detach()), slope)
        assert torch.allclose(newton, best, atol=1e-10)
        closed = c + (shrink @ (other.detach() - c).unsqueeze(-1)).squeeze(-1)
        assert torch.allclose(_maml_adapt(losses, other, 0.8, K), closed, atol=1e-12)


@equation(
    "maml-weights",
    statement=r"weights of an optimum $c_i$ of curvature $\lambda_i$ in the start: joint training $\lambda$, MAML "
    r"$\lambda(1-\alpha\lambda)^{2K}$, FOMAML $\lambda(1-\alpha\lambda)^K$, "
    r"Reptile $(1-(1-\alpha\lambda)^K)/(\alpha K)$",
    how="one parameter, five tasks: each method's own update, computed by the package's inner loop, is the weighted "
    "mean of the distances to the optima, and vanishes at their weighted mean alone; MAML's weight is largest at "
    "$\\lambda = 1/(\\alpha(2K+1))$ (sympy)",
)
def test_maml_weights():
    import sympy

    rng = np.random.default_rng(0)
    lam, c = torch.as_tensor(rng.uniform(0.1, 1.2, 5)), torch.as_tensor(rng.normal(size=5))
    alpha, K = 0.7, 3
    losses = [lambda v, i=i: (lam[i] * (v - c[i]) ** 2 / 2).sum() for i in range(5)]

    def query(v, second_order):
        adapted = _maml_adapt(losses, v, alpha, K, second_order)
        return torch.stack([loss(adapted[i]) for i, loss in enumerate(losses)]).mean()

    updates = {
        "joint": lambda v: torch.autograd.grad(sum(loss(v) for loss in losses), v)[0] / 5,
        "MAML": lambda v: torch.autograd.grad(query(v, True), v)[0],
        "FOMAML": lambda v: torch.autograd.grad(query(v, False), v)[0],
        "Reptile": lambda v: (v - _maml_adapt(losses, v, alpha, K)).mean() / (alpha * K),
    }
    factor = 1 - alpha * lam
    weights = {
        "joint": lam,
        "MAML": lam * factor ** (2 * K),
        "FOMAML": lam * factor**K,
        "Reptile": (1 - factor**K) / (alpha * K),
    }
    for name, weight in weights.items():
        rest = ((weight * c).sum() / weight.sum()).reshape(1).requires_grad_()
        assert updates[name](rest).abs().max() < 1e-12
        assert all(updates[other](rest).abs().max() > 1e-4 for other in updates if other != name)
        elsewhere = torch.ones(1, dtype=torch.float64, requires_grad=True)
        assert torch.allclose(updates[name](elsewhere), (weight * (elsewhere - c)).mean(), rtol=1e-12)

    curvature, step, steps = sympy.symbols("lambda alpha K", positive=True)
    slope = sympy.diff(sympy.log(curvature * (1 - step * curvature) ** (2 * steps)), curvature)
    top = 1 / (step * (2 * steps + 1))
    assert sympy.simplify(slope.subs(curvature, top)) == 0
    assert sympy.simplify(sympy.diff(slope, curvature).subs(curvature, top)).is_negative


@equation(
    "maml-first-order",
    statement=r"first-order MAML takes $\nabla l_{\mathcal Q}(w^{(K)})$; what it drops is "
    r"$\alpha K H_{\mathcal S} \nabla l_{\mathcal Q}(w) + O(\alpha^2)$",
    how="the package's first-order gradient against the query gradient at the adapted parameters; the rest after the "
    "stated term falls by 4 when $\\alpha$ is halved",
)
def test_maml_first_order():
    w, X, y, X_query, y_query = _maml_task()
    K, rests = 3, []
    for alpha in (4e-3, 2e-3, 1e-3):
        start = w.clone().requires_grad_()
        grads = []
        for second_order in (True, False):
            adapted = _maml_adapt(lambda v: _tanh_loss(v, X, y), start, alpha, K, second_order)
            grads.append(torch.autograd.grad(_tanh_loss(adapted, X_query, y_query).mean(), start)[0])
        ends = torch.stack([_descent(_tanh_loss, w, alpha, K, X[i], y[i])[-1] for i in range(3)])
        assert torch.allclose(grads[1], _slope(_tanh_loss, ends, X_query, y_query).mean(0), atol=1e-12)
        dropped = sum(
            _curvature(_tanh_loss, w, X[i], y[i]) @ _slope(_tanh_loss, w, X_query[i], y_query[i]) for i in range(3)
        )
        rests.append((grads[1] - grads[0] - alpha * K * dropped / 3).norm())
    for larger, smaller in itertools.pairwise(rests):
        assert larger / smaller == pytest.approx(4, rel=0.05)


@equation(
    "maml-expansion",
    statement=r"$l_{\mathcal Q}(w^{(K)}) = l_{\mathcal Q}(w) - \alpha K\, \nabla l_{\mathcal S}(w)^\top "
    r"\nabla l_{\mathcal Q}(w) + O(\alpha^2)$",
    how="the rest falls by 4 when $\\alpha$ is halved, $K$ = 1, 3",
)
def test_maml_expansion():
    w, X, y, X_query, y_query = _maml_task()
    support, query = (X[0], y[0]), (X_query[0], y_query[0])
    product = _slope(_tanh_loss, w, *support) @ _slope(_tanh_loss, w, *query)
    for K in (1, 3):
        rests = []
        for alpha in (4e-3, 2e-3, 1e-3):
            after = _tanh_loss(_descent(_tanh_loss, w, alpha, K, *support)[-1], *query)
            rests.append((after - _tanh_loss(w, *query) + alpha * K * product).abs())
        for larger, smaller in itertools.pairwise(rests):
            assert larger / smaller == pytest.approx(4, rel=0.05)


@equation(
    "reptile",
    statement=r"$(w - w^{(K)})/(\alpha K)$ is the mean of the $K$ minibatch gradients along the way",
    how="gradient of the package's outer loss against NumPy: minibatches, gradients and their mean written out",
)
def test_reptile():
    family = metaad.Fleet(n_machines=20, n_features=4)
    detector = metaad.Reptile(inner_steps=3, inner_lr=0.4, meta_steps=2, standardize=False, random_state=0)
    detector.meta_fit(family)
    batch = family.sample(5, 1)
    meta = {name: value.clone().requires_grad_() for name, value in detector.meta_.items()}
    names = ["start.weight0", "start.bias0"]
    found = torch.autograd.grad(detector._outer_loss(meta, batch), [meta[name] for name in names])
    expected = np.zeros(5)
    for i in range(5):
        x = np.r_[batch.support_x[i].numpy(), batch.query_x[i].numpy()]
        x, y = np.c_[x, np.ones(len(x))], np.r_[batch.support_y[i].numpy(), batch.query_y[i].numpy()]
        w = np.r_[detector.meta_[names[0]].numpy()[0], detector.meta_[names[1]].numpy()]
        start = w
        for k in range(3):
            own, label = x[k::3], y[k::3]
            slope = own.T @ (1 / (1 + np.exp(-own @ w)) - label) / len(own)
            w, expected = w - 0.4 * slope, expected + slope / 3 / 5
        assert np.abs((start - w) / 1.2).max() > 0.01
    np.testing.assert_allclose(np.r_[found[0].numpy()[0], found[1].numpy()], expected, rtol=1e-10)


@equation(
    "reptile-expansion",
    statement=r"$\mathbb E[(w - w^{(K)})/(\alpha K)] = \nabla \mathbb E[l_k] - \frac{\alpha (K-1)}{4} "
    r"\nabla \mathbb E[\nabla l_j^\top \nabla l_k] + O(\alpha^2)$, $j \neq k$",
    how="exact mean over all orders of 3 and of 4 minibatches; the rest falls by 4 when $\\alpha$ is halved",
)
def test_reptile_expansion():
    w, X, y, X_query, y_query = _maml_task()
    x, label = torch.cat([X[0], X_query[0]])[:12], torch.cat([y[0], y_query[0]])[:12]
    for K in (3, 4):
        batches = [(x[k::K], label[k::K]) for k in range(K)]
        v = w.clone().requires_grad_()
        slopes = [torch.autograd.grad(_tanh_loss(v, *b), v, create_graph=True)[0] for b in batches]
        pairs = [slopes[j] @ slopes[k] for j in range(K) for k in range(K) if j != k]
        inner = torch.autograd.grad(sum(pairs) / len(pairs), v)[0]
        rests = []
        for alpha in (4e-3, 2e-3, 1e-3):
            pulls = []
            for order in itertools.permutations(batches):
                end = w
                for batch in order:
                    end = end - alpha * _slope(_tanh_loss, end, *batch)
                pulls.append((w - end) / (alpha * K))
            expansion = sum(slopes).detach() / K - alpha * (K - 1) / 4 * inner
            rests.append((sum(pulls) / len(pulls) - expansion).norm())
        for larger, smaller in itertools.pairwise(rests):
            assert larger / smaller == pytest.approx(4, rel=0.05)


@equation(
    "focal-loss",
    statement=r"$-(1 - p)^\gamma \log p$ with $p = \sigma(tz)$ the probability given to the right label",
    how="package loss against NumPy; $\\gamma = 0$ gives the cross-entropy",
)
def test_focal_loss():
    from metaad_tutorial.losses import cross_entropy, focal

    z = torch.linspace(-30, 30, 61, dtype=torch.float64)
    for label in (0.0, 1.0):
        y = torch.full_like(z, label)
        p = 1 / (1 + np.exp(-(2 * label - 1) * z.numpy()))
        for gamma in (0.0, 0.5, 2.0):
            np.testing.assert_allclose(focal(z, y, gamma).numpy(), -((1 - p) ** gamma) * np.log(p), atol=1e-9)
        assert torch.allclose(focal(z, y, 0.0), cross_entropy(z, y), rtol=1e-12)


@equation(
    "focal-gradient",
    statement=r"$d\ell/dz = -t(1-p)^\gamma[1 - p - \gamma p \log p]$",
    how="closed form against automatic and symbolic differentiation; $\\gamma = 0$ gives $\\sigma(z) - y$",
)
def test_focal_gradient():
    import sympy

    from metaad_tutorial.losses import focal

    z = torch.linspace(-8, 8, 33, dtype=torch.float64, requires_grad=True)
    for label in (0.0, 1.0):
        y, t = torch.full_like(z, label), 2 * label - 1
        for gamma in (0.0, 1.0, 2.0, 3.5):
            p = torch.sigmoid(t * z)
            closed = -t * (1 - p) ** gamma * (1 - p - gamma * p * torch.log(p))
            automatic = torch.autograd.grad(focal(z, y, gamma).sum(), z)[0]
            assert torch.allclose(automatic, closed, atol=1e-12)
            if gamma == 0:
                assert torch.allclose(closed, torch.sigmoid(z) - y)
    s, gamma = sympy.symbols("s gamma", real=True)
    p = 1 / (1 + sympy.exp(-s))
    slope = sympy.diff(-((1 - p) ** gamma) * sympy.log(p), s)
    closed = -((1 - p) ** gamma) * (1 - p - gamma * p * sympy.log(p))
    assert abs(sympy.N((slope - closed).subs({s: 0.7, gamma: 1.3}))) < 1e-14


@equation(
    "balanced-loss",
    statement="half the mean loss of the normal points plus half that of the anomalies",
    how="the package against NumPy, task by task; the plain mean where a class is absent",
)
def test_balanced_loss():
    from metaad_tutorial.losses import balanced_mean

    rng = np.random.default_rng(0)
    loss = rng.uniform(size=(3, 12))
    y = np.zeros((3, 12))
    y[0, [1, 7]] = y[1, :9] = 1
    found = balanced_mean(torch.as_tensor(loss), torch.as_tensor(y)).numpy()
    for i in (0, 1):
        assert found[i] == pytest.approx((loss[i, y[i] == 0].mean() + loss[i, y[i] == 1].mean()) / 2)
    assert found[2] == pytest.approx(loss[2].mean())


@equation(
    "first-step",
    statement=r"first step from $w = 0$: plain $\omega' = \frac\alpha2[\pi(\bar x_+ - \bar x_-) - (1-2\pi)\bar x_-]$, "
    r"$b' = -\frac\alpha2(1-2\pi)$; balanced $\omega' = \frac\alpha4(\bar x_+ - \bar x_-)$, $b' = 0$",
    how="one step of `MAML.fit` against both closed forms, 10 normal points and 2 anomalies",
)
def test_first_step():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(12, 4)) + 1.5, np.zeros(12, dtype=int)
    y[[3, 8]] = 1
    normal, anomalous, pi, alpha = X[y == 0].mean(0), X[y == 1].mean(0), 2 / 12, 0.6
    expected = {
        False: np.r_[pi * (anomalous - normal) - (1 - 2 * pi) * normal, -(1 - 2 * pi)] * alpha / 2,
        True: np.r_[anomalous - normal, 0] * alpha / 4,
    }
    for balanced, values in expected.items():
        detector = metaad.MAML(inner_steps=1, inner_lr=alpha, balanced=balanced, standardize=False).fit(X, y)
        found = np.r_[detector.params_["weight0"].numpy().ravel(), detector.params_["bias0"].numpy().ravel()]
        np.testing.assert_allclose(found, values, atol=1e-12)


@equation(
    "meta-sgd",
    statement=r"$w^{(k+1)} = w^{(k)} - \alpha \odot \nabla l_{\mathcal S}(w^{(k)})$ and "
    r"$\partial L/\partial\alpha = -\mathbb E[\sum_k a^{(k+1)} \odot \nabla l_{\mathcal S}(w^{(k)})]$",
    how="steps of `MAML.fit` with learnt rates against a plain loop; gradient against a backward recursion with "
    "explicit Hessians and against the step-size half of AADML's",
)
def test_meta_sgd():
    family = metaad.Fleet(n_machines=20, n_features=4)
    settings = {"inner_steps": 3, "inner_lr": 0.4, "meta_steps": 2, "standardize": False, "random_state": 0}
    detector = metaad.MAML(learn_lr="parameter", **settings).meta_fit(family)
    batch = family.sample(5, 1)
    meta = {name: value.clone().requires_grad_() for name, value in detector.meta_.items()}
    names = ["rate.weight0", "rate.bias0"]
    found = torch.autograd.grad(detector._outer_loss(meta, batch), [meta[name] for name in names])

    start = torch.cat([detector.meta_["start.weight0"][0], detector.meta_["start.bias0"]])
    alpha = torch.cat([detector.meta_["rate.weight0"][0], detector.meta_["rate.bias0"]])
    assert not torch.allclose(alpha, alpha[0])  # learnt, so no longer all alike
    loss, expected = _support_loss("cross_entropy"), torch.zeros(5, dtype=torch.float64)
    for i in range(5):
        x, query = (torch.cat([v[i], torch.ones_like(v[i, :, :1])], -1) for v in (batch.support_x, batch.query_x))
        path, slopes = [start], []
        for _ in range(3):
            residual = 1 / (1 + (-x @ path[-1]).exp()) - batch.support_y[i]
            slopes.append(x.T @ residual / len(x))
            path.append(path[-1] - alpha * slopes[-1])
        fitted = metaad.MAML(learn_lr="parameter", **settings)
        fitted.meta_, fitted.n_features_in_ = detector.meta_, 4
        fitted.fit(batch.support_x[i], batch.support_y[i])
        adapted = torch.cat([fitted.params_["weight0"][0, 0], fitted.params_["bias0"][0]])
        assert torch.allclose(adapted, path[-1], atol=1e-12)
        a = query.T @ (torch.sigmoid(query @ path[-1]) - batch.query_y[i]) / len(query)
        for point, slope in zip(reversed(path[:-1]), reversed(slopes), strict=True):
            expected -= a * slope / 5
            a = a - _curvature(loss, point, x, batch.support_y[i]) @ (alpha * a)
    assert torch.allclose(torch.cat([found[0][0], found[1]]), expected, atol=1e-12)

    rule = metaad.AADML(**settings).meta_fit(family)
    same = {name: meta[name] for name in ("location", "scale", "start.weight0", "start.bias0")}
    for name in ("weight0", "bias0"):
        rate = detector.meta_[f"rate.{name}"]
        same[f"rule.{name}"] = torch.stack([torch.zeros_like(rate), rate], -1).requires_grad_()
    theirs = torch.autograd.grad(rule._outer_loss(same, batch), [same["rule.weight0"], same["rule.bias0"]])
    for own, other in zip(found, theirs, strict=True):
        assert torch.allclose(own, other[..., 1], atol=1e-12)


@equation(
    "support-normalisation",
    statement=r"$\mathrm{norm}(h) = (h - m_{\mathcal S})/\sqrt{v_{\mathcal S} + 10^{-5}}$ with mean and variance over "
    "the support set",
    how="the package's function against NumPy; scores of a network with it are the same for all query points, half of "
    "them, and one; PyTorch's own layer in training mode fails the same test",
)
def test_support_normalisation():
    from metaad_tutorial.networks import _support_norm

    rng = np.random.default_rng(0)
    h = rng.normal(2, 3, size=(2, 15, 4))
    mean, variance = h[:, :5].mean(1, keepdims=True), h[:, :5].var(1, keepdims=True)
    found = _support_norm(torch.as_tensor(h)[..., None, None], 5)[..., 0, 0].numpy()
    np.testing.assert_allclose(found, (h - mean) / np.sqrt(variance + 1e-5), rtol=1e-12)

    layers = (torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    module = torch.nn.Sequential(*layers).double()
    support, query, labels = rng.normal(size=(7, 4)), rng.normal(size=(10, 4)), [0, 0, 0, 0, 0, 1, 1]
    detector = metaad.MAML(network=module).fit(support, labels)
    scores = detector.anomaly_score(query)
    np.testing.assert_allclose(detector.anomaly_score(query[::-1]), scores[::-1], rtol=1e-10)
    np.testing.assert_allclose(detector.anomaly_score(query[::2]), scores[::2], rtol=1e-10)
    np.testing.assert_allclose(detector.anomaly_score(query[:1]), scores[:1], rtol=1e-10)
    with torch.no_grad():
        ordinary = module(torch.as_tensor(query))
        assert not torch.allclose(module(torch.as_tensor(query[::2])), ordinary[::2], atol=1e-3)


# Chapter 5: Anomalies never seen


def _one_class_task(seed=0, n=6, m=8, d=4, h=5):
    """A network with one hidden layer, n normal points, and m queries of which every second is an anomaly."""
    rng = np.random.default_rng(seed)
    params = {
        "weight0": rng.normal(size=(h, d)),
        "bias0": rng.normal(size=h),
        "weight1": rng.normal(size=(1, h)),
        "bias1": rng.normal(size=1),
    }
    normal, query, y = rng.normal(size=(n, d)), rng.normal(size=(m, d)) + 0.5, np.arange(m) % 2.0
    return {name: torch.as_tensor(v) for name, v in params.items()}, *map(torch.as_tensor, (normal, query, y))


def _one_class_logit(params, x):
    """The same network in NumPy: features and logits."""
    p = {name: v.numpy() for name, v in params.items()}
    phi = np.maximum(x.numpy() @ p["weight0"].T + p["bias0"], 0)
    return phi, phi @ p["weight1"][0] + p["bias1"][0]


def _flat_gradient(params, loss):
    """Gradient of loss(params) with respect to all parameters, as one vector."""
    params = {name: v.clone().requires_grad_() for name, v in params.items()}
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss(params), list(params.values()))])


def _mlp_loss(x, y):
    from metaad_tutorial.losses import cross_entropy
    from metaad_tutorial.networks import MLP

    return lambda params: cross_entropy(MLP((5,))(params, x), y).mean()


@equation(
    "one-class-loss",
    statement=r"on normal points alone $l_{\mathcal S} = \frac1n\sum_i \log(1 + e^{z(x_i)})$",
    how="the package's loss with all labels 0 against NumPy, and its limit 0 as the bias falls",
)
def test_one_class_loss():
    params, normal, query, _ = _one_class_task()
    z = _one_class_logit(params, normal)[1]
    loss = _mlp_loss(normal, torch.zeros(6, dtype=torch.float64))
    assert loss(params).item() == pytest.approx(np.log(1 + np.exp(z)).mean(), rel=1e-12)
    everywhere_normal = params | {"bias1": params["bias1"] - 60}
    assert loss(everywhere_normal).item() < 1e-12
    assert (_one_class_logit(everywhere_normal, query)[1] < 0).all()


@equation(
    "one-class-maml",
    statement=r"$L(w) = \mathbb E\,[l_{\mathcal Q}(w - \alpha\nabla l_{\mathcal S}(w))]$, $\mathcal S$ normal points "
    r"only, $\mathcal Q$ balanced",
    how="value and meta-gradient of `MAML` on a one-class family against NumPy and its central differences",
)
def test_one_class_maml():
    family = metaad.Fleet(4, 0, 5, 5, n_machines=6, n_features=3)
    train = family.restrict(np.arange(3))
    settings = {"inner_steps": 1, "inner_lr": 0.7, "standardize": False, "meta_steps": 3, "random_state": 0}
    detector = metaad.MAML(**settings).meta_fit(train)
    episodes = family.restrict(np.arange(3, 6)).sample(3, 0)
    assert not episodes.support_y.any() and (episodes.query_y.mean(1) == 0.5).all()
    x, query, y = (np.asarray(v) for v in (episodes.support_x, episodes.query_x, episodes.query_y))
    x, query = (np.concatenate([v, np.ones((*v.shape[:-1], 1))], -1) for v in (x, query))

    def objective(w):
        w = w.numpy()
        step = (x / (1 + np.exp(-(x @ w)))[..., None]).mean(1)
        z = np.einsum("tqd,td->tq", query, w - 0.7 * step)
        return (np.log1p(np.exp(z)) - y * z).mean()

    meta = {name: v.clone().requires_grad_(name.startswith("start.")) for name, v in detector.meta_.items()}
    w = torch.cat([meta["start.weight0"][0], meta["start.bias0"]]).detach()
    loss = detector._query_loss(meta, episodes)
    assert loss.item() == pytest.approx(objective(w), rel=1e-12)
    weight, bias = torch.autograd.grad(loss, [meta["start.weight0"], meta["start.bias0"]])
    numerical = _numerical_gradient(objective, w)
    assert torch.allclose(torch.cat([weight[0], bias]), torch.as_tensor(numerical), atol=1e-8)


@equation(
    "one-class-gradient",
    statement=r"$\nabla_\omega l_{\mathcal S} = \sum_i c_i\,\phi(x_i)$, "
    r"$\partial l_{\mathcal S}/\partial b = \sum_i c_i$, $c_i = \sigma(z_i)/n$",
    how="autograd on a network with one hidden layer against NumPy",
)
def test_one_class_gradient():
    params, normal, *_ = _one_class_task()
    found = _flat_gradient(params, _mlp_loss(normal, torch.zeros(6, dtype=torch.float64)))
    phi, z = _one_class_logit(params, normal)
    c = 1 / (1 + np.exp(-z)) / 6
    np.testing.assert_allclose(found[-6:], [*(c @ phi), c.sum()], rtol=1e-12)


@equation(
    "one-class-step",
    statement=r"after one step on the head $z'(x) = z(x) - \sum_i c_i\,(\phi(x_i)^\top R\,\phi(x) + r)$",
    how="scores of `MAML(head_only=True)` with learnt step sizes against NumPy",
)
def test_one_class_step():
    train = metaad.Fleet(6, 0, n_machines=20, n_features=4)
    settings = {"head_only": True, "learn_lr": "parameter", "inner_steps": 1, "meta_steps": 20}
    detector = metaad.MAML(hidden=(5,), standardize=False, random_state=0, **settings).meta_fit(train)
    _, normal, query, _ = _one_class_task()
    start = {name[6:]: v for name, v in detector.meta_.items() if name.startswith("start.")}
    rates = detector.meta_["rate.weight1"][0].numpy(), detector.meta_["rate.bias1"].item()
    assert rates[0].std() > 0.01  # one for each feature
    (phi, z), (phi_x, z_x) = _one_class_logit(start, normal), _one_class_logit(start, query)
    expected = z_x.copy()
    for phi_i, z_i in zip(phi, z, strict=True):
        similarity = phi_x @ np.diag(rates[0]) @ phi_i
        expected -= (similarity + rates[1]) / (1 + np.exp(-z_i)) / len(z)
    np.testing.assert_allclose(detector.fit(normal).anomaly_score(query), expected, rtol=1e-10)


@equation(
    "gradient-cosine",
    statement=r"$\cos_{\mathcal T} = \nabla l_{\mathcal Q}^\top\nabla l_{\mathcal S} / "
    r"(\lVert\nabla l_{\mathcal Q}\rVert\,\lVert\nabla l_{\mathcal S}\rVert)$",
    how="minus the slope of the query loss along the normalised one-class step, by central differences",
)
def test_gradient_cosine():
    params, normal, query, y = _one_class_task()
    on_query = _mlp_loss(query, y)
    a = _flat_gradient(params, _mlp_loss(normal, torch.zeros(6, dtype=torch.float64)))
    b = _flat_gradient(params, on_query)
    cosine = (a @ b / a.norm() / b.norm()).item()

    def along(t):
        moved, at = {}, 0
        for name, v in params.items():
            moved[name] = v - t * (a / a.norm())[at : at + v.numel()].view_as(v)
            at += v.numel()
        return on_query(moved).item()

    slope = (along(1e-5) - along(-1e-5)) / 2e-5
    assert abs(cosine) > 0.1
    assert -slope / b.norm().item() == pytest.approx(cosine, rel=1e-6)


@equation(
    "balanced-split",
    statement=r"$\nabla l_{\mathcal Q} = \frac12(\nabla l_0 + \nabla l_1)$ with $\nabla l_0 = "
    r"\operatorname{mean}_{y=0}\sigma(z)\nabla z$, $\nabla l_1 = -\operatorname{mean}_{y=1}(1 - \sigma(z))\nabla z$",
    how="autograd of the query loss against the sum over points; with a high bias, half the one-class gradient",
)
def test_balanced_split():
    from metaad_tutorial.networks import MLP

    params, _, query, y = _one_class_task()
    rows = torch.stack([_flat_gradient(params, lambda p, x=x: MLP((5,))(p, x[None])[0]) for x in query])
    p = torch.as_tensor(1 / (1 + np.exp(-_one_class_logit(params, query)[1])))
    normal, anomalous = y == 0, y == 1
    first = (p[normal, None] * rows[normal]).mean(0) / 2
    second = ((1 - p[anomalous, None]) * rows[anomalous]).mean(0) / 2
    assert torch.allclose(_flat_gradient(params, _mlp_loss(query, y)), first - second, atol=1e-12)
    suspicious = params | {"bias1": params["bias1"] + 60}
    alone = _flat_gradient(suspicious, _mlp_loss(query[normal], y[normal]))
    assert torch.allclose(_flat_gradient(suspicious, _mlp_loss(query, y)), alone / 2, atol=1e-12)


@equation(
    "fleet-turned",
    statement=r"best score for the known fault, fault turned by $\psi$: AUROC "
    r"$= \Phi(\cos\psi\,\Phi^{-1}(\text{ceiling}))$",
    how="simulation with the shifts of `Fleet.turned`, 40,000 points of each class, within 0.01",
)
def test_fleet_turned():
    fleet = metaad.Fleet(n_machines=3, n_features=6, ceiling=0.95, seed=2)
    best = np.linalg.solve(fleet.covariance, fleet.shifts[0])
    noise = np.random.default_rng(0).normal(size=(80_000, 6)) @ fleet.mixing.T
    y = np.arange(80_000) % 2
    for angle in (0, 40, 70, 90):
        x = noise + y[:, None] * fleet.turned(angle, seed=5).shifts[0]
        expected = stats.norm.cdf(np.cos(np.deg2rad(angle)) * stats.norm.ppf(0.95))
        assert metrics.auroc(y, x @ best) == pytest.approx(expected, abs=0.01)


@equation(
    "novel-subspace",
    statement=r"squared distance inside $m$ known dimensions: AUROC $= \Pr(F_{m,m}(\lambda) > 1)$, "
    r"$\lambda = \Delta^2\cos^2\psi$",
    how="simulation of the squared projections, 40,000 points of each class, within 0.01",
)
def test_novel_subspace():
    rng, separation, d = np.random.default_rng(1), 2.5, 7
    y = np.arange(80_000) % 2
    for m, angle in ((2, 0), (3, 50), (5, 30), (4, 90)):
        radians = np.deg2rad(angle)
        shift = separation * (np.cos(radians) * np.eye(d)[0] + np.sin(radians) * np.eye(d)[-1])
        e = rng.normal(size=(80_000, d)) + y[:, None] * shift
        noncentrality = (separation * np.cos(radians)) ** 2 + 1e-12  # scipy wants it positive
        expected = stats.ncf.sf(1, m, m, noncentrality)
        assert metrics.auroc(y, (e[:, :m] ** 2).sum(1)) == pytest.approx(expected, abs=0.01)


@equation(
    "random-angle",
    statement=r"a random direction in $d$ dimensions has $\mathbb E[\cos^2\psi] = m/d$ to $m$ of them",
    how="simulation of 50,000 directions against a random subspace, within 0.005",
)
def test_random_angle():
    rng = np.random.default_rng(0)
    for m, d in ((2, 16), (3, 5)):
        basis = np.linalg.qr(rng.normal(size=(d, m)))[0]
        v = rng.normal(size=(50_000, d))
        v /= np.linalg.norm(v, axis=1, keepdims=True)
        assert np.mean(np.sum((v @ basis) ** 2, axis=1)) == pytest.approx(m / d, abs=0.005)


@equation(
    "base-rate-threshold",
    statement=r"a logit learnt at even odds decides best at base rate $\pi$ above $\tau_\pi = \log\frac{1 - \pi}{\pi}$",
    how="numerical minimum of the expected share of wrong decisions for two normal distributions",
)
def test_base_rate_threshold():
    from scipy import optimize

    # normal points N(0, 1), anomalies N(2, 1): at even odds the log likelihood ratio is z = 2x - 2
    for pi in (0.5, 0.1, 0.01):

        def wrong(tau, pi=pi):
            x = (tau + 2) / 2
            return (1 - pi) * stats.norm.sf(x) + pi * stats.norm.cdf(x - 2)

        found = optimize.minimize_scalar(wrong, bounds=(-10, 10), method="bounded", options={"xatol": 1e-8}).x
        assert found == pytest.approx(np.log((1 - pi) / pi), abs=1e-3)


# Chapter 6: Learn the distance


def _prototype_detector(seed=0, d=3, q=4):
    """A detector with a linear embedding and made-up meta-parameters, and its embedding in NumPy."""
    rng = np.random.default_rng(seed)
    detector = metaad.PrototypicalDetector(q, standardize=False)
    meta = {
        "location": np.zeros((1, 1, d)),
        "scale": np.ones((1, 1, d)),
        "start.weight0": rng.normal(size=(q, d)),
        "start.bias0": rng.normal(size=q),
        "log_variance": np.log([0.8, 1.7]),
        "share": np.array([0.4, -0.3]),
        "log_scale": np.array(0.7),
        "bias": np.array(0.25),
    }
    detector.meta_ = {name: torch.as_tensor(value) for name, value in meta.items()}
    detector.n_features_in_ = d
    return detector, meta, lambda x: x @ meta["start.weight0"].T + meta["start.bias0"]


@equation(
    "bregman-mean",
    statement=r"the total Bregman divergence to $c$ is that to the mean plus $n D_F(\bar\phi, c)$",
    how="both sides for four convex functions, gradients by autograd, and a search for a better point than the mean",
)
def test_bregman_mean():
    functions = {
        "squared": lambda p: (p**2).sum(-1),
        "entropy": lambda p: (p * p.log()).sum(-1),
        "Itakura-Saito": lambda p: -p.log().sum(-1),
        "exponential": lambda p: p.exp().sum(-1),
    }
    rng = np.random.default_rng(0)
    points = torch.as_tensor(rng.uniform(0.2, 2, size=(6, 3)))

    def divergence(f, p, c):
        c = c.clone().requires_grad_()
        value = f(c)
        slope = torch.autograd.grad(value, c)[0]
        return (f(p) - value - ((p - c) * slope).sum(-1)).detach()

    mean = points.mean(0)
    for f in functions.values():
        total = divergence(f, points, mean).sum()
        for other in torch.as_tensor(rng.uniform(0.2, 2, size=(20, 3))):
            gap = divergence(f, points, other).sum() - total
            assert gap > 0
            assert gap.item() == pytest.approx(6 * divergence(f, mean, other).item(), rel=1e-9)


@equation(
    "prototype-lda",
    statement=r"Gaussian classes with one covariance: $\log p(\phi|+)/p(\phi|-)$ is linear, Fisher's discriminant",
    how="scipy's log densities, the difference of squared distances, and scikit-learn's LDA with these moments",
)
def test_prototype_lda():
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(3, 3))
    covariance, low, high = mixing @ mixing.T, rng.normal(size=3), rng.normal(size=3)
    phi, precision = rng.normal(size=(9, 3)), np.linalg.inv(covariance)
    exact = stats.multivariate_normal(high, covariance).logpdf(phi)
    exact = exact - stats.multivariate_normal(low, covariance).logpdf(phi)
    linear = (phi - (low + high) / 2) @ precision @ (high - low)
    assert np.allclose(linear, exact, rtol=0, atol=1e-9)
    squares = [np.einsum("nd,de,ne->n", phi - c, precision, phi - c) for c in (low, high)]
    assert np.allclose((squares[0] - squares[1]) / 2, exact, rtol=0, atol=1e-9)
    # a sample whose pooled moments are exactly these: plus and minus each column of the mixing matrix
    noise = np.concatenate([mixing.T, -mixing.T]) * np.sqrt(3)
    lda = LinearDiscriminantAnalysis(solver="lsqr", priors=[0.5, 0.5])
    lda.fit(np.concatenate([noise + low, noise + high]), np.repeat([0, 1], 6))
    assert np.allclose(lda.decision_function(phi), exact, rtol=1e-8)


@equation(
    "prototype-posterior",
    statement=r"mean and variance of a new point of a class, given $n_\pm$ points of it",
    how="conditioning the joint normal distribution of all points, for 0, 1 and 5 points; the package's prototypes",
)
def test_prototype_posterior():
    detector, meta, embed = _prototype_detector()
    rng = np.random.default_rng(1)
    for counts in ((1, 0), (5, 0), (5, 1), (1, 5)):
        x, y = rng.normal(size=(sum(counts), 3)), np.repeat([0, 1], counts)
        fitted = detector.fit(x, y).params_
        for label, n in enumerate(counts):
            total, share = np.exp(meta["log_variance"][label]), 1 / (1 + np.exp(-meta["share"][label]))
            zeta, eta = total * share, total * (1 - share)
            joint = zeta + eta * np.eye(n + 1)
            gain = joint[n, :n] @ np.linalg.inv(joint[:n, :n]) if n else np.zeros(0)
            own = embed(x[y == label])
            center, variance = gain @ own, joint[n, n] - gain @ joint[:n, n]
            average = own.mean(0) if n else np.zeros(4)
            assert np.allclose(n * zeta / (n * zeta + eta) * average, center, rtol=0, atol=1e-12)
            assert eta + zeta * eta / (n * zeta + eta) == pytest.approx(variance, rel=1e-12)
            assert np.allclose(fitted["center"][0, label], center, rtol=0, atol=1e-12)
            assert fitted["variance"][0, label].item() == pytest.approx(variance, rel=1e-12)


@equation(
    "prototype-logit",
    statement=r"$f = \frac\kappa2\big[d_-^2/\nu_- - d_+^2/\nu_+ + \log(\nu_-/\nu_+)\big] + b$",
    how="scipy's normal log densities at the prototypes, averaged over coordinates; the package's score",
)
def test_prototype_logit():
    detector, meta, embed = _prototype_detector()
    rng = np.random.default_rng(1)
    query = rng.normal(size=(7, 3))
    for counts in ((3, 0), (3, 2)):
        x, y = rng.normal(size=(sum(counts), 3)), np.repeat([0, 1], counts)
        score = detector.fit(x, y).anomaly_score(query)
        (near, far), (low, high) = (detector.params_[name][0].numpy() for name in ("center", "variance"))
        d_near, d_far = (((embed(query) - c) ** 2).mean(1) for c in (near, far))
        kappa, b = np.exp(meta["log_scale"]), meta["bias"]
        assert np.allclose(score, kappa / 2 * (d_near / low - d_far / high + np.log(low / high)) + b, atol=1e-12)
        densities = [stats.norm.logpdf(embed(query), c, np.sqrt(v)).mean(1) for c, v in ((near, low), (far, high))]
        assert np.allclose(score, kappa * (densities[1] - densities[0]) + b, rtol=0, atol=1e-12)


@equation(
    "prototype-noise",
    statement=r"expected squared distance to the mean of $n$ points: $q\eta(1 + 1/n)$, plus $\|c_+ - c_-\|^2$",
    how="simulation of 40,000 tasks for 1, 3 and 10 points, within 2 %",
)
def test_prototype_noise():
    rng = np.random.default_rng(0)
    eta, low, high = 0.7, np.zeros(3), np.array([1.0, -2.0, 0.5])
    for n in (1, 3, 10):
        mean = low + np.sqrt(eta) * rng.normal(size=(40_000, n, 3)).mean(1)
        for center in (low, high):
            query = center + np.sqrt(eta) * rng.normal(size=(40_000, 3))
            expected = 3 * eta * (1 + 1 / n) + np.sum((center - low) ** 2)
            assert np.mean(np.sum((query - mean) ** 2, 1)) == pytest.approx(expected, rel=0.02)


@equation(
    "learnt-mahalanobis",
    statement=r"under a linear embedding the distance to the mean is Mahalanobis with matrix $W^\top W$",
    how="scipy's Mahalanobis distance against distances between embedded points of the package",
)
def test_learnt_mahalanobis():
    from scipy.spatial.distance import cdist

    detector, meta, _ = _prototype_detector()
    rng = np.random.default_rng(1)
    x, query = rng.normal(size=(5, 3)), rng.normal(size=(8, 3))
    own, asked = (detector.embed(detector.meta_, detector.meta_, torch.as_tensor(p)[None])[0] for p in (x, query))
    distance = ((asked - own.mean(0)) ** 2).sum(1).numpy()
    metric = meta["start.weight0"].T @ meta["start.weight0"]
    exact = cdist(query, x.mean(0, keepdims=True), "mahalanobis", VI=metric)[:, 0] ** 2
    assert np.allclose(distance, exact, rtol=1e-10)


@equation(
    "fleet-metric",
    statement=r"with random shifts the likelihood ratio is about $e^{-\Delta^2/2}(1 + \frac12 e^\top M e)$",
    how="densities from scipy, averaged over the shifts of a fleet; the remainder falls with the fourth power of $e$",
)
def test_fleet_metric():
    fleet = metaad.Fleet(n_features=3, directions=3, n_machines=200, ceiling=0.9)
    shifts = np.concatenate([fleet.shifts, -fleet.shifts])
    inverse = np.linalg.inv(fleet.covariance)
    squares = np.einsum("nd,de,ne->n", shifts, inverse, shifts)
    assert np.allclose(squares, squares[0], rtol=1e-10)  # all shifts have one length in this metric
    metric = inverse @ (shifts.T @ shifts / len(shifts)) @ inverse
    normal = stats.multivariate_normal(np.zeros(3), fleet.covariance)
    e = np.random.default_rng(0).normal(size=(6, 3)) @ fleet.mixing.T
    errors = []
    for size in (0.2, 0.1):
        points = size * e
        ratio = np.mean([normal.pdf(points - s) for s in shifts], 0) / normal.pdf(points)
        cosh = np.exp(-squares[0] / 2) * np.mean(np.cosh(points @ inverse @ shifts.T), 1)
        assert np.allclose(ratio, cosh, rtol=1e-9)
        series = np.exp(-squares[0] / 2) * (1 + np.einsum("nd,de,ne->n", points, metric, points) / 2)
        errors.append(np.abs(ratio - series).max())
    assert errors[0] / errors[1] == pytest.approx(16, rel=0.1)


@equation(
    "deep-svdd",
    statement=r"the mean squared distance of normal points to a center of their task is least for a constant $\phi$",
    how="zero for a constant embedding; shrinking any other by a factor $a$ multiplies it by $a^2$",
)
def test_deep_svdd():
    generator = torch.Generator().manual_seed(0)
    support, query = (torch.randn(4, n, 3, generator=generator, dtype=torch.float64) for n in (5, 9))
    network = metaad.MLP((6,), outputs=2)
    params = network.init(np.random.default_rng(0), 3)

    def objective(p):
        center = network(p, support).mean(1, keepdim=True)
        return ((network(p, query) - center) ** 2).sum(-1).mean()

    start = objective(params)
    assert start > 0.1
    for factor in (0.5, 0.1, 0.0):
        smaller = params | {name: factor * params[name] for name in network.head}
        assert objective(smaller).item() == pytest.approx(factor**2 * start.item(), abs=1e-15)


@equation(
    "svdd-force",
    statement=r"$\partial\ell/\partial d_-^2 = \frac{\kappa}{2\nu_-}(\sigma(z) - y)$",
    how="autograd through the package's loss, and the loss of a constant embedding is at least log 2",
)
def test_svdd_force():
    from metaad_tutorial.losses import cross_entropy

    kappa, low, high, far, b = 3.0, 0.6, 1.9, torch.tensor([0.4, 2.0, 5.0]).double(), 0.3
    near = torch.tensor([0.1, 1.0, 4.0], dtype=torch.float64, requires_grad=True)
    z = kappa / 2 * (near / low - far / high + np.log(low / high)) + b
    for label in (0.0, 1.0):
        y = torch.full((3,), label, dtype=torch.float64)
        slope = torch.autograd.grad(cross_entropy(z, y).sum(), near, retain_graph=True)[0]
        expected = kappa / (2 * low) * (torch.sigmoid(z.detach()) - y)
        assert torch.allclose(slope, expected, rtol=0, atol=1e-12)
        assert (slope > 0).all() == (label == 0) and (slope < 0).all() == (label == 1)
    logits = torch.linspace(-3, 3, 61, dtype=torch.float64)  # one logit for all points of a balanced query set
    loss = (cross_entropy(logits, torch.zeros(61)) + cross_entropy(logits, torch.ones(61))) / 2
    assert loss.min().item() == pytest.approx(np.log(2), abs=1e-12)


# Chapter 7: The adversarial autoencoder


def _aae_points(seed=0, n=40, d=5):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d)


def _aae(X=None, **own):
    return metaad.AAE(**{"latent": 2, "hidden": (6,), "steps": 15, "random_state": 0} | own).fit(
        _aae_points() if X is None else X
    )


def _np_mlp(params, x):
    """A network with one hidden layer, in NumPy: x (n, d) -> (n, outputs)."""
    p = {name: value.numpy() for name, value in params.items()}
    return np.maximum(x @ p["weight0"].T + p["bias0"], 0) @ p["weight1"].T + p["bias1"]


@equation(
    "aae-reconstruction",
    statement=r"$\mathcal{L}_{rec}=\mathbb{E}\lVert x-D(E(x))\rVert^2$",
    how="the loss and `AAE.reconstruction_error` against both networks written in NumPy",
)
def test_aae_reconstruction():
    from metaad_tutorial.losses import reconstruction

    X, detector = _aae_points(), _aae()
    x = (X - detector.stats_["location"].numpy()) / detector.stats_["scale"].numpy()
    rebuilt = _np_mlp(detector.params_["decoder"], _np_mlp(detector.params_["encoder"], x))
    squares = ((x - rebuilt) ** 2).sum(1)
    np.testing.assert_allclose(reconstruction(torch.as_tensor(x), torch.as_tensor(rebuilt)).numpy(), squares)
    np.testing.assert_allclose(detector.reconstruction_error(X), np.sqrt(squares), rtol=1e-6)


@equation(
    "aae-discrimination",
    statement=r"$\mathcal{L}_{dis}=-\mathbb{E}\log(1-C(x))-\mathbb{E}\log C(v)$",
    how="the package's loss of logits against the formula in probabilities",
)
def test_aae_discrimination():
    from metaad_tutorial.losses import discrimination

    normal, virtual = torch.randn(2, 3, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3
    c_normal, c_virtual = 1 / (1 + np.exp(-normal.numpy())), 1 / (1 + np.exp(-virtual.numpy()))
    want = -np.log(1 - c_normal).mean(-1) - np.log(c_virtual).mean(-1)
    np.testing.assert_allclose(discrimination(normal, virtual).numpy(), want, rtol=1e-10)


@equation(
    "aae-adversarial",
    statement=r"$\mathcal{L}_{adv}=-\mathbb{E}\log(1-C(v))$",
    how="the package's loss against the formula in probabilities; its gradient makes virtual points look normal",
)
def test_aae_adversarial():
    from metaad_tutorial.losses import adversarial

    logit = torch.tensor([-2.0, 0.5, 3.0], dtype=torch.float64, requires_grad=True)
    loss = adversarial(logit)
    c = 1 / (1 + np.exp(-logit.detach().numpy()))
    np.testing.assert_allclose(loss.item(), -np.log(1 - c).mean())
    (slope,) = torch.autograd.grad(loss, logit)
    np.testing.assert_allclose(slope.numpy(), c / 3)  # descending lowers every logit


@equation(
    "aae-total",
    statement=r"$\mathcal{L}=\mathcal{L}_{rec}+\lambda_1\mathcal{L}_{dis}+\lambda_2\mathcal{L}_{adv}$, part by part",
    how="one round of `AAE` moves C and G by step sizes in the ratio of the weights, and E and D not at all with them",
)
def test_aae_total():
    def moved(**own):
        start, end = (_aae(steps=steps, standardize=False, literal=True, **own).params_ for steps in (1, 2))
        return {name: max((end[name][k] - start[name][k]).abs().max().item() for k in end[name]) for name in end}

    one, other = moved(lambda_1=1.0, lambda_2=1.0), moved(lambda_1=0.5, lambda_2=0.25)
    assert one["encoder"] == other["encoder"] > 0 and one["decoder"] == other["decoder"] > 0
    for lambda_1, lambda_2 in ((1.0, 1.0), (0.5, 0.25)):
        first = _aae(steps=1, literal=True, lambda_1=lambda_1, lambda_2=lambda_2, lr=0.01)
        fresh = _aae(steps=1, literal=True, lambda_1=1e-12, lambda_2=0, lr=0.01)
        for name, weight in (("discriminator", lambda_1), ("generator", lambda_2)):
            change = first.params_[name]["weight1"] - fresh.params_[name]["weight1"]  # Adam's first step is lr * sign
            np.testing.assert_allclose(change.abs().max().item(), 0.01 * weight, rtol=0.02)

    def mean(history, name, part):
        return np.mean(history[name][part])

    long, first, last = {"literal": True, "steps": 200, "lr": 0.01}, slice(20), slice(-20, None)
    still = _aae(lambda_2=0, **long).history_  # each player descends its own loss
    for name in ("reconstruction", "discrimination"):
        assert 0 < mean(still, name, last) < 0.9 * mean(still, name, first)
    moves, rests = (_aae(lambda_1=0.1, lambda_2=weight, **long).history_ for weight in (1.0, 0))
    assert 0 < mean(moves, "adversarial", last) < 0.8 * mean(rests, "adversarial", last)


@equation(
    "aae-pca",
    statement="the best linear autoencoder projects onto the first $m$ principal directions",
    how="gradient descent on a linear autoencoder against the eigenvectors: error and angle between the subspaces",
)
def test_aae_pca():
    x = torch.as_tensor(_aae_points(n=60, d=4))
    x = (x - x.mean(0)) / x.std()
    variances, vectors = np.linalg.eigh(np.cov(x.numpy().T, bias=True))
    generator = torch.Generator().manual_seed(0)
    A, B = (torch.randn(s, generator=generator, dtype=torch.float64, requires_grad=True) for s in ((2, 4), (4, 2)))
    optimizer = torch.optim.LBFGS([A, B], max_iter=500, line_search_fn="strong_wolfe", tolerance_change=0)

    def closure():
        optimizer.zero_grad()
        loss = ((x - x @ A.T @ B.T) ** 2).sum(1).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    np.testing.assert_allclose(closure().item(), variances[:2].sum(), rtol=1e-5)
    spanned = np.linalg.qr(B.detach().numpy())[0]
    assert np.linalg.svd(spanned.T @ vectors[:, 2:])[1].min() > 1 - 1e-5  # cosines of the angles between the planes


@equation(
    "aae-optimal-discriminator",
    statement=r"$C^*(x)=\frac{p_G(x)}{p_G(x)+p(x)}$",
    how="grid search over the value of C at single points against the formula",
)
def test_aae_optimal_discriminator():
    values = np.linspace(1e-4, 1 - 1e-4, 20001)
    for p, q in ((0.4, 0.1), (0.02, 0.3), (0.2, 0.2)):
        loss = -p * np.log(1 - values) - q * np.log(values)
        assert abs(values[loss.argmin()] - q / (p + q)) < 1e-4


@equation(
    "aae-equilibrium",
    statement=r"against the optimal C, G's loss is least where no virtual point leaves $p$, and there $C^*=1/2$",
    how="values of both losses for two discrete distributions, at $p_G=p$ and at many others",
)
def test_aae_equilibrium():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(6))

    def value(q):
        best = q / (p + q)
        return -(p * np.log(1 - best)).sum() - (q * np.log(best)).sum()

    np.testing.assert_allclose(value(p), 2 * np.log(2))
    others = [value(rng.dirichlet(np.ones(6))) for _ in range(500)]
    assert max(others) < 2 * np.log(2)  # at every other distribution C does better
    q = rng.dirichlet(np.ones(6))
    mean = (p + q) / 2
    divergence = ((p * np.log(p / mean)).sum() + (q * np.log(q / mean)).sum()) / 2
    np.testing.assert_allclose(value(q), 2 * np.log(2) - 2 * divergence)

    def adversarial(q):
        return -(q * np.log(1 - q / (p + q))).sum()

    np.testing.assert_allclose(adversarial(p), np.log(2))
    assert min(adversarial(rng.dirichlet(np.ones(6))) for _ in range(500)) > np.log(2)  # G's loss is least there


@equation(
    "aae-noise-discriminator",
    statement=r"against noise of density $q$, the logit of $C^*$ is $\log q(x)-\log p(x)$",
    how="the logit of the optimal discriminator of two Gaussians against the logs of their densities",
)
def test_aae_noise_discriminator():
    x = np.linspace(0, 3, 31)
    p, q = stats.norm.pdf(x), np.full_like(x, 1 / 8)
    best = q / (p + q)
    np.testing.assert_allclose(np.log(best / (1 - best)), stats.norm.logpdf(x) * -1 + np.log(1 / 8))
    assert np.array_equal(np.argsort(best), np.argsort(-p))  # a flat q: the levels of C are those of p


@equation(
    "aae-displacement",
    statement=r"$v=x+D(z+s\odot(\xi+G))-D(z)$",
    how="`AAE.virtual_anomalies` against the formula in NumPy with the same draws, every second point pushed by G",
)
def test_aae_displacement():
    X, detector = _aae_points(), _aae()
    stats_ = {name: value.numpy() for name, value in detector.stats_.items()}
    rng = np.random.default_rng(5)
    length = np.exp(rng.uniform(*np.log(detector.spread), size=(len(X), 1)))
    x = (X - stats_["location"]) / stats_["scale"]
    z = _np_mlp(detector.params_["encoder"], x)
    xi = length * rng.normal(size=z.shape)
    code = (z - stats_["code_location"]) / stats_["code_scale"]
    push = _np_mlp(detector.params_["generator"], np.hstack([code, xi])) * (np.arange(len(X)) % 2 == 0)[:, None]
    assert np.abs(push[::2]).max() > 0
    moved = z + stats_["code_scale"] * (xi + push)
    v = x + _np_mlp(detector.params_["decoder"], moved) - _np_mlp(detector.params_["decoder"], z)
    np.testing.assert_allclose(
        detector.virtual_anomalies(X, 5), v * stats_["scale"] + stats_["location"], rtol=1e-8, atol=1e-8
    )


@equation(
    "aae-margin",
    statement=r"$\max(0,\rho-\min_j\lVert\tilde v-\tilde z_j\rVert)^2$, the penalty of nearness",
    how="the package's function against a loop over points",
)
def test_aae_margin():
    from metaad_tutorial.aae import too_near

    rng = np.random.default_rng(0)
    moved, normal = rng.normal(size=(8, 3)), rng.normal(size=(5, 3))
    want = [max(0.0, 1.5 - min(np.linalg.norm(v - z) for z in normal)) ** 2 for v in moved]
    assert 0 < np.count_nonzero(want) < 8
    np.testing.assert_allclose(too_near(torch.as_tensor(moved), torch.as_tensor(normal), 1.5).numpy(), want, atol=1e-9)
    nearest = []
    for margin in (0.0, 4.0):  # the generator heeds it
        detector = _aae(margin=margin, lambda_1=1e-12, lambda_2=1.0, steps=200, lr=0.01)
        codes, made = (detector.latent_codes(x) for x in (_aae_points(), detector.virtual_anomalies(_aae_points(), 0)))
        gap = (made[::2, None] - codes[None]) / codes.std(0)
        nearest.append(np.linalg.norm(gap, axis=-1).min(1).mean())
    assert nearest[1] > nearest[0] + 1


@equation(
    "aae-score",
    statement=r"$f(x)=-\log(1-\Phi(t_C))-\log(1-\Phi(t_E))$",
    how="`AAE.anomaly_score` against the formula on the two parts; its upper tail for two independent normal parts",
)
def test_aae_score():
    X, detector = _aae_points(), _aae()
    parts = {"logit": detector.discriminator_logit(X), "log_error": np.log(detector.reconstruction_error(X))}
    tails = [1 - stats.norm.cdf((v - detector.reference_[n][0]) / detector.reference_[n][1]) for n, v in parts.items()]
    np.testing.assert_allclose(detector.anomaly_score(X), -np.log(tails[0]) - np.log(tails[1]), rtol=1e-6)
    t = np.random.default_rng(0).normal(size=(2, 100_000))
    score = -stats.norm.logsf(t).sum(0)
    for f in (1.0, 3.0, 6.0):  # twice the score has a chi-square distribution with 4 degrees of freedom
        assert abs((score > f).mean() - np.exp(-f) * (1 + f)) < 0.005


# Chapter 8: Generative meta-learning


def _meta_aae(unseen=0.75, weight=10.0):
    """A MetaAAE with random meta-parameters on tiny tasks, and three of these."""
    family = metaad.Fleet(4, 0, 5, 5, n_machines=20, n_features=3)
    detector = metaad.MetaAAE(n_virtual=6, width=4, unseen=unseen, weight=weight, meta_steps=1, random_state=0)
    detector.meta_fit(family)
    rng = np.random.default_rng(1)
    meta = {n: v + 0.4 * torch.tensor(rng.normal(size=v.shape)) if "." in n else v for n, v in detector.meta_.items()}
    return detector, meta, family.sample(3, 5)


def _meta_aae_codes(meta, x, support):
    """E of each point less the mean of E over the support points, by NumPy: (N, d), (S, d) -> (N, 3)."""
    weight, bias = (meta[f"start.encoder.{name}0"].numpy() for name in ("weight", "bias"))
    location, scale = (meta[name][0].numpy() for name in ("location", "scale"))
    codes, own = ((points - location) / scale @ weight.T + bias for points in (x, support))
    return codes - own.mean(0)


def _meta_aae_logit(weights, z):
    """C of the codes z (N, 3), with weights (weight0, bias0, weight1, bias1) as tensors."""
    seen = torch.cat([z, torch.linalg.vector_norm(z, dim=1)[:, None] - z.shape[1] ** 0.5], 1)
    return torch.clamp(seen @ weights[0].T + weights[1], min=0) @ weights[2][0] + weights[3]


def _meta_aae_step(meta, z):
    """C's weights after one step on codes z (S, 3) of support points against G's six displacements of them."""
    noise = torch.tensor(np.random.default_rng(0).normal(size=(6, 3)))
    first = z[[j % len(z) for j in range(6)]]
    g = [meta[f"start.generator.{name}"] for name in ("weight0", "bias0", "weight1", "bias1")]
    moved = first + torch.clamp(torch.cat([first, noise], 1) @ g[0].T + g[1], min=0) @ g[2].T + g[3]
    names = [f"discriminator.{name}" for name in ("weight0", "bias0", "weight1", "bias1")]
    w = [meta[f"start.{name}"].clone().requires_grad_() for name in names]
    normal, virtual = torch.sigmoid(_meta_aae_logit(w, z)), torch.sigmoid(_meta_aae_logit(w, moved))
    loss = -torch.log(1 - normal).mean() - torch.log(virtual).mean()
    grads = torch.autograd.grad(loss, w)
    return [(v - meta[f"rate.{n}"] * g).detach() for n, v, g in zip(names, w, grads, strict=True)]


@equation(
    "meta-aae-code",
    statement=r"$z(x) = E(x) - \frac1n\sum_i E(x_i)$",
    how="the package's codes against NumPy; moving a whole task leaves them as they are, moving a query does not",
)
def test_meta_aae_code():
    detector, meta, tasks = _meta_aae()
    with torch.no_grad():
        params = detector._adapt(meta, tasks.support_x, tasks.support_y, second_order=False)
        codes = detector._codes(params, meta, tasks.query_x) - params["center"]
    for t in range(3):
        query, support = tasks.query_x[t].numpy(), tasks.support_x[t].numpy()
        want = _meta_aae_codes(meta, query, support)
        np.testing.assert_allclose(codes[t], want, atol=1e-10)
        np.testing.assert_allclose(_meta_aae_codes(meta, query + 3, support + 3), want, atol=1e-10)
        assert np.abs(_meta_aae_codes(meta, query + 3, support) - want).max() > 0.1


@equation(
    "meta-aae-score",
    statement=r"$g(x; w) = \mathrm{MLP}_w\big(z(x), \lVert z(x)\rVert - \sqrt{d_z}\big)$",
    how="the package's logits against the two layers written out",
)
def test_meta_aae_score():
    detector, meta, _ = _meta_aae()
    z = torch.tensor(np.random.default_rng(0).normal(size=(2, 7, 3)))
    start = {name[6:]: value for name, value in meta.items() if name.startswith("start.")}
    w = [start[f"discriminator.{name}"] for name in ("weight0", "bias0", "weight1", "bias1")]
    logits = detector._network.judge(start, z)
    for t in range(2):
        torch.testing.assert_close(logits[t], _meta_aae_logit(w, z[t]), rtol=0, atol=1e-10)


@equation(
    "meta-aae-inner",
    statement=r"$w' = w - R \odot \nabla_w L_{\mathrm{dis}}(w)$, against $\hat z_j = z_{i(j)} + G(z_{i(j)}, \xi_j)$",
    how="the package's adapted discriminator against the step written out with logarithms of probabilities",
)
def test_meta_aae_inner():
    detector, meta, tasks = _meta_aae()
    with torch.no_grad():
        got = detector._adapt(meta, tasks.support_x, tasks.support_y, second_order=False)
    for t in range(3):
        x = tasks.support_x[t].numpy()
        want = _meta_aae_step(meta, torch.tensor(_meta_aae_codes(meta, x, x)))
        for name, value in zip(("weight0", "bias0", "weight1", "bias1"), want, strict=True):
            torch.testing.assert_close(got[f"discriminator.{name}"][t], value, rtol=0, atol=1e-9)


@equation(
    "meta-aae-stretch",
    statement=r"$\check z = \lVert z(x^+)\rVert\, z(x^-) / \lVert z(x^-)\rVert$",
    how="`stretched` against a loop over pairs; rotating the anomalies changes nothing",
)
def test_meta_aae_stretch():
    from metaad_tutorial.meta_aae import stretched

    rng = np.random.default_rng(0)
    normal, anomalous = rng.normal(size=(5, 3)), 3 * rng.normal(size=(5, 3))
    want = [np.sqrt(a @ a) / np.sqrt(b @ b) * b for a, b in zip(anomalous, normal, strict=True)]
    turn = stats.ortho_group.rvs(3, random_state=0)
    for points in (anomalous, anomalous @ turn):
        got = stretched(torch.tensor(normal), torch.tensor(points))
        np.testing.assert_allclose(got, want, atol=1e-12)


@equation(
    "meta-aae-prior",
    statement=r"$L_{\mathrm{prior}} = (\operatorname{tr} S - \log\det S - d_z)/(2 d_z)$, a divergence per coordinate",
    how="`prior` against the mean log ratio of both densities over 400,000 draws, within 0.01",
)
def test_meta_aae_prior():
    from metaad_tutorial.meta_aae import prior

    rng = np.random.default_rng(0)
    z = rng.normal(size=(400_000, 2)) @ np.array([[1.5, 0.4], [0.0, 0.6]])
    moment = z.T @ z / len(z)
    log_ratio = stats.multivariate_normal([0, 0], moment).logpdf(z) - stats.multivariate_normal([0, 0]).logpdf(z)
    assert abs(prior(torch.tensor(z)).item() - log_ratio.mean() / 2) < 0.01 < 0.2 < log_ratio.mean() / 2


@equation(
    "meta-aae-objective",
    statement=r"query loss, share $\kappa$ of it stretched, plus $\eta\,(L_{\mathrm{rec}}/d + L_{\mathrm{prior}})$",
    how="the package's outer loss against each term written out; no gradient reaches E through stretched points",
)
def test_meta_aae_objective():
    detector, meta, tasks = _meta_aae(unseen=0.3, weight=2.0)
    terms, every, errors = [], [], []
    for t in range(3):
        support, query, y = (part[t].numpy() for part in (tasks.support_x, tasks.query_x, tasks.query_y))
        w = _meta_aae_step(meta, torch.tensor(_meta_aae_codes(meta, support, support)))
        z = _meta_aae_codes(meta, query, support)
        lengths = np.linalg.norm(z, axis=1)
        far = z[y == 0] * (lengths[y == 1] / lengths[y == 0])[:, None]
        p, p_far = (torch.sigmoid(_meta_aae_logit(w, torch.tensor(points))).numpy() for points in (z, far))
        terms.append(-np.log(1 - p[y == 0]).mean() / 2 - 0.35 * np.log(p[y == 1]).mean() - 0.15 * np.log(p_far).mean())
        every.append(z[y == 0])
        scaled = (query[y == 0] - meta["location"][0].numpy()) / meta["scale"][0].numpy()
        code = scaled @ meta["start.encoder.weight0"].numpy().T + meta["start.encoder.bias0"].numpy()
        rebuilt = code @ meta["start.decoder.weight0"].numpy().T + meta["start.decoder.bias0"].numpy()
        errors.append(((scaled - rebuilt) ** 2).sum(1))
    moment = np.concatenate(every).T @ np.concatenate(every) / 15
    divergence = (np.trace(moment) - np.log(np.linalg.det(moment)) - 3) / 6
    want = np.mean(terms) + 2.0 * (np.mean(errors) / 3 + divergence)
    leaves = {name: v.clone().requires_grad_("." in name) for name, v in meta.items()}
    got = detector._outer_loss(leaves, tasks)
    assert abs(got.item() - want) < 1e-4
    # All anomalies stretched and no loss of its own: E is then taught by normal points alone.
    alone = metaad.MetaAAE(n_virtual=6, width=4, unseen=1.0, weight=0.0)
    grads = []
    for factor in (1.0, 1.7):  # longer anomalies change the stretched points, whose gradient must not reach E
        at = {name: v.clone().requires_grad_("." in name) for name, v in meta.items()}
        held = {n: v.detach() if "discriminator" in n else v for n, v in at.items()}
        params = {n[6:]: v for n, v in held.items() if n.startswith("start.")} | {"center": torch.zeros(3, 1, 3)}
        alone._adapt = lambda *_, params=params, **__: params
        far = tasks.query_x * torch.where(tasks.query_y == 1, factor, 1.0)[..., None]
        moved = metaad.Episodes(tasks.support_x, tasks.support_y, far, tasks.query_y, tasks.units)
        loss = alone._losses(held, moved, True)[0]
        grads.append(torch.autograd.grad(loss, at["start.encoder.weight0"])[0])
    torch.testing.assert_close(grads[0], grads[1], rtol=0, atol=1e-12)
    assert grads[0].abs().max() > 1e-3


@equation(
    "meta-aae-gradient",
    statement=r"$\partial l_{\mathcal{Q}}/\partial\hat z = \alpha p[\nabla_{\omega'} l_{\mathcal{Q}}"
    r" - (1-p)(\hat z^\top \nabla_{\omega'} l_{\mathcal{Q}} + \partial_{b'} l_{\mathcal{Q}})\,\omega]$",
    how="central differences of the query loss after one step of a linear discriminator",
)
def test_meta_aae_gradient():
    rng = np.random.default_rng(3)
    z, z_hat, omega, b, alpha = rng.normal(size=3), rng.normal(size=3), rng.normal(size=3), 0.2, 0.8
    queries, y = rng.normal(size=(6, 3)), np.array([0, 0, 1, 1, 1, 0])
    sigma = lambda t: 1 / (1 + np.exp(-t))  # noqa: E731

    def after(point):
        normal, p = sigma(omega @ z + b), 1 - sigma(omega @ point + b)
        return omega - alpha * (normal * z - p * point), b - alpha * (normal - p)

    def query_loss(point):
        p = sigma(queries @ after(point)[0] + after(point)[1])
        return -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))

    error = sigma(queries @ after(z_hat)[0] + after(z_hat)[1]) - y
    to_omega, to_b, p = error @ queries / 6, error.mean(), 1 - sigma(omega @ z_hat + b)
    formula = alpha * p * (to_omega - (1 - p) * (z_hat @ to_omega + to_b) * omega)
    ends = [[query_loss(z_hat + sign * 1e-5 * axis) for sign in (1, -1)] for axis in np.eye(3)]
    np.testing.assert_allclose(formula, [(up - down) / 2e-5 for up, down in ends], rtol=1e-6)


@equation(
    "meta-aae-blind",
    statement=r"$\text{AUROC}_{\text{blind}} = \Pr(F_{d,d}(\lambda_+, \lambda_-) > 1)$, "
    r"$\lambda_\pm = \frac{\Delta^2}{2}\big(\frac{1}{\sqrt2} \pm \frac{1}{\sqrt{2+4/n}}\big)^2$",
    how="draws of both chi-squares against simulated tasks, 100,000 each, within 0.006; the limit is `novel-subspace`",
)
def test_meta_aae_blind():
    def formula(d, n, delta, rng, draws=100_000):
        plus, minus = (delta**2 / 2 * (1 / np.sqrt(2) + s / np.sqrt(2 + 4 / n)) ** 2 for s in (1, -1))
        upper = rng.noncentral_chisquare(d, plus, draws)
        return (upper / rng.noncentral_chisquare(d, minus, draws) > 1).mean()

    rng = np.random.default_rng(0)
    for d, n, delta in ((5, 2, 2.0), (8, 10, 2.66)):
        e1, e0, centre = rng.normal(size=(3, 100_000, d))
        e1[:, 1] += delta
        wins = ((e1 - centre / np.sqrt(n)) ** 2).sum(1) > ((e0 - centre / np.sqrt(n)) ** 2).sum(1)
        assert abs(formula(d, n, delta, rng) - wins.mean()) < 0.006
    known = stats.ncf.sf(1, 8, 8, 2.66**2)
    assert abs(formula(8, 10**9, 2.66, rng) - known) < 0.006 < known - formula(8, 2, 2.66, rng)


@equation(
    "meta-aae-hedge",
    statement=r"$\Lambda_\kappa(e) = (1-\kappa)\,e^{t^\top e - \Delta^2/2}$"
    r"$\;+\;\kappa\,\Gamma(\frac d2)\big(\frac{2}{\Delta r}\big)^{\nu} I_\nu(\Delta r)\,e^{-\Delta^2/2}$",
    how="against the mean ratio over 200,000 random directions, within 1 %; its mean over noise is 1",
)
def test_meta_aae_hedge():
    from scipy.special import gamma, iv

    rng = np.random.default_rng(0)
    d, delta, kappa = 6, 1.7, 0.4
    nu, t = d / 2 - 1, np.eye(d)[0] * delta

    def ratio(e):
        r = np.linalg.norm(e, axis=-1)
        anywhere = gamma(d / 2) * (2 / (delta * r)) ** nu * iv(nu, delta * r)
        return ((1 - kappa) * np.exp(e @ t) + kappa * anywhere) * np.exp(-(delta**2) / 2)

    u = rng.normal(size=(200_000, d))
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    for e in 1.2 * rng.normal(size=(3, d)):
        mean = np.exp(delta * u @ e - delta**2 / 2).mean()
        want = (1 - kappa) * np.exp(t @ e - delta**2 / 2) + kappa * mean
        assert abs(ratio(e) / want - 1) < 0.01
    assert abs(ratio(rng.normal(size=(200_000, d))).mean() - 1) < 0.02


# Chapter 9: New domains


@equation(
    "mean-shift-alarms",
    statement=r"a new mean $\mu_2$ turns the false alarm rate $\varepsilon$ of a linear score into "
    r"$\Phi\big(\Phi^{-1}(\varepsilon) + \omega^\top(\mu_2 - \mu_1) / \sqrt{\omega^\top\Sigma\,\omega}\big)$",
    how="share of 200,000 drawn points above the old threshold, for three shifts, within 0.004",
)
def test_mean_shift_alarms():
    rng = np.random.default_rng(0)
    mixing, omega, mu = rng.normal(size=(3, 3)), np.array([1.0, -2.0, 0.5]), np.array([3.0, 1.0, -1.0])
    noise = rng.normal(size=(200_000, 3)) @ mixing.T
    threshold = np.quantile((mu + noise) @ omega, 0.95)
    sd = np.sqrt(omega @ mixing @ mixing.T @ omega)
    for size in (-0.5, 0.7, 2.0):
        eta = size * sd * omega / (omega @ omega) + np.cross(omega, mu)  # the second part is invisible to the score
        expected = stats.norm.cdf(stats.norm.ppf(0.05) + omega @ eta / sd)
        assert np.mean((mu + eta + noise) @ omega > threshold) == pytest.approx(expected, abs=0.004)


@equation(
    "random-shift-alarms",
    statement=r"mean false alarm rate over domains $\Phi\big(\Phi^{-1}(\varepsilon) / \sqrt{1 + \rho_f^2}\big)$, with "
    r"$\rho_f^2 = \rho^2\omega^\top\omega / \omega^\top\Sigma\,\omega$ as it is and $1/n$ centred by $n$ normal points",
    how="numerical mean of equation mean-shift-alarms over the shifts, and 4,000 machines of a fleet, within 0.006",
)
def test_random_shift_alarms():
    def average(v):
        return stats.norm.cdf(stats.norm.ppf(0.05) / np.sqrt(1 + v))

    for v in (0.1, 1.0, 5.0):
        exact, _ = integrate.quad(
            lambda t, v=v: stats.norm.pdf(t) * stats.norm.cdf(stats.norm.ppf(0.05) + np.sqrt(v) * t), -9, 9
        )
        assert average(v) == pytest.approx(exact, abs=1e-8)
    fleet = metaad.Fleet(4, 0, 20, 1, n_machines=4000, n_features=5, spread=1.5)
    tasks = fleet.sample(4000, random_state=0)
    omega = np.linalg.solve(fleet.covariance, fleet.shifts[0])
    sd = np.sqrt(omega @ fleet.covariance @ omega)
    score, own = tasks.query_x.numpy() @ omega, (tasks.support_x.numpy() @ omega).mean(1, keepdims=True)
    normal, limit = tasks.query_y.numpy() == 0, stats.norm.ppf(0.95) * sd
    for centre, v in ((0, 1.5**2 * omega @ omega / sd**2), (own, 1 / 4)):
        assert np.mean((score - centre > limit)[normal]) == pytest.approx(average(v), abs=0.006)


@equation(
    "batch-score",
    statement=r"$f_B(x) = \kappa\,\big(\frac1q\lVert\phi_B(x) - \bar\phi_B\rVert^2 - h_0\big)$",
    how="a trained `ACR` with a convolutional network against PyTorch's own batch normalisation, to 1e-9",
)
def test_batch_score():
    family = metaad.Glyphs(1, 0, 8, 2, size=8).of_scripts("Greek")
    network = metaad.ConvNet((3, 5), norm="batch", outputs=4)
    detector = metaad.ACR(network=network, meta_steps=3, meta_batch=3, random_state=0).meta_fit(family)
    batch = family.sample(1, random_state=1).query_x[0]
    meta, x = detector.meta_, (batch - batch.mean())[:, None] / batch.std(unbiased=False)
    for i in range(2):
        x = F.conv2d(x, meta[f"start.weight{i}"], meta[f"start.bias{i}"], stride=2, padding=1)
        shift = meta[f"start.bias{i}"]
        x = torch.relu(F.batch_norm(x, None, None, meta[f"start.gain{i}"], shift, training=True))
    phi = x.flatten(1) @ meta["start.weight2"].T + meta["start.bias2"]
    h = (phi - phi.mean(0)).square().sum(1) / 4
    expected = meta["log_scale"].exp() * (h - meta["log_radius"].exp())
    found = detector.fit(batch).anomaly_score(batch)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def _batch_auroc(share, separation, d, n, seed=0):
    """Right side of equation batch-breakdown, the expectation over 400,000 draws of a."""
    e = np.random.default_rng(seed).normal(size=(400_000, d))
    t = np.r_[separation, np.zeros(d - 1)]
    along = (e + t / np.sqrt(2)) @ t / np.linalg.norm(e + t / np.sqrt(2), axis=1)
    return stats.norm.cdf((1 - 2 * share) * along / np.sqrt(2 * (1 - 2 / n))).mean()


@equation(
    "batch-breakdown",
    statement=r"distance from the batch mean: AUROC$(\pi) = \mathbb E\big[\Phi\big((1 - 2\pi)\,t^\top a / "
    r"(\lVert a\rVert\sqrt{2(1 - 2/N)})\big)\big]$ with $a \sim N(t/\sqrt2, I)$; one half at $\pi = \frac12$",
    how="simulated batches of 5, 10 and 20 points in 1 to 6 dimensions, within 0.01; in one dimension the closed form",
)
def test_batch_breakdown():
    rng = np.random.default_rng(1)
    for n, k, d, separation in ((5, 1, 1, 2.0), (10, 3, 3, 2.5), (20, 14, 6, 3.0), (10, 5, 2, 3.0)):
        y = np.tile(np.arange(n) < k, (12_000, 1)).astype(int)
        e = rng.normal(size=(12_000, n, d))
        e[..., 0] += separation * y
        found = metrics.auroc(y, np.sum((e - e.mean(1, keepdims=True)) ** 2, -1)).mean()
        assert found == pytest.approx(_batch_auroc(k / n, separation, d, n), abs=0.01)
    a, b = 2.5 / np.sqrt(2), 0.4 * 2.5 / np.sqrt(2)  # share 0.3 of a large batch
    one = stats.norm.cdf(a) * stats.norm.cdf(b) + stats.norm.sf(a) * stats.norm.sf(b)
    assert _batch_auroc(0.3, 2.5, 1, np.inf) == pytest.approx(one, abs=0.002)
    for d in (1, 4):
        assert _batch_auroc(0.5, 2.5, d, 20) == 0.5
        assert _batch_auroc(0.8, 2.5, d, 20) == pytest.approx(1 - _batch_auroc(0.2, 2.5, d, 20), abs=1e-12)
        falling = [_batch_auroc(share, 2.5, d, 20) for share in (0.1, 0.3, 0.5, 0.7)]
        assert np.all(np.diff(falling) < -0.02)


@equation(
    "breakdown-share",
    statement=r"normal points and $k$ kinds of anomalies lie equally far from the middle, in the mean of squares, "
    r"at the share $\pi^* = \frac1k\sum_j\lVert\zeta_j\rVert^2 / 2\lVert\bar\zeta\rVert^2 \ge \frac12$",
    how="squared distances from the weighted mean at that share, random directions; right angles and equal distances",
)
def test_breakdown_share():
    def breakdown(zeta):
        return np.mean(np.sum(zeta**2, 1)) / (2 * np.sum(zeta.mean(0) ** 2))

    rng = np.random.default_rng(0)
    for kinds, d in ((1, 3), (2, 4), (5, 3), (4, 9)):
        zeta = rng.normal(size=(kinds, d)) + 1
        share = breakdown(zeta)
        middle = share * zeta.mean(0)
        assert np.mean(np.sum((zeta - middle) ** 2, 1)) == pytest.approx(np.sum(middle**2))
        assert share >= 0.5 - 1e-12
    for kinds in (1, 2, 3, 7):
        corners = 3 * np.eye(kinds + 1)  # all equally far from each other; the last one is normal
        assert breakdown(corners[:-1] - corners[-1]) == pytest.approx(kinds / (kinds + 1))
        assert breakdown(3 * np.eye(kinds)) == pytest.approx(kinds / 2)


@equation(
    "batch-plurality",
    statement=r"with $k + 1$ kinds in equal numbers, each normal equally often, every method that ignores the "
    r"order of the batch has mean AUROC $\frac12$, at the share $\pi^* = \frac{k}{k + 1}$",
    how="three scores of random batches, each kind called normal in turn, to 1e-12",
)
def test_batch_plurality():
    from scipy.spatial.distance import cdist

    rng = np.random.default_rng(0)
    scores = {
        "mean": lambda x: np.sum((x - x.mean(0)) ** 2, 1),
        "neighbour": lambda x: np.sort(cdist(x, x), 1)[:, 2],
        "own": lambda x: np.sin(5 * x[:, 0]) + x[:, 1] * np.median(x[:, 1]),
    }
    for kinds in (1, 2, 4):
        kind = np.repeat(np.arange(kinds + 1), 6)
        x = 2 * rng.normal(size=(kinds + 1, 3))[kind] + rng.normal(size=(len(kind), 3))
        for score in scores.values():
            found = [metrics.auroc((kind != normal).astype(int), score(x)) for normal in range(kinds + 1)]
            assert np.mean(found) == pytest.approx(0.5, abs=1e-12)
            assert np.ptp(found) > 0.01  # for one kind called normal it is not one half
        assert np.mean(kind != 0) == pytest.approx(kinds / (kinds + 1))
