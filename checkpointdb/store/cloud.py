"""Cloud backup, as code written for the system we replace calls it. Copies nothing yet."""

from __future__ import annotations

import logging
from typing import Any, NoReturn

from checkpointdb.errors import InvalidInputError, NotSupportedError
from checkpointdb.records import CloudBackupConfig

log = logging.getLogger("checkpointdb")


class CloudBackup:
    """The cloud methods of a handle."""

    _cloud_backup_config: CloudBackupConfig | None = None

    def configure_cloud_backup(self, config: CloudBackupConfig | None) -> None:
        """Accept a configuration for the version that copies. Raises InvalidInputError else."""
        if config is not None and not isinstance(config, CloudBackupConfig):
            raise InvalidInputError(f"a CloudBackupConfig is expected, not {type(config).__name__}")
        if config is not None and config.enabled:
            log.warning("cloud backup is configured, but this version copies nothing")
        self._cloud_backup_config = config

    def sync_to_cloud(self, checkpoint_ids: list[str] | None = None) -> None:
        """Log a warning: this version copies nothing."""
        log.warning("cloud backup is not part of this version: nothing was copied")

    def restore_from_cloud(self, checkpoint_id: str) -> dict[str, Any]:
        """Raise NotSupportedError: this version copies nothing, and so can restore nothing."""
        _not_supported()

    def list_cloud_checkpoints(self) -> list[str]:
        """Raise NotSupportedError: this version copies nothing."""
        _not_supported()


def _not_supported() -> NoReturn:
    raise NotSupportedError(
        "cloud backup is not part of this version: copy the store's directory instead, "
        "the database by `sqlite3 checkpoints.db 'VACUUM INTO …'`"
    )
