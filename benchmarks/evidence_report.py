"""What the stored comparisons say together: which way of using experience wins where, by how much, and from how many
machines on. Reads the JSON files of `evidence.py` and `omniglot.py`; measures nothing.

    python benchmarks/evidence_report.py
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import matplotlib.pyplot as plt
import watching

from metaad_tutorial import Comparison, plots
from metaad_tutorial.metrics import interval

RESULTS = Path(__file__).parent / "results" / "evidence"
LIMIT = "limit"
# The ways of using experience, and what the methods that stand for them are called in the comparisons. Where several
# simple ones do, the best of them on the held-out units stands for the way: that favours it.
WAYS = {
    "neighbour": ("nearest neighbour", "pixels, nearest neighbour", "pixels, shifted", "1-NN", "5-NN"),
    "mixed": ("mean of all scores", "5-NN and trees"),
    "logistic": ("pooled logistic", "centred logistic", "logistic, real"),
    "emp. Bayes": ("empirical Bayes",),
    "Gaussian-ized": ("Gaussianized Bayes",),
    "features": ("pooled features", "pooled features, unit length", "features, real"),
    "AADML": ("AADML",),
    "MAML": ("MAML", "MAML, averaged"),
    "prototypes": ("prototypes", "prototypes, real"),
}
# File, comparison, and what the family is called in the table.
ROWS = [
    ("fleet", "few-shot, line, 300 machines", "fleet, one direction"),
    ("fleet", "few-shot, plane, 300 machines", "fleet, plane"),
    ("fleet", "few-shot, plane, 10 machines", "fleet, plane, 10 machines"),
    ("warped", "few-shot, warped line, 1500 machines", "warped, one direction"),
    ("warped", "few-shot, warped plane, 1500 machines", "warped, plane"),
    ("longer", "few-shot, warped plane, longer", "warped, plane, longer training"),
    ("bent", "few-shot, bent twice, plane, 1500 machines", "bent twice, plane"),
    ("fleet", "one-class, line, 300 machines", "one class, one direction"),
    ("fleet", "one-class, plane, 300 machines", "one class, plane"),
    ("warped", "one-class, warped plane, 1500 machines", "one class, warped, plane"),
    ("letters", "Armenian and Georgian, 5 shots", "printed letters, 5 shots"),
    ("handwriting", "mnist, 5 shots", "handwriting, 5 shots"),
    ("handwriting", "mnist, 1 shots", "handwriting, 1 shot"),
    ("handwriting", "digits, 5 shots", "8 x 8 digits, 5 shots"),
    ("omniglot", "2 drawings", "Omniglot, 2 drawings"),
    ("omniglot", "5 drawings", "Omniglot, 5 drawings"),
    ("omniglot", "10 drawings", "Omniglot, 10 drawings"),
    ("distance", "vowels, one frame a sound", "vowels, 5 sounds"),
    ("speakers", "13 training speakers, known kinds", "speakers, known kinds"),
    ("speakers", "13 training speakers, new kinds", "speakers, new kinds"),
    ("speakers", "2 training speakers, known kinds", "speakers, known kinds, 2 to learn from"),
    ("tables", "10 normal points, 0 anomalies", "tables, 10 normal points"),
    ("tables", "40 normal points, 0 anomalies", "tables, 40 normal points"),
    ("tables", "100 normal points, 0 anomalies", "tables, 100 normal points"),
    ("tables", "10 normal points, 5 anomalies", "tables, 10 + 5 anomalies"),
    ("tables", "40 normal points, 5 anomalies", "tables, 40 + 5 anomalies"),
    ("tables", "100 normal points, 5 anomalies", "tables, 100 + 5 anomalies"),
]


# What pages of the book quote: a key, and the file, comparison, contender and figure that it stands for.
QUOTED = {
    "hand-neighbour": ("handwriting", "mnist, 5 shots", "pixels, nearest neighbour", "auroc"),
    "hand-features": ("handwriting", "mnist, 5 shots", "pooled features", "auroc"),
    "hand-prototypes": ("handwriting", "mnist, 5 shots", "prototypes", "auroc"),
    "scans-shifted": ("handwriting", "digits, 5 shots", "pixels, shifted", "auroc"),
    "scans-features": ("handwriting", "digits, 5 shots", "pooled features", "auroc"),
    "scans-pixels": ("contrast", "8 x 8 digits, learnt from sharp letters", "pixels, nearest neighbour", "auroc"),
    "scans-learnt": ("contrast", "8 x 8 digits, learnt from sharp letters", "features of sharp letters", "auroc"),
    "moved-pixels": (
        "contrast",
        "8 x 8 digits, moved, learnt from sharp letters",
        "pixels, nearest neighbour",
        "auroc",
    ),
    "moved-learnt": (
        "contrast",
        "8 x 8 digits, moved, learnt from sharp letters",
        "features of sharp letters",
        "auroc",
    ),
    "coarse-pixels": ("contrast", "mnist, coarse, learnt from sharp letters", "pixels, nearest neighbour", "auroc"),
    "mnist-pixels": ("contrast", "mnist, learnt from sharp letters", "pixels, nearest neighbour", "auroc"),
    "warped-prototypes": ("longer", "few-shot, warped plane, longer", "prototypes", "auroc"),
    "warped-bayes": ("longer", "few-shot, warped plane, longer", "empirical Bayes", "auroc"),
    "unbent-gaussianized": ("warped", "few-shot, warped plane, 1500 machines", "Gaussianized Bayes", "auroc"),
    "bent-gaussianized": ("bent", "few-shot, bent twice, plane, 1500 machines", "Gaussianized Bayes", "auroc"),
    "bent-prototypes": ("bent", "few-shot, bent twice, plane, 1500 machines", "prototypes", "auroc"),
    "warped-limit": ("longer", "few-shot, warped plane, longer", "limit", "auroc"),
    "few-bayes": ("fleet", "few-shot, plane, 10 machines", "empirical Bayes", "auroc"),
    "few-prototypes": ("fleet", "few-shot, plane, 10 machines", "prototypes", "auroc"),
    "few-maml": ("fleet", "few-shot, plane, 10 machines", "MAML", "auroc"),
    "many-maml": ("fleet", "few-shot, plane, 300 machines", "MAML", "auroc"),
    "tables-neighbour": ("tables", "40 normal points, 0 anomalies", "1-NN", "auroc"),
    "tables-prototypes": ("tables", "40 normal points, 0 anomalies", "prototypes, real", "auroc"),
    "tables-neighbour-10": ("tables", "10 normal points, 0 anomalies", "1-NN", "auroc"),
    "tables-prototypes-10": ("tables", "10 normal points, 0 anomalies", "prototypes, real", "auroc"),
    "tables-neighbour-100": ("tables", "100 normal points, 0 anomalies", "1-NN", "auroc"),
    "tables-prototypes-100": ("tables", "100 normal points, 0 anomalies", "prototypes, real", "auroc"),
    "omni-two-prototypes": ("omniglot", "2 drawings", "prototypes", "accuracy"),
    "omni-ten-prototypes": ("omniglot", "10 drawings", "prototypes", "accuracy"),
    "omni-two-longer": ("omniglot", "2 drawings, longer training, rotated characters", "prototypes", "accuracy"),
    "omni-ten-longer": ("omniglot", "10 drawings, longer training, rotated characters", "prototypes", "accuracy"),
    "omni-two-ranked": ("omniglot", "2 drawings", "prototypes", "auroc"),
    "omni-two-features": ("omniglot", "2 drawings", "pooled features", "auroc"),
    "omni-features-longer": ("omniglot", "2 drawings, longer training, rotated characters", "pooled features", "auroc"),
    "registered-pixels": (
        "contrast",
        "mnist, registered, learnt from sharp letters",
        "pixels, nearest neighbour",
        "auroc",
    ),
}
# Comparisons of which chapters quote every line, and what their keys begin with.
QUOTED_WHOLE = {
    ("updates", "fleet, plane"): "fleet",
    ("rare", "rare anomalies"): "rare",
    ("updates", "letters, 5 + 5"): "both",
    ("updates", "letters, 5 + 0"): "one",
    ("classes", "letters in training"): "letters",
    ("classes", "digits"): "digits",
    ("letters", "Armenian and Georgian, 5 shots"): "scripts",
    ("letters", "Armenian and Georgian, 1 shots"): "scripts-one",
    ("letters", "digits, 5 shots"): "source",
    ("speakers", "13 training speakers, known kinds"): "known",
    ("speakers", "13 training speakers, new kinds"): "strange",
    ("speakers", "8 training speakers, known kinds"): "known-8",
    ("speakers", "4 training speakers, known kinds"): "known-4",
    ("speakers", "2 training speakers, known kinds"): "known-2",
    ("speakers", "1 training speakers, known kinds"): "known-1",
    ("distance", "letters, 1 image"): "images-1",
    ("distance", "letters, 2 images"): "images-2",
    ("distance", "letters, 5 images"): "images-5",
    ("batches", "scripts, 100 steps"): "batches",
    ("batches", "scripts, 500 steps"): "batches-long",
    ("distance", "letters, 20 images"): "images-20",
    ("distance", "letters in training"): "learnt-from",
    ("distance", "one kind of anomaly, 5 + 5 images"): "kinds",
    ("distance", "one kind of anomaly, 5 + 0 images"): "hidden",
    ("distance", "vowels, as they are"): "vowels",
    ("distance", "vowels, one frame a sound"): "sounds",
    ("handwriting", "mnist, 5 shots"): "hand",
    ("handwriting", "mnist, 1 shots"): "hand-one",
    ("omniglot", "2 drawings"): "omni",
    ("hedge", "known"): "hedge-known",
    ("hedge", "new"): "hedge-new",
    ("tables", "40 normal points, 0 anomalies"): "tables-alone",
    ("tables", "40 normal points, 5 anomalies"): "tables-labelled",
    ("tables", "100 normal points, 0 anomalies"): "tables-hundred",
    ("tables", "10 normal points, 0 anomalies"): "tables-ten",
    ("tables", "10 normal points, 5 anomalies"): "tables-ten-labelled",
    ("tables", "100 normal points, 5 anomalies"): "tables-hundred-labelled",
}
# Paired differences: a key, what stands for the comparison above, contender, opponent, and the figure if not the AUROC.
QUOTED_GAPS = {
    "gap-fleet-hessian": ("fleet", "MAML", "FOMAML"),
    "gap-fleet-hessian-centred": ("fleet", "MAML, centred", "FOMAML, centred"),
    "gap-fleet-anil-centred": ("fleet", "MAML, centred", "ANIL, centred"),
    "gap-fleet-bayes": ("fleet", "empirical Bayes", "MAML, centred"),
    "gap-digits-five": ("digits", "MAML, 5 inner steps, 10 outer steps", "MAML, 5 inner steps, 0 outer steps"),
    "gap-digits-decide": (
        "digits",
        "MAML, 5 inner steps, 10 outer steps",
        "MAML, 5 inner steps, 0 outer steps",
        "accuracy",
    ),
    "gap-digits-fifty": ("digits", "MAML, 50 inner steps, 10 outer steps", "MAML, 50 inner steps, 0 outer steps"),
    "gap-digits-long": ("digits", "MAML, 50 inner steps, 600 outer steps", "MAML, 50 inner steps, 0 outer steps"),
    "gap-rare": ("rare", "MAML, balanced", "MAML, plain"),
    "gap-both-hessian": ("both", "MAML", "FOMAML"),
    "gap-one-features": ("one", "pooled features", "MAML"),
    "gap-both-features": ("both", "pooled features, normal points alone", "MAML"),
    "gap-scripts-features": ("scripts", "pooled features", "MAML"),
    "gap-scripts-prototypes": ("scripts", "pooled features", "prototypes"),
    "gap-known-features": ("known", "pooled features", "pooled logistic"),
    "gap-known-centred": ("known", "centred logistic", "pooled logistic"),
    "gap-known-adapted": ("known", "pooled features", "MAML"),
    "gap-known-decide": ("known", "pooled features", "MAML", "accuracy"),
    "gap-known-prototypes": ("known", "pooled features", "prototypes"),
    "gap-known-maml": ("known", "MAML", "pooled logistic"),
    "gap-strange-maml": ("strange", "MAML", "pooled logistic"),
    "gap-strange-neighbour": ("strange", "MAML", "nearest neighbour"),
    "gap-images-maml": ("images-5", "prototypes", "MAML, averaged"),
    "gap-images-features": ("images-5", "pooled features", "prototypes"),
    "gap-images-levels": ("images-5", "pooled features, two covariances", "pooled features"),
    "gap-images-levels-one": ("images-1", "pooled features, two covariances", "prototypes"),
    "gap-images-levels-decide": ("images-1", "pooled features, two covariances", "prototypes", "accuracy"),
    "gap-sounds-neighbour": ("sounds", "prototypes", "nearest neighbour"),
    "gap-sounds-features": ("sounds", "prototypes", "pooled features, unit length"),
    "gap-sounds-maml": ("sounds", "prototypes", "MAML, averaged"),
    "gap-hand-features": ("hand", "pooled features", "prototypes"),
    "gap-batches-acr": ("batches-long", "ACR, batch", "classifier, batch"),
    "gap-batches-untrained": ("batches", "ACR, batch", "pixels, shifted, batch"),
    "gap-batches-proto": ("batches-long", "prototypes, 5 images", "classifier, 5 images"),
    "gap-batches-batch": ("batches-long", "classifier, batch", "classifier, 5 images"),
    "gap-omniglot": ("omni", "prototypes", "pooled features"),
    "gap-hedge-closed-known": ("hedge-known", "MetaAAE, 0.75", "empirical Bayes, 0.75"),
    "gap-hedge-inner-known": ("hedge-known", "MetaAAE, 0.75", "MetaAAE without inner loop, 0.75"),
    "gap-hedge-generator-known": ("hedge-known", "MetaAAE, 0.75", "MetaAAE without generator, 0.75"),
    "gap-hedge-closed-new": ("hedge-new", "MetaAAE, 0.75", "empirical Bayes, 0.75"),
    "gap-hedge-inner-new": ("hedge-new", "MetaAAE, 0.75", "MetaAAE without inner loop, 0.75"),
    "gap-hedge-generator-new": ("hedge-new", "MetaAAE, 0.75", "MetaAAE without generator, 0.75"),
    "gap-hedge-own-new": ("hedge-new", "MetaAAE, 0.75", "MetaAAE without reconstruction and prior, 0.75"),
    "gap-hedge-prior-new": ("hedge-new", "MetaAAE, 0.75", "MetaAAE without prior, 0.75"),
    "gap-hedge-rebuilt-new": ("hedge-new", "MetaAAE, 0.75", "MetaAAE without reconstruction, 0.75"),
    "gap-tables-alone-virtual": ("tables-alone", "prototypes, virtual", "prototypes, real"),
    "gap-tables-alone-synthetic": ("tables-alone", "prototypes, synthetic", "prototypes, real"),
    "gap-tables-labelled-virtual": ("tables-labelled", "prototypes, virtual", "prototypes, real"),
    "gap-tables-labelled-synthetic": ("tables-labelled", "prototypes, synthetic", "prototypes, real"),
    "gap-tables-virtual-neighbour": ("tables-alone", "prototypes, virtual", "1-NN"),
    "gap-tables-real-neighbour": ("tables-alone", "prototypes, real", "1-NN"),
    "gap-tables-virtual-100": ("tables-hundred", "prototypes, virtual", "prototypes, real"),
    "gap-tables-synthetic-100": ("tables-hundred", "prototypes, synthetic", "prototypes, real"),
    "gap-tables-ten-real-neighbour": ("tables-ten", "prototypes, real", "1-NN"),
    "gap-tables-ten-labelled-logistic": ("tables-ten-labelled", "logistic, real", "mean of all scores"),
    "gap-tables-ten-labelled-logistic-trees": ("tables-ten-labelled", "logistic, real", "trees"),
    "gap-tables-alone-real-mean": ("tables-alone", "prototypes, real", "mean of all scores"),
    "gap-tables-alone-mean-neighbour": ("tables-alone", "mean of all scores", "1-NN"),
    "gap-tables-labelled-real-mean": ("tables-labelled", "prototypes, real", "mean of all scores"),
    "gap-tables-labelled-mean-trees": ("tables-labelled", "mean of all scores", "trees"),
    "gap-tables-labelled-pair-mean": ("tables-labelled", "5-NN and trees", "mean of all scores"),
    "gap-tables-hundred-real-mean": ("tables-hundred", "prototypes, real", "mean of all scores"),
    "gap-tables-hundred-labelled-real-mean": ("tables-hundred-labelled", "prototypes, real", "mean of all scores"),
    "gap-tables-hundred-labelled-real-trees": ("tables-hundred-labelled", "prototypes, real", "trees"),
    "gap-tables-alone-virtual-decide": ("tables-alone", "prototypes, virtual", "prototypes, real", "accuracy"),
    "gap-tables-alone-synthetic-decide": ("tables-alone", "prototypes, synthetic", "prototypes, real", "accuracy"),
}
# Paired differences of one contender in two comparisons of the same units: a key, what stands for the first, its
# contender, what stands for the second, and the contender there.
QUOTED_ACROSS = {
    "gap-tables-labels-ten": ("tables-ten-labelled", "mean of all scores", "tables-ten", "mean of all scores"),
    "gap-tables-labels": ("tables-labelled", "mean of all scores", "tables-alone", "mean of all scores"),
    "gap-tables-labels-hundred": (
        "tables-hundred-labelled",
        "mean of all scores",
        "tables-hundred",
        "mean of all scores",
    ),
    "gap-tables-more-points": ("tables-hundred", "mean of all scores", "tables-alone", "mean of all scores"),
    "gap-tables-labels-prototypes": ("tables-labelled", "mean of all scores", "tables-alone", "prototypes, real"),
}
# Chapter 13's table: the ways by what they take from other tasks; of each, the best on the held-out units stands.
GROUPS = {
    "alone": ("neighbour", "mixed"),
    "pooled": ("logistic",),
    "bayes": ("emp. Bayes", "Gaussian-ized"),
    "features": ("features",),
    "episodes": ("AADML", "MAML", "prototypes"),
}
# Its lines: a key, and the row of `ROWS` by its label.
ASKED = {
    "letters": "printed letters, 5 shots",
    "hand": "handwriting, 5 shots",
    "hand-one": "handwriting, 1 shot",
    "scans": "8 x 8 digits, 5 shots",
    "omni-2": "Omniglot, 2 drawings",
    "omni-5": "Omniglot, 5 drawings",
    "omni-10": "Omniglot, 10 drawings",
    "vowels": "vowels, 5 sounds",
    "known": "speakers, known kinds",
    "known-2": "speakers, known kinds, 2 to learn from",
    "new": "speakers, new kinds",
    "tables-10": "tables, 10 normal points",
    "tables-40": "tables, 40 normal points",
    "tables-100": "tables, 100 normal points",
    "labels-10": "tables, 10 + 5 anomalies",
    "labels-40": "tables, 40 + 5 anomalies",
    "labels-100": "tables, 100 + 5 anomalies",
    "line": "fleet, one direction",
    "plane": "fleet, plane",
    "plane-10": "fleet, plane, 10 machines",
    "one-line": "one class, one direction",
    "one-plane": "one class, plane",
    "bent-line": "warped, one direction",
    "bent-plane": "warped, plane",
    "bent-one": "one class, warped, plane",
    "twice": "bent twice, plane",
}
# Its tree: a question and what follows yes and no; a leaf is the tuple of the lines that fall there.
TREE = (
    "the same columns or pixels everywhere?",
    (
        "normal is one of many named classes?",
        (
            "more than 20 examples of a class?",
            ("letters", "hand", "hand-one", "scans"),
            ("omni-2", "omni-5", "omni-10", "vowels"),
        ),
        (
            "normal points in one cloud?",
            (
                "a bell?",
                ("line", "plane", "plane-10", "one-line", "one-plane"),
                ("a bell after bending its axes?", ("bent-line", "bent-plane", "bent-one"), ("twice",)),
            ),
            ("known", "known-2", "new"),
        ),
    ),
    (
        "labelled anomalies of the new unit?",
        ("labels-10", "labels-40", "labels-100"),
        ("tables-10", "tables-40", "tables-100"),
    ),
)
LEVEL = 0.005  # nobody trains a network for less
# Of `results/aae.json`: a key, and the method and which of its figures (score, C's logit, error).
QUOTED_AAE = {
    "all": ("AAE", 0),
    "error": ("AAE", 2),
    "near": ("k-NN", 0),
    "codes": ("5-NN of the codes in place of C", 0),
    "maha": ("Mahalanobis", 0),
    "literal": ("literal game", 0),
}


def stored(folder: Path = RESULTS) -> dict[str, dict[str, Comparison]]:
    """The comparisons of each file by name."""
    paths = (path for path in sorted(folder.glob("*.json")) if path.name != "quoted.json")
    files = {path.stem: json.loads(path.read_text()) for path in paths}
    return {
        name: {key: Comparison.from_dict(values) for key, values in content["comparisons"].items()}
        for name, content in files.items()
    }


def short(value: float) -> str:
    """Three decimals and no zero before them: many columns have to fit."""
    return f"{value:.3f}".replace("0.", ".").replace("-", "\u2212")


def cells(found: Comparison) -> tuple[dict[str, str], str]:
    """For each way its AUROC and the paired difference to the best way; and which way is the best."""
    names = {way: [name for name in known if name in found.outcomes] for way, known in WAYS.items()}
    there = {way: found.winner(among=known) for way, known in names.items() if known}
    best = found.winner(among=list(there.values()))
    shown = dict.fromkeys(WAYS, "")
    for way, name in there.items():
        mean = short(found.interval(name).mean)
        if name == best:
            shown[way], winner = f"**{mean}**", way
        else:
            apart = found.minus(name, best)
            shown[way] = f"{mean}<br>{short(apart.mean)}<br>±{short((apart.high - apart.low) / 2)}"
    return shown, winner


def which_way(everything: dict[str, dict[str, Comparison]]) -> str:
    """The table: families down, ways across."""
    head = ["family", *WAYS]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for file, key, label in ROWS:
        if key not in everything.get(file, {}):
            continue
        found = everything[file][key]
        limit = f", limit {short(found.interval(LIMIT).mean)}" if LIMIT in found.outcomes else ""
        first = f"{label}<br>{len(found.units)} units{limit}"
        lines.append("| " + " | ".join([first, *cells(found)[0].values()]) + " |")
    return "\n".join(lines) + "\n"


def standing(found: Comparison) -> dict[str, tuple[str, bool]]:
    """For each way that was tried, simplest first: what stands for it, and whether it is the best or level with it.

    Level means behind none: that for every other way the 95 % interval of the paired difference holds 0 or more, or
    lies above -`LEVEL`.
    """
    names = {way: [name for name in known if name in found.outcomes] for way, known in WAYS.items()}
    there = {way: found.winner(among=known) for way, known in names.items() if known}

    def behind(name: str, other: str) -> bool:
        apart = found.minus(name, other)
        return apart.high < 0 and apart.low <= -LEVEL

    return {way: (name, not any(behind(name, other) for other in there.values())) for way, name in there.items()}


def is_leaf(tree: tuple) -> bool:
    return tree[0] in ASKED


def row_of(everything: dict, key: str) -> Comparison:
    file, name = next((file, name) for file, name, label in ROWS if label == ASKED[key])
    return everything[file][name]


def leaf(everything: dict, lines: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """The simplest way that is level on the most of these lines; and the lines that contradict it."""
    found = {key: standing(row_of(everything, key)) for key in lines}
    against = {way: tuple(key for key in lines if not found[key].get(way, ("", False))[1]) for way in WAYS}
    way = min(WAYS, key=lambda way: len(against[way]))  # the first of equals
    return way, against[way]


def decided(everything: dict, tree: tuple = TREE) -> tuple:
    """The tree with each leaf decided: a question, what follows yes and no, or a way and the lines against it."""
    if is_leaf(tree):
        return leaf(everything, tree)
    question, yes, no = tree
    return question, decided(everything, yes), decided(everything, no)


def leaves(tree: tuple = TREE) -> list[tuple[str, ...]]:
    """The lines of each leaf, from left to right."""
    return [tree] if is_leaf(tree) else [lines for part in tree[1:] for lines in leaves(part)]


def held_out(everything: dict) -> tuple[int, int]:
    """How many lines are level with what the other lines of their leaf decide, of how many whose leaf has others."""
    pairs = [(key, [other for other in lines if other != key]) for lines in leaves() for key in lines if lines[1:]]
    right = [standing(row_of(everything, key)).get(leaf(everything, rest)[0], ("", False))[1] for key, rest in pairs]
    return sum(right), len(right)


def asked(everything: dict) -> dict[str, str | int]:
    """Chapter 13's table: for each line the AUROC of each group of ways, and episodes less the best other one.

    And counts: lines on which episodes are alone in front, level with another group, behind; on which what sees the
    task alone is level; and of the tree held out.
    """
    cells = dict.fromkeys(("ask-ahead", "ask-level", "ask-behind", "ask-alone"), 0)
    cells["ask-right"], cells["ask-tried"] = held_out(everything)
    cells["ask-lines"] = len(ASKED)
    for key in ASKED:
        found = row_of(everything, key)
        stands = {way: name for way, (name, _) in standing(found).items()}
        best = {}
        for group, ways in GROUPS.items():
            if names := [stands[way] for way in ways if way in stands]:
                best[group] = found.winner(among=names)
                cells[f"ask-{key}-{group}"] = f"{found.interval(best[group]).mean:.3f}"
        others = [name for group, name in best.items() if group != "episodes"]
        front = {group for group, ways in GROUPS.items() for way in ways if standing(found).get(way, ("", False))[1]}
        cells["ask-alone"] += "alone" in front
        cells["ask-behind" if "episodes" not in front else "ask-level" if len(front) > 1 else "ask-ahead"] += 1
        cells[f"ask-{key}-gap"] = f"{found.minus(best['episodes'], found.winner(among=others)):+.3f}"
    return cells


def machines(fleets: dict[str, Comparison]) -> plt.Figure:
    """AUROC over the number of training machines, few-shot, one panel for each kind of fleet."""
    kinds = {"line": "faults in one direction", "plane": "faults in a plane"}
    figure, axes = plt.subplots(1, 2, figsize=(6.4, 3.8), sharey=True)
    for ax, (kind, title) in zip(axes, kinds.items(), strict=True):
        sizes = sorted(int(key.split()[-2]) for key in fleets if key.startswith(f"few-shot, {kind},"))
        found = {n: fleets[f"few-shot, {kind}, {n} machines"] for n in sizes}
        for name in next(iter(found.values())).outcomes:
            # A line across, and no mark, for what nobody can pass.
            own = plots.look(name)
            style = {"color": own.color, "linestyle": own.dash, "marker": None if name == LIMIT else own.marker}
            ax.plot(sizes, [found[n].interval(name).mean for n in sizes], label=name, markersize=5, **style)
        ax.set(title=title, ylim=(0.45, 1.0))
        plots.counts_axis(ax, sizes, "training machines")
    axes[0].set_ylabel("AUROC")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def quoted(everything: dict[str, dict[str, Comparison]]) -> dict[str, float | str]:
    """What chapters and pages quote, by key: means, the least and the largest of the training runs, differences."""
    found = {
        key: round(everything[file][name].interval(who, figure).mean, 4)
        for key, (file, name, who, figure) in QUOTED.items()
        if name in everything.get(file, {})
    }
    for (file, name), begin in QUOTED_WHOLE.items():
        for who, outcome in everything.get(file, {}).get(name, Comparison({}, [], (), 0)).outcomes.items():
            key = f"{begin}-{re.sub('[^a-z0-9]+', '-', who.lower()).strip('-')}"
            runs = outcome.by_seed["auroc"]
            values = {figure: outcome.by_unit[figure].mean() for figure in outcome.by_unit}
            values |= {"least": runs.min(), "most": runs.max()}
            found |= {f"{key}-{figure}": round(float(value), 4) for figure, value in values.items()}
    where = {begin: (file, name) for (file, name), begin in QUOTED_WHOLE.items()}
    for key, (begin, *pair) in QUOTED_GAPS.items():
        file, name = where[begin]
        if name in everything.get(file, {}):
            found[key] = f"{everything[file][name].minus(*pair):.3f}"
    for key, (first, who, second, other) in QUOTED_ACROSS.items():
        both = [everything.get(where[begin][0], {}).get(where[begin][1]) for begin in (first, second)]
        if all(both):
            a, b = (part.outcomes[name].by_unit["auroc"] for part, name in zip(both, (who, other), strict=True))
            found[key] = f"{interval(a - b, least=-1):.3f}"
    halves = [
        (apart.high - apart.low) / 2
        for comparison in everything.get("tables", {}).values()
        for apart in map(comparison.interval, comparison.outcomes)
    ]
    if halves:
        found |= {"tables-least-half": round(min(halves), 4), "tables-most-half": round(max(halves), 4)}
    return found | asked(everything)


def quoted_aae(path: Path = RESULTS.parent / "aae.json") -> dict[str, float]:
    """What chapter 8 quotes of `aae.py`: means over its seeds, of all data sets and of the digits."""
    rows = json.loads(path.read_text())["rows"]
    found = {}
    for key, (name, at) in QUOTED_AAE.items():
        means = {data: sum(row[name][at] for row in runs) / len(runs) for data, runs in rows.items()}
        found |= {f"aae-{key}-mean": round(sum(means.values()) / len(means), 5)}
        found |= {f"aae-{key}-digits": round(means["digits"], 5)}
    return found


def quoted_watching(path: Path = RESULTS.parent / "watching.json") -> dict[str, str | float]:
    """What chapter 13 quotes of `watching.py`."""
    return watching.quoted(json.loads(path.read_text())["rows"])


def report(folder: Path = RESULTS) -> None:
    """Write `which_way.md`, `quoted.json`, and `machines.svg` if the fleets were measured."""
    everything = stored(folder)
    (folder / "which_way.md").write_text(which_way(everything))
    (folder / "quoted.json").write_text(
        json.dumps(quoted(everything) | quoted_aae() | quoted_watching(), indent=1) + "\n"
    )
    fleets = everything.get("fleet", {})
    if any(key.startswith("few-shot, plane") for key in fleets) and any(
        key.startswith("few-shot, line") for key in fleets
    ):
        plots.use_style()
        figure = machines(fleets)
        figure.savefig(folder / "machines.svg", metadata={"Date": None, "Creator": None})
        plt.close(figure)


if __name__ == "__main__":
    report()
