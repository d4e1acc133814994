"""Which payloads are damaged, and which of their members can be read nevertheless.

Damage is what a load would meet, or a rebuild: a file that is missing, of another length, or with
other bytes. What only we cannot read now is none, and nothing is concluded from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import Any, NamedTuple

from checkpointdb import format, queries
from checkpointdb.contexts import contextmanager
from checkpointdb.database import Database
from checkpointdb.errors import CorruptionError, StoreUnavailableError
from checkpointdb.inventory import PayloadRow, payload_row, payload_rows, still_named
from checkpointdb.local_payloads import advice
from checkpointdb.manifest import MEMBER_BYTES
from checkpointdb.payloads import PayloadReader, PayloadStore, is_damage
from checkpointdb.reports import Problem
from checkpointdb.sealing import DATA, Cipher, Seal
from checkpointdb.verifying import verify_payload


class Damage(NamedTuple):
    """A damaged payload: `lost` members cannot be read, `whole` ones can.

    `is_described` says that its manifest is whole: a rebuild can use what is whole.
    """

    payload_id: int
    name: str
    reason: str
    lost: frozenset[int]
    whole: frozenset[int]
    is_described: bool


class Examined(NamedTuple):
    """What a look at a payload found; `problems` are those of its rows, not of its bytes."""

    damage: Damage | None = None
    problems: tuple[Problem, ...] = ()


def examine(
    database: Database, payloads: PayloadStore, cipher: Cipher, payload_id: int
) -> Examined:
    """Read a payload whole and say what is damaged in it; one that was removed is sound.

    Raises StoreUnavailableError if it cannot be read now.
    """
    while True:
        with database.read() as connection:
            row = payload_row(connection, payload_id)
            if row is None:
                return Examined()
            members = list(connection.execute(queries.members_of_payload(payload_id)))
        found = _examine(database, payloads, cipher, row, members)
        if still_named(database, row):
            return found


def _examine(
    database: Database, payloads: PayloadStore, cipher: Cipher, row: PayloadRow, members: list[Any]
) -> Examined:
    try:
        with only_damage(payloads, row.name):
            reader = payloads.open(row.name)
    except FileNotFoundError:
        return Examined(_gone(row, members, "the file is missing"))
    except CorruptionError as error:
        return Examined(_gone(row, members, str(error)))
    try:
        problems, _ = verify_payload(database, payloads, cipher, row.id)
        found = {each.kind: each.detail for each in reversed(problems)}
        if "unreadable" in found:
            where = payloads.locate(row.name)
            raise StoreUnavailableError(f"the payload {where!r}: {found['unreadable']}")
        if "missing" in found:
            return Examined(_gone(row, members, found["missing"]))
        if "damaged" not in found:
            return Examined(None, tuple(problems))
        if reader.stored_bytes != row.stored_bytes:
            lengths = f"{reader.stored_bytes} bytes, it was saved with {row.stored_bytes}"
            return Examined(_gone(row, members, f"the file has {lengths}"))
        lost = _lost_members(payloads, reader, cipher, row, members)
    finally:
        reader.close()
    whole = frozenset(member.id for member in members) - lost
    # By what the rows say: a manifest may be whole, and another payload's.
    is_described = "manifest" not in found
    return Examined(Damage(row.id, row.name, found["damaged"], lost, whole, is_described))


@contextmanager
def only_damage(payloads: PayloadStore, name: str) -> Iterator[None]:
    """Raise CorruptionError for what tells of a payload's bytes, FileNotFoundError if it is gone.

    Raises StoreUnavailableError for all else that keeps them from being read.
    """
    try:
        yield
    except (FileNotFoundError, StoreUnavailableError):
        raise
    except OSError as error:
        where = payloads.locate(name)
        if is_damage(error):
            raise CorruptionError(f"it cannot be read: {error}", payload=name) from error
        raise StoreUnavailableError(
            f"the payload {where!r} cannot be read now ({error.strerror}), which is no damage: "
            f"{advice(error)}"
        ) from error


def _gone(row: PayloadRow, members: list[Any], reason: str) -> Damage:
    lost = frozenset(member.id for member in members)
    return Damage(row.id, row.name, reason, lost, frozenset(), is_described=False)


def _lost_members(
    payloads: PayloadStore,
    reader: PayloadReader,
    cipher: Cipher,
    row: PayloadRow,
    members: list[Any],
) -> frozenset[int]:
    """Return which members cannot be read as a load does."""
    lost = set()
    for member in members:
        try:
            with only_damage(payloads, row.name):
                read_member(reader, cipher.open(row.name, reader), member)
        except (CorruptionError, FileNotFoundError):
            lost.add(member.id)
    return frozenset(lost)


def read_member(reader: PayloadReader, seal: Seal, member: Any) -> bytes:
    """Return the plain bytes of a member. Raises CorruptionError if they are not what was saved."""
    end = member.offset + member.stored_bytes
    if not 0 <= member.offset <= end <= reader.stored_bytes:
        raise CorruptionError("the member lies outside its payload")
    if not 0 <= member.raw_bytes <= MEMBER_BYTES:
        raise CorruptionError("the member has an impossible size")
    stored = reader.read(member.offset, member.stored_bytes)
    if sha256(stored).digest() != member.sha256:
        raise CorruptionError(f"the member at {member.offset} is not what was saved")
    return format.decompress_member(seal.unseal(DATA, stored)[1], member.raw_bytes)


# --- which to look at


def suspects(database: Database, payloads: PayloadStore) -> list[int]:
    """Return the payloads that are known to be damaged, or seen to be without reading them."""
    with database.read() as connection:
        rows = payload_rows(connection)
        marked = set(connection.scalars(queries.marked_payloads()))
    sizes = {file.name: file.stored_bytes for file in payloads.files()}
    return [row.id for row in rows if row.id in marked or sizes.get(row.name) != row.stored_bytes]
