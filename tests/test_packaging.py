"""What an installation brings: short modules, what they import, the files beside them, a quick import."""

from __future__ import annotations

import ast
import fnmatch
import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "metaad_tutorial"
MODULES = sorted(PACKAGE.rglob("*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
DISTRIBUTIONS = {"sklearn": "scikit-learn", "PIL": "pillow"}  # where the name of the module is another


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.relative_to(PACKAGE).as_posix())
def test_no_module_is_long(module):
    n_lines = len(module.read_text(encoding="utf-8").splitlines())
    assert n_lines <= 200, f"{module.name} has {n_lines} lines: a reader should hold a module in one sitting"


# What is no part of the core: opponents, evidence, drawings, chapters 12 and 13, families of particular data.
BESIDE = [
    "pooled", "gaussianized", "empirical_bayes", "features", "protocol", "comparison", "report", "claims", "looks",
    "reading", "reading_plots", "watch", "families/common_columns", "families/common_tasks", "families/speakers",
    "families/stored", "families/invented",
]  # fmt: skip


def code_lines(module):
    """Lines of code: without docstrings, comments, imports and blank lines."""
    text = module.read_text(encoding="utf-8")
    told = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node = node.body[0]
        elif not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        told |= set(range(node.lineno, node.end_lineno + 1))
    lines = enumerate(map(str.strip, text.splitlines()), 1)
    return sum(bool(line) and not line.startswith("#") and i not in told for i, line in lines)


def test_the_core_can_be_held():
    names = {module.relative_to(PACKAGE).with_suffix("").as_posix(): module for module in MODULES}
    assert set(BESIDE) <= set(names)
    core = [m for name, m in names.items() if name not in BESIDE and not name.startswith("figures/")]
    assert sum(map(code_lines, core)) <= 2000


def test_every_module_is_on_one_reference_page_and_in_their_list():
    pages = "\n".join(page.read_text(encoding="utf-8") for page in (ROOT / "book" / "api").glob("*.md"))
    documented = re.findall(r"automodule:: metaad_tutorial\.(\S+)", pages)
    listed = re.findall(r"\{py:mod\}`\S+ <metaad_tutorial\.(\S+)>`", (ROOT / "book" / "api.md").read_text("utf-8"))
    names = [".".join(module.relative_to(PACKAGE).with_suffix("").parts) for module in MODULES]
    assert sorted(documented) == sorted(listed) == sorted(name for name in names if not name.endswith("__init__"))


def imported(module):
    """Top-level names that a module imports from elsewhere."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.partition(".")[0]


def test_what_the_package_imports_is_declared_and_nothing_else():
    declared = {re.match(r"[\w-]+", line)[0] for line in PROJECT["project"]["dependencies"]}
    names = {name for module in MODULES for name in imported(module)} - sys.stdlib_module_names - {"metaad_tutorial"}
    assert {DISTRIBUTIONS.get(name, name) for name in names} == declared


def test_the_files_beside_the_modules_are_installed():
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["metaad_tutorial"]
    beside = {path.name for path in PACKAGE.iterdir() if path.is_file() and path.suffix != ".py"} - {"README.md"}
    assert "py.typed" in beside
    assert {name for name in beside if not any(fnmatch.fnmatch(name, pattern) for pattern in patterns)} == set()


def test_drawing_libraries_are_loaded_only_when_used():
    code = (
        "import sys, metaad_tutorial as m; slow = {'matplotlib', 'PIL'}; assert not slow & set(sys.modules); "
        "assert all(hasattr(m, name) for name in m.__all__); assert not slow & set(sys.modules); "
        "m.Glyphs(); assert slow <= set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_a_name_that_does_not_exist_is_an_attribute_error():
    import metaad_tutorial

    with pytest.raises(AttributeError, match="has no attribute 'Glyph'"):
        metaad_tutorial.Glyph  # noqa: B018


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.relative_to(PACKAGE).as_posix())
def test_no_module_is_hidden_by_a_name_of_the_package(module):
    folder, _, name = ".".join(module.relative_to(ROOT).with_suffix("").parts).rpartition(".")
    if name != "__init__":
        found = importlib.import_module(f"{folder}.{name}")
        assert getattr(importlib.import_module(folder), name) is found
