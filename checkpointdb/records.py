"""The frozen values that users receive, and the enums of the public face."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

from checkpointdb.errors import InvalidInputError


class RetentionPolicy(Enum):
    """What is forgotten after each save."""

    KEEP_N_RECENT = "keep_n_recent"
    DELETE_OLDER_THAN = "delete_older_than"
    KEEP_ALL = "keep_all"


class CheckpointVersion(Enum):
    """The versions of a checkpoint's format: 1 was one pickle a file, with a JSON index."""

    V1_0 = "1.0.0"
    V2_0 = "2.0.0"
    CURRENT = V2_0


class CloudBackupProvider(Enum):
    """Where a backup goes."""

    AWS_S3 = "aws_s3"
    AZURE_BLOB = "azure_blob"
    GCP_STORAGE = "gcp_storage"
    LOCAL_ONLY = "local_only"

    @classmethod
    def _missing_(cls, value: object) -> CloudBackupProvider | None:
        """Return the provider that a URL's scheme names."""
        named = {"s3": cls.AWS_S3, "az": cls.AZURE_BLOB, "gs": cls.GCP_STORAGE}
        return named.get(value) if isinstance(value, str) else None


@dataclass(slots=True)
class CloudBackupConfig:
    """Where and how often to back up.

    `url` says where at once, a directory, `file:///nas/backups` or `s3://bucket/prefix`; else
    `provider` (or its text, or `s3`, `gs`, `az`), `bucket_name` and `prefix` do.
    `credentials_path` names a file of credentials; without one they are looked for as the
    provider's own tools do. `keep_snapshots` is a policy of times, as `prune_backup` takes, for
    what `auto_sync` leaves at the remote: None stands for KeepHourly(24) | KeepDaily(7) |
    KeepWeekly(8) | KeepMonthly(12), and KeepAll() for all. Raises InvalidInputError for a
    provider that there is not.
    """

    enabled: bool = False
    provider: CloudBackupProvider = CloudBackupProvider.LOCAL_ONLY
    bucket_name: str | None = None
    region: str | None = None
    credentials_path: str | None = None
    auto_sync: bool = False
    sync_interval_seconds: int = 3600
    endpoint_url: str | None = field(default=None, kw_only=True)
    prefix: str = field(default="", kw_only=True)
    url: str | os.PathLike[str] | None = field(default=None, kw_only=True)
    keep_snapshots: Any = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        try:
            self.provider = CloudBackupProvider(self.provider)
        except ValueError as error:
            known = ", ".join(each.value for each in CloudBackupProvider)
            raise InvalidInputError(
                f"there is no provider {self.provider!r} of backups: give one of {known}"
            ) from error


@dataclass(frozen=True, slots=True)
class CheckpointMetadata:
    """What the store knows of a checkpoint without opening its payload.

    `timestamp` is ISO 8601 in UTC; `size_bytes` and `hash_sha256` are those of the file at
    `file_path`; `base_checkpoint_id` is what an incremental was saved upon: the nearest
    earlier one that still exists; `state_version` that of the code that saved it, None if it
    gave none.
    """

    checkpoint_id: str
    timestamp: str
    version: str
    file_path: str
    hash_sha256: str
    is_encrypted: bool
    is_incremental: bool
    base_checkpoint_id: str | None
    size_bytes: int
    state_keys: list[str] = field(default_factory=list)
    custom_metadata: dict[str, Any] = field(default_factory=dict)
    state_bytes: int = 0
    pinned: bool = False
    state_version: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dictionary that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> CheckpointMetadata:
        """Return the metadata that `to_dict` described.

        Raises InvalidInputError if a field is missing; unknown ones are ignored, so that what
        a newer version wrote can be read.
        """
        known = {name: data[name] for name in cls.__slots__ if name in data}
        try:
            return cls(**known)
        except TypeError as error:
            raise InvalidInputError(f"this is not a checkpoint's metadata: {error}") from error


@dataclass(frozen=True, slots=True)
class StateKey:
    """One key of a state: the name of its value's type, and the value's raw bytes."""

    key: str
    type_name: str
    raw_bytes: int
    digest: str


@dataclass(frozen=True, slots=True)
class CheckpointDetails:
    """A checkpoint, its place in its chain, what it was saved upon, and its keys in their order.

    `is_damaged` says whether it needs a payload that was found damaged, and is not repaired yet.
    """

    metadata: CheckpointMetadata
    chain: str
    depth: int
    parent_id: str | None
    keys: tuple[StateKey, ...]
    is_damaged: bool = False


@dataclass(slots=True)
class CheckpointIndex:
    """The exported form of the index: every checkpoint's metadata by its id."""

    checkpoints: dict[str, CheckpointMetadata] = field(default_factory=dict)
    last_full_checkpoint_id: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the index as a dictionary that JSON can hold."""
        return {
            "checkpoints": {name: each.to_dict() for name, each in self.checkpoints.items()},
            "last_full_checkpoint_id": self.last_full_checkpoint_id,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> CheckpointIndex:
        """Return the index that `to_dict` described.

        Raises InvalidInputError as CheckpointMetadata.from_dict does.
        """
        found = data.get("checkpoints", {})
        entries = found.values() if isinstance(found, dict) else [None]
        if not all(isinstance(each, dict) for each in entries):
            raise InvalidInputError("this is not the exported form of an index")
        return cls(
            {name: CheckpointMetadata.from_dict(each) for name, each in found.items()},
            data.get("last_full_checkpoint_id"),
        )
