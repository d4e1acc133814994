"""Let the calls of an operation fail, one after the other, and look at what is left."""

from __future__ import annotations

import errno
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from effects import files_of
from kinds import KINDS, OPENS, Kind
from loads import LEFT_OUT, OPERATIONS
from operations import Operation
from stopping import warm_up
from tracing import CALLS, CREATES, READS, Child, Stop, fail, is_short, shorten
from trying import ACKNOWLEDGED, prepared, verdict
from unflushed import Unflushed

from checkpointdb import CheckpointError

_MOST_FEWER = 4
_NUMBERS = {name: number for number, name in (CALLS | READS).items()}


class Fault(NamedTuple):
    """The n-th call of a kind fails; or, if it lasts, each from there on."""

    kind: str
    point: int
    lasts: bool


class Failed(NamedTuple):
    """Which call failed first, and of what, "" if none did; and what was not flushed after all."""

    first: str
    unflushed: set[Path]


class Tried(NamedTuple):
    """How many faults of each kind, and how many of all made the operation fail."""

    kinds: Counter[str]
    failed: int


def tried_on(name: str, *, kinds: Collection[str], sample: int | None) -> tuple[Tried | None, str]:
    """Let calls of an operation fail; return how many did, or None and what was wrong."""
    logging.getLogger("checkpointdb").addHandler(logging.NullHandler())  # or it is written out
    try:
        warm_up(OPERATIONS[name])
        kinds = [each for each in kinds if each not in LEFT_OUT.get(name, ())]
        outcomes = list(failed_everywhere(OPERATIONS[name], kinds, sample))
        failed = sum(told != "" for _, told in outcomes)
        assert failed, "it never failed: calls return no errors"
    except AssertionError as error:
        return None, str(error)
    return Tried(Counter(fault.kind for fault, _ in outcomes), failed), ""


def failed_everywhere(
    operation: Operation, kinds: Collection[str], sample: int | None
) -> Iterator[tuple[Fault, str]]:
    """Yield each fault after which nothing was wrong, and what it made the operation say.

    Without a sample, those of each call.
    """
    with prepared(operation) as place:
        counts = _fewest(operation, place)
        for fault in chain.from_iterable(_chosen(each, counts[each], sample) for each in kinds):
            tried, room, failed = _fail_near(operation, place, fault)
            where = f"{tried} of {counts[fault.kind]}, {failed.first}"
            told = _judge(operation, room, where)
            assert told or not failed.unflushed, (
                f"{where}: done, and {failed.unflushed} not flushed"
            )
            yield tried, told


def _fail_near(operation: Operation, place: Path, fault: Fault) -> tuple[Fault, Path, Failed]:
    """Do it with a fault at a call, or at one shortly before: threads may make fewer this time."""
    for point in range(fault.point, max(0, fault.point - _MOST_FEWER), -1):
        tried = fault._replace(point=point)
        room = shutil.copytree(place / "room", place / f"failed-{point}")
        failed = _fail(operation, room, tried)
        if failed.first:
            return tried, room, failed
        shutil.rmtree(room)
    raise AssertionError(f"{fault}: the operation did not come that far")


def _chosen(kind: str, count: int, sample: int | None) -> Iterator[Fault]:
    """Each call once and from there on; of a sample, the one and the other in turn."""
    if sample is None or count <= sample:
        points = range(1, count + 1)
        yield from (Fault(kind, point, lasts) for point in points for lasts in (False, True))
    else:
        for at in range(sample):
            yield Fault(kind, 1 + (2 * at + 1) * count // (2 * sample), bool(at % 2))


def _fewest(operation: Operation, place: Path) -> Counter[str]:
    """How many calls of each kind it makes in each of three goes: now and then it makes more."""
    rooms = [place / f"counted-{number}" for number in range(3)]
    counts = [_counts(operation, shutil.copytree(place / "room", each)) for each in rooms]
    return counts[0] & counts[1] & counts[2]


def _counts(operation: Operation, room: Path) -> Counter[str]:
    """How many calls of each kind the operation makes by itself."""
    counts: Counter[str] = Counter()
    child = Child(_telling(operation, room), CALLS | READS)
    for stop in child.stops():
        counts.update(name for name, kind in KINDS.items() if _is_hit(kind, room, stop))
    assert child.exit == 0, f"it fails by itself: {child.exit}"
    _judge(operation, room, "without a fault")
    return counts


def _fail(operation: Operation, room: Path, fault: Fault) -> Failed:
    """Do it with a fault."""
    kind = KINDS[fault.kind]
    number, first = 0, ""
    unflushed = Unflushed(room)
    mend: Callable[[], None] | None = None
    child = Child(_telling(operation, room), {_NUMBERS[each]: each for each in kind.calls})
    for stop in child.stops(with_results=kind.error is None):
        if stop.result is not None:
            if mend is not None:
                mend()
            mend = None
        elif _is_hit(kind, room, stop):
            number += 1
            fails = number == fault.point or (fault.lasts and number > fault.point)
            unflushed.note(stop, is_refused=fails)
            if fails:
                first = first or f"{stop.call} of {', '.join(map(str, files_of(stop)))}"
                mend = _let_fail(kind, stop)
    assert child.exit == 0, f"{fault}, {first}: it ended with {child.exit}"
    return Failed(first, unflushed.paths)


def _let_fail(kind: Kind, stop: Stop) -> Callable[[], None] | None:
    if kind.error is None:
        return shorten(stop)
    fail(stop, kind.error)
    return None


def _is_hit(kind: Kind, room: Path, stop: Stop) -> bool:
    """Say whether a call may fail in this way, and is about a file of the room, as all are."""
    if stop.call not in kind.calls or (kind.error is None and is_short(stop)):
        return False
    if stop.call in OPENS and kind.error == errno.ENOSPC and not stop.arguments[2] & CREATES:
        return False
    try:
        paths = files_of(stop)
    except FileNotFoundError:  # no open file
        return False
    return any(each.is_relative_to(room) and each.name != ACKNOWLEDGED for each in paths)


def _telling(operation: Operation, room: Path) -> Callable[[], None]:
    """The operation, which makes a file when it is done, and one that tells of an error."""

    def act() -> None:
        try:
            operation.act(room, (room / ACKNOWLEDGED).touch)
        except CheckpointError as error:
            _told(room).write_text(f"{type(error).__name__}: {error}")

    return act


def _told(room: Path) -> Path:
    return room.with_name(f"{room.name}-told")


def _judge(operation: Operation, room: Path, where: str) -> str:
    """It is done, or said why not, in words that name the store; what was there is there.

    Return what was said.
    """
    is_done = (room / ACKNOWLEDGED).exists()
    told = _told(room).read_text() if _told(room).exists() else ""
    _told(room).unlink(missing_ok=True)
    failed = verdict(operation, room)
    assert failed is None, f"{where}: {told or 'done'}: {failed}"
    assert is_done or told, f"{where}: it is neither done nor failed"
    assert not told or _is_clear(operation, room, told), f"{where}: misleading: {told}"
    return told


def _is_clear(operation: Operation, room: Path, told: str) -> bool:
    """Say whether an error is the one for what cannot be read or written, and says where."""
    if operation is OPERATIONS["re-encrypt"] and told.startswith("EncryptionError: "):
        return "older master key" in told  # files stayed that could not be unlinked
    if operation in map(OPERATIONS.get, _EIO_IS_DAMAGE) and told.startswith("CorruptionError: "):
        return "cannot be read: [Errno 5]" in told
    if told.startswith("SchemaVersionError: ") and "its directory cannot be written" in told:
        return str(room) in told  # access(2) said so
    return told.startswith("StoreUnavailableError: ") and str(room) in told


# To a rewriting, and to the rebuild of what a file brings, a payload's EIO is damage.
_EIO_IS_DAMAGE = ("merge", "merge unflushed", "merge encrypted", "import a file")
