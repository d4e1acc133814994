"""The methods of a handle about the whole store: checked, swept, made anew."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from checkpointdb.keys import Key
    from checkpointdb.reports import CheckReport, RebuildReport, SweepReport
    from checkpointdb.store.engine import Engine


class Upkeep:
    """What keeps a store healthy."""

    _engine: Engine
    checkpoint_dir: Path

    def check(self, *, read_data: bool = False, grace: timedelta = timedelta(0)) -> CheckReport:
        """Compare rows and files of the whole store, both ways; with `read_data`, every byte.

        While others save, their unfinished files are found too: those younger than `grace` are
        not reported.
        """
        from checkpointdb.check import check

        database, payloads = self._engine.database, self._engine.payloads
        return check(
            database, payloads, cipher=self._engine.cipher, read_data=read_data, grace=grace
        )

    def sweep(self) -> SweepReport:
        """Remove files of the whole store that a crash left and that are over a day old."""
        from checkpointdb.sweep import sweep

        return sweep(self._engine.database, self._engine.payloads)

    @staticmethod
    def rebuild(
        checkpoint_dir: str | os.PathLike[str], encryption_key: bytes | str | Key | None = None
    ) -> RebuildReport:
        """Make the database of a directory anew from its payloads; all that returns is pinned.

        Raises StoreUnavailableError if there is a database: move it away first; EncryptionError
        if there is a keyring that the key does not open.
        """
        from checkpointdb.store.rebuilding import rebuild_directory

        return rebuild_directory(Path(checkpoint_dir), encryption_key)
