"""How long a running sum and a bet need to see a drift, for two kinds of noise and four drifts (chapter 13).

    python benchmarks/watching.py            # about two minutes; writes results/watching.json and .md

In each of five draws: thresholds by the rank rule on 199 healthy units, 5 % of which raise an alarm in 500 readings;
one of three settings chosen on 99 units by its mean delay over the four drifts; judged on 200 units.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from metaad_tutorial import Table
from metaad_tutorial.metrics import interval, rank_threshold
from metaad_tutorial.watch import cusum, first_alarm, log_capital, running_p

RESULTS = Path(__file__).parent / "results"
OWN, STEPS, CHANGE = 19, 500, 250
DRIFTS = {"half": (0.5, 1), "one": (1.0, 1), "two": (2.0, 1), "slow": (1.0, 200)}  # size, readings that it takes
NOISES = {
    "bell": lambda rng, shape: rng.normal(size=shape),
    "heavy": lambda rng, shape: rng.standard_t(3, size=shape) / np.sqrt(3),
}


def running_sum(s: np.ndarray, slack: float) -> np.ndarray:
    """Equation ``cusum`` around the mean of all readings before, own ones included: s (units, OWN + steps)."""
    n = np.arange(1, s.shape[1] + 1)
    before = (np.cumsum(s, 1) / n)[:, OWN - 1 : -1]
    return cusum((s[:, OWN:] - before) / np.sqrt(1 + 1 / n[OWN - 1 : -1]), slack)


def bet(s: np.ndarray, power: float) -> np.ndarray:
    """Logarithm of the capital, restarted from its lowest value so far."""
    path = log_capital(running_p(s, 0), (power,))[:, OWN:]
    return path - np.minimum(np.minimum.accumulate(path, 1), 0)


WATCHERS = {"running sum": (running_sum, (0.25, 0.5, 1.0)), "bet": (bet, (0.3, 0.6, 0.8))}


def delays(watch, setting: float, limit: float, s: np.ndarray) -> dict[str, float]:
    """Mean readings from change to alarm by drift, of the units without an alarm before the change."""
    since, found = np.arange(s.shape[1]) - OWN - CHANGE + 1, {}
    for name, (size, ramp) in DRIFTS.items():
        statistic = watch(s + size * np.clip(since / ramp, 0, 1), setting)
        quiet = statistic[:, :CHANGE].max(1) <= limit
        found[name] = float(first_alarm(statistic, limit, CHANGE)[quiet].mean())
    return found


def run(noise: str, seed: int, units: tuple[int, int, int] = (199, 99, 200)) -> dict[str, dict]:
    """What each watcher needs, with the setting that was chosen, and its share of healthy units with an alarm."""
    rng, found = np.random.default_rng([seed, 13]), {}
    calm, valid, test = (NOISES[noise](rng, (n, OWN + STEPS)) for n in units)
    for name, (watch, settings) in WATCHERS.items():
        limits = {setting: rank_threshold(watch(calm, setting).max(1), 0.05) for setting in settings}
        tried = {k: np.mean(list(delays(watch, k, limits[k], valid).values())) for k in settings}
        best = min(tried, key=tried.get)
        false = float((watch(test, best).max(1) > limits[best]).mean())
        found[name] = {"setting": best, "false": false} | delays(watch, best, limits[best], test)
    return found


def quoted(rows: dict[str, list[dict]]) -> dict[str, str | float]:
    """Means over draws, and bet less sum with its 95 % interval over draws, by noise and drift."""
    found = {}
    for noise, draws in rows.items():
        for drift in DRIFTS:
            both = [[draw[name][drift] for draw in draws] for name in WATCHERS]
            found |= {
                f"watch-{noise}-{drift}-{n}": float(round(np.mean(v), 1))
                for n, v in zip(("sum", "bet"), both, strict=True)
            }
            found[f"watch-{noise}-{drift}-gap"] = f"{interval(np.subtract(*both[::-1])):+.0f}"
        false = [draw["running sum"]["false"] for draw in draws]
        found[f"watch-{noise}-false"] = f"{min(false):.2f} to {max(false):.2f}"
    return found


def table(results: dict) -> str:
    """A line for each noise and drift."""
    cells = quoted(results["rows"])
    lines = {
        f"{noise}, {drift}": [f"{cells[f'watch-{noise}-{drift}-{which}']}" for which in ("sum", "bet", "gap")]
        for noise in results["rows"] for drift in DRIFTS
    }  # fmt: skip
    made = Table(["running sum", "bet", "bet less sum"], lines, corner="noise, drift").cells
    head, *body = ["| " + " | ".join(row) + " |" for row in made]
    return "\n".join([head, "|---|---|---|---|", *body]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two draws of few units")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    seeds, sizes = (range(2), (39, 9, 10)) if options.quick else (range(5), (199, 99, 200))
    results = {"seeds": [*seeds], "rows": {noise: [run(noise, seed, sizes) for seed in seeds] for noise in NOISES}}
    (options.out / "watching.json").write_text(json.dumps(results, indent=1) + "\n")
    (options.out / "watching.md").write_text(table(results))
    print(table(results))


if __name__ == "__main__":
    main()
