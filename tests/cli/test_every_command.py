"""What holds for every command: --json, its shape, errors, and names that are anybody's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import click
import pytest

from checkpointdb import PipelineCheckpoint, generate_encryption_key, load_encryption_key
from checkpointdb.cli.application import cli
from checkpointdb.cli.documents import misfit

SEALED = ["--store", "{sealed}", "--key-file", "{key}"]
NEW = ["--new-key-file", "{new}"]
CASES = {
    "backup list": ["backup", "list", "{backup}"],
    "backup pull": ["--store", "{target}", "backup", "pull", "{backup}"],
    "backup push": ["backup", "push", "{backup}"],
    "backup prune": ["backup", "prune", "{backup}", "--keep-last", "1"],
    "backup verify": ["backup", "verify", "{backup}", "--read-data"],
    "check": ["check", "--read-data"],
    "compact": ["compact", "--dry-run"],
    "copy": ["copy", "{target}"],
    "db check": ["db", "check"],
    "db info": ["db", "info"],
    "db upgrade": ["db", "upgrade"],
    "delete": ["delete", "--yes", "one", "nobody"],
    "demo": ["demo", "{target}"],
    "diff": ["diff", "one", "two", "--values"],
    "encrypt": ["encrypt", "{target}", "--new-key-file", "{key}"],
    "export": ["export", "one", "{file}"],
    "export-index": ["export-index"],
    "get": ["get", "two"],
    "history": ["history", "n"],
    "import": ["import", "{legacy}"],
    "key add": [*SEALED, "key", "add", *NEW],
    "key generate": ["key", "generate"],
    "key list": [*SEALED, "key", "list"],
    "key remove": [*SEALED, "key", "remove", "{new_id}"],
    "key rotate": [*SEALED, "key", "rotate", *NEW],
    "list": ["list", "--where", "accuracy > 0", "--sort", "accuracy"],
    "merge": ["merge", "two"],
    "pin": ["pin", "one", "nobody"],
    "pipelines": ["pipelines"],
    "prune": ["prune", "--keep-last", "1", "--dry-run"],
    "rebuild": ["--store", "{lost}", "rebuild"],
    "show": ["show", "two"],
    "sql": ["sql", "SELECT * FROM checkpoint_overview, payloads"],
    "stats": ["stats"],
    "repair": ["repair", "--dry-run"],
    "sweep": ["sweep"],
    "tree": ["tree"],
    "unpin": ["unpin", "fork", "nobody"],
}  # fmt: skip
SOME_FAIL = {"delete", "pin", "unpin"}
EVIL = "-\x1b[2J\r\n\u202eevil\x07 [red]😀"


def leaves(group=cli, path=""):
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from leaves(command, f"{path}{name} ")
        else:
            yield path + name, command


COMMANDS = dict(leaves())
each_command = pytest.mark.parametrize("name", sorted(COMMANDS))


@pytest.fixture
def words(tmp_path, handle, key_file, sealed):
    """Return the words that a case runs with, once there is what they name."""

    def words_of(name):
        lost = tmp_path / "lost"
        shutil.copytree(handle.checkpoint_dir / "payloads", lost / "payloads")
        new = generate_encryption_key(tmp_path / "new.key")
        names = {"target": tmp_path / "target", "key": key_file, "sealed": sealed, "lost": lost}
        names |= {"new": tmp_path / "new.key", "new_id": "", "file": tmp_path / "file.gz"}
        names |= {"legacy": Path(__file__).parents[1] / "legacy" / "plain"}
        if name.startswith("backup "):
            names["backup"] = tmp_path / "backup"
            handle.push_backup(names["backup"])
        if name == "key remove":
            with PipelineCheckpoint(sealed, load_encryption_key(key_file), True) as opened:
                names["new_id"] = opened.add_key(new)
        return [word.format(**names) for word in CASES[name]]

    return words_of


def test_every_command_has_a_case_here():
    assert sorted(CASES) == sorted(COMMANDS)


@each_command
def test_every_command_takes_json_and_prints_one_document_of_its_shape(run, words, name):
    result = run(*words(name), "--json")
    assert result.code == (9 if name in SOME_FAIL else 0)
    assert misfit(result.document, COMMANDS[name].shape) is None
    assert result.out.isascii()


@each_command
def test_every_command_says_something_to_people(run, words, name):
    result = run(*words(name))
    assert result.code == (9 if name in SOME_FAIL else 0)
    assert result.out.strip()


@each_command
def test_every_command_explains_itself_and_says_what_its_document_is(run, name):
    result = run(*name.split(), "-h")
    assert result.code == 0
    assert COMMANDS[name].help.split("\n")[0].rstrip(".")[:20] in result.out
    assert "--json" in result.out
    assert COMMANDS[name].shape


NEED_NO_STORE = {"demo", "import", "key generate", "backup list", "backup pull", "backup verify"}


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - NEED_NO_STORE))
def test_no_command_makes_a_store_where_there_is_none(run, words, name, tmp_path):
    nowhere = tmp_path / "nowhere"
    case = words(name)
    case = case[4:] if case[0] == "--store" and name != "rebuild" else case
    result = run("--store", nowhere, "--json", *(case[2:] if name == "rebuild" else case))
    assert (result.code, result.document["error"]["name"]) == (3, "not found")
    assert str(nowhere) in result.err
    assert not nowhere.exists()


# --- ids, keys, metadata and pipelines that are anybody's


@pytest.fixture
def evil(store):
    """A store in which everything has a name that would steer a terminal."""
    handle = store("evil", pipeline=EVIL)
    handle.save({EVIL: EVIL, "n": 1}, EVIL, custom_metadata={EVIL: EVIL})
    handle.save({EVIL: [EVIL, 2]}, EVIL + "2")
    return handle


EVIL_CASES = [
    ["list"],
    ["show", "--", EVIL],
    ["get", "--", EVIL],
    ["get", "--", EVIL, EVIL],
    ["diff", "--values", "--", EVIL, EVIL + "2"],
    ["history", "--", EVIL],
    ["tree"],
    ["stats"],
    ["pipelines"],
    ["export-index"],
    ["pin", "--", EVIL, "no" + EVIL],
    ["delete", "--yes", "--", EVIL, "no" + EVIL],
    ["sql", "SELECT * FROM checkpoint_overview"],
    ["show", "--", "no" + EVIL],
    ["sql", f"SELECT '{EVIL}'"],
    ["list", "--where", EVIL],
    ["list", "--sort", EVIL],
    ["x" + EVIL],
]


@pytest.mark.parametrize("case", EVIL_CASES, ids=lambda case: case[0][:9].strip("-\x1b[2J\r\n"))
def test_no_name_reaches_the_terminal_as_it_is(run, evil, case):
    shared = ["--store", evil.checkpoint_dir, "--pipeline", EVIL]
    result = run(*shared, *case)
    strange = {each for each in result.out + result.err if not each.isprintable()}
    assert strange <= {"\n"}
    assert "evil" in result.out + result.err
    told = run(*shared, "--json", *case)
    assert told.out.isascii()
    json.loads(told.out)


def test_json_gives_every_name_back_as_it_is(run, evil):
    shared = ["--store", evil.checkpoint_dir, "--pipeline", EVIL, "--json"]
    [second, first] = run(*shared, "list").document["checkpoints"]
    assert (first["checkpoint_id"], second["checkpoint_id"]) == (EVIL, EVIL + "2")
    assert first["custom_metadata"] == {EVIL: EVIL}
    assert run(*shared, "get", "--", EVIL, EVIL).document["values"][EVIL]["value"] == EVIL
