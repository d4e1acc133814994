"""Bugs to plant, each of one line, that the tests must catch."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]


class Mutant(NamedTuple):
    """A line of the engine, what is put in its place, and the tests that should notice first."""

    bug: str
    file: str
    line: str
    instead: str
    tests: str

    def planted(self, source: str) -> str:
        """Return a file's text with the bug in it. Raises LookupError unless the line is unique."""
        lines = source.split("\n")
        found = [number for number, line in enumerate(lines) if line.strip() == self.line]
        if len(found) != 1:
            raise LookupError(f"{self.file} has {len(found)} lines {self.line!r}, where 1 is meant")
        before = lines[found[0]]
        lines[found[0]] = before.replace(self.line, self.instead)
        return "\n".join(lines)


MUTANTS = (
    # --- what must be on the disk before a save is acknowledged
    Mutant(
        "a payload's bytes are not flushed",
        "checkpointdb/local_payloads.py",
        "sync(self._file.fileno())",
        "pass",
        "crash/test_order_of_flushes.py",
    ),
    Mutant(
        "the directory that received the rename is not flushed",
        "checkpointdb/local_payloads.py",
        "sync_directory(os.path.dirname(target))",
        "pass",
        "crash/test_order_of_flushes.py",
    ),
    Mutant(
        "commits of a durable store are not flushed",
        "checkpointdb/sqlite_connection.py",
        "connection.execute(f\"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}\")",
        'connection.execute("PRAGMA synchronous = NORMAL")',
        "crash/test_order_of_flushes.py",
    ),
    Mutant(
        "files are unlinked before the commit that frees them",
        "checkpointdb/store/saving.py",
        "freed = collect(connection, touched)",
        "self.trash.empty(freed := collect(connection, touched))",
        "faults/test_failing_payloads.py",
    ),
    Mutant(
        "what is to be unlinked is not noted",
        "checkpointdb/forgetting.py",
        '_NOTE.run(connection, {"names": json.dumps(names), "now": datetime.now(UTC)})',
        "pass",
        "faults/test_failing_payloads.py",
    ),
    # --- intervals
    Mutant(
        "an entry is left open when the next one begins",
        "checkpointdb/recording.py",
        "_CLOSE.run_each(connection, closed)",
        "pass",
        "test_deltas.py",
    ),
    Mutant(
        "other keys' entries are closed",
        "checkpointdb/recording.py",
        '.where(entries.c.key == bindparam("opened"))',
        '.where(entries.c.key != bindparam("opened"))',
        "test_deltas.py",
    ),
    Mutant(
        "entries that are closed already are closed again",
        "checkpointdb/recording.py",
        ".where(entries.c.to_depth.is_(None))",
        ".where(entries.c.from_depth >= 0)",
        "test_deltas.py",
    ),
    Mutant(
        "a depth is used again",
        "checkpointdb/recording.py",
        '_NEXT_DEPTH.run(connection, {"chain": chain_id, "after": depth + 1})',
        '_NEXT_DEPTH.run(connection, {"chain": chain_id, "after": depth})',
        "test_deltas.py",
    ),
    Mutant(
        "that a key is absent is forgotten",
        "checkpointdb/store/saved.py",
        "if key not in staged.digests:",
        "if False:",
        "test_deltas.py",
    ),
    Mutant(
        "a key that moved keeps its old position",
        "checkpointdb/store/saved.py",
        "if same and same.digest == digest and before.positions[key] == positions[key]:",
        "if same and same.digest == digest:",
        "test_positions.py test_deltas.py",
    ),
    Mutant(
        "an entry that ends at a depth covers it",
        "checkpointdb/queries/states.py",
        "or_(entries.c.to_depth.is_(None), entries.c.to_depth > depth),",
        "or_(entries.c.to_depth.is_(None), entries.c.to_depth >= depth),",
        "test_deltas.py",
    ),
    Mutant(
        "values are compared by a prefix of their digests",
        "checkpointdb/store/staging.py",
        "if before is None or before.digest != each.digest:",
        "if before is None or before.digest[:1] != each.digest[:1]:",
        "test_deltas.py test_saving.py stateful",
    ),
    Mutant(
        "the cuts of before are taken for those of now",
        "checkpointdb/store/head.py",
        "if digests.chunk(stream[start : start + length]) != digest:",
        "if digest == b'':",
        "test_deltas.py test_saving.py",
    ),
    Mutant(
        "an object that may have changed is taken for the same",
        "checkpointdb/store/staging.py",
        "if type(value) in UNCHANGEABLE:",
        "if value is not None:",
        "test_deltas.py test_saving.py",
    ),
    # --- who may append to what
    Mutant(
        "a writer appends to a chain that is not its own",
        "checkpointdb/store/saved.py",
        "appends = base is not None and base is own",
        "appends = base is not None",
        "test_forking.py",
    ),
    Mutant(
        "a writer goes on from what it saved, though it loaded an older stage",
        "checkpointdb/store/saving.py",
        "if base is None and own is not None and own.row_id == writer.base_id:",
        "if base is None and own is not None:",
        "test_forking.py",
    ),
    Mutant(
        "what was marked damaged meanwhile is relied on",
        "checkpointdb/store/saving.py",
        "if place.damaged != saved.base.damaged:",
        "if False:",
        "test_corruption.py",
    ),
    Mutant(
        "a transaction reads before it has the lock",
        "checkpointdb/database.py",
        'begin = self.server.begin_write(pipeline) if self.server else "BEGIN IMMEDIATE"',
        'begin = self.server.begin_write(pipeline) if self.server else "BEGIN"',
        "test_database.py concurrency",
    ),
    # --- what forgetting may take
    Mutant(
        "entries that begin with the survivor before go too",
        "checkpointdb/forgetting.py",
        '.where(entries.c.from_depth > bindparam("before"))',
        '.where(entries.c.from_depth >= bindparam("before"))',
        "test_forgetting.py test_deltas.py",
    ),
    Mutant(
        "the survivor before a gap is not seen",
        "checkpointdb/forgetting.py",
        "before = survivors[index - 1] if index else -1",
        "before = -1",
        "test_forgetting.py test_deltas.py",
    ),
    Mutant(
        "entries that end with a gap stay",
        "checkpointdb/forgetting.py",
        '.where(entries.c.to_depth <= bindparam("after"))',
        '.where(entries.c.to_depth < bindparam("after"))',
        "test_forgetting.py test_deltas.py",
    ),
    Mutant(
        "a payload that only opened an entry is dropped",
        "checkpointdb/forgetting.py",
        "entries.c.payload_id,",
        "",
        "test_rebuild.py",
    ),
    Mutant(
        "a payload that only defines a value is dropped",
        "checkpointdb/forgetting.py",
        "state_values.c.payload_id,",
        "",
        "test_forgetting.py test_rebuild.py",
    ),
    Mutant(
        "a payload that only stores chunks is dropped",
        "checkpointdb/forgetting.py",
        "members.c.payload_id,",
        "",
        "test_forgetting.py test_deltas.py",
    ),
    Mutant(
        "a chunk that another value has is dropped",
        "checkpointdb/forgetting.py",
        ".where(_unused(chunks.c.id, value_chunks.c.chunk_id))",
        "",
        "test_forgetting.py test_deltas.py",
    ),
    Mutant(
        "pinned checkpoints are forgotten",
        "checkpointdb/retention/parts.py",
        "return and_(self.is_in(), checkpoints.c.pinned == false())",
        "return and_(self.is_in())",
        "test_retention.py test_retention_rules.py test_pruning.py",
    ),
    Mutant(
        "what is dated in the future is forgotten",
        "checkpointdb/retention/rules.py",
        '.where(checkpoints.c.created_at <= bindparam("now"))',
        "",
        "test_store_retention.py test_retention.py",
    ),
    # --- what a load must notice
    Mutant(
        "bytes on the disk are not compared with their hash",
        "checkpointdb/store/loading.py",
        "if reading.verify_hash and sha256(stored).digest() != member.sha256:",
        "if False:",
        "test_corruption.py hostile",
    ),
    Mutant(
        "a payload's length is not compared",
        "checkpointdb/store/loading.py",
        "if reader.stored_bytes != run[0].payload_bytes:",
        "if False:",
        "test_corruption.py",
    ),
    Mutant(
        "a value is not compared with its digest",
        "checkpointdb/store/loading.py",
        "if not value.is_intact(digests):",
        "if False:",
        "test_corruption.py hostile test_encryption.py",
    ),
    Mutant(
        "a state is not compared with its digest",
        "checkpointdb/store/loading.py",
        "if place.state_digest != reading.cipher.digests.state(*told):",
        "if False:",
        "test_corruption.py hostile test_encryption.py",
    ),
    Mutant(
        "an array that changes while it is saved is stored",
        "checkpointdb/store/packer.py",
        "if self._digests.chunk(raw[offset:end]) != chunk.digest:",
        "if False:",
        "test_state_errors.py",
    ),
    # --- sealing
    Mutant(
        "one nonce for all members of a file",
        "checkpointdb/sealing.py",
        'return struct.pack("<B7xI", kind, sequence)',
        'return struct.pack("<B7xI", kind, 0)',
        "test_sealing.py test_format.py",
    ),
    Mutant(
        "a file's key does not depend on its name",
        "checkpointdb/sealing.py",
        'self._cipher = AESGCM(_derive(master, salt, b"payload " + _label(name)))',
        'self._cipher = AESGCM(_derive(master, salt, b"payload "))',
        "test_sealing.py test_encryption.py",
    ),
    Mutant(
        "digests of an encrypted store have no key",
        "checkpointdb/sealing.py",
        'self.digests = Digests(_derive(secrets.content_key, b"", b"digests"))',
        "self.digests = Digests()",
        "test_encryption.py test_sealing.py",
    ),
    Mutant(
        "an encrypted store takes a plain payload",
        "checkpointdb/sealing.py",
        "if len(header) < HEADER_BYTES or not header.startswith(_MAGIC):",
        "if not header.startswith(_MAGIC):\n            return PLAIN\n        if False:",
        "test_encryption.py test_sealing.py",
    ),
    # --- upkeep
    Mutant(
        "a sweep takes what is being written",
        "checkpointdb/sweep.py",
        "return [file for file in files if file.modified_at <= latest]",
        "return list(files)",
        "test_sweep.py",
    ),
    Mutant(
        "a sweep does not look again under the lock",
        "checkpointdb/sweep.py",
        "removed = _unlink(payloads, orphans(connection, payloads, batch))",
        "removed = _unlink(payloads, batch)",
        "test_sweep.py",
    ),
    Mutant(
        "a compaction overlooks what changed meanwhile",
        "checkpointdb/store/compacting.py",
        "if _alive_in(connection, now) != alive:",
        "if False:",
        "test_compacting.py",
    ),
    Mutant(
        "a rebuild pins nothing",
        "checkpointdb/rebuild.py",
        "pinned=True,",
        "pinned=False,",
        "test_rebuild.py",
    ),
    Mutant(
        "a rebuild gives a sequence out again",
        "checkpointdb/rebuild.py",
        "pipeline_id = recording.record_pipeline(connection, pipeline, last + 1)",
        "pipeline_id = recording.record_pipeline(connection, pipeline, last)",
        "test_rebuild.py",
    ),
    Mutant(
        "a rebuild brings back states that are not whole",
        "checkpointdb/salvage.py",
        "if each.state_digest == found:",
        "if True:",
        "test_rebuild.py",
    ),
    # --- data that acts
    Mutant(
        "an id becomes a path",
        "checkpointdb/format.py",
        'plain = re.sub(r"[^A-Za-z0-9_-]", "_", text)[:60]',
        "plain = text",
        "test_ids.py",
    ),
    Mutant(
        "two ids that differ in case share a directory entry",
        "checkpointdb/format.py",
        "if plain == text and plain == plain.lower() and not looks_changed:",
        "if plain == text and not looks_changed:",
        "test_ids.py test_format.py",
    ),
    Mutant(
        "a newer store is opened",
        "checkpointdb/revisions.py",
        "return revision in {each.revision for each in scripts.walk_revisions()}",
        "return True",
        "test_database.py upgrades",
    ),
)
