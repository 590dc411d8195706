"""Settings shared by the unit tests and the notebook runs, and the notebooks' time budgets.

Each chapter promises in its header box "Running: at most N seconds". Under nbval the seconds of
all cells of a notebook, kernel start included, are added up; a notebook over its promise counts
as a failed test. The promise is one for a machine at full speed: a fixed piece of work, timed after each cell,
tells how much slower the machine is just now, and METAAD_TIME_FACTOR stretches the promise further.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import time
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parent

# What the stored outputs were made with; kernels inherit it.
os.environ.pop("METAAD_PROGRESS", None)
os.environ.setdefault("PYTHONHASHSEED", "0")
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

PROBE_SECONDS = 0.0081  # of `probe` on the machine that the promises were made on, at full speed
BUDGET = re.compile(r"Running:\**\s+at most (\d+) seconds")


def promised_seconds(notebook: dict) -> int | None:
    """The N of "Running: at most N seconds" in a notebook's text, None where it is missing."""
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            found = BUDGET.search("".join(cell["source"]))
            if found:
                return int(found.group(1))
    return None


def over_budget(spent: float, promised: int | None, factor: float) -> str | None:
    """Why a notebook that took ``spent`` seconds breaks its promise, None where it keeps it."""
    if promised is None:
        return 'the header box lacks "Running: at most N seconds"'
    if spent > promised * factor:
        stretched = f" times {factor:.2g} for a slow machine" if factor != 1 else ""
        return (
            f"ran for {spent:.1f} s, but its header box promises at most {promised} s{stretched}; "
            "make it faster or correct the box"
        )
    return None


def probe() -> float:
    """Processor seconds of a fixed piece of work."""
    begin, sums = time.process_time(), {}
    for i in range(60_000):
        sums[i % 97] = sums.get(i % 97, 0) + i
    return time.process_time() - begin


def slowness(probes: list[float]) -> float:
    """How many times longer than at full speed things took, by the median probe; 1 without any, and at the least."""
    return max(1.0, statistics.median(probes or [0.0]) / PROBE_SECONDS)


def pytest_collectstart(collector):
    """Figures cannot be compared: their numbers are printed or asserted."""
    if hasattr(collector, "skip_compare"):  # a notebook
        collector.skip_compare += ("image/svg+xml",)


class TimeBudget:
    """Adds up the seconds of each notebook and reports the ones over their budget."""

    def __init__(self, config):
        self.config = config
        self.factor = float(os.environ.get("METAAD_TIME_FACTOR", "1"))
        self.spent: dict[str, float] = defaultdict(float)
        self.probes: list[float] = []

    def pytest_runtest_logreport(self, report):
        path = report.nodeid.split("::")[0]
        if path.endswith(".ipynb") and "::Cell" in report.nodeid:
            self.spent[path] += report.duration
            self.probes.append(probe())

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session):
        for path, spent in list(self.spent.items()):
            file = self.config.rootpath / path
            promised = promised_seconds(json.loads(file.read_text(encoding="utf-8")))
            problem = over_budget(spent, promised, self.factor * slowness(self.probes))
            if problem:
                report = pytest.TestReport(
                    nodeid=f"{path}::time budget",
                    location=(path, 0, "time budget"),
                    keywords={},
                    outcome="failed",
                    longrepr=f"{path}: {problem}",
                    when="call",
                )
                self.config.hook.pytest_runtest_logreport(report=report)
                session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter):
        if self.spent:
            times = ", ".join(f"{Path(p).stem} {s:.0f}" for p, s in sorted(self.spent.items()))
            slow = slowness(self.probes)
            terminalreporter.write_line(f"notebook seconds: {times}; this machine takes {slow:.1f} times as long")


def pytest_configure(config):
    if not hasattr(config, "workerinput"):  # under xdist the controller sees every report
        config.pluginmanager.register(TimeBudget(config), "notebook-time-budget")
