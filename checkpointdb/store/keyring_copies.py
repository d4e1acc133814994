"""The copies of a store's keyring, a row and a file, and one beside payloads elsewhere, kept equal.

A key is in all before anything relies on it: an addition starts with the file, whose higher
generation holds even if the row is never committed. A removal starts with the row: were it the
file, and the row rolled back, the next opening would repair the file with what was removed.
The copy beside payloads is for a rebuild alone: nothing else reads it for what it says.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection, delete, insert, select

from checkpointdb.database import Database
from checkpointdb.directories import write_private
from checkpointdb.errors import KeyringError, StoreUnavailableError
from checkpointdb.keyring import MOST_BYTES, Keyring, decode_keyring, encode_keyring
from checkpointdb.payloads import PayloadStore
from checkpointdb.schema import keyring as table

KEYRING_NAME = "keyring.json"


class Copies(NamedTuple):
    """What was found: the keyring that holds, and the text of both copies."""

    newest: Keyring | None
    in_file: bytes | None
    in_table: bytes | None


def read_file(directory: Path) -> bytes | None:
    """Return what is in a directory's keyring file, None if there is none."""
    path = directory / KEYRING_NAME
    try:
        os.lstat(path)  # most stores have none, and to open it there may be no descriptor
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        with os.fdopen(descriptor, "rb") as file:
            return file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreUnavailableError(f"{str(path)!r} cannot be read: {error}") from error


def read_copies(directory: Path, connection: Connection) -> Copies:
    """Return both copies; the one that is whole and of the higher generation holds.

    Raises KeyringError if there are copies and none is whole, or if they are of two stores;
    SchemaVersionError for a newer format.
    """
    in_file = read_file(directory)
    text = connection.scalar(select(table.c.document))
    in_table = None if text is None else str(text).encode()
    whole: list[Keyring] = []
    problems: list[str] = []
    for where, copy in ((KEYRING_NAME, in_file), ("the table `keyring`", in_table)):
        try:
            if copy is not None:
                whole.append(decode_keyring(copy))
        except KeyringError as error:
            problems.append(f"{where}: {error}")
    if problems and not whole:
        raise KeyringError(
            f"the keyring of {str(directory)!r} is damaged, bring {KEYRING_NAME} or the database "
            f"back from a backup ({'; '.join(problems)})"
        )
    if len({each.store for each in whole}) > 1:
        raise KeyringError(
            f"{KEYRING_NAME} in {str(directory)!r} is that of another store than the database: "
            "bring back the one that belongs to it"
        )
    newest = max(whole, key=lambda each: each.generation, default=None)
    return Copies(newest, in_file, in_table)


def repair(directory: Path, database: Database, there: PayloadStore | None = None) -> None:
    """Make all copies the newest one. To be called by who has unlocked it."""
    with database.write() as connection:
        copies = read_copies(directory, connection)
        if copies.newest is None:
            return
        text = encode_keyring(copies.newest)
        if copies.in_file != text.encode():
            write_file(directory, text)
        if there is not None:
            write_there(there, text)
        if copies.in_table != text.encode():
            write_row(connection, copies.newest)


def keep_copy(directory: Path, database: Database, there: PayloadStore) -> None:
    """See that the copy beside the payloads is the newest keyring."""
    with database.read() as connection:
        newest = read_copies(directory, connection).newest
    if newest is not None and there.note(KEYRING_NAME) != encode_keyring(newest).encode():
        repair(directory, database, there)


def is_repaired(copies: Copies) -> bool:
    """Say whether both copies are the newest one."""
    return copies.newest is not None and (
        copies.in_file == copies.in_table == encode_keyring(copies.newest).encode()
    )


def write_row(connection: Connection, keyring: Keyring) -> None:
    """Replace the copy in the table, and wipe what was there."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA secure_delete = ON")  # not in Core
    connection.execute(delete(table))
    connection.execute(
        insert(table),
        {"id": 1, "generation": keyring.generation, "document": encode_keyring(keyring)},
    )


def write_there(there: PayloadStore, text: str) -> None:
    """Replace the copy beside the payloads, unless it is this one."""
    if there.note(KEYRING_NAME) != text.encode():
        there.put_note(KEYRING_NAME, text.encode())


def write_file(directory: Path, text: str) -> None:
    """Replace the copy in the file, whole or not at all; flushed, whatever the store is."""
    path = directory / KEYRING_NAME
    try:
        write_private(path, text.encode(), is_new=False)
    except OSError as error:
        raise StoreUnavailableError(f"{str(path)!r} cannot be written: {error}") from error
