"""The directive {play}: a figure to play with, whose numbers the package computes when the book is built.

```{play} guess
:name: play-guess
:alt: what is drawn, for those who cannot see it

A caption.
```

In a notebook a comment stands for it, since other programs do not know the directive: ``<!-- play threshold -->``.
Without JavaScript, in print and in other formats the static picture and the caption stay. The scripts are plain files
in ``_static``, so that a page works from disk: ``play.js`` and, on a page that has the figure, ``play/NAME.js``.
"""

from __future__ import annotations

import itertools
import json
import re
from functools import cache
from math import cos, exp, pi, sin, sqrt
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util.docutils import SphinxDirective

MARKED = 6  # faults among the readings to judge, and so the number of marks


@cache
def guess() -> dict:
    """One machine of a fleet with two sensors, five others, and what two detectors mark on it.

    The machine is the first of the held-out ones on which the nearest neighbour finds at most half of the faults and
    empirical Bayes all; the means over all held-out machines stand beside.
    """
    import numpy as np

    from metaad_tutorial import EmpiricalBayes, Fleet, NearestNeighbor

    counts = {"normal_shots": 5, "anomalous_shots": 0, "normal_queries": MARKED, "anomalous_queries": MARKED}
    fleet = Fleet(**counts, n_features=2, n_machines=500, seed=0)
    train, _, test = fleet.split(random_state=0)
    tasks = test.sample(500, random_state=1)
    neighbour, bayes = NearestNeighbor(), EmpiricalBayes(random_state=0).meta_fit(train)
    scores = {"neighbour": neighbour.score_tasks(tasks)[0], "learnt": bayes.score_tasks(tasks)[0]}
    scores["limit"] = fleet.bayes_scores(tasks)
    labels = tasks.query_y.numpy()

    def hits(score):
        """Faults among the points with the highest scores, of each task."""
        return np.take_along_axis(labels, np.argsort(-score, axis=1)[:, :MARKED], 1).sum(1)

    found = {name: hits(score) for name, score in scores.items()}
    shown = int(np.flatnonzero((found["neighbour"] <= MARKED / 2) & (found["learnt"] == MARKED))[0])
    others = train.sample(5, random_state=2)
    siblings = [
        {"normal": task.support_x[0].tolist() + task.query_x[0][task.query_y[0] == 0].tolist(),
         "faulty": task.query_x[0][task.query_y[0] == 1].tolist()}
        for task in others
    ]  # fmt: skip
    return {
        "known": tasks.support_x[shown].tolist(),
        "asked": tasks.query_x[shown].tolist(),
        "faulty": labels[shown].astype(int).tolist(),
        "siblings": siblings,
        "scores": {name: score[shown].tolist() for name, score in scores.items()},
        "found": {name: int(each[shown]) for name, each in found.items()},
        "mean": {name: round(float(each.mean()), 2) for name, each in found.items()},
        "machines": len(np.unique(tasks.units)),
        "learnt_from": len(train),
    }


@cache
def threshold() -> dict:
    """The ten scores of chapter 1, and what the package says of them at some thresholds."""
    from metaad_tutorial import metrics

    scores = [0.8, 1.1, 1.5, 2.0, 2.4, 3.3, 1.8, 2.9, 3.3, 4.1]
    labels = [0, 0, 0, 0, 0, 0, 1, 1, 1, 1]
    checks = []
    for cut in (0.5, 1.6, 2.5, 3.3, 5.0):
        flagged = [[score > cut for score in scores]]
        rates = (metrics.hits([labels], flagged)[0], metrics.false_alarms([labels], flagged)[0])
        checks.append({"cut": cut, "hits": float(rates[0]), "alarms": float(rates[1])})
    return {"scores": scores, "labels": labels, "auroc": float(metrics.auroc(labels, scores)), "checks": checks}


@cache
def step() -> dict:
    """The fleet of figure 4.1: what AADML learnt, eight held-out machines, and the package's scores of the first."""
    import torch
    from sklearn.base import clone

    from metaad_tutorial import AADML, MAML, Fleet

    fleet = Fleet(n_features=2, n_machines=500, spread=1.5, seed=3)
    train, valid, test = fleet.split(random_state=0)
    learnt = AADML(inner_steps=1, loss="squared", random_state=0).meta_fit(train, valid)
    meta, task = learnt.meta_, test.sample(60, random_state=7)[59]  # the machine of the figure
    more = test.sample(8, random_state=8)
    tasks = [task, *(more[i] for i in range(7))]
    detectors = {
        "scratch": MAML(inner_steps=50, inner_lr=0.5),
        "start": clone(learnt).set_params(inner_steps=0),
        "learnt": learnt,
    }
    names = {"sx": "support_x", "sy": "support_y", "qx": "query_x", "qy": "query_y"}
    return {
        "location": meta["scaling"]["location"].flatten().tolist(),
        "scale": meta["scaling"]["scale"].flatten().tolist(),
        "start": torch.cat([meta["start"]["weight0"], meta["start"]["bias0"]])[:, 0].tolist(),
        "rule": torch.cat([meta["rule"]["weight0"], meta["rule"]["bias0"]])[:, 0].tolist(),
        "tasks": [{short: getattr(one, name)[0].tolist() for short, name in names.items()} for one in tasks],
        "scores": {
            name: detector.fit(task.support_x[0], task.support_y[0]).anomaly_score(task.query_x[0]).tolist()
            for name, detector in detectors.items()
        },
    }


@cache
def promise() -> dict:
    """One calibration with normal scores, and for each number of points and share what the package and SciPy say.

    The rank is read off the threshold that the package sets for the scores 0, 1, ..., n - 1.
    """
    import numpy as np
    from scipy.stats import beta, norm

    from metaad_tutorial.metrics import rank_threshold

    sizes, shares = [5, 9, 19, 49, 99, 199, 499, 999], [0.01, 0.02, 0.05, 0.1, 0.2]
    n, share = 19, 0.05
    scores = np.random.default_rng(2).normal(size=n).round(3)
    cut = rank_threshold(scores, share)
    checks = []
    for points, asked in ((points, asked) for points in sizes for asked in shares):
        rank = points - int(rank_threshold(np.arange(points), asked))
        law = beta(rank, points + 1 - rank)
        low, high, kept = (float(value) for value in (*law.ppf([0.05, 0.95]), law.cdf(asked)))
        entry = {"n": points, "share": asked, "rank": rank, "promised": rank / (points + 1)}
        checks.append({**entry, "low": low, "high": high, "kept": kept})
    example = {"n": n, "share": share, "scores": scores.tolist(), "cut": cut, "achieved": float(norm.sf(cut))}
    return {"sizes": sizes, "shares": shares, **example, "checks": checks}


@cache
def start() -> dict:
    """The two sets of figure 5.2, and for some starts, step sizes and numbers of steps what the package says of them.

    Each check has w, alpha, K, and as values: the end of the path, the support loss at w and there, the query loss at w
    and there, the exact and the first-order gradient.
    """
    import torch

    from metaad_tutorial.inner_loop import gradient_step, inner_loop
    from metaad_tutorial.losses import cross_entropy

    generator = torch.Generator().manual_seed(3)

    def one_sensor(n: int):
        y = torch.tensor([0.0, 1.0], dtype=torch.float64).repeat_interleave(n)
        return 1 + 1.5 * y + 0.7 * torch.randn(2 * n, generator=generator, dtype=torch.float64), y

    seen, asked = one_sensor(5), one_sensor(15)

    def loss(w, points):
        return cross_entropy(w[:, :1] * points[0] + w[:, 1:], points[1]).mean(-1)

    def check(w: list[float], alpha: float, steps: int) -> dict:
        begin = torch.tensor([w], dtype=torch.float64, requires_grad=True)
        losses, slopes = [loss(begin, seen), loss(begin, asked)], []
        for second_order in (True, False):
            rule = gradient_step(alpha)
            end = inner_loop(lambda p: loss(p["w"], seen), {"w": begin}, rule, steps, second_order)["w"]
            slopes.append(torch.autograd.grad(loss(end, asked).sum(), begin)[0])
        losses = [losses[0], loss(end, seen), losses[1], loss(end, asked)]
        values = torch.cat([end.flatten(), *losses, *(slope.flatten() for slope in slopes)])
        return {"w": w, "alpha": alpha, "K": steps, "values": values.tolist()}

    points = {name: {"x": x.tolist(), "y": y.tolist()} for name, (x, y) in (("seen", seen), ("asked", asked))}
    starts = [[-0.5, -2.6], [-1.0, 0.0], [2.5, 2.0], [3.0, -2.6], [-3.0, -6.0], [5.0, 2.5]]
    checks = [check(w, alpha, steps) for w in starts for alpha in (0.3, 1.2, 3.0) for steps in (0, 1, 3, 5)]
    return {**points, "start": starts[0], "alpha": 1.2, "K": 3, "beta": 4, "checks": checks}


@cache
def fault() -> dict:
    """What a turned fault is worth by the equations fleet-turned and novel-subspace, for whole degrees.

    ``levels`` are mean AUROCs of two methods without experience of faults, over four new directions at 0 and 90
    degrees: the Mahalanobis distance from ten normal points, and the same with the covariance of other machines.
    """
    import numpy as np
    from scipy.stats import ncf, ncx2, norm

    from metaad_tutorial import EmpiricalBayes, Fleet, Mahalanobis
    from metaad_tutorial.metrics import auroc

    ceiling, degrees, fleet = 0.97, range(0, 91, 15), Fleet(normal_shots=10, anomalous_shots=0)
    pooled = EmpiricalBayes(unknown=1.0, random_state=0).meta_fit(fleet.split(random_state=0)[0])
    unmoved, found = (Mahalanobis(standardize=False), pooled), []
    for angle, seed in ((angle, seed) for angle in (0, 90) for seed in range(4)):
        tasks = fleet.turned(angle, seed).split(random_state=0)[2].sample(100, 1)
        found.append([auroc(tasks.query_y.numpy(), one.score_tasks(tasks)[0]).mean() for one in unmoved])
    delta, checks = float(np.sqrt(2) * norm.ppf(ceiling)), []
    for m, angle in ((m, angle) for m in (1, 2, 4, 8) for angle in degrees):
        share = np.cos(np.deg2rad(angle))
        nonc = max(1e-12, (delta * share) ** 2)  # SciPy wants it positive
        value = norm.cdf(share * norm.ppf(ceiling)) if m == 1 else ncf.sf(1, m, m, nonc)
        at = [0.5, 2.0, 4.0]
        heights = [norm.pdf(s - delta * share) if m == 1 else 2 * s * ncx2.pdf(s * s, m, nonc) for s in at]
        checks.append({"m": m, "angle": angle, "auroc": float(value), "at": at, "heights": [float(h) for h in heights]})
    noise = np.random.default_rng(0).normal(size=(65, 2)).round(2).tolist()  # 40 normal points, 25 faults
    levels = np.mean(found, 0).tolist()
    return {"delta": delta, "ceiling": ceiling, "levels": levels, "angle": 60, "noise": noise, "checks": checks}


@cache
def game() -> dict:
    """For some virtual densities N(mu, sigma) beside the normal N(0, 1) what SciPy's integrals say of the game.

    The values: C's loss against C*, the Jensen-Shannon divergence, G's loss against C*, and its slopes in mu and sigma
    while C* stands still (chapter 8); and C* at some places.
    """
    import numpy as np
    from scipy.integrate import quad
    from scipy.stats import norm

    def integral(f, mu, sigma):
        breaks = sorted({float(c + k * s) for c, s in ((0, 1), (mu, sigma)) for k in (-9, -4, -2, 0, 2, 4, 9)})
        return sum(quad(f, *ends, epsabs=1e-13, epsrel=1e-12)[0] for ends in itertools.pairwise(breaks))

    def check(mu: float, sigma: float) -> dict:
        p, g = norm(), norm(mu, sigma)

        def logit(x):
            return g.logpdf(x) - p.logpdf(x)

        def mixed(x):
            return np.logaddexp(p.logpdf(x), g.logpdf(x)) - np.log(2)

        def distance(own):
            return integral(lambda x: own.pdf(x) * (own.logpdf(x) - mixed(x)), mu, sigma)

        def adv(at, width):  # of points that C* does not know of
            return integral(lambda e: p.pdf(e) * np.logaddexp(0, logit(at + width * e)), 0, 1)

        kl, h = distance(p) + distance(g), 1e-4
        along, wider = adv(mu + h, sigma) - adv(mu - h, sigma), adv(mu, sigma + h) - adv(mu, sigma - h)
        values, at = [2 * np.log(2) - kl, kl / 2, adv(mu, sigma), along / (2 * h), wider / (2 * h)], [-3.0, 0.0, 1.5]
        best, values = [float(1 / (1 + np.exp(-logit(x)))) for x in at], [float(v) for v in values]
        return {"mu": mu, "sigma": sigma, "values": values, "at": at, "best": best}

    pairs = [(0.0, 1.0), (1.5, 0.7), (-4.0, 0.4), (4.0, 2.0), (-1.0, 2.0), (0.0, 0.4), (2.5, 1.0), (0.3, 1.2)]
    own = {"start": [2.5, 0.7], "places": [-4, 4], "widths": [0.4, 2], "rate": 0.5}
    return own | {"checks": [check(mu, sigma) for mu, sigma in pairs]}


@cache
def kappa() -> dict:
    """What the hedge of equation meta-aae-hedge sees for some shares of new faults, for someone who knows the machine.

    The score depends on x along the known direction and on rho, the length across it. Inside a contour each x reaches
    up to one rho, whose chi distribution is integrated over x. The values of a check are the AUROCs of known and of new
    faults, at right angles to them, and the shares of both found at 5 % false alarms.
    """
    import numpy as np
    import torch
    from scipy.interpolate import CubicSpline
    from scipy.optimize import brentq, minimize_scalar
    from scipy.stats import chi, ncf, ncx2, norm

    from metaad_tutorial.empirical_bayes import from_anywhere

    ceiling, dims, at = 0.97, [2, 16], [[0.0, 0.0], [2.5, 1.0], [-3.0, 4.0], [0.5, 6.0]]
    delta = np.sqrt(2) * norm.ppf(ceiling)
    shares = [0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 1]
    nodes, weights = np.polynomial.legendre.leggauss(160)
    angle, r = np.pi / 2 * nodes, np.linspace(0, 30, 6001)
    heights = np.linspace(0, 16, 1201)

    def unknown(d, r):
        return from_anywhere(torch.as_tensor(r), torch.tensor(delta), d).numpy()

    def score(d, share, x, rho):
        with np.errstate(divide="ignore"):
            known, new = np.log1p(-share) + delta * x - delta**2 / 2, np.log(share) + unknown(d, np.hypot(x, rho))
        return np.logaddexp(known, new)

    def seen(d: int, share: float) -> list[float]:
        if share == 0:
            return [ceiling, 0.5, norm.cdf(delta - norm.ppf(0.95)), 0.05]
        if share == 1:
            return [ncf.sf(1, d, d, delta**2)] * 2 + [ncx2.sf(chi.ppf(0.95, d) ** 2, d, delta**2)] * 2
        squared, still, moved = tables[d]
        lowest = minimize_scalar(lambda x: score(d, share, x, 0), bounds=(-14, 0), options={"xatol": 1e-10}).x
        cuts = score(d, share, lowest + heights, 0)  # contours by their right end at rho = 0, and now by their left end
        low, high = np.full(len(cuts), -30.0), np.full(len(cuts), lowest)
        for _ in range(50):
            middle = (low + high) / 2
            outside = score(d, share, middle, 0) > cuts
            low, high = np.where(outside, middle, low), np.where(outside, high, middle)
        half = (lowest + heights - low)[:, None] / 2
        x = low[:, None] + half * (1 + np.sin(angle))
        rest = np.exp(cuts)[:, None] - (1 - share) * np.exp(delta * x - delta**2 / 2)
        rest = np.log(np.maximum(rest, 1e-300) / share).clip(squared.x[0], squared.x[-1])
        rho = np.sqrt((squared(rest) - x**2).clip(0, r[-1] ** 2))
        inside = [
            (half * np.pi / 2 * np.cos(angle) * weights * norm.pdf(x - shift) * law(rho)).sum(1)
            for shift, law in ((0, still), (delta, still), (0, moved))
        ]
        normal, *faults = (CubicSpline(heights, share) for share in inside)
        cut = brentq(lambda height: normal(height) - 0.95, 0, heights[-1])
        slope, step = normal(heights, 1), heights[1]
        aurocs = [1 - step * (slope * fault(heights))[1:-1].sum() for fault in faults]
        return [*aurocs, *(1 - fault(cut) for fault in faults)]

    checks, points, tables, rng = [], {}, {}, np.random.default_rng(4)
    for d in dims:
        laws = (chi(d - 1).cdf(r), ncx2(d - 1, delta**2).cdf(r**2))  # of rho: noise or known faults, and new faults
        tables[d] = CubicSpline(unknown(d, r), r**2), *(CubicSpline(r, law) for law in laws)
        for share in shares:
            scores = [float(score(d, share, *place)) for place in at]
            checks.append({"d": d, "kappa": share, "values": [float(v) for v in seen(d, share)], "scores": scores})
        e = rng.normal(size=(85, d))
        e[40:60, 0] += delta
        e[60:, 1] += delta
        places = np.stack([e[:, 0], np.linalg.norm(e[:, 1:], axis=1)], 1).round(2).tolist()
        points[d] = {"normal": places[:40], "known": places[40:60], "fresh": places[60:80]}
    own = {"delta": float(delta), "ceiling": ceiling, "dims": dims, "kappa": 0.2, "at": at}
    return own | {"points": points, "checks": checks}


@cache
def majority() -> dict:
    """Batches of k + 1 kinds of points, and what the package says of three ways to score them.

    Kinds lie around the corners of a regular polygon. ``curves`` are mean AUROCs of a method for k kinds of anomalies
    and 1, 2, ... anomalies, over the batches and with each kind as the normal one; ``checks`` the scores of batches.
    """
    import numpy as np
    import torch

    from metaad_tutorial import BatchNeighbor, Episodes
    from metaad_tutorial.metrics import auroc

    size, gap, batches, kinds = 24, 4.0, 12, (1, 2, 3)
    noise = np.random.default_rng(1).normal(size=(batches, max(kinds) + 1, size - 1, 2)).round(2)
    near, far = (BatchNeighbor(k=k, standardize=False) for k in (3, None))

    def filled(k: int, anomalies: int):
        """Points (B, size, 2), labels, and the normal kind's centre, for each batch and normal kind in turn."""
        angles = 2 * np.pi * np.arange(k + 1) / (k + 1)
        centres = -gap / 2 / np.sin(np.pi / (k + 1)) * np.stack([np.cos(angles), np.sin(angles)], 1)
        x, y = [], []
        for own in range(k + 1):
            counts = np.full(k + 1, size - anomalies)
            counts[(own + 1 + np.arange(k)) % (k + 1)] = [len(range(i, anomalies, k)) for i in range(k)]
            x.append(np.concatenate([c + noise[:, q, : counts[q]] for q, c in enumerate(centres)], 1))
            y.append(np.tile(np.repeat(np.arange(k + 1) != own, counts), (batches, 1)))
        return np.stack(x, 1), np.stack(y, 1).astype(float), centres

    def scores(k: int, anomalies: int) -> dict:
        x, y, centres = filled(k, anomalies)
        flat, labels = (torch.as_tensor(part).flatten(0, 1) for part in (x, y))
        tasks = Episodes(flat[:, :3], 0 * labels[:, :3], flat, labels, np.arange(len(flat)))
        found = {"mean": far.score_tasks(tasks)[0], "neighbour": near.score_tasks(tasks)[0]}
        along = -centres / np.linalg.norm(centres, axis=1, keepdims=True)
        found["line"] = np.einsum("bknf,kf->bkn", x - x.mean(2, keepdims=True), along).reshape(len(flat), size)
        return {name: (own, auroc(labels.numpy(), own)) for name, own in found.items()}

    curves, checks = {name: {} for name in ("mean", "neighbour", "line")}, []
    for k in kinds:
        at = [scores(k, anomalies) for anomalies in range(1, size)]
        for name, by_k in curves.items():
            by_k[k] = [round(float(found[name][1].mean()), 9) for found in at]
            for anomalies, batch, own in ((3, 0, 0), (13, 5, 1), (18, 11, k)):
                values = at[anomalies - 1][name][0][batch * (k + 1) + own].round(9).tolist()
                checks.append({"of": [name, k, anomalies, batch, own], "scores": values})
    first = {"size": size, "gap": gap, "k": 1, "anomalies": 6, "noise": noise.tolist()}
    return first | {"curves": curves, "checks": checks}


def apart() -> dict:
    """Readings of four sensors under a common load, one of them broken, and their scores taken apart by the package.

    They are chosen: two ways find the broken sensor, one way, all, none.

    All sensors have variance 1 and, by the load, correlation ``load`` with each other; the score is the squared
    Mahalanobis distance. Each check has a load, a reading, its score and its parts by each way.
    """
    import numpy as np

    from metaad_tutorial.reading import expected, gradient_parts, occlusion, shapley

    def covariance(load: float) -> np.ndarray:
        return (1 - load) * np.eye(4) + load

    def check(load: float, xi: list[float]) -> dict:
        omega, X, mean = np.linalg.inv(covariance(load)), np.array([xi]), np.zeros(4)

        def score(X):
            return ((X @ omega) * X).sum(1)

        parts = {
            "z-score": X**2,
            "occlusion": occlusion(score, X, mean),
            "gradient": gradient_parts(score, X, mean),
            "Shapley": shapley(score, X, mean),
            "filled in": occlusion(score, X, expected(X, mean, covariance(load))),
        }
        return {"load": load, "xi": xi, "score": score(X)[0], "parts": {way: p[0].tolist() for way, p in parts.items()}}

    rng, load, readings = np.random.default_rng(5), 0.8, []
    kinds = [(1, {"occlusion", "filled in"}), (3, {"filled in"}), (0, set(check(0.0, [0.0] * 4)["parts"])), (2, set())]
    for broken, right in kinds:  # the ways that are to find the broken sensor
        found = None
        while found != right:
            xi = np.sqrt(load) * rng.normal() + np.sqrt(1 - load) * rng.normal(size=4)
            xi[broken] += 1.5 * rng.choice([-1, 1])
            xi = (xi.clip(-3.5, 3.5).round(1) + 0.0).tolist()
            found = {way for way, own in check(load, xi)["parts"].items() if np.argmax(own) == broken}
        readings.append({"xi": xi, "broken": broken})
    checks = [check(each, reading["xi"]) for each in (0.0, 0.5, load, 0.9) for reading in readings[:3]]
    return {"load": load, "readings": readings, "checks": checks}


WEIGHTS = Path(__file__).parents[1] / "_static" / "play" / "data"


def drawing_network():
    """The detector whose weights the page of the figure "draw" loads, trained by benchmarks/drawing.py."""
    import base64

    import numpy as np
    import torch

    from metaad_tutorial import ConvNet, Glyphs, PrototypicalDetector

    content = json.loads((WEIGHTS / "draw.js").read_text().split("PLAY.weights = ")[1].rstrip().rstrip(";"))
    shapes, values = content["shapes"], np.frombuffer(base64.b64decode(content["packed"]), "<f4").astype(float)
    ends = np.cumsum([np.prod(shape, dtype=int) for shape in shapes.values()])
    parts = [torch.tensor(part) for part in np.split(values, ends)]
    channels = tuple(shapes[f"weight{i}"][0] for i in range(len(shapes) // 3))
    network = ConvNet(channels, "layer", outputs=shapes[f"weight{len(channels)}"][1])
    detector = PrototypicalDetector(network=network, meta_steps=1, meta_batch=2, random_state=0)
    detector.meta_fit(Glyphs(5, 0, 2, 2, jitter=2))  # its shape alone counts: all that it learns is replaced
    meta = detector.meta_
    meta["start"] = {name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), parts, strict=False)}
    own = ("log_variance", "share", "log_scale", "bias")
    meta |= {name: torch.tensor(content[name], dtype=torch.float64) for name in own}
    meta["scaling"] = {name: torch.full_like(meta["scaling"][name], content[name]) for name in ("location", "scale")}
    return detector, content["about"]


@cache
def draw() -> dict:
    """Ready-made drawings, seven handwritten images of each of four digits in 256 grey levels, and what the detector
    makes of them: eight of its features, and the scores after five images of one digit."""
    import base64

    import numpy as np

    from metaad_tutorial import load_images

    detector, about = drawing_network()
    images, digits, each = load_images("mnist", 14), (2, 3, 4, 7), 7
    rows = np.concatenate([np.flatnonzero(images.label == digit)[:each] for digit in digits])
    grey = np.round(255 * images.X[rows]).astype(np.uint8)
    seen = grey / 255
    phi, scores = detector.embed(seen), {}
    for i, digit in enumerate(digits):
        known = seen[i * each : i * each + 5]
        scores[str(digit)] = detector.fit(known).anomaly_score(seen).tolist()
    packed = base64.b64encode(grey.tobytes()).decode()
    checks = {"phi": phi[:, :8].round(7).tolist(), "scores": {k: np.round(v, 7).tolist() for k, v in scores.items()}}
    return {"digits": digits, "each": each, "images": packed, "about": about, "checks": checks}


def _machine(data: dict) -> str:
    """The machine alone as a picture: circles are known to be normal, squares are to be judged."""
    points = [*data["known"], *data["asked"]]
    low, high = ([pick(p[i] for p in points) for i in (0, 1)] for pick in (min, max))

    def place(p) -> tuple[str, str]:
        x, y = ((p[i] - low[i]) / (high[i] - low[i]) for i in (0, 1))
        return f"{20 + 320 * x:.1f}", f"{240 - 220 * y:.1f}"

    circles = "".join('<circle class="play-normal" cx="{}" cy="{}" r="6"/>'.format(*place(p)) for p in data["known"])
    squares = "".join(
        '<rect class="play-unknown" x="{}" y="{}" width="11" height="11" transform="translate(-5.5 -5.5)"/>'.format(
            *place(p)
        )
        for p in data["asked"]
    )
    return f'<svg viewBox="0 0 360 260" role="img" aria-label="readings of one machine">{circles}{squares}</svg>'


def _line(data: dict) -> str:
    """Scores on a line, anomalies above it and normal points below."""
    kinds = {0: ("normal", 45), 1: ("faulty", 25)}
    drawn = "".join(
        f'<circle class="play-{kinds[label][0]}" cx="{70 * score:.1f}" cy="{kinds[label][1]}" r="6"/>'
        for score, label in zip(data["scores"], data["labels"], strict=True)
    )
    return f'<svg viewBox="0 0 360 70" role="img" aria-label="ten scores on a line">{drawn}</svg>'


def _support(data: dict) -> str:
    """The seven support points of the first machine."""
    one = data["tasks"][0]
    machine = {"known": [p for p, y in zip(one["sx"], one["sy"], strict=True) if not y], "asked": one["qx"]}
    return _machine(machine)


def _calibration(data: dict) -> str:
    """The scores as ticks below the density of normal scores, and the threshold with the false alarms beyond it."""

    def bell(low: float, high: float) -> str:
        steps = (low + (high - low) * i / 40 for i in range(41))
        return "".join(f"L{180 + 48 * z:.1f} {70 - 125 * exp(-z * z / 2) / sqrt(2 * pi):.1f}" for z in steps)

    ticks = "".join(f"M{180 + 48 * score:.1f} 74v9" for score in data["scores"])
    cut = 180 + 48 * data["cut"]
    return (
        '<svg viewBox="0 0 360 90" role="img" aria-label="scores below their density, and a threshold">'
        f'<path class="play-tail" d="M{cut:.1f} 70{bell(data["cut"], 3.6)}V70z"/>'
        f'<path class="play-bell" d="M7 70{bell(-3.6, 3.6)}"/><path class="play-axis" d="M5 70H355"/>'
        f'<path class="play-ticks" d="{ticks}"/><path class="play-cut" d="M{cut:.1f} 4V86"/>'
        f'<circle class="play-normal" cx="{cut:.1f}" cy="78.5" r="4"/></svg>'
    )


def _walk(data: dict) -> str:
    """Contours of the support loss and the inner steps from the start."""
    import numpy as np
    from contourpy import contour_generator

    x, y = (np.array(data["seen"][name]) for name in "xy")
    omega, b = np.linspace(-4, 6, 41), np.linspace(-7, 3, 41)
    z = omega[:, None] * x + b[:, None, None]
    height = np.log((np.logaddexp(0, z) - y * z).mean(-1))
    walk = [np.array(data["start"])]
    for _ in range(data["K"]):
        off = 1 / (1 + np.exp(-walk[-1][0] * x - walk[-1][1])) - y
        walk.append(walk[-1] - data["alpha"] * np.array([(off * x).mean(), off.mean()]))

    def line(points) -> str:
        return "M" + "L".join(f"{24 * (u + 4):.1f} {24 * (3 - v):.1f}" for u, v in points)

    levels, generator = np.linspace(height.min(), height.max(), 16)[1:-1], contour_generator(omega, b, height)
    contours = "".join(line(part) for level in levels for part in generator.lines(level))
    dots = "".join(
        f'<circle class="play-here" cx="{24 * (u + 4):.1f}" cy="{24 * (3 - v):.1f}" r="{3 if i else 6}"/>'
        for i, (u, v) in enumerate(walk)
    )
    return (
        '<svg viewBox="0 0 240 240" role="img" aria-label="contours of a loss and steps downhill from a start">'
        f'<path class="play-contour" d="{contours}"/><path class="play-walk" d="{line(walk)}"/>{dots}</svg>'
    )


def _plane(data: dict) -> str:
    """Normal points, the known fault, hollow, and the turned one, in the plane of the known and the new direction."""

    def place(x: float, y: float) -> tuple[float, float]:
        return 92 + 29 * x, 192 - 29 * y

    def triangle(x: float, y: float, kind: str) -> str:
        return f'<path class="{kind}" d="M{x:.1f} {y - 9:.1f}l8 15h-16z"/>'

    reach, turn = data["delta"], data["angle"] * pi / 180
    known, new = place(reach, 0), place(reach * cos(turn), reach * sin(turn))
    dots = "".join(
        '<circle class="play-normal" cx="{:.1f}" cy="{:.1f}" r="3"/>'.format(*place(*e)) for e in data["noise"][:40]
    )
    return (
        '<svg viewBox="0 0 260 290" role="img" aria-label="normal points, a known fault and a turned one">'
        f'<path class="play-axis" d="M4 192H256M92 24V286"/>{dots}'
        f'<path class="play-cut" d="M{new[0]:.1f} {new[1]:.1f}V192"/><path class="play-sees" d="M92 192H{new[0]:.1f}"/>'
        f"{triangle(*known, 'play-hollow play-faulty')}{triangle(*new, 'play-faulty')}</svg>"
    )


def _bells(data: dict) -> str:
    """Both densities, with a mark on the virtual one, and below the best C of the two."""
    mu, sigma = data["start"]

    def bell(x: float, at: float, width: float) -> float:
        return exp(-(((x - at) / width) ** 2) / 2) / width / sqrt(2 * pi)

    def best(x: float) -> float:
        return 1 / (1 + bell(x, 0, 1) / max(bell(x, mu, sigma), 1e-300))

    def line(kind: str, place) -> str:
        points = "L".join(f"{180 + 29 * x:.1f} {place(x):.1f}" for x in (-6 + i / 10 for i in range(121)))
        return f'<path class="{kind}" d="M{points}"/>'

    return (
        '<svg viewBox="0 0 360 286" role="img" aria-label="two densities, and below the best discriminator of them">'
        f'<path class="play-axis" d="M6 146H354M6 262H354"/><path class="play-orbit" d="M6 217H354"/>'
        f"{line('play-bell', lambda x: 146 - 118 * bell(x, 0, 1))}"
        f"{line('play-bell play-other', lambda x: 146 - 118 * bell(x, mu, sigma))}"
        f"{line('play-thick', lambda x: 262 - 90 * best(x))}"
        f'<circle class="play-faulty" cx="{180 + 29 * mu:.1f}" cy="{146 - 118 * bell(mu, mu, sigma):.1f}" r="7"/></svg>'
    )


def _six(data: dict) -> str:
    """Five images of one digit, and one of another in a frame."""
    import base64

    grey, each, size = base64.b64decode(data["images"]), data["each"], 14 * 14

    def image(k: int, left: int) -> str:
        dots = "".join(
            f'<rect x="{left + 3 * (i % 14)}" y="{4 + 3 * (i // 14)}" width="3" height="3" '
            f'fill-opacity="{ink / 255:.2f}"/>'
            for i, ink in enumerate(grey[k * size : (k + 1) * size])
            if ink > 12
        )
        return f'<g class="play-ink">{dots}</g>'

    pictures = "".join(image(each + i, 4 + 46 * i) for i in range(5)) + image(3 * each, 254)
    return (
        '<svg viewBox="0 0 300 50" role="img" aria-label="five handwritten images of one digit, and one of another">'
        f'{pictures}<rect class="play-frame" x="252" y="2" width="46" height="46"/></svg>'
    )


def _outline(data: dict) -> str:
    """Normal points, known and new faults by place along the known direction and length across it."""
    marks = {
        "normal": '<circle class="play-normal" cx="{:.1f}" cy="{:.1f}" r="3"/>',
        "known": '<path class="play-faulty" d="M{:.1f} {:.1f}m0 -5l4.5 8h-9z"/>',
        "fresh": '<path class="play-faulty" d="M{:.1f} {:.1f}m-3.4 -3.4h6.8v6.8h-6.8z"/>',
    }
    points = data["points"][data["dims"][-1]]
    drawn = "".join(marks[kind].format(96 + 24 * x, 222 - 24 * rho) for kind in marks for x, rho in points[kind])
    return (
        '<svg viewBox="0 0 260 258" role="img" aria-label="normal points, known faults and new ones">'
        f'<path class="play-axis" d="M4 222H256"/>{drawn}</svg>'
    )


def _batch(data: dict) -> str:
    """The first batch: normal points on the left, anomalies on the right, and a cross at the mean of all."""
    own = data["size"] - data["anomalies"]
    kinds = zip(data["noise"][0], (-data["gap"] / 2, data["gap"] / 2), (own, data["anomalies"]), strict=False)
    points = [[(130 + 21 * (at + x), 138 - 21 * y) for x, y in noise[:n]] for noise, at, n in kinds]
    u, v = (sum(values) / data["size"] for values in zip(*itertools.chain(*points), strict=True))
    circles = "".join(f'<circle class="play-normal" cx="{x:.1f}" cy="{y:.1f}" r="4.5"/>' for x, y in points[0])
    triangles = "".join(f'<path class="play-faulty" d="M{x:.1f} {y - 6:.1f}l5.4 10.2h-10.8z"/>' for x, y in points[1])
    return (
        '<svg viewBox="0 0 260 258" role="img" aria-label="a batch of normal points and anomalies, and its mean">'
        f'{circles}{triangles}<path class="play-level" d="M{u - 6:.1f} {v:.1f}h12M{u:.1f} {v - 6:.1f}v12"/></svg>'
    )


def _sensors(data: dict) -> str:
    """The first reading: a circle for each sensor above or below its normal mean."""
    at = "".join(
        f'<circle class="play-normal" cx="{50 + 65 * j}" cy="{120 - 30 * x:.1f}" r="7"/>'
        for j, x in enumerate(data["readings"][0]["xi"])
    )
    return (
        '<svg viewBox="0 0 290 240" role="img" aria-label="four sensors and how far each is from its normal mean">'
        f'<path class="play-axis" d="M20 120H280"/>{at}</svg>'
    )


# Data, static picture, and for notebooks the words for those who cannot see it and the caption.
FIGURES = {
    "guess": (guess, _machine),
    "threshold": (threshold, _line),
    "promise": (promise, _calibration),
    "step": (step, _support),
    "start": (start, _walk),
    "fault": (fault, _plane),
    "game": (game, _bells),
    "kappa": (kappa, _outline),
    "majority": (majority, _batch),
    "apart": (apart, _sensors),
    "draw": (draw, _six),
}
WORDS = {
    "guess": (
        "Readings of one machine in the plane of two sensors: five circles are known to be normal, twelve squares are "
        "to be judged. Five other machines with their faults can be shown beside it.",
        "First machine F alone, then beside five others. F was chosen because it shows the effect; the table at the "
        "end has the means.",
    ),
    "promise": (
        "Calibration scores as ticks below the density of normal scores, the threshold with the false alarms beyond "
        "it, and below a histogram of the false positive rates of many calibrations with their law.",
        "Calibrate a few times, then a thousand. On average the promise is kept; one calibration may be far off, less "
        "so with more points.",
    ),
    "step": (
        "A machine with seven support points that can be dragged, thirty query points, and the boundary of a detector.",
        "Drag the filled support points. Fifty steps from scratch chase them; the learnt start knows the direction of "
        "a fault, and one learnt step finds the place. With a step size of your own, can you do as well on all eight "
        "machines?",
    ),
    "start": (
        "Two planes of a weight and a bias with contours: the support loss with the path of the inner steps from a "
        "start, and the query loss after these steps for each start, with two arrows downhill from the start.",
        "Drag the start, in either panel. The exact gradient stands at right angles to the contours on the right; the "
        "first-order one need not. Where do the two part, and what do more or longer inner steps do to the landscape?",
    ),
    "fault": (
        "Normal points in the plane of a known and a new direction, a known fault and one turned by an angle; the "
        "predicted AUROC for each angle, and the densities of the score.",
        "Turn the fault, and choose how many directions are known. The score sees the thick part of the known "
        "direction alone. The curves are predictions for a detector that knows machine and directions; the two "
        "distances, which have seen no fault, were measured with ten normal points, the pooled one with the covariance "
        "of other machines.",
    ),
    "draw": (
        "A pad to draw on, the five drawings of one sign as the network sees them, and the score of a further drawing "
        "on a line with the threshold.",
        "Draw any sign five times, then the same or another. The network, prototypes after 4,000 steps, has only ever "
        "seen printed letters. Each drawing becomes an image as in MNIST: scaled into a box of 20 x 20 pixels, drawn "
        "with a pen of 2.6 pixels, moved so that its centre of mass is the middle of 28 x 28, and averaged over 2 x 2. "
        "The ready-made digits are from MNIST.",
    ),
    "game": (
        "The density of normal points and that of virtual ones, which can be moved and widened; below them the answer "
        "of the best discriminator at each place, and beside them its loss, the Jensen-Shannon divergence and the "
        "generator's loss.",
        "Drag the triangle, and the round handle for the width. The discriminator is always the best one, "
        "{eq}`aae-optimal-discriminator`. Where does it know most, and where nothing? (JS, Jensen-Shannon: half the "
        "sum of both divergences in {eq}`aae-equilibrium`. After a step of G down its loss C is the best one again.)",
    ),
    "kappa": (
        "Normal points, known and new faults by their place along the known direction and their length across it, with "
        "contours of the hedge; and the AUROC of new faults against that of known ones for all weights.",
        "Move the weight of new faults. The contours of {eq}`meta-aae-hedge` have 50, 20, 5 (thick) and 1 % false "
        "alarms; filled points lie outside the thick one. The figures are computed, for a detector that knows machine, "
        "noise and size of faults, and new faults at right angles to known ones; with ten points for the mean of the "
        "machine they are a little lower ({numref}`fig-meta-tradeoff`).",
    ),
    "majority": (
        "A batch of 24 points of two to four kinds, those with the highest scores filled, and the mean AUROC of three "
        "methods against the share of anomalies.",
        "Raise the share of anomalies. Curves are means over 12 simulated batches, with each kind as the normal one in "
        "turn, which is the hypothesis of {prf:ref}`thm-plurality`; the dot is that mean, the ring this batch, the "
        "cross the batch mean. The third method alone is told where anomalies lie: away from the normal kind.",
    ),
    "apart": (
        "Four sensors of a machine, each with a handle that can be dragged above or below its normal mean, and bars "
        "for the parts of the score by one of five ways.",
        "Which sensor is broken? Look at the parts, then ask. In the four readings two ways, one, all and none find "
        "it. Drag sensors, and choose what they share: without load all ways agree. The score is the squared "
        "Mahalanobis distance, {eq}`quadratic-parts`.",
    ),
    "threshold": (
        "Ten scores on a line, a threshold, the staircase of the ROC curve and the grid of pairs under it.",
        "Move the threshold along the scores, or a point. The dot climbs the staircase; cells below it are pairs in "
        "the right order. Then change how rare anomalies are: the curve does not move, accuracy and precision do.",
    ),
}


class Play(SphinxDirective):
    """``{play} name``, with a caption as its content."""

    required_arguments = 1
    has_content = True
    option_spec = {"name": directives.unchanged_required, "alt": directives.unchanged_required}  # noqa: RUF012

    def run(self):
        name = self.arguments[0]
        if name not in FIGURES:
            raise self.error(f"there is no figure {name!r} to play with: there are {', '.join(FIGURES)}")
        if not self.options.get("alt"):
            raise self.error("a figure to play with needs :alt:")
        data_of, picture = FIGURES[name]
        data = data_of()
        packed = json.dumps(data, separators=(",", ":")).replace("</", "<\\/")
        ident = self.options.get("name", f"play-{name}")
        head = (
            f'<figure class="play" id="{ident}" data-play="{name}"><div class="play-stage">{picture(data)}</div>'
            f'<script type="application/json">{packed}</script><figcaption>'
        )
        caption = nodes.container("", classes=["play-caption"])
        self.state.nested_parse(self.content, self.content_offset, caption)
        return [nodes.raw("", head, format="html"), caption, nodes.raw("", "</figcaption></figure>", format="html")]


MARK = re.compile(r"<!-- play (\w+) -->")


def _marks(app, docname, source):
    """In a notebook, comments become directives."""
    if not docname.startswith("notebooks/") or not MARK.search(source[0]):
        return

    def directive(match: re.Match) -> str:
        alt, caption = WORDS[match[1]]
        text = f"```{{play}} {match[1]}\n:alt: {alt}\n\n{caption}\n```\n"
        return json.dumps(text)[1:-1]  # the source is JSON

    source[0] = MARK.sub(directive, source[0])


def _scripts(app, pagename, templatename, context, doctree):
    """The scripts of a page's figures, after the one that they share."""
    for name in FIGURES:
        if f'data-play="{name}"' in context.get("body", ""):
            if (WEIGHTS / f"{name}.js").exists():
                app.add_js_file(f"play/data/{name}.js", priority=850)
            app.add_js_file(f"play/{name}.js", priority=900)


def setup(app):
    app.add_directive("play", Play)
    app.connect("html-page-context", _scripts)
    app.connect("source-read", _marks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
