"""The tables (DESIGN: rows for everything one can ask without opening a payload).

Created by migrations alone; this module is what they are compared with (`alembic check`).
A checkpoint's state is a range query over `entries`; see `queries.state_at`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite makes only `INTEGER PRIMARY KEY` an alias of its row id.
BigInt = BigInteger().with_variant(Integer, "sqlite")

# Compares and sorts by code point everywhere: as Python does, and SQLite by itself.
TextByCodePoint = Text().with_variant(Text(collation="C"), "postgresql")


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time; SQLite, which has no time zones, keeps the UTC wall clock."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        found: datetime = value
        return found if found.tzinfo else found.replace(tzinfo=UTC)


def utc_of(stored: Any) -> datetime:
    """Return the time that a driver gave: SQLite's gives its text."""
    if isinstance(stored, datetime):
        return stored.astimezone(UTC)
    return datetime.fromisoformat(f"{stored}Z")


def _id() -> Column[int]:
    return Column("id", BigInt, primary_key=True, autoincrement=True)


def _to(target: str, name: str, **options: Any) -> Column[int]:
    return Column(name, BigInt, ForeignKey(target), **options)


# What the migrations say for SQLite alone is not repeated here, since it would make SQLAlchemy
# import its dialects (20 ms of each `import checkpointdb`): AUTOINCREMENT for the tables with an
# id, whose numbers are so never used again, and a reference prepared outside a transaction fails
# on its foreign key instead of meaning another row; WITHOUT ROWID for those without; and that
# the index on damaged payloads holds these alone (on PostgreSQL too).

pipelines = Table(
    "pipelines",
    metadata,
    _id(),
    Column("name", Text, nullable=False, unique=True),
    Column("next_sequence", BigInt, nullable=False),
)

chains = Table(
    "chains",
    metadata,
    _id(),
    Column("uuid", Text, nullable=False, unique=True),
    _to("pipelines.id", "pipeline_id", nullable=False, index=True),
    Column("next_depth", BigInt, nullable=False),
    Column(
        "forked_from",
        BigInt,
        ForeignKey("checkpoints.id", use_alter=True),
        index=True,
    ),
)

payloads = Table(
    "payloads",
    metadata,
    _id(),
    _to("pipelines.id", "pipeline_id", nullable=False, index=True),
    Column("name", Text, nullable=False, unique=True),
    Column("sha256", LargeBinary, nullable=False),
    Column("stored_bytes", BigInt, nullable=False),
    Column("raw_bytes", BigInt, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("damaged_at", UtcDateTime),
    Column("key_epoch", Integer),
    Column("checked_at", UtcDateTime),  # when a check last read its bytes, whole or not
)
Index("ix_payloads_damaged", payloads.c.pipeline_id)

checkpoints = Table(
    "checkpoints",
    metadata,
    _id(),
    _to("pipelines.id", "pipeline_id", nullable=False),
    Column("checkpoint_id", Text, nullable=False),
    _to("chains.id", "chain_id", nullable=False),
    Column("depth", BigInt, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("format_version", Integer, nullable=False),
    _to("payloads.id", "payload_id", nullable=False, index=True),
    Column("is_incremental", Boolean, nullable=False),
    Column("since_full", Integer, nullable=False),
    Column("is_encrypted", Boolean, nullable=False),
    Column("state_digest", LargeBinary, nullable=False),
    Column("state_bytes", BigInt, nullable=False),
    Column("stored_bytes", BigInt, nullable=False),
    Column("key_count", Integer, nullable=False),
    Column("pinned", Boolean, nullable=False),
    Column("custom_metadata", JSON, nullable=False),
    Column("state_version", Integer),  # of the code that saved it, if it gave one
    UniqueConstraint("pipeline_id", "checkpoint_id"),
    UniqueConstraint("chain_id", "depth"),
)
Index(None, checkpoints.c.pipeline_id, checkpoints.c.pinned, checkpoints.c.id)
Index(None, checkpoints.c.pipeline_id, checkpoints.c.created_at)

checkpoint_metadata = Table(
    "checkpoint_metadata",
    metadata,
    _to("checkpoints.id", "checkpoint_id", primary_key=True, autoincrement=False),
    Column("key", Text, primary_key=True),
    Column("number", Float),
    Column("text", TextByCodePoint),
)
Index(
    None,
    checkpoint_metadata.c.key,
    checkpoint_metadata.c.number,
    checkpoint_metadata.c.checkpoint_id,
)
Index(
    None,
    checkpoint_metadata.c.key,
    checkpoint_metadata.c.text,
    checkpoint_metadata.c.checkpoint_id,
)

members = Table(
    "members",
    metadata,
    _id(),
    _to("payloads.id", "payload_id", nullable=False, index=True),
    Column("offset", BigInt, nullable=False),
    Column("stored_bytes", BigInt, nullable=False),
    Column("raw_bytes", BigInt, nullable=False),
    Column("sha256", LargeBinary, nullable=False),
)

chunks = Table(
    "chunks",
    metadata,
    _id(),
    _to("pipelines.id", "pipeline_id", nullable=False),
    Column("digest", LargeBinary, nullable=False),
    _to("members.id", "member_id", nullable=False, index=True),
    Column("offset", BigInt, nullable=False),
    Column("raw_bytes", BigInt, nullable=False),
)
Index(None, chunks.c.pipeline_id, chunks.c.digest)

state_values = Table(
    "state_values",
    metadata,
    _id(),
    _to("pipelines.id", "pipeline_id", nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("type_name", Text, nullable=False),
    Column("serializer", Text, nullable=False),
    Column("layout", Text, nullable=False),
    Column("raw_bytes", BigInt, nullable=False),
    _to("payloads.id", "payload_id", nullable=False, index=True),
    # A value of one chunk carries its place itself; the others have rows in `value_chunks`.
    _to("members.id", "member_id", index=True),
    Column("offset", BigInt),
)
Index(None, state_values.c.pipeline_id, state_values.c.digest)

value_chunks = Table(
    "value_chunks",
    metadata,
    _to("state_values.id", "value_id", primary_key=True, autoincrement=False),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    _to("chunks.id", "chunk_id", nullable=False, index=True),
)

entries = Table(
    "entries",
    metadata,
    _to("chains.id", "chain_id", primary_key=True, autoincrement=False),
    Column("key", Text, primary_key=True),
    Column("from_depth", BigInt, primary_key=True, autoincrement=False),
    Column("to_depth", BigInt),
    _to("state_values.id", "value_id", index=True),
    Column("position", BigInt, nullable=False),
    _to("payloads.id", "payload_id", nullable=False, index=True),
)
Index(None, entries.c.chain_id, entries.c.to_depth)

# One row, and only in an encrypted store: see `keyring`. `keyring.json` is the other copy.
keyring = Table(
    "keyring",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("generation", Integer, nullable=False),
    Column("document", Text, nullable=False),
)

# One row, and only in a store whose payloads lie elsewhere than in its own directory: where, and
# what the claim there says. See `store.claims`.
place = Table(
    "place",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("claim", Text, nullable=False),
    Column("payload_url", Text, nullable=False),
)

# Where backups of the store go. `snapshot` is the last that was pushed from here, `pending` one
# whose push may have ended without our knowing; `mark` tells whether anything changed since.
remotes = Table(
    "remotes",
    metadata,
    _id(),
    Column("url", Text, nullable=False, unique=True),
    Column("snapshot", Text),
    Column("pending", Text),
    Column("mark", Text),
    Column("pushed_at", UtcDateTime),
    Column("failed_at", UtcDateTime),
    Column("failure", Text),
)

# A payload that a remote holds.
backups = Table(
    "backups",
    metadata,
    _to("remotes.id", "remote_id", primary_key=True, autoincrement=False),
    Column("name", Text, primary_key=True),
    Column("sha256", LargeBinary, nullable=False),
    Column("stored_bytes", BigInt, nullable=False),
    Column("copied_at", UtcDateTime, nullable=False),
)

# A checkpoint that a snapshot at a remote has. No reference to its row, which to delete would
# then cost each save one more statement: its number is never used again.
backed_up = Table(
    "backed_up",
    metadata,
    Column("checkpoint_row", BigInt, primary_key=True, autoincrement=False),
    _to("remotes.id", "remote_id", primary_key=True, autoincrement=False, index=True),
    Column("backed_up_at", UtcDateTime, nullable=False),
)

# While one is open no payload is unlinked: somebody is copying what the rows named.
leases = Table(
    "leases",
    metadata,
    Column("purpose", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
)

removals = Table(
    "removals",
    metadata,
    _id(),
    Column("name", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

# Stages of runs that did not end well: see `runs.Failure`.
failures = Table(
    "failures",
    metadata,
    _id(),
    _to("pipelines.id", "pipeline_id", nullable=False),
    Column("workflow", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("stage", Integer, nullable=False),
    Column("name", Text, nullable=False),
    Column("version", Text),
    Column("outcome", Text, nullable=False),
    Column("error_type", Text, nullable=False),
    Column("message", Text),
    Column("location", Text),
    Column("traceback_digest", Text, nullable=False),
    Column("checkpoint_id", Text),
    Column("seconds", Float, nullable=False),
    Column("failed_at", UtcDateTime, nullable=False),
    # The pipeline's newest by then, 0 if none; no reference, since it may be forgotten.
    Column("after_checkpoint", BigInt, nullable=False),
)
Index(None, failures.c.pipeline_id, failures.c.workflow, failures.c.run_id)
