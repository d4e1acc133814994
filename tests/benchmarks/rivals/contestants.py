"""What people keep states with, each at its own best settings and all equally durable.

None of them flushes its files to the medium by itself, except the last two: `flush` does it for
the others after each save, as their user would have to.
"""

from __future__ import annotations

import gzip
import io
import os
import pickle
import sqlite3
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol

from blake3 import blake3
from isal import isal_zlib

from checkpointdb.chunking import cut_buffer, cut_stream

from ..naive import write

State = dict[str, Any]


class Contestant(Protocol):
    """Keeps the states of steps, numbered from 0, in a folder."""

    settings: str

    def __init__(self, folder: Path) -> None: ...
    def save(self, step: int, state: State) -> None: ...
    def load(self, step: int) -> State: ...
    def load_key(self, step: int, key: str) -> Any: ...
    def close(self) -> None: ...


class _Whole:
    """Loads a key by loading everything, as there is no other way."""

    settings = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, step: int) -> State:
        raise NotImplementedError

    def load_key(self, step: int, key: str) -> Any:
        return self.load(step)[key]

    def close(self) -> None:
        pass


class Ours:
    settings = "the defaults; a load verifies every digest"

    def __init__(self, folder: Path) -> None:
        from checkpointdb import PipelineCheckpoint, RetentionPolicy

        self._store = PipelineCheckpoint(folder, retention_policy=RetentionPolicy.KEEP_ALL)

    def save(self, step: int, state: State) -> None:
        self._store.save(state, str(step))

    def load(self, step: int) -> State:
        return self._store.load(str(step))

    def load_key(self, step: int, key: str) -> Any:
        return self._store.load(str(step), keys=[key])[key]

    def close(self) -> None:
        self._store.close()


class Naive(_Whole):
    """Everything, pickled and gzipped, in a file per step."""

    settings = "gzip.compress(pickle.dumps(state, 5), 1), a file per step; nothing verified"

    def save(self, step: int, state: State) -> None:
        data = gzip.compress(pickle.dumps(state, 5), 1)
        write(self.folder / f"{step}.pickle.gz", data, durable=True)

    def load(self, step: int) -> State:
        data = (self.folder / f"{step}.pickle.gz").read_bytes()
        state: State = pickle.loads(gzip.decompress(data))
        return state


class Joblib(_Whole):
    settings = "dump(compress=('zlib', 1)), a file per step; nothing verified"

    def __init__(self, folder: Path) -> None:
        import joblib

        super().__init__(folder)
        self._joblib = joblib

    def save(self, step: int, state: State) -> None:
        with (self.folder / f"{step}.joblib").open("wb") as file:
            self._joblib.dump(state, file, compress=("zlib", 1))
            flush(file)
        flush_folder(self.folder)

    def load(self, step: int) -> State:
        state: State = self._joblib.load(self.folder / f"{step}.joblib")
        return state


class Diskcache(_Whole):
    settings = "a key per step, synchronous=FULL, no eviction; its value files flushed by us"

    def __init__(self, folder: Path) -> None:
        import diskcache

        super().__init__(folder)
        self._cache = diskcache.Cache(
            folder, eviction_policy="none", size_limit=1 << 50, sqlite_synchronous=2
        )
        self._seen: set[Path] = set()

    def save(self, step: int, state: State) -> None:
        self._cache.set(step, state)
        flush_new(self.folder, "*.val", self._seen)

    def load(self, step: int) -> State:
        state: State = self._cache[step]
        return state

    def close(self) -> None:
        self._cache.close()


class DiskObjectstore:
    """Content-addressed: a value that did not change is stored once."""

    settings = "a packed object per value, zlib level 1, do_fsync; the list of objects by us"

    def __init__(self, folder: Path) -> None:
        from disk_objectstore import Container

        self._folder = folder
        self._container = Container(folder / "container")
        self._container.init_container(compression_algorithm="zlib+1")

    def save(self, step: int, state: State) -> None:
        values = [pickle.dumps(value, 5) for value in state.values()]
        names = self._container.add_objects_to_pack(
            values, compress=True, no_holes=True, do_fsync=True
        )
        listed = pickle.dumps(dict(zip(state, names, strict=True)), 5)
        write(self._folder / f"{step}.objects", listed, durable=True)

    def load(self, step: int) -> State:
        names = self._names(step)
        found = self._container.get_objects_content(list(names.values()))
        return {key: pickle.loads(found[name]) for key, name in names.items()}

    def load_key(self, step: int, key: str) -> Any:
        return pickle.loads(self._container.get_object_content(self._names(step)[key]))

    def _names(self, step: int) -> dict[str, str]:
        names: dict[str, str] = pickle.loads((self._folder / f"{step}.objects").read_bytes())
        return names

    def close(self) -> None:
        self._container.close()


class Sqlitedict(_Whole):
    settings = "a key per step, pickled and gzipped (1), WAL, synchronous=FULL"

    def __init__(self, folder: Path) -> None:
        from sqlitedict import SqliteDict

        super().__init__(folder)
        self._steps = SqliteDict(
            folder / "states.sqlite",
            journal_mode="WAL",
            encode=lambda state: sqlite3.Binary(gzip.compress(pickle.dumps(state, 5), 1)),
            decode=lambda data: pickle.loads(gzip.decompress(bytes(data))),
        )
        self._steps.conn.execute("PRAGMA synchronous = FULL")  # its own is OFF

    def save(self, step: int, state: State) -> None:
        self._steps[step] = state
        self._steps.commit()

    def load(self, step: int) -> State:
        state: State = self._steps[step]
        return state

    def close(self) -> None:
        self._steps.close()


class LangGraph(_Whole):
    """Its saver, as its graphs call it: a checkpoint per step of one thread."""

    settings = "SqliteSaver, pickle_fallback, WAL, synchronous=FULL"

    def __init__(self, folder: Path) -> None:
        from langgraph.checkpoint.base import empty_checkpoint
        from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
        from langgraph.checkpoint.sqlite import SqliteSaver

        super().__init__(folder)
        self._empty = empty_checkpoint
        self._connection = sqlite3.connect(folder / "states.sqlite", check_same_thread=False)
        serde = JsonPlusSerializer(pickle_fallback=True)
        self._saver = SqliteSaver(self._connection, serde=serde)
        self._saver.setup()
        self._connection.execute("PRAGMA synchronous = FULL")

    def save(self, step: int, state: State) -> None:
        checkpoint = self._empty()
        checkpoint["id"] = f"{step:08d}"
        checkpoint["channel_values"] = state
        where = {"configurable": {"thread_id": "1", "checkpoint_ns": ""}}
        about = {"source": "loop", "step": step, "parents": {}}
        self._saver.put(where, checkpoint, about, {})  # type: ignore[arg-type]

    def load(self, step: int) -> State:
        where = {
            "configurable": {"thread_id": "1", "checkpoint_ns": "", "checkpoint_id": f"{step:08d}"}
        }
        found = self._saver.get_tuple(where)  # type: ignore[arg-type]
        assert found is not None
        return found.checkpoint["channel_values"]

    def close(self) -> None:
        self._connection.close()


class Floor(_Whole):
    """No contestant: what no engine that deduplicates and verifies can do without.

    Each value is serialized and hashed once; what is new is compressed and flushed, in one thread
    and one file. Nothing is indexed: without the process nothing would be found again.
    """

    settings = "pickle 5, BLAKE3 of each chunk, ISA-L (2) of new ones, one flush per save"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._file = (folder / "floor").open("w+b")
        self._places: dict[bytes, tuple[int, int, int]] = {}  # member, offset, length
        self._members: list[tuple[int, int]] = []  # offset, length
        self._new: list[memoryview] = []
        self._new_bytes = 0
        self._steps: dict[int, dict[str, list[list[bytes]]]] = {}

    def save(self, step: int, state: State) -> None:
        self._steps[step] = {key: self._stored(value) for key, value in state.items()}
        self._pack()
        flush(self._file)

    def _stored(self, value: Any) -> list[list[bytes]]:
        buffers: list[pickle.PickleBuffer] = []
        stream = memoryview(pickle.dumps(value, 5, buffer_callback=buffers.append))
        parts = [(stream, cut_stream(stream, 0))]
        parts += [(raw, cut_buffer(raw.nbytes)) for raw in (each.raw() for each in buffers)]
        return [self._chunks(part, lengths) for part, lengths in parts]

    def _chunks(self, part: memoryview, lengths: list[int]) -> list[bytes]:
        ends = accumulate(lengths)
        return [self._chunk(part[end - n : end]) for end, n in zip(ends, lengths, strict=True)]

    def _chunk(self, chunk: memoryview) -> bytes:
        digest = blake3(chunk).digest()
        if digest not in self._places:
            self._places[digest] = len(self._members), self._new_bytes, len(chunk)
            self._new.append(chunk)
            self._new_bytes += len(chunk)
            if self._new_bytes >= _MEMBER_BYTES:
                self._pack()
        return digest

    def _pack(self) -> None:
        if not self._new:
            return
        raw = b"".join(self._new)
        shrinks = len(isal_zlib.compress(raw[:_SAMPLE_BYTES], 2)) < 0.95 * _SAMPLE_BYTES
        packed = isal_zlib.compress(raw, 2) if shrinks else b"=" + raw
        self._members.append((self._file.tell(), len(packed)))
        self._file.write(packed)
        self._new, self._new_bytes = [], 0

    def load(self, step: int) -> State:
        return self._restored(self._steps[step])

    def load_key(self, step: int, key: str) -> Any:
        return self._restored({key: self._steps[step][key]})[key]

    def _restored(self, values: dict[str, list[list[bytes]]]) -> State:
        members: dict[int, memoryview] = {}

        def chunk(digest: bytes) -> memoryview:
            number, offset, length = self._places[digest]
            if number not in members:
                members[number] = self._unpacked(number)
            return members[number][offset : offset + length]

        state = {}
        for key, (first, *others) in values.items():
            stream = b"".join(map(chunk, first))
            buffers = [bytearray().join(map(chunk, each)) for each in others]
            state[key] = pickle.loads(stream, buffers=buffers)
        return state

    def _unpacked(self, number: int) -> memoryview:
        offset, length = self._members[number]
        stored = os.pread(self._file.fileno(), length, offset)
        return (
            memoryview(stored)[1:]
            if stored[:1] == b"="
            else memoryview(isal_zlib.decompress(stored))
        )

    def close(self) -> None:
        self._file.close()


_MEMBER_BYTES = 1 << 20
_SAMPLE_BYTES = 16 << 10


def flush(file: io.BufferedIOBase | Any) -> None:
    file.flush()
    os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def flush_new(folder: Path, pattern: str, seen: set[Path]) -> None:
    """Flush the files that were not seen before, and the folders they are in."""
    for path in set(folder.rglob(pattern)) - seen:
        seen.add(path)
        with path.open("rb") as file:
            os.fsync(file.fileno())
        flush_folder(path.parent)


CONTESTANTS: dict[str, Callable[[Path], Contestant]] = {
    "checkpointdb": Ours,
    "naive": Naive,
    "joblib": Joblib,
    "diskcache": Diskcache,
    "disk-objectstore": DiskObjectstore,
    "sqlitedict": Sqlitedict,
    "LangGraph": LangGraph,
    "floor": Floor,
}
