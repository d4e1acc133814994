"""Checkpoints of long-running pipelines: durable, small, verifiable, found again by SQL."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

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
    KeyBesideDataWarning,
    KeyringError,
    MissingKeyError,
    NotFoundError,
    NotSupportedError,
    SchemaVersionError,
    StateChangedError,
    StoreBusyError,
    StoreUnavailableError,
    UnknownOutcomeError,
    UnknownSerializerError,
    UntrustedGlobalError,
    WrongKeyError,
)
from checkpointdb.records import (
    CheckpointDetails,
    CheckpointIndex,
    CheckpointMetadata,
    CheckpointVersion,
    CloudBackupConfig,
    CloudBackupProvider,
    RetentionPolicy,
    StateKey,
)
from checkpointdb.schema import checkpoints
from checkpointdb.store import LazyState, PipelineCheckpoint

if TYPE_CHECKING:
    from checkpointdb.filters import has_key, meta, parse_where
    from checkpointdb.keys import FernetKey, Key, PassphraseKey
    from checkpointdb.reports import (
        Answer,
        CheckpointPlace,
        CheckReport,
        CompactReport,
        DamagedCheckpoint,
        DatabaseInfo,
        ImportReport,
        KeyChange,
        KeyVersion,
        MergeReport,
        PlannedCheckpoint,
        Problem,
        PruneReport,
        RebuildReport,
        RepairReport,
        RetentionPlan,
        StateDiff,
        SweepReport,
        UpgradeReport,
    )
    from checkpointdb.retention import (
        AtMostBytes,
        AtMostPer,
        KeepAll,
        KeepBest,
        KeepDaily,
        KeepHourly,
        KeepMonthly,
        KeepNewest,
        KeepWeekly,
        KeepWhere,
        KeepWithin,
        KeepYearly,
        Retention,
    )
    from checkpointdb.safe_globals import SAFE_GLOBALS
    from checkpointdb.serialize import Serializer, register_serializer
    from checkpointdb.store.background import PendingSave

# Imported when they are used, so that `import checkpointdb` stays fast.
_LATER = {
    "filters": ("has_key", "meta", "parse_where"),
    "keys": ("FernetKey", "Key", "PassphraseKey"),
    "reports": (
        "Answer",
        "CheckReport",
        "CheckpointPlace",
        "CompactReport",
        "DamagedCheckpoint",
        "DatabaseInfo",
        "ImportReport",
        "KeyChange",
        "KeyVersion",
        "MergeReport",
        "PlannedCheckpoint",
        "Problem",
        "PruneReport",
        "RebuildReport",
        "RepairReport",
        "RetentionPlan",
        "StateDiff",
        "SweepReport",
        "UpgradeReport",
    ),
    "retention": (
        "AtMostBytes",
        "AtMostPer",
        "KeepAll",
        "KeepBest",
        "KeepDaily",
        "KeepHourly",
        "KeepMonthly",
        "KeepNewest",
        "KeepWeekly",
        "KeepWhere",
        "KeepWithin",
        "KeepYearly",
        "Retention",
    ),
    "serialize": ("Serializer", "register_serializer"),
    "safe_globals": ("SAFE_GLOBALS",),
    "store.background": ("PendingSave",),
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("importlib.metadata").version("checkpointdb")
    for module, names in _LATER.items():
        if name in names:
            return getattr(import_module(f"checkpointdb.{module}"), name)
    raise AttributeError(f"module 'checkpointdb' has no attribute {name!r}")


__all__ = [
    "ENCRYPTION_AVAILABLE",
    "SAFE_GLOBALS",
    "Answer",
    "AtMostBytes",
    "AtMostPer",
    "CheckReport",
    "CheckpointDetails",
    "CheckpointError",
    "CheckpointIndex",
    "CheckpointMetadata",
    "CheckpointPlace",
    "CheckpointVersion",
    "CloudBackupConfig",
    "CloudBackupProvider",
    "CompactReport",
    "CorruptionError",
    "DamagedCheckpoint",
    "DatabaseInfo",
    "EncryptionError",
    "FernetKey",
    "ImportReport",
    "InvalidInputError",
    "InvalidStateError",
    "KeepAll",
    "KeepBest",
    "KeepDaily",
    "KeepHourly",
    "KeepMonthly",
    "KeepNewest",
    "KeepWeekly",
    "KeepWhere",
    "KeepWithin",
    "KeepYearly",
    "Key",
    "KeyBesideDataWarning",
    "KeyChange",
    "KeyVersion",
    "KeyringError",
    "LazyState",
    "MergeReport",
    "MissingKeyError",
    "NotFoundError",
    "NotSupportedError",
    "PassphraseKey",
    "PendingSave",
    "PipelineCheckpoint",
    "PlannedCheckpoint",
    "Problem",
    "PruneReport",
    "RebuildReport",
    "RepairReport",
    "Retention",
    "RetentionPlan",
    "RetentionPolicy",
    "SchemaVersionError",
    "Serializer",
    "StateChangedError",
    "StateDiff",
    "StateKey",
    "StoreBusyError",
    "StoreUnavailableError",
    "SweepReport",
    "UnknownOutcomeError",
    "UnknownSerializerError",
    "UntrustedGlobalError",
    "UpgradeReport",
    "WrongKeyError",
    "checkpoints",
    "generate_encryption_key",
    "has_key",
    "load_encryption_key",
    "meta",
    "parse_where",
    "register_serializer",
]
