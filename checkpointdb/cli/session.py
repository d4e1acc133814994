"""What the options that all commands share say, and the store that they name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from checkpointdb import (
    CheckReport,
    MissingKeyError,
    NotFoundError,
    PipelineCheckpoint,
    RetentionPolicy,
    StoreUnavailableError,
)
from checkpointdb.contexts import contextmanager
from checkpointdb.directories import make_directories, room_in, sync_directory
from checkpointdb.keys import Key
from checkpointdb.store.key_sources import key_in_file


@dataclass(slots=True)
class Session:
    """One run of the command line."""

    store: Path = Path("checkpoints")
    payload_url: str | None = None
    database_url: str | None = None
    named_pipeline: str | None = None
    key_file: Path | None = None
    busy_seconds: float = 60.0
    is_json: bool = False

    @property
    def pipeline(self) -> str:
        """The pipeline that was named, or the default one."""
        return "default" if self.named_pipeline is None else self.named_pipeline

    @property
    def key(self) -> Key | None:
        """The key in --key-file; None leaves it to the library to look in the environment."""
        return None if self.key_file is None else key_in_file(self.key_file)

    def open_whole(self, trusted_globals: Iterable[str] | None = ()) -> PipelineCheckpoint:
        """Open the store as it is: none is made, none is upgraded, nothing is forgotten."""
        return PipelineCheckpoint(
            self.store,
            self.key,
            enable_encryption=None,
            retention_policy=RetentionPolicy.KEEP_ALL,
            pipeline=self.pipeline,
            busy_seconds=self.busy_seconds,
            upgrade=False,
            trusted_globals=trusted_globals,
            payload_url=self.payload_url,
            database_url=self.database_url,
        )

    @contextmanager
    def open_or_publish(self) -> Iterator[PipelineCheckpoint]:
        """Open the store as it is; where there is none, make one that appears if all went well.

        One with payloads or rows elsewhere appears in any case: each needs the other.
        """
        if self.store.exists() or self.payload_url is not None or self.database_url is not None:
            with self.open_or_make() as handle:
                yield handle
            return
        store = self.store.absolute()
        make_directories(store.parent, durable=True)
        with room_in(store.parent, f".{store.name[:40]}.") as room:
            made = room / "store"
            with replace(self, store=made).open_or_make() as handle:
                yield handle
            try:
                made.rename(store)
            except OSError as error:
                if not store.exists():
                    raise
                raise StoreUnavailableError(
                    f"another process has made the store {str(store)!r} meanwhile: nothing was "
                    "imported; run it again, which imports into that one"
                ) from error
            sync_directory(store.parent)

    def open_or_make(self) -> PipelineCheckpoint:
        """Open the store as it is, or make one in the clear; for an import alone."""
        try:
            return self.open_whole()
        except NotFoundError:
            return PipelineCheckpoint(
                self.store,
                self.key,
                enable_encryption=self.key_file is not None,
                retention_policy=RetentionPolicy.KEEP_ALL,
                pipeline=self.pipeline,
                busy_seconds=self.busy_seconds,
                payload_url=self.payload_url,
                database_url=self.database_url,
            )

    def check(self, **options: Any) -> CheckReport:
        """Check the store as it is; without a key where none can be found."""
        try:
            with self.open_whole() as handle:
                return handle.check(**options)
        except MissingKeyError:
            return PipelineCheckpoint.check_without_key(
                self.store,
                payload_url=self.payload_url,
                database_url=self.database_url,
                **options,
            )

    def open(self, trusted_globals: Iterable[str] | None = ()) -> PipelineCheckpoint:
        """Open the store for its pipeline. Raises NotFoundError if it has others only."""
        handle = self.open_whole(trusted_globals)
        names = handle.pipelines()
        if names and self.pipeline not in names:
            handle.close()
            shown = ", ".join(map(repr, names[:20]))
            raise NotFoundError(
                f"there is no pipeline {self.pipeline!r} in {str(self.store)!r}, but {shown}: "
                "choose by --pipeline"
            )
        return handle
