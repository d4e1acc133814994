"""What people keep states with, each at its own best settings and all equally durable.

None of them flushes its files to the medium by itself, except disk-objectstore and ours:
`flush` does it for the others after each save, as their user would have to.
"""

from __future__ import annotations

import gzip
import pickle
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..naive import write
from .contestant import Contestant, State, Whole, flush, flush_folder, flush_new
from .floors import Floor, RecordedFloor
from .programs import Dvc, Restic


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


class Naive(Whole):
    """Everything, pickled and gzipped, in a file per step."""

    settings = "gzip.compress(pickle.dumps(state, 5), 1), a file per step; nothing verified"

    def save(self, step: int, state: State) -> None:
        data = gzip.compress(pickle.dumps(state, 5), 1)
        write(self.folder / f"{step}.pickle.gz", data, durable=True)

    def load(self, step: int) -> State:
        data = (self.folder / f"{step}.pickle.gz").read_bytes()
        state: State = pickle.loads(gzip.decompress(data))
        return state


class Joblib(Whole):
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


class Diskcache(Whole):
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


class Sqlitedict(Whole):
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


class LangGraph(Whole):
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


CONTESTANTS: dict[str, Callable[[Path], Contestant]] = {
    "checkpointdb": Ours,
    "naive": Naive,
    "joblib": Joblib,
    "diskcache": Diskcache,
    "disk-objectstore": DiskObjectstore,
    "sqlitedict": Sqlitedict,
    "LangGraph": LangGraph,
    "DVC": Dvc,
    "restic": Restic,
    "floor": Floor,
    "floor and rows": RecordedFloor,
}
