"""What each table, view and column is: what the schema itself cannot say."""

from __future__ import annotations

from typing import Final

Words = dict[str, tuple[str, dict[str, str]]]

VIEWS: Final[Words] = {
    "checkpoint_overview": (
        "One row for each checkpoint.",
        {
            "pipeline": "its pipeline's name",
            "checkpoint_id": "its id",
            "created_at": "when it was saved, in UTC",
            "kind": "`full` or `incremental`",
            "parent_checkpoint_id": "what it goes on from, while that lives",
            "chain": "the uuid of its chain",
            "depth": "its place in the chain",
            "key_count": "how many keys its state has",
            "state_bytes": "the state, serialized",
            "stored_bytes": "the payload, as it was written",
            "pinned": "1 if retention leaves it alone",
            "payload": "the payload's name below `payloads/`",
            "metadata": "`custom_metadata`, as JSON",
            "state_version": "the version that its code gave its states, if any",
        },
    ),
    "checkpoint_keys": (
        "One row for each key of each checkpoint.",
        {
            "pipeline": "its pipeline's name",
            "checkpoint_id": "the checkpoint's id",
            "key": "a key of its state",
            "position": "orders the keys of a state; it has gaps",
            "type": "the name of the value's type",
            "raw_bytes": "the value, serialized",
            "opened_here": "1 if the key changed at this checkpoint, or begins a chain",
            "digest": "of the value: equal digests are equal values",
        },
    ),
    "key_history": (
        "One row for each value that a key had, in each chain. A key that a full no longer has is "
        "not told as removed here, since its chain has no entry of it; `history()` and "
        "`checkpointdb history` tell it.",
        {
            "pipeline": "its pipeline's name",
            "key": "a key that states have, or had",
            "chain": "the uuid of the chain",
            "checkpoint_id": "the first with this value",
            "created_at": "of that checkpoint",
            "change": "`set` or `removed`",
            "type": "the name of the value's type",
            "raw_bytes": "the value, serialized",
            "digest": "of the value; NULL where it was removed",
            "checkpoint_row": "orders by saving",
        },
    ),
    "checkpoint_backups": (
        "One row for each checkpoint and backup that has it; one too for what none has.",
        {
            "pipeline": "its pipeline's name",
            "checkpoint_id": "the checkpoint's id",
            "remote": "where the backup is; NULL: it is not backed up",
            "backed_up_at": "when a snapshot first had it; NULL likewise",
        },
    ),
    "payload_usage": (
        "One row for each payload file.",
        {
            "pipeline": "its pipeline's name",
            "payload": "its name below `payloads/`",
            "stored_bytes": "the file",
            "raw_bytes": "what it holds, decompressed",
            "alive_raw_bytes": "what of that a checkpoint needs",
            "checkpoints": "how many were saved with it and live",
            "created_at": "when it was written, in UTC",
            "damaged_at": "when it was found damaged",
        },
    ),
}

TABLES: Final[Words] = {
    "pipelines": (
        "A namespace. Its row is what writers lock.",
        {"name": "", "next_sequence": "numbers its payloads"},
    ),
    "chains": (
        "Checkpoints saved one upon another by one writer.",
        {
            "uuid": "names the chain in payloads",
            "next_depth": "depths only grow, and are never used again",
            "forked_from": "the checkpoint that it goes on from, while that lives",
        },
    ),
    "checkpoints": (
        "One saved state.",
        {
            "checkpoint_id": "the id, unique within the pipeline",
            "depth": "its place in the chain",
            "created_at": "for people, and for rules about age",
            "format_version": "of the payload that it was saved with",
            "payload_id": "the payload that it was saved with, or was compacted into",
            "is_incremental": "whether its payload holds less than its state; recorded at save",
            "since_full": "how many saves ago the last full was",
            "state_digest": "over the ordered keys and the values' digests",
            "state_bytes": "the state, serialized",
            "stored_bytes": "the payload: after a compaction several may have one, each all of it",
            "pinned": "retention leaves it alone",
            "custom_metadata": "as it was passed to `save`",
            "state_version": "of the code that saved it; NULL if that gave none",
        },
    ),
    "checkpoint_metadata": (
        "One scalar of `custom_metadata`, so that every field is indexed without being declared.",
        {
            "key": "the path: nested fields are `a.b`, a dot within a name `\\.`",
            "number": "the value, if it is a number or true or false",
            "text": "the value, if it is a text",
        },
    ),
    "entries": (
        "A key of a chain, and the interval of depths in which it had one value.",
        {
            "from_depth": "the first depth with this value",
            "to_depth": "the first without it; NULL: it still has it",
            "value_id": "NULL: the key is absent",
            "position": "orders the keys of a state; it has gaps",
            "payload_id": "whose manifest says so",
        },
    ),
    "state_values": (
        "One serialized value.",
        {
            "digest": "over serializer, layout and chunks",
            "type_name": "of the Python type",
            "serializer": "which one made its bytes",
            "layout": "the lengths of the stream and of each buffer",
            "payload_id": "whose manifest defines it",
            "member_id": "where its one chunk lies; NULL if it has several",
            "offset": "there, within the member's plain bytes",
        },
    ),
    "value_chunks": ("The chunks of a value that has several, in order.", {"seq": "counts from 0"}),
    "chunks": (
        "A run of bytes that values share.",
        {"digest": "of its content", "offset": "within the member's plain bytes"},
    ),
    "members": (
        "One gzip member of a payload: up to 1 MiB of chunks.",
        {
            "offset": "in the file",
            "stored_bytes": "in the file",
            "raw_bytes": "decompressed",
            "sha256": "of the stored bytes",
        },
    ),
    "payloads": (
        "One file, written once.",
        {
            "name": "below `payloads/`",
            "sha256": "of the file: what `sha256sum` prints",
            "stored_bytes": "the file",
            "raw_bytes": "what it holds, decompressed",
            "damaged_at": "when it was found damaged or missing: nothing new relies on it",
            "key_epoch": "which master key sealed it; NULL: it is in the clear",
            "checked_at": "when a check last read its bytes, whole or not",
        },
    ),
    "keyring": (
        "In an encrypted store, one row: which keys open it. `keyring.json` is the other copy.",
        {"generation": "the higher of the two copies holds", "document": "JSON: the wrapped keys"},
    ),
    "place": (
        "One row, where payloads lie elsewhere than in the store's directory.",
        {"claim": "what the `claim` beside them says", "payload_url": "where; no credentials"},
    ),
    "remotes": (
        "Where backups go.",
        {
            "url": "where; no credentials",
            "snapshot": "the last that was pushed from here",
            "pending": "one whose push may have ended without our knowing",
            "mark": "what is another when anything has changed since",
            "pushed_at": "when that was made",
            "failed_at": "when a push failed, if none succeeded since",
            "failure": "why",
        },
    ),
    "backups": (
        "A payload that a remote holds.",
        {
            "name": "below `payloads/`",
            "sha256": "of the file",
            "stored_bytes": "the file",
            "copied_at": "when it was copied, or found there",
        },
    ),
    "backed_up": (
        "A checkpoint that a snapshot at a remote has.",
        {
            "checkpoint_row": "the checkpoint's `id`; it may be forgotten since",
            "backed_up_at": "when",
        },
    ),
    "leases": (
        "Somebody copies what the rows name: while one is open no payload is unlinked.",
        {
            "purpose": "for what",
            "holder": "who",
            "expires_at": "when it is over, if the holder does not move it on",
        },
    ),
    "removals": (
        "A file that nothing needs any more, to be unlinked.",
        {"name": "below `payloads/`", "created_at": "when it was freed"},
    ),
    "failures": (
        "A stage of a [run](../how-to/run-a-pipeline.md) that did not end well.",
        {
            "workflow": "the name of the `Pipeline`",
            "run_id": "",
            "stage": "its number",
            "name": "its name",
            "version": "of the stage, if it had one",
            "outcome": "`failed` or `interrupted`",
            "error_type": "the class of what was raised",
            "message": "NULL in an encrypted store",
            "location": "file, line and function where it was raised",
            "traceback_digest": "the same error that came the same way has the same",
            "checkpoint_id": "the run's last good checkpoint",
            "seconds": "of the stage until then",
            "failed_at": "",
            "after_checkpoint": "the newest row of `checkpoints` by then; 0: there was none",
        },
    ),
}
