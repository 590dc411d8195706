"""Small corrections of Jupyter Book 1, its theme and extensions at build time."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

# autodoc finds the package even where it is not installed
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


def repository_url(env=os.environ) -> str | None:
    """The project's address, where the environment tells it; never a guess."""
    if env.get("METAAD_REPOSITORY_URL"):
        return env["METAAD_REPOSITORY_URL"].rstrip("/")
    name = env.get("GITHUB_REPOSITORY", "")
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        return f"{env.get('GITHUB_SERVER_URL', 'https://github.com').rstrip('/')}/{name}"
    return None


def _repository(app, config):
    """Repository and launch buttons only where the address is known."""
    url = repository_url()
    options = config.html_theme_options
    if url is None:
        options["launch_buttons"] = {}
        return
    options["repository_url"] = url
    # the launch buttons open the readers' notebooks: tools/reader_branch.sh
    options["repository_branch"] = os.environ.get("METAAD_REPOSITORY_BRANCH", "reader")
    options["use_repository_button"] = True
    options["launch_buttons"] = {
        "notebook_interface": "jupyterlab",
        "binderhub_url": "https://mybinder.org",
        "colab_url": "https://colab.research.google.com",
    }


def _drop_thebe(app, pagename, templatename, context, doctree):
    """sphinx-thebe declares its constants twice, which is a script error on every page."""

    def keep(file):
        body = getattr(file, "attributes", {}).get("body") or ""
        name = str(getattr(file, "filename", "") or "")
        return "THEBE_JS_URL" not in body and "sphinx-thebe" not in name

    for key in ("script_files", "css_files"):
        if key in context:
            context[key] = [file for file in context[key] if keep(file)]


def _link_equations(app, what, name, obj, options, lines):
    """In docstrings, labels after the word "equation" become links to the book's equations."""

    def link(found):
        return re.sub(r"``([\w-]+)``", r":eq:`\1`", found[0])

    text = "\n".join(lines)
    lines[:] = re.sub(r"\b[Ee]quations?\s+``[\w-]+``(?:,\s+``[\w-]+``)*", link, text).split("\n")


def setup(app):
    app.connect("autodoc-process-docstring", _link_equations)
    app.connect("config-inited", _repository, priority=900)
    app.connect("html-page-context", _drop_thebe, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
