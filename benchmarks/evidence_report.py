"""What the stored comparisons say together: which way of using experience wins where, by how much, and from how many
machines on. Reads the JSON files of `evidence.py` and `omniglot.py`; measures nothing.

    python benchmarks/evidence_report.py
"""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib.pyplot as plt

from metaad_tutorial import Comparison, plots

RESULTS = Path(__file__).parent / "results" / "evidence"
LIMIT = "limit"
# The ways of using experience, and what the methods that stand for them are called in the comparisons. Where several
# simple ones do, the best of them on the held-out units stands for the way: that favours it.
WAYS = {
    "neighbour": ("nearest neighbour", "pixels, nearest neighbour", "pixels, shifted", "1-NN", "5-NN"),
    "logistic": ("pooled logistic", "centred logistic", "logistic, real"),
    "emp. Bayes": ("empirical Bayes",),
    "Gaussian-ized": ("Gaussianized Bayes",),
    "features": ("pooled features", "features, real"),
    "AADML": ("AADML",),
    "MAML": ("MAML",),
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
    "bent-bayes": ("bent", "few-shot, bent twice, plane, 1500 machines", "empirical Bayes", "auroc"),
    "bent-gaussianized": ("bent", "few-shot, bent twice, plane, 1500 machines", "Gaussianized Bayes", "auroc"),
    "bent-prototypes": ("bent", "few-shot, bent twice, plane, 1500 machines", "prototypes", "auroc"),
    "bent-limit": ("bent", "few-shot, bent twice, plane, 1500 machines", "limit", "auroc"),
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


def report(folder: Path = RESULTS) -> None:
    """Write `which_way.md`, `quoted.json`, and `machines.svg` if the fleets were measured."""
    everything = stored(folder)
    (folder / "which_way.md").write_text(which_way(everything))
    quoted = {
        key: round(everything[file][name].interval(who, figure).mean, 4)
        for key, (file, name, who, figure) in QUOTED.items()
        if name in everything.get(file, {})
    }
    (folder / "quoted.json").write_text(json.dumps(quoted, indent=1) + "\n")
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
