"""The directive {play}: a figure to play with, whose numbers the package computes when the book is built.

```{play} guess
:name: play-guess
:alt: what is drawn, for those who cannot see it

A caption.
```

In a notebook a comment stands for it, since other programs do not know the directive: ``<!-- play threshold -->``.
Without JavaScript, in print and in other formats the static picture and the caption stay. The script is a plain file in
``_static``, so that a page works from disk.
"""

from __future__ import annotations

import json
import re
from functools import cache
from math import exp, pi, sqrt

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
        "start": [*meta["start"]["weight0"][0].tolist(), meta["start"]["bias0"][0].item()],
        "rule": [*meta["rule"]["weight0"][0].tolist(), meta["rule"]["bias0"][0].tolist()],
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


# Data, static picture, and for notebooks the words for those who cannot see it and the caption.
FIGURES = {
    "guess": (guess, _machine),
    "threshold": (threshold, _line),
    "promise": (promise, _calibration),
    "step": (step, _support),
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


def setup(app):
    app.add_directive("play", Play)
    app.connect("source-read", _marks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
