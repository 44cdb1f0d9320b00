"""The site that ``make docs`` builds: complete, self-contained, and readable without a network or a web server."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from project.demo.processes import clean_environment
from tests.architecture.sources import ROOT

DOCS = ROOT / "docs"
PARTS = ("start", "guides", "reference", "why")
#: What a browser fetches by itself, by tag and attribute; `a` it only follows.
_FETCHED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "object": "data"}
_IN_STYLES = re.compile(r"url\(\s*['\"]?((?:https?:)?//[^)]*)|@import\s+['\"](https?:[^'\"]*)")


@dataclass
class Seen(HTMLParser):
    """What one page of the site links to and fetches, and the places in it that can be linked to."""

    text: str
    links: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take note of one element."""
        values = dict(attrs)
        self.anchors.add(values.get("id") or "")
        if tag == "a" and (href := values.get("href")):
            self.links.append(href)
        if source := values.get(_FETCHED.get(tag, "")):
            self.fetched.append(source)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the site, built as ``make docs`` builds it: a warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "--builder",
        "html",
        "--fail-on-warning",
        "--quiet",
        str(DOCS),
        str(folder),
    ]
    done = subprocess.run(
        command, cwd=ROOT, env=clean_environment(), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Seen]:
    """Each page of the site, read."""
    return {path: Seen(path.read_text("utf-8")) for path in sorted(site.rglob("*.html"))}


@pytest.mark.slow
def test_each_page_is_in_the_site(site: Path) -> None:
    """Every Markdown file of the four parts is a page."""
    sources = [path.relative_to(DOCS).with_suffix(".html") for path in DOCS.glob("*/*.md")]
    assert sources
    assert [str(page) for page in sources if not (site / page).is_file()] == []


@pytest.mark.slow
def test_nothing_is_fetched_from_elsewhere(site: Path, pages: dict[Path, Seen]) -> None:
    """Scripts, styles, fonts and pictures are files of the site, so it works offline and tells nobody who reads it."""
    remote = {
        f"{path.name}: {source}" for path, page in pages.items() for source in page.fetched if urlsplit(source).netloc
    }
    styles = {
        f"{path.name}: {match.group()}"
        for path in site.rglob("*.css")
        for match in _IN_STYLES.finditer(path.read_text("utf-8"))
    }
    assert sorted(remote | styles) == []


def broken(pages: dict[Path, Seen]) -> Iterator[str]:
    """Yield the links to files or places that are not there, and addresses elsewhere that could not be any."""
    for path, page in pages.items():
        for link in [*page.links, *page.fetched]:
            target = urlsplit(link)
            if target.scheme in {"http", "https"}:
                if not re.fullmatch(r"[\w-]+(\.[\w-]+)+(:\d+)?", target.netloc):
                    yield f"{path.name}: {link}"
                continue
            if target.scheme in {"data", "mailto"}:
                continue
            file = (path.parent / unquote(target.path)).resolve() if target.path else path
            is_there = file.is_file() and (
                not target.fragment or file not in pages or unquote(target.fragment) in pages[file].anchors
            )
            if not is_there:
                yield f"{path.name}: {link}"


@pytest.mark.slow
def test_links_lead_to_a_place_that_is_there(pages: dict[Path, Seen]) -> None:
    """Files and anchors exist, and addresses elsewhere have the form of one; none of those is called."""
    assert len(pages) > 20
    assert sorted(broken(pages)) == []


@pytest.mark.slow
@pytest.mark.parametrize("module", ["durable_objects", "durable_objects.testing", "durable_objects.embedding"])
def test_each_exported_name_has_its_entry(module: str, site: Path, pages: dict[Path, Seen]) -> None:
    """The Python reference has a place of its own for each name in a module's ``__all__``, with its promise."""
    entries = pages[site / "reference/api.html"].anchors
    assert [name for name in import_module(module).__all__ if f"{module}.{name}" not in entries] == []


@pytest.mark.slow
def test_search_needs_no_server(site: Path) -> None:
    """The index is a script beside the pages, which a browser loads from a file as well, and it knows the pages."""
    assert "searchindex.js" in (site / "search.html").read_text("utf-8")
    index = (site / "searchindex.js").read_text("utf-8")
    assert index.startswith("Search.setIndex(")
    assert all(f'"{part}/' in index for part in PARTS)


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    """The rule about links sees a missing file, a missing anchor and an address that is none."""
    page = tmp_path / "page.html"
    page.write_text(
        '<p id="here"></p><a href="#here"></a><a href="#there"></a><a href="no.html"></a><a href="https://x"></a>'
    )
    assert len(list(broken({page: Seen(page.read_text())}))) == 3
