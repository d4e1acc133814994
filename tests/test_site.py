"""The site of docs/: it builds without a warning, is whole, and needs no network to be read."""

from __future__ import annotations

import fcntl
import inspect
import re
import subprocess
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import checkpointdb
from checkpointdb import pipeline

ROOT = Path(__file__).resolve().parent.parent
# What a browser fetches by itself, as against a link that a reader may follow.
FETCHED = {"src", "srcset", "poster", "data", "xlink:href"}
FETCHING_LINKS = {"stylesheet", "icon", "preload", "modulepreload", "prefetch", "preconnect"}
FETCHED_BY_CSS = re.compile(r"(?:url\(|@import)\s*['\"]?((?:https?:)?//[^'\")\s]+)")


@dataclass
class Page:
    """What a page of the site links to, fetches, and can be linked to by."""

    links: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)


class PageReader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.page = Page()

    def handle_starttag(self, tag, attrs):
        found = {name: value or "" for name, value in attrs}
        self.page.anchors |= {found[name] for name in ("id", "name") if name in found}
        self.page.fetched += [value for name, value in found.items() if name in FETCHED]
        if tag == "a" and "href" in found:
            self.page.links.append(found["href"])
        if tag == "link" and FETCHING_LINKS & set(found.get("rel", "").split()):
            self.page.fetched.append(found["href"])
        self.page.fetched += FETCHED_BY_CSS.findall(found.get("style", ""))


def read(path):
    reader = PageReader()
    reader.feed(path.read_text())
    return reader.page


def build(target):
    """Do what `make docs` does, and keep what it said."""
    command = [sys.executable, "-m", "sphinx", "-E", "-q", "-W", "--keep-going"]
    done = subprocess.run(
        [*command, "-d", target / "doctrees", ROOT / "docs", target / "html"],
        capture_output=True,
        text=True,
        check=False,
    )
    (target / "said").write_text(f"{done.returncode}\n{done.stdout}{done.stderr}")


@pytest.fixture(scope="session")
def built(tmp_path_factory, worker_id):
    """The directory with the site and what its making said, made once for all processes."""
    base = tmp_path_factory.getbasetemp()
    target = (base if worker_id == "master" else base.parent) / "site"
    target.mkdir(exist_ok=True)
    with (target.parent / "site.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (target / "said").exists():
            build(target)
    return target


@pytest.fixture(scope="session")
def pages(built):
    site = built / "html"
    return {path.relative_to(site): read(path) for path in site.rglob("*.html")}


def test_the_site_builds_without_a_warning(built):
    assert (built / "said").read_text() == "0\n"


def test_every_page_of_docs_is_a_page_of_the_site(pages):
    docs = ROOT / "docs"
    expected = {path.relative_to(docs).with_suffix(".html") for path in docs.rglob("*.md")}
    assert expected <= pages.keys()


def test_reading_the_site_needs_no_network(built, pages):
    fetched = {each for page in pages.values() for each in page.fetched}
    for sheet in [*built.rglob("*.css"), *built.rglob("*.svg")]:
        fetched |= set(FETCHED_BY_CSS.findall(sheet.read_text()))
    outside = {each for each in fetched if urlsplit(each).netloc}
    assert len(fetched) > 5
    assert outside == set()


def leads_somewhere(link, path, pages, site):
    to = urlsplit(link)
    if to.scheme or to.netloc:
        return True
    target = path
    if to.path:
        target = (site / path.parent / unquote(to.path)).resolve().relative_to(site)
    if to.fragment:
        return target in pages and unquote(to.fragment) in pages[target].anchors
    return (site / target).exists()


def test_every_link_of_the_site_leads_to_a_page_and_to_an_anchor_there(built, pages):
    links = [(link, path) for path, page in pages.items() for link in page.links]
    site = (built / "html").resolve()
    dead = [link for link in links if not leads_somewhere(*link, pages, site)]
    assert len(links) > 1_000
    assert dead == []


def public_names():
    handle = checkpointdb.PipelineCheckpoint
    methods = {name for name, _ in inspect.getmembers(handle) if not name.startswith("_")}
    names = set(checkpointdb.__all__) | {f"PipelineCheckpoint.{name}" for name in methods}
    return names | {f"pipeline.{name}" for name in pipeline.__all__}


def test_every_public_name_has_an_entry_in_the_reference(pages):
    anchors = set().union(*(page.anchors for page in pages.values()))
    assert {f"checkpointdb.{name}" for name in public_names()} <= anchors
