"""README.md, docs/ and examples/ say what is true: every example in them runs."""

from __future__ import annotations

import doctest
import inspect
import re
import runpy
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import inspect as inspected

from checkpointdb import PipelineCheckpoint, errors
from checkpointdb.schema import metadata
from docs.generate import MADE
from docs.generate.schema_words import TABLES, VIEWS

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXAMPLE = re.compile(r"^```(python|pycon|sql)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)[^)]*\)")
SOURCE = re.compile(r"`((?:checkpointdb|docs|examples|migrations|tests)/[^\s`…]+)`")
DATABASE = Path("checkpoints/checkpoints.db")

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def run_python(text: str, names: dict[str, object], where: str) -> None:
    exec(compile(text, where, "exec"), names)


def run_session(text: str, names: dict[str, object], where: str) -> None:
    """Run a `>>>` session and compare what it prints; `...` stands for anything."""
    test = doctest.DocTestParser().get_doctest(text, names, where, where, 0)
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS)
    printed: list[str] = []
    runner.run(test, out=printed.append, clear_globs=False)
    names.update(test.globs)
    assert not runner.failures, "".join(printed)


def run_sql(text: str, names: dict[str, object], where: str) -> None:
    """Ask the store that the page made, or else that of the quickstart; expect an answer."""
    if not DATABASE.exists():
        runpy.run_path(str(ROOT / "examples" / "quickstart.py"))
    with closing(sqlite3.connect(f"{DATABASE.resolve().as_uri()}?mode=ro", uri=True)) as database:
        assert database.execute(text).fetchall(), f"{where}: no rows for {text}"


RUN = {"python": run_python, "pycon": run_session, "sql": run_sql}


# Datasette closes its connections when they are freed; Python 3.13 warns of that.
@pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")
@pytest.mark.usefixtures("lost_connections")
@each_page
def test_every_example_of_a_page_runs_in_its_order(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "__main__"}
    for example in EXAMPLE.finditer(page.read_text()):
        language, text = example.groups()
        line = page.read_text()[: example.start()].count("\n") + 1
        RUN[language](text, names, f"{page.name}, line {line}")


@each_page
def test_every_link_of_a_page_leads_to_a_file(page):
    missing = [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()]
    assert missing == []


@each_page
def test_every_source_that_a_page_names_is_there(page):
    assert [name for name in SOURCE.findall(page.read_text()) if not any(ROOT.glob(name))] == []


def test_the_page_of_the_architecture_has_every_module():
    page = (ROOT / "docs" / "explanation" / "architecture.md").read_text()
    package = ROOT / "checkpointdb"
    names = {path.stem for path in package.glob("*.py")} - {"__init__"}
    names |= {f"{path.parent.name}/" for path in package.glob("*/__init__.py")}
    names -= {"migrations/"}  # which the tree has above the package, and the wheel within
    assert len(names) > 40
    assert {name for name in names if f"`{name}`" not in page} == set()


@pytest.mark.parametrize("name", MADE)
def test_what_is_made_by_code_is_as_the_code_makes_it_now(name):
    advice = (
        "run `python -m docs.generate`; words for tables stand in docs/generate/schema_words.py"
    )
    assert (ROOT / "docs" / name).read_text() == MADE[name](), advice


def test_the_words_of_the_schema_page_are_of_what_there_is(store):
    with store().query() as connection:
        found = inspected(connection)
        views = {name: found.get_columns(name) for name in found.get_view_names()}
    known = {(name, column["name"]) for name, columns in views.items() for column in columns}
    known |= {(table.name, each.name) for table in metadata.tables.values() for each in table.c}
    words = {(name, each) for name, (_, found) in (VIEWS | TABLES).items() for each in found}
    assert words - known == set()


def test_every_view_is_told_of_column_by_column(store):
    page = (ROOT / "docs" / "how-to" / "inspect-with-sqlite3.md").read_text()
    with store().query() as connection:
        found = inspected(connection)
        for view in found.get_view_names():
            assert f"| `{view}` |" in page
            words = VIEWS[view][1]
            columns = [each["name"] for each in found.get_columns(view)]
            assert [each for each in columns if not words.get(each)] == []


def test_the_page_of_configuration_has_every_argument_and_every_variable():
    page = (ROOT / "docs" / "reference" / "configuration.md").read_text()
    sources = "".join(path.read_text() for path in (ROOT / "checkpointdb").rglob("*.py"))
    names = set(re.findall(r"CHECKPOINTDB_[A-Z_]+", sources))
    names |= inspect.signature(PipelineCheckpoint).parameters.keys()
    assert len(names) > 20
    assert {name for name in names if f"`{name}`" not in page} == set()


def test_the_page_of_errors_has_every_error():
    page = (ROOT / "docs" / "reference" / "errors.md").read_text()
    assert {name for name in errors.__all__ if f"`{name}`" not in page} == set()


def test_the_readme_is_under_120_lines():
    assert len((ROOT / "README.md").read_text().splitlines()) < 120


def test_the_readme_names_only_targets_that_the_makefile_has():
    text = (ROOT / "README.md").read_text()
    named = set(re.findall(r"^make (\w+)|`make (\w+)`", text, re.MULTILINE))
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"".join(pair) for pair in named} <= targets


def test_the_quickstart_runs_and_prints_what_it_found(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(ROOT / "examples" / "quickstart.py"))
    printed = capsys.readouterr().out
    assert "reported: {'report': 'seven groups'}" in printed
    assert re.search(r"found: +reported \d+ bytes", printed)
