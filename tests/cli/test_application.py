"""How a run ends: exit codes, messages, interrupts, pipes; in processes where it counts."""

from __future__ import annotations

import json
import os
import pty
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from checkpointdb import CheckpointError, StreamedValue, errors
from checkpointdb.cli.exits import EXITS, exit_for

COMMAND = [sys.executable, "-m", "checkpointdb"]
# Unbuffered, Python takes a part of what it was to write to a closed pipe for all of it.
BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


def start(*words, **options):
    options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "text": True, **options}
    return subprocess.Popen([*COMMAND, *map(str, words)], stderr=subprocess.PIPE, **options)


def finish(*words, **options):
    process = start(*words, **options)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


# --- exit codes


def test_every_code_and_name_is_used_once():
    assert len({each.code for each in EXITS}) == len({each.name for each in EXITS}) == len(EXITS)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("CheckpointError", 1),
        ("NotFoundError", 3),
        ("CorruptionError", 4),
        ("KeyringError", 4),
        ("InvalidInputError", 2),
        ("InvalidStateError", 2),
        ("EncryptionError", 5),
        ("MissingKeyError", 5),
        ("WrongKeyError", 5),
        ("StoreBusyError", 6),
        ("StoreUnavailableError", 7),
        ("UnknownOutcomeError", 7),
        ("SchemaVersionError", 8),
        ("NotSupportedError", 1),
        ("RunTakenError", 1),
        ("StaleStageError", 1),
        ("StateChangedError", 1),
        ("StateUpgradeError", 1),
        ("StateVersionError", 1),
        ("UntrustedGlobalError", 1),
        ("UnknownSerializerError", 1),
    ],
)
def test_an_error_has_its_code(name, code):
    kind = getattr(errors, name)
    assert exit_for(kind.__new__(kind)).code == code


def test_every_error_is_in_the_table_of_codes_above():
    [mark] = test_an_error_has_its_code.pytestmark
    kinds = {name for name in errors.__all__ if issubclass(getattr(errors, name), CheckpointError)}
    assert {name for name, _ in mark.args[1]} == kinds


def damage(handle):
    payload = Path(handle.get_checkpoint_info("one").file_path)
    data = bytearray(payload.read_bytes())
    data[len(data) // 2] ^= 1
    payload.write_bytes(data)


def age(handle):
    with closing(sqlite3.connect(handle.checkpoint_dir / "checkpoints.db")) as database, database:
        database.execute("UPDATE checkpointdb_version SET version_num = '0002'")


@pytest.mark.damages
@pytest.mark.parametrize(
    ("break_it", "words", "code"),
    [
        (None, ["show", "nobody"], 3),
        (None, ["get", "one", "nothing"], 3),
        (None, ["--pipeline", "other", "list"], 3),
        (None, ["list", "--where", "accuracy"], 2),
        (None, ["list", "--sort", "@colour"], 2),
        (None, ["sql", "DELETE FROM checkpoints"], 2),
        (None, ["show"], 2),
        (None, ["key", "list"], 5),
        (None, ["rebuild"], 7),
        (damage, ["get", "one"], 4),
        (damage, ["check", "--read-data"], 4),
        (age, ["list"], 8),
    ],
)
def test_a_failure_ends_in_its_code_and_says_why_without_a_traceback(
    run, handle, break_it, words, code
):
    if break_it is not None:
        break_it(handle)
    result = run(*words)
    assert result.code == code
    assert "Traceback" not in result.err + result.out
    assert result.err or "problem" in result.out
    told = run("--json", *words)
    assert (told.code, "error" in told.document) == (code, words[0] != "check")


def test_a_missing_and_a_wrong_key_have_their_code(run, sealed, key_file, tmp_path):
    assert run("--store", sealed, "list").code == 5
    assert run("--store", sealed, "--key-file", tmp_path / "none", "list").code == 5
    run("key", "generate", tmp_path / "wrong")
    assert run("--store", sealed, "--key-file", tmp_path / "wrong", "list").code == 5
    assert run("--store", sealed, "--key-file", key_file, "list").code == 0


def test_a_store_that_is_held_by_others_has_its_code(run, handle):
    with handle._engine.database.write():
        result = run("--busy-seconds", "0", "pin", "one")
    assert result.code == 6


def test_an_older_schema_is_not_upgraded_by_looking_at_it(run, tmp_path):
    from checkpointdb.database import Database

    database = Database(f"sqlite:///{tmp_path}/checkpoints.db")
    database.migrate("0001")
    database.close()
    result = run("--store", tmp_path, "list")
    assert (result.code, "db upgrade" in result.err) == (8, True)
    assert run("--store", tmp_path, "db", "info", "--json").document["state"] == "older"
    assert run("--store", tmp_path, "db", "upgrade", "--json").document["before"] == "0001"
    assert run("--store", tmp_path, "list").code == 0


def test_a_mistake_on_the_command_line_is_one_json_document_too(run):
    result = run("list", "--json", "--limit", "many")
    assert (result.code, result.document["error"]["name"]) == (2, "usage")


@pytest.mark.parametrize("words", [[], ["backup"]])
def test_without_a_command_the_help_is_shown_as_it_is(words):
    from click.testing import CliRunner

    from checkpointdb.cli.application import cli

    bare, helped = (CliRunner().invoke(cli, [*words, *more]) for more in ([], ["-h"]))
    assert (bare.exit_code, bare.stdout, bare.stderr) == (2, "", helped.stdout)


def test_what_stands_behind_a_double_dash_is_no_option(run):
    result = run("show", "--", "--json")
    assert (result.code, result.out) == (3, "")


# --- where options come from


def test_the_store_and_the_pipeline_come_from_the_environment(run, handle, store, tmp_path):
    store(pipeline="nightly").save({"a": 1}, "x")
    from click.testing import CliRunner

    from checkpointdb.cli.application import cli

    env = {"CHECKPOINTDB_STORE": str(handle.checkpoint_dir), "CHECKPOINTDB_PIPELINE": "nightly"}
    assert "x" in CliRunner().invoke(cli, ["list"], env=env).stdout
    other = CliRunner().invoke(cli, ["list", "--pipeline", "default"], env=env)
    assert "fork" in other.stdout


def test_options_may_stand_before_a_command_or_behind_it(run, handle, tmp_path):
    for words in (["--json", "list"], ["list", "--json"]):
        assert len(run(*words).document["checkpoints"]) == 3
    assert run("list", "--store", tmp_path / "nowhere").code == 3


def test_a_key_from_the_environment_opens_an_encrypted_store(run, sealed, key_file, monkeypatch):
    monkeypatch.setenv("CHECKPOINTDB_KEY_FILE", str(key_file))
    assert run("--store", sealed, "get", "one", "secret").out == "1\n"


def test_looking_at_a_store_forgets_nothing_and_changes_no_file(run, handle, tree):
    for n in range(12):
        handle.save({"n": n}, f"more {n}")
    before = {name for name in tree(handle.checkpoint_dir) if "payloads" in name}
    for words in (["list"], ["show", "one"], ["get", "two"], ["stats"], ["tree"], ["check"]):
        assert run(*words).code == 0
    assert {name for name in tree(handle.checkpoint_dir) if "payloads" in name} == before
    assert len(handle.list_checkpoints()) == 15


# --- processes


def test_a_process_ends_with_the_code_and_keeps_the_streams_apart(handle):
    code, out, err = finish("--store", handle.checkpoint_dir, "list", "--json")
    assert (code, len(json.loads(out)["checkpoints"]), err) == (0, 3, "")
    code, out, err = finish("--store", handle.checkpoint_dir, "show", "nobody")
    assert (code, out) == (3, "")
    assert err == "checkpointdb: checkpoint 'nobody' is not in pipeline 'default'\n"


def test_the_installed_command_is_the_module(handle):
    found = shutil.which("checkpointdb", path=Path(sys.executable).parent)
    assert found is not None
    done = subprocess.run([found, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("checkpointdb, version ")


def test_a_reader_that_goes_away_is_no_error_to_talk_about(handle):
    many = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n"
    process = start("--store", handle.checkpoint_dir, "sql", many, "--limit", "90000", env=BUFFERED)
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=60) == 141
    assert process.stderr.read() == ""
    process.stderr.close()


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="a limit of files is of POSIX")
def test_an_output_of_which_the_disk_takes_a_part_is_an_error(handle, tmp_path, environment):
    many = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n"
    words = ["--store", str(handle.checkpoint_dir), "sql", many, "--limit", "90000", "--json"]
    limited = f"ulimit -f 100; exec {shlex.join([*COMMAND, *words])} > {tmp_path / 'out'}"
    done = subprocess.run(
        ["/bin/sh", "-c", limited], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, "File too large" in done.stderr) == (1, True)


def test_a_reader_of_a_stream_that_goes_away_is_no_error_to_talk_about(store):
    with store("streams") as other:
        other.save({"s": StreamedValue(bytes(1 << 20) for _ in range(8))}, "x")
    process = start("--store", other.checkpoint_dir, "get", "x", "s", "--output", "-", text=False)
    process.stdout.read(10)
    process.stdout.close()
    assert process.wait(timeout=60) == 141
    assert process.stderr.read() == b""
    process.stderr.close()


def test_an_interrupt_ends_in_130_without_a_traceback(handle, tmp_path):
    started, script = tmp_path / "started", tmp_path / "key"
    script.write_text(f"#!/bin/sh\ntouch {started}\nexec sleep 60\n")
    script.chmod(0o700)
    env = {**os.environ, "CHECKPOINTDB_KEY_COMMAND": str(script)}
    process = start("--store", handle.checkpoint_dir, "list", env=env, start_new_session=True)
    while not started.exists() and process.poll() is None:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to what it started, too
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err.strip()) == (130, "", "checkpointdb: interrupted")


@pytest.fixture(params=["", "1"], ids=["buffered", "unbuffered"])
def environment(request):
    return {**BUFFERED, "PYTHONUNBUFFERED": request.param}


@pytest.mark.skipif(os.name == "nt", reason="a shell of POSIX closes it")
@pytest.mark.parametrize(
    ("words", "redirection", "code", "told"),
    [
        ("list", ">&-", 0, ""),
        ("prune --keep-last 1 --yes --json", ">&-", 0, ""),
        ("get nosuch", "2>&-", 3, ""),
        ("list --json", ">/dev/full", 1, "checkpointdb: [Errno 28] No space left on device"),
    ],
)
def test_an_output_that_is_closed_or_full_makes_no_traceback(
    handle, words, redirection, code, told, environment
):
    if redirection == ">/dev/full" and not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    command = shlex.join([*COMMAND, "--store", str(handle.checkpoint_dir), *words.split()])
    done = subprocess.run(
        ["/bin/sh", "-c", f"{command} {redirection}"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr.strip()) == (code, told)


def test_what_an_encoding_lacks_is_escaped(store):
    store("other").save({"a": 1}, "→ 😀")
    env = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    code, out, _ = finish("--store", store("other").checkpoint_dir, "list", env=env)
    assert code == 0
    assert "\\u2192 \\U0001f600" in out


def on_a_terminal(*words, answer=b"", streams=("stdin", "stdout", "stderr")):
    """Run with some streams on a terminal; return the code, what that showed, and the rest."""
    master, slave = pty.openpty()
    rest = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE)
    process = subprocess.Popen(
        [*COMMAND, *map(str, words)], **{**rest, **dict.fromkeys(streams, slave)}
    )
    os.close(slave)
    os.write(master, answer)
    shown = b""
    try:
        while piece := os.read(master, 65_536):
            shown += piece
    except OSError:  # how Linux says that the other end is closed
        pass
    out, _ = process.communicate(timeout=60)
    os.close(master)
    return process.returncode, shown.decode(), (out or b"").decode()


@pytest.mark.parametrize(
    ("answer", "code", "left"), [(b"y\n", 0, 2), (b"n\n", 1, 3), (b"\n", 1, 3)]
)
def test_delete_asks_on_a_terminal(handle, answer, code, left):
    words = ("--store", handle.checkpoint_dir, "delete", "one")
    ended, shown, _ = on_a_terminal(*words, answer=answer)
    assert (ended, "Delete one?" in shown) == (code, True)
    assert len(handle.list_checkpoints()) == left


@pytest.mark.parametrize(("answer", "code", "left"), [(b"y\n", 0, 2), (b"n\n", 1, 3)])
def test_prune_asks_on_a_terminal(handle, answer, code, left):
    words = ("--store", handle.checkpoint_dir, "prune", "--keep-last", "1")
    ended, shown, _ = on_a_terminal(*words, answer=answer)
    assert (ended, "Forget 1 checkpoint?" in shown) == (code, True)
    assert ("nothing was forgotten" in shown) == (left == 3)
    assert len(handle.list_checkpoints()) == left


def test_before_prune_asks_it_shows_what_would_be_forgotten_and_once(handle):
    words = (
        "--store",
        handle.checkpoint_dir,
        "prune",
        "--keep-last",
        "1",
        "--keep-best",
        "1",
        "acc",
    )
    _, shown, out = on_a_terminal(*words, answer=b"y\n", streams=("stdin", "stderr"))
    plan, _ = shown.split("Forget 1 checkpoint?")
    assert "not newest 1" in plan
    assert ("one" in plan, "two" in plan) == (True, False)
    assert "1 of 3 checkpoints would be forgotten" in plan
    assert "no checkpoint has a metadata field 'acc'" in plan
    assert out.startswith("1 of 3 checkpoints forgotten, ")


def test_before_a_prune_of_a_backup_asks_it_shows_what_would_be_deleted_and_once(handle, tmp_path):
    handle.push_backup(tmp_path / "nas")
    handle.save({"n": 3}, "three")
    handle.push_backup(tmp_path / "nas")
    words = ("--store", handle.checkpoint_dir, "backup", "prune", tmp_path / "nas")
    _, shown, out = on_a_terminal(
        *words, "--keep-last", "1", answer=b"y\n", streams=("stdin", "stderr")
    )
    plan, _ = shown.split("Delete 1 snapshot?")
    assert ("not newest 1" in plan, "keep" in plan) == (True, False)
    assert "1 of 2 snapshots and 0 payloads would be deleted" in plan
    assert out.startswith("1 of 2 snapshots and 0 payloads deleted, ")


def test_a_table_on_a_terminal_takes_no_id_for_markup(store):
    store("other").save({"a": 1}, "[red]x[/red]")
    code, shown, _ = on_a_terminal("--store", store("other").checkpoint_dir, "list")
    assert code == 0
    assert "[red]x[/red]" in shown


def test_progress_is_shown_on_a_terminal_and_leaves_the_document_alone(handle):
    words = ("--store", handle.checkpoint_dir, "check", "--read-data", "--json")
    code, shown, out = on_a_terminal(*words, streams=("stderr",))
    assert (code, json.loads(out)["is_ok"]) == (0, True)
    assert "Reading payloads" in shown
    assert on_a_terminal(*words, "--no-progress", streams=("stderr",))[1] == ""


# --- what is imported


def imported(statement):
    script = (
        f"import sys; {statement}; print(*sorted({{each.split('.')[0] for each in sys.modules}}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_the_library_imports_nothing_of_the_command_line():
    assert not {"click", "rich", "deepdiff"} & imported("import checkpointdb, checkpointdb.cli")


def test_without_click_the_command_says_what_to_install():
    script = "import sys; sys.modules['click'] = None; from checkpointdb.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "pip install 'checkpointdb[cli]'" in done.stderr
