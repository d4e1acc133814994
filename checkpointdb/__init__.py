"""Checkpoints of long-running pipelines: durable, small, verifiable, found again by SQL."""

from checkpointdb.crypto import (
    ENCRYPTION_AVAILABLE,
    generate_encryption_key,
    load_encryption_key,
)
from checkpointdb.errors import (
    CheckpointError,
    CorruptionError,
    EncryptionError,
    InvalidInputError,
    InvalidStateError,
    NotFoundError,
    NotSupportedError,
    SchemaVersionError,
    StateChangedError,
    StoreBusyError,
    StoreUnavailableError,
)
from checkpointdb.filters import has_key, meta
from checkpointdb.records import (
    CheckpointIndex,
    CheckpointMetadata,
    CheckpointVersion,
    CheckReport,
    CloudBackupConfig,
    CloudBackupProvider,
    KeyChange,
    KeyVersion,
    Problem,
    RebuildReport,
    RetentionPolicy,
    StateDiff,
    SweepReport,
)
from checkpointdb.schema import checkpoints
from checkpointdb.store import LazyState, PipelineCheckpoint

__all__ = [
    "ENCRYPTION_AVAILABLE",
    "CheckReport",
    "CheckpointError",
    "CheckpointIndex",
    "CheckpointMetadata",
    "CheckpointVersion",
    "CloudBackupConfig",
    "CloudBackupProvider",
    "CorruptionError",
    "EncryptionError",
    "InvalidInputError",
    "InvalidStateError",
    "KeyChange",
    "KeyVersion",
    "LazyState",
    "NotFoundError",
    "NotSupportedError",
    "PipelineCheckpoint",
    "Problem",
    "RebuildReport",
    "RetentionPolicy",
    "SchemaVersionError",
    "StateChangedError",
    "StateDiff",
    "StoreBusyError",
    "StoreUnavailableError",
    "SweepReport",
    "checkpoints",
    "generate_encryption_key",
    "has_key",
    "load_encryption_key",
    "meta",
]
