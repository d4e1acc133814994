"""Bugs to plant, each of one line, that the tests must catch."""

from __future__ import annotations

from .costs import COSTS
from .deltas import DELTAS
from .flushes import FLUSHES
from .meanwhile import MEANWHILE
from .mutant import Mutant
from .orders import ORDERS
from .survivors import SURVIVORS
from .upkeep import UPKEEP

# The same line means the same: whoever finds it fails in every copy.
CONTROL = Mutant(
    "a harmless change",
    "checkpointdb/store/likeness.py",
    "if stream == before:",
    "if before == stream:",
    "test_small_values.py",
)

MUTANTS = (
    # --- what must be on the disk before a save is acknowledged
    *FLUSHES,
    *MEANWHILE,
    Mutant(
        "a file gets its name whether it was flushed or not",
        "checkpointdb/store/saving.py",
        "packer.settle()",
        "pass",
        "faults/test_failing_payloads.py",
    ),
    Mutant(
        "a save is committed whether its file's name was flushed or not",
        "checkpointdb/store/saving.py",
        "flushing.result()",
        "pass",
        "faults/test_failing_payloads.py",
    ),
    Mutant(
        "a save that fails leaves its file under its name",
        "checkpointdb/store/saving.py",
        "self.payloads.delete_all([name])",
        "pass",
        "faults/test_failing_payloads.py",
    ),
    Mutant(
        "a writer that lost its lock on a server takes the file of another",
        "checkpointdb/inventory.py",
        "return unnumbered if database.server is None else made_unique(unnumbered)",
        "return unnumbered",
        "faults/test_lost_connections.py",
    ),
    Mutant(
        "commits of a durable store are not flushed",
        "checkpointdb/sqlite_connection.py",
        "connection.execute(f\"PRAGMA synchronous = {'EXTRA' if durable else 'NORMAL'}\")",
        'connection.execute("PRAGMA synchronous = NORMAL")',
        "crash/test_stopped_anywhere.py",
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
    *DELTAS,
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
        "if base is None and own is not None and own.row == writer.base:",
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
        "a small value is not compared with its digest",
        "checkpointdb/store/loading.py",
        "if row[1] != digest:",
        "if False:",
        "test_corruption.py hostile test_encryption.py",
    ),
    Mutant(
        "a state is not compared with its digest",
        "checkpointdb/store/load_plan.py",
        "if place.state_digest != reading.cipher.digests.state_of(*told):",
        "if False:",
        "test_corruption.py hostile test_encryption.py",
    ),
    Mutant(
        "an array that changes while it is saved is stored",
        "checkpointdb/store/packer.py",
        "if not chunk.is_fixed and self._digests.chunk(raw[offset:end]) != chunk.digest:",
        "if False:",
        "test_state_errors.py",
    ),
    Mutant(
        "the last bytes of a file are left out of its hash, if they come late",
        "checkpointdb/store/file_hash.py",
        "self._hash_waiting()  # what came as the task was ending",
        "pass",
        "test_file_hash.py",
    ),
    Mutant(
        "what could not be hashed is left out of the hash of a file",
        "checkpointdb/store/file_hash.py",
        "self._task.result()  # another task would hash what comes after what is lost",
        "pass",
        "test_file_hash.py",
    ),
    Mutant(
        "an array is taken for what nobody can change",
        "checkpointdb/store/staging.py",
        "return self.packer.add(Chunk(data, digest, each.key, is_shared, is_fixed(data)))",
        "return self.packer.add(Chunk(data, digest, each.key, is_shared, True))",
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
        "return [file for file in files if file.modified_at <= latest()]",
        "return list(files)",
        "test_sweep.py",
    ),
    Mutant(
        "a sweep does not look again under the lock",
        "checkpointdb/sweep.py",
        "removed = _unlink(payloads, [file for file in batch if file.name not in named])",
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
    # --- streams, and states of several versions
    Mutant(
        "a stream that was read already is taken for an empty one",
        "checkpointdb/sources.py",
        "if given is self._before:  # by now it is at its end, and would pass for empty",
        "if False:",
        "test_streamed_sources.py",
    ),
    Mutant(
        "a buffer that is filled anew is taken before it is copied",
        "checkpointdb/sources.py",
        "piece = bytes(view)",
        "piece = view",
        "test_streamed_sources.py",
    ),
    Mutant(
        "a state newer than the code is loaded as it is",
        "checkpointdb/store/state_versions.py",
        "if found > self.current:",
        "if False:",
        "test_state_versions.py",
    ),
    Mutant(
        "a state of the remote is not upgraded",
        "checkpointdb/store/remote_states.py",
        "engine.trusted, engine.versions = trusted, versions",
        "engine.trusted = trusted",
        "test_remote_states.py",
    ),
    *ORDERS,
    *UPKEEP,
    *SURVIVORS,
    *COSTS,
)
