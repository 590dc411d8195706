"""The zip file of the site, and the links on the home page to what was made."""

from __future__ import annotations

import importlib.util
import os
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
spec = importlib.util.spec_from_file_location("offline_edition", ROOT / "tools" / "offline_edition.py")
offline = importlib.util.module_from_spec(spec)
spec.loader.exec_module(offline)


@pytest.fixture
def site(tmp_path):
    (tmp_path / "book").mkdir()
    (tmp_path / "index.html").write_text('<meta http-equiv="Refresh" content="0; url=book/intro.html" />')
    (tmp_path / "book" / "intro.html").write_text('<h1>Home</h1>\n<p id="offline-edition" hidden></p>\n')
    return tmp_path


def make(site, monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["offline_edition.py", *words, str(site)])
    offline.main()
    return (site / "book" / "intro.html").read_text()


def test_the_home_page_links_to_what_exists_and_to_nothing_else(site, monkeypatch):
    assert "href" not in make(site, monkeypatch)
    (site / f"{offline.NAME}.pdf").write_bytes(b"%PDF")
    home = make(site, monkeypatch)
    assert f'href="../{offline.NAME}.pdf"' in home and ".zip" not in home and "hidden" not in home
    assert f'href="../{offline.NAME}.zip"' in make(site, monkeypatch, "--zip")
    for end in offline.WORDS:
        (site / f"{offline.NAME}{end}").unlink()
    assert "href" not in make(site, monkeypatch) and "hidden" in make(site, monkeypatch)


def test_the_same_site_gives_the_same_zip_which_does_not_hold_itself(site, monkeypatch):
    (site / f"{offline.NAME}.pdf").write_bytes(b"%PDF")
    make(site, monkeypatch, "--zip")
    target = site / f"{offline.NAME}.zip"
    first = target.read_bytes()
    os.utime(site / "index.html", (1, 1))
    make(site, monkeypatch, "--zip")
    assert target.read_bytes() == first
    with zipfile.ZipFile(target) as archive:
        names = archive.namelist()
        assert names == sorted(names) and {name.split("/")[0] for name in names} == {offline.NAME}
        assert not [name for name in names if name.endswith(".zip")]
        home = archive.read(f"{offline.NAME}/book/intro.html").decode()
    assert f'href="../{offline.NAME}.pdf"' in home and ".zip" not in home


def test_a_home_page_without_a_place_is_an_error(site):
    (site / "book" / "intro.html").write_text("<h1>Home</h1>")
    with pytest.raises(SystemExit, match="0 places"):
        offline.link(site)


def test_the_home_page_of_the_book_has_the_place():
    assert len(offline.PLACE.findall((ROOT / "book" / "intro.md").read_text())) == 1
