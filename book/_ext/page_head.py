"""A line below the title of each page: version, date, licence, where to report an error; for a chapter its time.

The time of a chapter stands in the box at its head, for those who read the notebook; on the page it moves to this line.
"""

from __future__ import annotations

import datetime
import html
import re
import subprocess
from pathlib import Path

import yaml
from book_tweaks import repository_url
from docutils import nodes

TIME = re.compile(r"Reading: (\d+)(?:<!--.*?-->)? minutes\. Running: at most (\d+) seconds\.")
LICENCE = "#licence-and-citation"


def edition(root: Path) -> tuple[str, str | None]:
    """The version, and the date of its release or of the last commit; no date where neither is known."""
    citation = yaml.safe_load((root / "CITATION.cff").read_text("utf-8"))
    if released := citation.get("date-released"):
        return str(citation["version"]), str(released)
    if not (root / ".git").exists():  # git would answer for a folder around a copy without a history
        return str(citation["version"]), None
    try:
        log = subprocess.run(["git", "log", "-1", "--format=%cs"], cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return str(citation["version"]), None
    return str(citation["version"]), log.stdout.strip() or None


def head(version: str, date: str | None, licence: str, issues: str | None, time: tuple[str, str] | None) -> str:
    """The line as HTML. `licence` and `issues` are addresses, `time` minutes of reading and seconds of running."""
    parts = [f"{time[0]} minutes to read, at most {time[1]} s to run"] if time else []
    parts.append(f"Version {html.escape(version)}")
    if date:
        day = datetime.date.fromisoformat(date)
        parts.append(f'<time datetime="{date}">{day.day} {day:%B %Y}</time>')
    parts.append(f'<a href="{html.escape(licence)}">Text CC BY 4.0, code MIT</a>')
    if issues:
        parts.append(f'<a href="{html.escape(issues)}">Report an error</a>')
    return f'<p class="page-head">{" ".join(f"<span>{part}</span>" for part in parts)}</p>'


def _take_time(app, doctree, docname):
    times = app.env.__dict__.setdefault("chapter_times", {})
    for line in doctree.findall(nodes.paragraph):
        if found := TIME.fullmatch(line.astext()):
            times[docname] = found.groups()
            line.parent.remove(line)
            return


def _add_head(app, pagename, templatename, context, doctree):
    body = context.get("body", "")
    if doctree is None or "</h1>" not in body:
        return
    if not hasattr(app, "edition"):
        app.edition = edition(Path(app.srcdir))
    url = repository_url()
    line = head(
        *app.edition,
        context["pathto"](app.config.root_doc) + LICENCE,
        f"{url}/issues" if url else None,
        app.env.chapter_times.get(pagename),
    )
    context["body"] = body.replace("</h1>", f"</h1>\n{line}", 1)


def setup(app):
    app.connect("doctree-resolved", _take_time)
    app.connect("html-page-context", _add_head)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
