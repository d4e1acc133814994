"""Loading, once it is known what to read: each member is read once, and checked."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import Any, NoReturn

from checkpointdb import format
from checkpointdb.contexts import contextmanager
from checkpointdb.digests import Digests
from checkpointdb.errors import CorruptionError, StoreUnavailableError
from checkpointdb.local_payloads import advice
from checkpointdb.payloads import PayloadStore
from checkpointdb.sealing import DATA
from checkpointdb.store.load_plan import Plan, Reading, Value, reject
from checkpointdb.store.pool import Pool
from checkpointdb.store.shares import runs, shares

_LEAST_SHARE_BYTES = 512 << 10  # of a thread: with less, threads only wait for each other

# What is to be taken of a member: offset, length, and the arguments of `put`.
_Piece = tuple[int, int, Value, int, memoryview | None]


class PayloadGoneError(Exception):
    """A payload is not there: the rows must be asked again. Internal."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def read(plan: Plan, payloads: PayloadStore, pool: Pool, reading: Reading) -> None:
    """Fill the parts of every value of a plan and check their digests.

    Raises PayloadGoneError if a payload is gone, CorruptionError if bytes are not those that
    were saved.
    """
    pieces: dict[int, list[_Piece]] = {member.id: [] for member in plan.members}
    for value in plan.values:
        _allocate(plan, value, pieces)

    def read_share(share: list[list[Any]]) -> None:
        for run in share:
            with explained(plan.checkpoint_id, run[0].name, payloads):
                _read_run(run, plan, pieces, payloads, reading)

    share_bytes = max(plan.stored_bytes // pool.threads // 2, _LEAST_SHARE_BYTES)
    parts = list(shares(runs(plan.members, share_bytes), share_bytes))
    if len(parts) == 1:
        read_share(parts[0])
    else:
        pool.run(read_share, parts)
    _check_values(plan, reading.cipher.digests)


@contextmanager
def explained(checkpoint_id: str, name: str, payloads: PayloadStore) -> Iterator[None]:
    """Say in what goes wrong with a payload which checkpoint was being loaded."""
    try:
        yield
    except CorruptionError as error:
        where = "" if error.payload else f"the payload {payloads.locate(name)!r}: "
        raise CorruptionError(
            f"Hash verification failed for checkpoint {checkpoint_id!r}: {where}{error}",
            checkpoint_id=checkpoint_id,
            payload=name,
        ) from error
    except FileNotFoundError as error:
        raise PayloadGoneError(name) from error
    except StoreUnavailableError:
        raise
    except OSError as error:
        raise StoreUnavailableError(
            f"checkpoint {checkpoint_id!r} was not loaded: the payload {payloads.locate(name)!r} "
            f"cannot be read ({error.strerror}): {advice(error)}"
        ) from error


def _allocate(plan: Plan, value: Value, pieces: dict[int, list[_Piece]]) -> None:
    """Make the parts of a value and cut them into targets for its chunks."""
    if len(value.layout) == 1:  # a stream alone: joined at the end, which copies it once
        for number, (member, at, length) in enumerate(value.places):
            pieces[member].append((at, length, value, number, None))
        return
    value.parts = [bytearray(length) for length in value.layout]  # so that arrays are writable
    views = [memoryview(part) for part in value.parts]
    part = start = 0
    for number, (member, at, length) in enumerate(value.places):
        while part < len(views) and start == len(views[part]):
            part, start = part + 1, 0
        if part == len(views) or start + length > len(views[part]):
            reject(plan, f"a chunk of key {value.key!r} reaches into the next part")
        target = views[part][start : start + length]
        pieces[member].append((at, length, value, number, target))
        start += length


def _read_run(
    run: list[Any],
    plan: Plan,
    pieces: dict[int, list[_Piece]],
    payloads: PayloadStore,
    reading: Reading,
) -> None:
    reader = payloads.open(run[0].name)
    try:
        if reader.stored_bytes != run[0].payload_bytes:
            raise CorruptionError(
                f"it has {reader.stored_bytes} bytes where {run[0].payload_bytes} were written"
            )
        seal = reading.cipher.open(run[0].name, reader)
        parts = reader.read_each((member.offset, member.stored_bytes) for member in run)
        for member, stored in zip(run, parts, strict=True):
            if reading.verify_hash and sha256(stored).digest() != member.sha256:
                raise CorruptionError(
                    f"its bytes {member.offset} to {member.offset + member.stored_bytes} are not "
                    "those that were written"
                )
            _, packed = seal.unseal(DATA, stored)
            raw = format.decompress_member(packed, member.raw_bytes)
            view = memoryview(raw)
            for at, length, value, number, target in pieces[member.id]:
                value.put(number, view[at : at + length], target, reading.cipher.digests)
            for key, _, _, _, _, length, _, at in plan.small.get(member.id, ()):
                plan.streams[key] = raw[at : at + length]
    finally:
        reader.close()


def _check_values(plan: Plan, digests: Digests) -> None:
    """Raise CorruptionError unless each value is the one that its rows name."""
    for serializer, rows in plan.small_by_serializer().items():
        found = digests.values_of_one(serializer, [plan.streams[row[0]] for row in rows])
        for row, digest in zip(rows, found, strict=True):
            if row[1] != digest:
                _reject_value(plan, row[0])
    for value in plan.values:
        if not value.is_intact(digests):
            _reject_value(plan, value.key)


def _reject_value(plan: Plan, key: str) -> NoReturn:
    raise CorruptionError(
        f"Hash verification failed for key {key!r} of checkpoint {plan.checkpoint_id!r}: what its "
        f"rows in {plan.database!r} name is not the value that was saved; restore a backup, or "
        "rebuild the database",
        checkpoint_id=plan.checkpoint_id,
    )
