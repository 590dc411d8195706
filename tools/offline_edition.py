"""The book to keep: the built site as one zip file, and links on the home page to the zip and the PDF that exist.

Usage: offline_edition.py [--zip] HTML_FOLDER      (after: make book)
"""

from __future__ import annotations

import argparse
import re
import zipfile
from pathlib import Path

NAME = "meta-learning-for-anomaly-detection"
WORDS = {".pdf": "the book as one PDF", ".zip": "these pages as one zip file"}
PLACE = re.compile(r'<p id="offline-edition".*?</p>', re.DOTALL)


def write_zip(site: Path) -> Path:
    """All files of the site in one zip; the same files give the same bytes."""
    target = site / f"{NAME}.zip"
    target.unlink(missing_ok=True)
    files = sorted(p for p in site.rglob("*") if p.is_file())
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for file in files:
            entry = zipfile.ZipInfo(f"{NAME}/{file.relative_to(site).as_posix()}")
            entry.external_attr, entry.compress_type = 0o644 << 16, zipfile.ZIP_DEFLATED
            archive.writestr(entry, file.read_bytes())
    return target


def link(site: Path) -> list[str]:
    """Put links to what exists into the home page; returns the names of the files."""
    home = site / re.search(r"url=([^\"]+)", (site / "index.html").read_text(encoding="utf-8"))[1]
    up = "../" * (len(home.relative_to(site).parts) - 1)
    found = [f"{NAME}{end}" for end in WORDS if (site / f"{NAME}{end}").exists()]
    links = [
        f'<a href="{up}{name}">{WORDS[Path(name).suffix]}</a> ({(site / name).stat().st_size / 2**20:.0f} MB)'
        for name in found
    ]
    words = (
        f'<p id="offline-edition">To keep: {" · ".join(links)}</p>' if links else '<p id="offline-edition" hidden></p>'
    )
    html, places = PLACE.subn(words, home.read_text(encoding="utf-8"))
    if places != 1:
        raise SystemExit(f"{home} has {places} places for the links, not one")
    home.write_text(html, encoding="utf-8")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("site", type=Path)
    parser.add_argument("--zip", action="store_true", help="write the zip file first")
    arguments = parser.parse_args()
    if arguments.zip:
        (arguments.site / f"{NAME}.zip").unlink(missing_ok=True)
        link(arguments.site)  # the pages in the zip link to the PDF, not to the zip
        write_zip(arguments.site)
    print("linked from the home page:", ", ".join(link(arguments.site)) or "nothing")


if __name__ == "__main__":
    main()
