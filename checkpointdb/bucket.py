"""A bucket at one of the providers: its few requests, retried, and their errors in our words.

Everything here goes through `obstore`, as `bucket_client` sets it up.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, NamedTuple

from checkpointdb.bucket_client import (
    FIRST_PAUSE_SECONDS,
    base_error,
    connect,
    longest_pause,
    refuse_after_fork,
)
from checkpointdb.bucket_errors import advice, is_denied, is_transient, shown
from checkpointdb.bucket_urls import Location
from checkpointdb.contexts import contextmanager
from checkpointdb.errors import StoreUnavailableError

PATIENCE_SECONDS = 90.0  # for a request and its repetitions, all of them together

PART_BYTES = 8 << 20  # 10 000 parts are the most that an upload may have: 80 GB
_PARTS_AT_ONCE = 3
_MOST_DELETED = 1000  # by one request, at S3


_conditional: dict[str, bool] = {}  # what was found out of servers, for the whole process
_probing = threading.Lock()

log = logging.getLogger("checkpointdb")


class Object(NamedTuple):
    """What a bucket says of an object, its path below the bucket."""

    path: str
    stored_bytes: int
    modified_at: datetime


class Bucket:
    """A bucket. Errors are StoreUnavailableError, or FileNotFoundError for an object.

    `patience_seconds` is how long a request is repeated before it counts as failed.
    """

    def __init__(self, location: Location, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self.location = location
        self.patience_seconds = patience_seconds
        self._lock = threading.Lock()
        self._made: Any = None

    def __repr__(self) -> str:
        return f"Bucket({self.location.url!r})"

    def with_patience(self, seconds: float) -> Bucket:
        """Return the same bucket for requests that may not take as long."""
        return Bucket(self.location, patience_seconds=min(self.patience_seconds, seconds))

    def put_new(self, path: str, data: bytes) -> bool:
        """Store a small object unless there is another: False, if there is.

        Some servers take no notice of the condition, and replace it: they are asked before. An
        answer may be lost, and a repetition then be told that there is one: ours, if it has our
        bytes.
        """
        try:
            if self._keeps_conditions():
                return self._put_if_new(path, data) or self._has(path, data)
            if self.find(path) is not None:
                return self._has(path, data)
            self.replace(path, data)
            return True
        except StoreUnavailableError:
            with suppress(StoreUnavailableError):
                if self._has(path, data):
                    return True
            raise

    def replace(self, path: str, data: bytes) -> None:
        """Store a small object, whether there is one or not."""
        with self._explained("written"):
            self._store.put(path, data, use_multipart=False)

    def replace_if(self, path: str, data: bytes, seen: bytes) -> bool:
        """Replace a small object if it still is what was seen: False, if not.

        By the server itself where it has such a condition, else by a look beforehand.
        """
        return self._repeated(lambda: self._replace_once(path, data, seen))

    def _replace_once(self, path: str, data: bytes, seen: bytes) -> bool:
        from obstore import exceptions as refusals

        with self._explained("read"):
            found = self._store.get(path)
            there: bytes | None = bytes(found.bytes())
        for condition in _conditions(found.meta):
            if there != seen:
                return there == data  # by our own request, whose answer was lost
            with self._explained("written"):
                try:
                    self._store.put(path, data, mode=condition, use_multipart=False)
                    return True
                except (refusals.AlreadyExistsError, refusals.PreconditionError):
                    there = self.read_small(path, len(data) + len(seen))
                except (refusals.NotSupportedError, NotImplementedError):
                    self._store.put(path, data, use_multipart=False)
                    return True
        return there == data

    def put_parts(self, path: str, parts: Iterator[bytes]) -> None:
        """Store an object in parts, sent as they come; if they raise, all of it is given up."""
        with self._explained("written"):
            self._store.put(
                path,
                parts,
                use_multipart=True,
                chunk_size=PART_BYTES,
                max_concurrency=_PARTS_AT_ONCE,
            )

    def find(self, path: str) -> Object | None:
        """Return what there is of an object."""
        try:
            with self._explained("read", may_be_missing=True):
                return _object(self._store.head(path))
        except FileNotFoundError:
            return None

    def read(self, path: str, start: int, end: int) -> bytes:
        """Return the bytes of a range, which must be one. Raises FileNotFoundError."""
        with self._explained("read", may_be_missing=True):
            return bytes(self._store.get_range(path, start=start, end=end))

    def read_small(self, path: str, most_bytes: int) -> bytes | None:
        """Return an object, or the beginning of a larger one; None if there is none."""
        try:
            with self._explained("read", may_be_missing=True):
                found = self._store.get(path)
                if found.meta["size"] <= most_bytes:
                    return bytes(found.bytes())
        except FileNotFoundError:
            return None
        return self.read(path, 0, most_bytes)

    def list(self, prefix: str, page: int = 1000) -> Iterator[Object]:
        """Yield the objects whose paths begin with whole parts of a prefix, ordered by path."""
        with self._explained("listed"):
            pages = iter(self._store.list(prefix or None, chunk_size=page))
        while True:
            with self._explained("listed"):
                found = next(pages, None)
            if found is None:
                return
            yield from map(_object, found)

    def delete(self, path: str) -> None:
        """Delete an object; none is no error."""
        try:
            with self._explained("deleted from", may_be_missing=True):
                self._store.delete(path)
        except FileNotFoundError:
            return

    def delete_all(self, paths: Sequence[str]) -> dict[str, StoreUnavailableError]:
        """Delete objects, many by one request; return those that could not be, each with why."""
        failed: dict[str, StoreUnavailableError] = {}
        for start in range(0, len(paths), _MOST_DELETED):
            failed |= self._delete_some(paths[start : start + _MOST_DELETED])
        return failed

    def _delete_some(self, paths: Sequence[str]) -> dict[str, StoreUnavailableError]:
        """Delete them by one request; if one of them is refused, each by itself, to know which."""
        try:
            with self._explained("deleted from", may_be_missing=True):
                self._store.delete(list(paths))
            return {}
        except FileNotFoundError:  # of one alone, or of the bucket
            pass
        except StoreUnavailableError as error:
            if is_denied(error) or is_transient(error):  # so that nobody waits for each
                return dict.fromkeys(paths, error)
        failed: dict[str, StoreUnavailableError] = {}
        for path in paths:
            try:
                self.delete(path)
            except StoreUnavailableError as error:
                failed[path] = error
        return failed

    def now(self) -> datetime:
        """Return the time by the clock that dates objects: that of one put for this.

        (The newest object that is there costs no request, and is as old as the last save.)
        """
        with self._probe() as path:
            self.replace(path, b"")
            with self._explained("read"):
                return _object(self._store.head(path)).modified_at

    def _put_if_new(self, path: str, data: bytes) -> bool:
        """Store an object unless there is one; False too if a lost answer said that it is."""
        return self._repeated(lambda: self._put_once(path, data))

    def _repeated(self, write: Callable[[], bool]) -> bool:
        """Repeat a write under a condition: obstore does not, where the connection breaks."""
        until, pause = time.monotonic() + self.patience_seconds, FIRST_PAUSE_SECONDS
        while True:
            try:
                return write()
            except StoreUnavailableError as error:
                if not is_transient(error) or time.monotonic() + pause > until:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, longest_pause(self.patience_seconds))

    def _put_once(self, path: str, data: bytes) -> bool:
        with self._explained("written"):
            from obstore.exceptions import AlreadyExistsError, PreconditionError

            try:
                self._store.put(path, data, mode="create", use_multipart=False)
            except (AlreadyExistsError, PreconditionError):
                return False
        return True

    def _has(self, path: str, data: bytes) -> bool:
        return self.read_small(path, len(data) + 1) == data

    def _keeps_conditions(self) -> bool:
        """Say whether the server refuses to replace an object, found out by two writes, once."""
        server = f"{self.location.scheme} {self.location.bucket} {self.location.endpoint}"
        with _probing:
            if server not in _conditional:
                with self._probe() as path:
                    self._put_if_new(path, b"1")
                    self._put_if_new(path, b"2")
                    _conditional[server] = self._has(path, b"1")
                if not _conditional[server]:
                    log.warning(
                        "%r takes no notice of conditions, and replaces objects that it was told "
                        "not to: checkpointdb looks for each before it writes it",
                        self.location.url,
                    )
            return _conditional[server]

    @contextmanager
    def _probe(self) -> Iterator[str]:
        """Give a path for an object that is gone afterwards."""
        path = self.location.path_of(f"probe-{uuid.uuid4().hex}")
        try:
            yield path
        finally:
            with suppress(StoreUnavailableError):  # who may not delete may still save
                self.delete(path)

    @property
    def _store(self) -> Any:
        refuse_after_fork(self.location)
        with self._lock:
            if self._made is None:
                self._made = connect(self.location, self.patience_seconds)
            return self._made

    @contextmanager
    def _explained(self, done: str, *, may_be_missing: bool = False) -> Iterator[None]:
        failed = base_error(self.location)
        try:
            yield
        except (failed, FileNotFoundError) as error:
            if may_be_missing and isinstance(error, FileNotFoundError):
                raise
            raise StoreUnavailableError(
                f"{self.location.url!r} cannot be {done}: {advice(error)} ({shown(error)})"
            ) from error


def _conditions(meta: Any) -> list[dict[str, str]]:
    """Return what says of an object that it is still this one, in the forms that servers know.

    Ceph's gateway compares an ETag without the quotes that belong to it.
    """
    e_tag, version = meta["e_tag"], meta["version"]
    more = {} if version is None else {"version": version}
    if e_tag is None:
        return [more]
    return [{"e_tag": each, **more} for each in dict.fromkeys([e_tag, e_tag.strip('"')])]


def _object(meta: Any) -> Object:
    return Object(str(meta["path"]), int(meta["size"]), meta["last_modified"])
