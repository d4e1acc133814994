"""Databases made by hand: any value in any column, and rows that contradict one another."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from attacked import IDS, OPTIONS, alter, attack, load_right
from effort import NIGHTLY, some

from checkpointdb import CorruptionError, PipelineCheckpoint
from checkpointdb.schema import metadata

HOSTILE = [
    None,
    -1,
    0,
    2**63 - 1,
    -(2**63),
    1.5,
    1e300,
    float("inf"),
    float("nan"),
    "text",
    "",
    b"bytes",
    b"",
    b"\xff\xfe",
    "a\0b",
    "../../outside.ckpt.gz",
    "/etc/passwd",
    "p-default/../../outside.ckpt.gz",
    "[1]",
    "{",
    '{"a": NaN}',
    '{"a":' * 5_000 + "1" + "}" * 5_000,
    "[" * 100_000,
    "9999-99-99 00:00:00.000000",
    "0001-01-01 00:00:00.000000",
    "x" * 100_000,
]
COLUMNS = [
    f"{table.name}.{column.name}" for table in metadata.sorted_tables for column in table.columns
]
# By day each column gets some of the values, all of which so get their turn; by night all.
STEP = 1 if NIGHTLY else some(26, long=7)

# What a schema made by hand leaves out. (SQLite keeps the primary keys of the others anyway.)
LOOSEN = (
    "PRAGMA writable_schema = ON",
    """UPDATE sqlite_master SET sql = replace(sql, ' NOT NULL', '')
       WHERE type = 'table' AND sql NOT LIKE '%WITHOUT ROWID%'""",
)


@pytest.mark.parametrize("column", COLUMNS)
def test_any_value_in_any_column_is_read_or_told_with_the_file(copy, column):
    table, _, name = column.partition(".")
    tried = 0
    for value in HOSTILE[COLUMNS.index(column) % STEP :: STEP]:
        directory = copy()
        alter(directory, *LOOSEN)
        statement = f'UPDATE OR IGNORE "{table}" SET "{name}" = ?'
        tried += alter(directory, statement, values=(value,))
        attack(directory)
    assert tried or name == "id"  # whose type alone SQLite guards


CONTRADICTIONS = {
    "chains that were forked from each other": """UPDATE chains SET forked_from =
        (SELECT max(id) FROM checkpoints WHERE chain_id <> chains.id)""",
    "chains that were forked from themselves": """UPDATE chains SET forked_from =
        (SELECT max(id) FROM checkpoints WHERE chain_id = chains.id)""",
    "depths at the end of all numbers": """UPDATE checkpoints
        SET depth = 9223372036854775807 - id""",
    "a chain of endless length": "UPDATE chains SET next_depth = 9223372036854775807",
    "sequences at the end of all numbers": """UPDATE pipelines
        SET next_sequence = 9223372036854775807""",
    "a save that counts as the last before a full": """UPDATE checkpoints
        SET since_full = 9223372036854775807""",
    "no pipeline": "DELETE FROM pipelines",
    "no chain": "DELETE FROM chains",
    "no payload": "DELETE FROM payloads",
    "no member": "DELETE FROM members",
    "no value": "DELETE FROM state_values",
    "no chunk": "DELETE FROM chunks",
    "no place of a chunk": "DELETE FROM value_chunks",
    "no entry": "DELETE FROM entries",
    "no checkpoint": "DELETE FROM checkpoints",
    "no revision": "DELETE FROM checkpointdb_version",
    "two revisions": "INSERT INTO checkpointdb_version VALUES ('0001')",
    "a revision that is no text": "UPDATE checkpointdb_version SET version_num = x'00ff'",
    "a revision to come": "UPDATE checkpointdb_version SET version_num = '9999'",
    "a revision that is a path": "UPDATE checkpointdb_version SET version_num = '../../x'",
    "removals of what lives": """INSERT INTO removals (name, created_at)
        SELECT name, '2026-01-01 00:00:00.000000' FROM payloads""",
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_rows_that_contradict_one_another_are_read_or_told_with_the_file(copy, name):
    directory = copy()
    assert alter(directory, CONTRADICTIONS[name])
    attack(directory)


def test_one_id_that_two_checkpoints_have_is_told_with_the_file(copy):
    directory = copy()
    unique = "CONSTRAINT uq_checkpoints_pipeline_id_checkpoint_id UNIQUE"
    assert alter(
        directory,
        "PRAGMA writable_schema = ON",
        f"""UPDATE sqlite_master SET sql = replace(sql, '{unique} (pipeline_id, checkpoint_id)',
            'CHECK (1)') WHERE name = 'checkpoints'""",
        "DELETE FROM sqlite_master WHERE name = 'sqlite_autoindex_checkpoints_2'",
    )
    assert alter(directory, "UPDATE checkpoints SET checkpoint_id = 'two'")
    with (
        PipelineCheckpoint(directory, **OPTIONS) as handle,
        pytest.raises(CorruptionError, match=r"checkpoints\.db"),
    ):
        handle.load("two")


def test_what_cannot_be_forgotten_is_told_with_the_file_and_changes_nothing(copy):
    """An entry of no depth keeps its chain from being deleted."""
    directory = copy()
    alter(directory, "UPDATE entries SET from_depth = -5 WHERE from_depth = 0")
    with PipelineCheckpoint(directory, **OPTIONS) as handle:
        before = handle.list_checkpoints()
        with pytest.raises(CorruptionError, match=r"checkpoints\.db.*contradict"):
            handle.delete_checkpoint("three")
        assert handle.list_checkpoints() == before


def test_removals_of_what_lives_remove_nothing(copy):
    directory = copy()
    assert alter(directory, CONTRADICTIONS["removals of what lives"])
    with PipelineCheckpoint(directory, **OPTIONS) as handle:
        handle.sweep()
        for each in IDS:
            load_right(handle, each)


def test_a_deep_list_of_metadata_is_told_with_the_file(copy):
    directory = copy()
    alter(directory, "UPDATE checkpoints SET custom_metadata = ?", values=("[" * 10**6,))
    with (
        PipelineCheckpoint(directory, **OPTIONS) as handle,
        pytest.raises(CorruptionError, match=r"checkpoints\.db"),
    ):
        handle.list_checkpoints()


def test_the_sound_store_passes_the_same_acts(copy):
    """Else the others could not fail: each act does what it says where nothing is wrong."""
    directory = copy()
    attack(directory)
    with closing(sqlite3.connect(directory / "checkpoints.db")) as database:
        assert database.execute("SELECT checkpoint_id FROM checkpoints").fetchall() == [("last",)]
