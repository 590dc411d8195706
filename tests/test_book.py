"""The book's set-up: table of contents, configuration, extensions, and the notebooks' budgets."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import equation_checks
import nbformat
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]


def load(path):
    """A module of the project that is not part of a package."""
    spec = importlib.util.spec_from_file_location(f"checked_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


root_conftest = load(ROOT / "conftest.py")


def toc_files():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    chapters = [chapter for part in toc["parts"] for chapter in part["chapters"]]
    return [toc["root"]] + [page["file"] for chapter in chapters for page in (chapter, *chapter.get("sections", ()))]


def test_every_page_is_in_the_table_of_contents_and_exists():
    pages = {p.relative_to(ROOT).with_suffix("").as_posix() for p in (ROOT / "book").rglob("*.md")}
    chapters = {f"notebooks/{p.stem}" for p in (ROOT / "notebooks").glob("*.ipynb")}
    assert set(toc_files()) == pages | chapters
    assert len(toc_files()) == len(set(toc_files()))


def test_chapters_are_numbered_as_their_files():
    numbers = [int(Path(f).name[:2]) for f in toc_files() if f.startswith("notebooks/")]
    assert numbers == list(range(1, len(numbers) + 1))


def test_the_book_loads_nothing_from_elsewhere():
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    assert config["execute"]["execute_notebooks"] == "off"
    assert config["launch_buttons"]["thebe"] is False
    for file in (ROOT / "book" / "_static").glob("*.css"):
        assert not re.search(r"@import|url\(\s*['\"]?(?:https?:)?//", file.read_text()), file


def test_lock_holds_the_direct_pins_and_no_cuda():
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    lock = {line.split(";")[0].strip() for line in lines if "==" in line}
    for line in (ROOT / "requirements.in").read_text().splitlines():
        if "==" in line:
            assert line.strip() in lock, f"{line} is not in requirements.lock: run 'make lock'"
    assert not [line for line in lock if re.match(r"nvidia|triton|torch==.*\+", line)]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for extra in ("data", "book", "dev"):
        for pin in project["optional-dependencies"][extra]:
            if "==" in pin:
                assert pin in lock, f"{pin} of the extra {extra} is not in requirements.lock"


def test_package_and_citation_have_one_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert str(citation["version"]) == project["version"]
    assert project["version"] in (ROOT / "CHANGELOG.md").read_text()


# --- Build-time extensions ------------------------------------------------------------------------

CHECKED = """
from equations import equation

@equation("b", statement="second " "half", how="by hand")
@equation("a", statement=r"$\\alpha$", how="autograd")
def test_both():
    assert True

def test_other():
    assert True
"""


def test_equation_checks_are_read_without_import():
    checks = equation_checks.read_checks(CHECKED, "test_ch1.py")
    assert [(c.label, c.statement, c.how, c.test, c.file) for c in checks] == [
        ("b", "second half", "by hand", "test_both", "test_ch1.py"),
        ("a", r"$\alpha$", "autograd", "test_both", "test_ch1.py"),
    ]


@pytest.mark.parametrize(
    "decorator",
    ["@equation(label, statement='s', how='h')", "@equation('a')", "@equation(statement='s')"],
)
def test_unreadable_equation_check_is_an_error(decorator):
    with pytest.raises(ValueError, match="literal strings"):
        equation_checks.read_checks(f"{decorator}\ndef test_it():\n    pass\n")


def test_equation_checks_of_a_folder_come_in_the_order_of_its_files(tmp_path):
    for name, label in (("test_ch2", "z"), ("test_ch1", "y"), ("common", "x")):
        text = CHECKED.replace('"b"', f'"{label}"').replace('"a"', f'"{label}2"')
        (tmp_path / f"{name}.py").write_text(text)
    assert [c.label for c in equation_checks.read_folder(tmp_path)] == ["y", "y2", "z", "z2"]
    (tmp_path / "test_ch3.py").write_text(CHECKED.replace('"b"', '"z"'))
    with pytest.raises(ValueError, match=r"'z' already has the check test_both in test_ch2\.py, .* in test_ch3\.py"):
        equation_checks.read_folder(tmp_path)


@pytest.mark.parametrize(
    ("env", "url"),
    [
        ({}, None),
        ({"GITHUB_REPOSITORY": "not a name"}, None),
        ({"GITHUB_REPOSITORY": "someone/book"}, "https://github.com/someone/book"),
        ({"METAAD_REPOSITORY_URL": "https://git.test/book/"}, "https://git.test/book"),
    ],
)
def test_repository_address_comes_from_the_environment_only(env, url):
    assert load(ROOT / "book" / "_ext" / "book_tweaks.py").repository_url(env) == url


# --- Time budgets and nbval, in a pytest of their own -----------------------------------------------


@pytest.mark.parametrize(
    ("spent", "promised", "factor", "kept"),
    [(5, 10, 1, True), (11, 10, 1, False), (11, 10, 2, True), (1, None, 1, False)],
)
def test_over_budget(spent, promised, factor, kept):
    assert (root_conftest.over_budget(spent, promised, factor) is None) == kept


def test_a_slow_machine_stretches_the_promise_and_a_fast_one_does_not():
    full = root_conftest.PROBE_SECONDS
    assert root_conftest.slowness([]) == root_conftest.slowness([0.5 * full] * 3) == 1
    assert root_conftest.slowness([full, 2 * full, 90 * full]) == 2  # one hitch is no slow machine
    assert 0 < root_conftest.probe() < 100 * full


def write_notebook(folder, seconds, printed, metadata=None, count=1):
    nb = nbformat.v4.new_notebook(
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
        cells=[
            nbformat.v4.new_markdown_cell(f"# A\n\nRunning: at most {seconds} seconds"),
            nbformat.v4.new_code_cell(
                "print(round(1 / 3, 3))",
                execution_count=count,
                metadata=metadata or {},
                outputs=[nbformat.v4.new_output("stream", name="stdout", text=f"{printed}\n")],
            ),
        ],
    )
    nbformat.write(nb, folder / "a.ipynb")


def run_nbval(folder, *args):
    """Strict nbval with this project's conftest on the notebooks of a folder."""
    (folder / "conftest.py").write_text((ROOT / "conftest.py").read_text())
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(folder)]
    command += ["-c", os.devnull, "--nbval", "--nbval-current-env", *args, str(folder)]
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "METAAD_"))}
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=env, timeout=300)
    return done.returncode, done.stdout


def test_nbval_passes_on_a_true_notebook(tmp_path):
    write_notebook(tmp_path, 100, "0.333")
    code, text = run_nbval(tmp_path)
    assert (code, "1 passed" in text) == (0, True), text


def test_nbval_fails_when_one_digit_is_changed(tmp_path):
    write_notebook(tmp_path, 100, "0.334")
    code, text = run_nbval(tmp_path)
    assert (code, "1 failed" in text) == (1, True), text
    assert "0.334" in text
    assert "0.333" in text


@pytest.mark.parametrize("args", [(), ("-n", "2", "--dist", "loadscope")], ids=["serial", "xdist"])
def test_a_notebook_over_its_budget_fails_the_run(tmp_path, args):
    write_notebook(tmp_path, 0, "0.333")
    code, text = run_nbval(tmp_path, *args)
    assert (code, "1 failed, 1 passed" in text) == (1, True), text
    assert "promises at most 0 s" in text
