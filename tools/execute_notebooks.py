"""Execute notebooks in place and store clean outputs that differ only when results differ.

Usage: python tools/execute_notebooks.py [--check] [--timeout SECONDS] notebooks/*.ipynb
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import time
from pathlib import Path

import nbformat
import prose_numbers
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
KEEP_CELL_METADATA = {"tags", "mystnb"}
HIDDEN = {"hide-input", "hide-cell", "remove-cell", "remove-input"}
WIDGET_MIME = "application/vnd.jupyter.widget-view+json"


# Kernels inherit the environment: the settings that the stored outputs stand for.
KERNEL_ENVIRONMENT = {
    "PYTHONHASHSEED": "0",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


class NotebookFailed(Exception):
    """A cell of a notebook raised an error, ran too long or lost its kernel."""


def cell_ids(nb: nbformat.NotebookNode) -> list[str]:
    """An id for each cell from its content, so that moving or adding a cell changes no other."""
    seen: dict[str, int] = {}
    ids = []
    for cell in nb.cells:
        digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:12]
        seen[digest] = seen.get(digest, 0) + 1
        ids.append(digest if seen[digest] == 1 else f"{digest}-{seen[digest]}")
    return ids


def hidden_in_the_lab(nb: nbformat.NotebookNode) -> list[dict]:
    """For each cell what JupyterLab folds: what the page hides, and all of a solution."""
    folded, inside = [], False
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            inside = cell.source.rfind("{solution-start}") > cell.source.rfind("{solution-end}") or (
                inside and "{solution-end}" not in cell.source
            )
            folded.append({})
        elif inside or "hide-cell" in cell.metadata.get("tags", []):
            folded.append({"outputs_hidden": True, "source_hidden": True})
        else:
            folded.append({"source_hidden": True} if HIDDEN & set(cell.metadata.get("tags", [])) else {})
    return folded


def clean(nb: nbformat.NotebookNode) -> None:
    """Drop what varies between runs and programs; keep what the book uses; bring numbers in the prose up to date."""
    nb.nbformat, nb.nbformat_minor = 4, 5
    values = prose_numbers.stored_values(nb) | prose_numbers.quoted_values()
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            cell.source = prose_numbers.updated(cell.source, values)
    nb.metadata = nbformat.from_dict({"kernelspec": KERNELSPEC, "language_info": {"name": "python"}})
    for cell, cell_id, folded in zip(nb.cells, cell_ids(nb), hidden_in_the_lab(nb), strict=True):
        cell.id = cell_id
        kept = {k: v for k, v in cell.metadata.items() if k in KEEP_CELL_METADATA and v}
        cell.metadata = nbformat.from_dict(kept | ({"jupyter": folded} if folded else {}))
        for output in cell.get("outputs", []):
            if output.output_type in ("display_data", "execute_result"):
                output.metadata.pop("needs_background", None)
                output.data.pop(WIDGET_MIME, None)


def _where(nb: nbformat.NotebookNode) -> str:
    """The code cell that failed: the last one the kernel was given."""
    code = [cell for cell in nb.cells if cell.cell_type == "code"]
    started = [i for i, cell in enumerate(code, 1) if cell.execution_count or cell.outputs]
    number = started[-1] if started else 1
    first_line = code[number - 1].source.strip().splitlines()[0]
    return f"code cell {number} of {len(code)} ({first_line!r})"


def execute(path: Path, timeout: int = 600) -> str:
    """Run the notebook at ``path`` in its folder and return the text to store."""
    nb = nbformat.read(path, as_version=4)
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    client = NotebookClient(
        nb,
        timeout=timeout,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        store_widget_state=False,
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
        resources={"metadata": {"path": str(path.parent)}},
    )
    try:
        client.execute()
    except CellExecutionError as error:
        raise NotebookFailed(f"{path}: {_where(nb)} failed\n{error}") from None
    except CellTimeoutError:
        raise NotebookFailed(f"{path}: {_where(nb)} ran longer than {timeout} s") from None
    except DeadKernelError:
        raise NotebookFailed(f"{path}: the kernel died in {_where(nb)}") from None
    clean(nb)
    nbformat.validate(nb)
    return nbformat.writes(nb).rstrip("\n") + "\n"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail on a change")
    parser.add_argument("--timeout", type=int, default=600, help="seconds for one cell")
    parser.add_argument("paths", nargs="+", type=Path)
    args = parser.parse_args(argv)
    missing = [str(path) for path in args.paths if not path.is_file()]
    if missing:
        parser.error(f"no such notebook: {', '.join(missing)}")
    os.environ.update(KERNEL_ENVIRONMENT)
    os.environ.pop("METAAD_PROGRESS", None)
    failures = changes = 0
    for path in args.paths:
        start = time.perf_counter()
        try:
            text = execute(path, args.timeout)
        except NotebookFailed as error:
            print(f"FAILED {error}\n{path}: left as it was", file=sys.stderr, flush=True)
            failures += 1
            continue
        seconds = time.perf_counter() - start
        changed = text.encode() != path.read_bytes()
        changes += changed
        if changed and not args.check:
            path.write_bytes(text.encode())
        state = "unchanged" if not changed else "would change" if args.check else "written"
        print(f"{path}: {seconds:.1f} s, {state}", flush=True)
    return int(failures > 0 or (args.check and changes > 0))


if __name__ == "__main__":
    sys.exit(main())
