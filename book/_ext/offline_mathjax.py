"""Formulas without a network: copy the part of MathJax that the pages use into the book.

The files come from the package sphinx-mathjax-offline, whose own extension copies ten times as
much: other inputs and outputs, and speech rules in all languages.
"""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

from sphinx.errors import ExtensionError

NEEDED = (
    "tex-chtml.js",
    "output/chtml/fonts",
    "input/tex",
    "a11y",
    "sre/mathmaps/base.json",
    "sre/mathmaps/en.json",
)


def mathjax_folder() -> Path:
    """MathJax's folder in the installed package."""
    spec = importlib.util.find_spec("sphinx-mathjax-offline")
    if spec is None or not spec.submodule_search_locations:
        raise ExtensionError("sphinx-mathjax-offline is missing: run 'make setup'")
    package = Path(next(iter(spec.submodule_search_locations)))
    found = next(iter(sorted(package.rglob("tex-chtml.js"))), None)
    if found is None:
        raise ExtensionError("sphinx-mathjax-offline holds no tex-chtml.js: run 'make setup'")
    return found.parent


def _copy(app, exception):
    if exception is not None or app.builder.format != "html":
        return
    source, target = mathjax_folder(), Path(app.outdir) / "_static" / "mathjax"
    for name in NEEDED:
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name, dirs_exist_ok=True)
        else:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / name, target / name)


def setup(app):
    app.config.mathjax_path = "mathjax/tex-chtml.js"
    app.connect("build-finished", _copy)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
