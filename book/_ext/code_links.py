"""In the code of a chapter, names that it imports from the package link to their place in the reference.

A name is linked once in a cell, and never where the chapter defines something of the same name itself.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from pathlib import Path

import nbformat

PACKAGE = "metaad_tutorial"
CELL = re.compile(r'<div class="highlight-i?python3? .*?</pre>', re.DOTALL)
DOT = '<span class="o">.</span>'
# A name and perhaps an attribute; no attribute of something else, no keyword of a call.
NAME = re.compile(
    rf'(?<!{re.escape(DOT)})<span class="n">(\w+)</span>(?:{re.escape(DOT)}<span class="n">(\w+)</span>)?'
    r'(?!<span class="o">=</span>)'
)


def imported(code: str) -> dict[str, str]:
    """What a program imports from the package: name in the program -> full name of the object."""
    tree = ast.parse(re.sub(r"^(\s*)[%!].*", r"\1pass", code, flags=re.MULTILINE))
    found, own = {}, set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE:
            module = importlib.import_module(node.module)
            for alias in node.names:
                found[alias.asname or alias.name] = full_name(module, alias.name)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            own.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            own.add(node.id)
        elif isinstance(node, ast.arg):
            own.add(node.arg)
    return {name: full for name, full in found.items() if name not in own}


def full_name(module, name: str) -> str:
    """Where the object is defined, which is where the reference describes it."""
    try:
        thing = getattr(module, name)
    except AttributeError:
        thing = importlib.import_module(f"{module.__name__}.{name}")
    if inspect.ismodule(thing):
        return thing.__name__
    if inspect.isclass(thing) or inspect.isfunction(thing):
        return f"{thing.__module__}.{thing.__qualname__}"
    return f"{module.__name__}.{name}"


def link_code(body: str, names: dict[str, str], address) -> str:
    """A page with its code linked; `address` gives the place of a full name in the reference, or None."""

    def cell(match: re.Match) -> str:
        seen = set()

        def linked(found: re.Match) -> str:
            name, attribute = found.groups()
            full = names.get(name)
            if full is None:
                return found[0]
            longer = address(f"{full}.{attribute}") if attribute else None
            place = longer or address(full)
            if place is None or place in seen:
                return found[0]
            seen.add(place)
            words = found[0] if longer else f'<span class="n">{name}</span>'
            return f'<a class="reference internal code-link" href="{place}">{words}</a>{found[0][len(words) :]}'

        return NAME.sub(linked, match[0])

    return CELL.sub(cell, body)


def _link_page(app, pagename, templatename, context, doctree):
    path = Path(app.srcdir) / f"{pagename}.ipynb"
    if not context.get("body") or not path.exists():
        return
    objects = app.env.get_domain("py").objects

    def address(full: str) -> str | None:
        entry = objects.get(full)
        return entry and f"{app.builder.get_relative_uri(pagename, entry.docname)}#{entry.node_id}"

    cells = nbformat.read(path, as_version=4).cells
    names = imported("\n".join(cell.source for cell in cells if cell.cell_type == "code"))
    context["body"] = link_code(context["body"], names, address)


def setup(app):
    app.connect("html-page-context", _link_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
