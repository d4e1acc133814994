"""What can be read only once, kept in a file without a name while it is saved.

A save may have to read a value again: to make a full after all, or because it lost a race.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from checkpointdb.contexts import contextmanager
from checkpointdb.errors import StoreUnavailableError
from checkpointdb.local_payloads import advice
from checkpointdb.payloads import PayloadStore
from checkpointdb.sources import Flowing
from checkpointdb.store.flows import is_once, opened
from checkpointdb.store.request import SaveRequest, Writer
from checkpointdb.store.stored_stream import rebind
from checkpointdb.streamed import StreamedValue

if TYPE_CHECKING:
    from checkpointdb.store.engine import Engine

_RECORD_BYTES = 1 << 20
_KEY_BYTES = 32
_TAG_BYTES = 16


@contextmanager
def repeatable(engine: Engine, request: SaveRequest, writer: Writer) -> Iterator[SaveRequest]:
    """Give a request with streams that can all be read again; afterwards they are stored ones.

    Raises what `spooled` raises.
    """
    if not any(map(isinstance, request.state.values(), repeat(StreamedValue))):
        yield request
        return
    sealed = engine.cipher.epoch is not None
    with spooled(request, engine.payloads, sealed=sealed) as repeated:
        yield repeated
    if writer.head is not None:
        rebind(engine, request.state, repeated, writer.head)


@contextmanager
def spooled(request: SaveRequest, payloads: PayloadStore, *, sealed: bool) -> Iterator[SaveRequest]:
    """Give the request with streams that can all be read again, for as long as it lasts.

    Raises InvalidStateError, naming the key, if a source cannot be read, StoreUnavailableError
    if there is no room for it.
    """
    state = dict(request.state)
    copies: dict[int, StreamedValue] = {}  # by the source: several keys may have one
    with ExitStack() as stack:
        for key, value in request.state.items():
            if not isinstance(value, StreamedValue):
                continue
            source = id(value._source)
            if source not in copies and is_once(key, value._source):
                with _available(payloads.scratch_directory):
                    file = stack.enter_context(payloads.scratch())
                spool = Spool(file, payloads.scratch_directory, sealed=sealed)
                spool.fill(key, value)
                copies[source] = StreamedValue._of(spool)
            state[key] = copies.get(source, value)
        yield request._replace(state=state)


class Spool:
    """A source of what was read already: of sealed records in an encrypted store.

    Their key is random and in memory alone, so the file is of no use once the process is gone.
    """

    is_once = False

    def __init__(self, file: Any, directory: Path, *, sealed: bool) -> None:
        self._file = file
        self._directory = directory
        self._seal, self._unseal = _sealed() if sealed else (_as_it_is, _as_it_is)
        self._stored_bytes = _RECORD_BYTES + (_TAG_BYTES if sealed else 0)
        self.raw_bytes = 0

    def fill(self, key: str, value: StreamedValue) -> None:
        """Read the whole stream. Raises what `spooled` raises."""
        record = memoryview(bytearray(_RECORD_BYTES))
        number = 0
        with opened(key, value._source) as read_into:
            while filled := _fill(record, read_into):
                with _available(self._directory):
                    rest = memoryview(self._seal(number, record[:filled]))
                    while rest:
                        rest = rest[self._file.write(rest) :]
                number += 1
                self.raw_bytes += filled

    def open(self) -> io.RawIOBase:
        return Flowing(self._records())

    def _records(self) -> Iterator[bytes | memoryview]:
        with _available(self._directory):
            self._file.seek(0)
        number = 0
        while True:
            with _available(self._directory):
                stored = self._file.read(self._stored_bytes)
            if not stored:
                return
            yield self._unseal(number, stored)
            number += 1


_Transform = Callable[[int, Any], Any]  # of a record's number and its bytes


def _as_it_is(_number: int, record: Any) -> Any:
    return record


def _sealed() -> tuple[_Transform, _Transform]:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    cipher = AESGCM(os.urandom(_KEY_BYTES))

    def nonce(number: int) -> bytes:
        return number.to_bytes(12, "little")

    return (
        lambda number, record: cipher.encrypt(nonce(number), record, None),
        lambda number, stored: cipher.decrypt(nonce(number), stored, None),
    )


def _fill(record: memoryview, read_into: Callable[[memoryview], int]) -> int:
    filled = 0
    while filled < len(record) and (count := read_into(record[filled:])):
        filled += count
    return filled


@contextmanager
def _available(directory: Path) -> Iterator[None]:
    try:
        yield
    except StoreUnavailableError:
        raise
    except OSError as error:
        result = StoreUnavailableError(
            "nothing was saved: a stream that can be read only once could not be kept in "
            f"{str(directory)!r} meanwhile ({error.strerror}): {advice(error)}"
        )
        result.errno = error.errno
        raise result from error
