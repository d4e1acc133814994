"""Bugs in what is compared with what, and in the intervals that a value is valid for."""

from __future__ import annotations

from .mutant import Mutant

DELTAS = (
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
        "for key in filterfalse(digests.__contains__, before.positions):",
        "for key in ():",
        "test_deltas.py",
    ),
    Mutant(
        "a key that moved keeps its old position",
        "checkpointdb/store/saved.py",
        "opened = compress(keys, map(or_, has_other_value, has_moved))",
        "opened = compress(keys, has_other_value)",
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
        "checkpointdb/store/cutting.py",
        "if before is not None and before.whole == of_whole:",
        "if before is not None and sum(before.lengths) == len(first):",
        "test_deltas.py test_saving.py",
    ),
    Mutant(
        "a chunk is taken for the same though the byte after it is another",
        "checkpointdb/store/cutting.py",
        "return max(number - 1, 0)",
        "return number",
        "test_cutting.py",
    ),
    Mutant(
        "chunks at the end are those of before, however they are reached",
        "checkpointdb/store/cutting.py",
        "if rest in numbers:",
        "if rest <= max(numbers, default=-1):",
        "test_cutting.py",
    ),
    Mutant(
        "a small value is taken for what its key had before",
        "checkpointdb/store/staging.py",
        "if is_compared and parts[0] == small[key]:",
        "if is_compared:",
        "test_serializers.py",
    ),
    Mutant(
        "a small value is not compared with what its key had before",
        "checkpointdb/store/staging.py",
        "if stream != before:",
        "if False:",
        "test_small_values.py",
    ),
    Mutant(
        "the large buffers of a value are put beside the next one too",
        "checkpointdb/store/staging.py",
        "buffers.clear()",
        "pass",
        "test_small_values.py",
    ),
    Mutant(
        "a value that became large is known by what it was while it was small",
        "checkpointdb/store/staging.py",
        "self.small.pop(key, None)",
        "pass",
        "test_state_errors.py",
    ),
    Mutant(
        "an object that may have changed is taken for the same",
        "checkpointdb/store/staging.py",
        "if kind in UNCHANGEABLE:",
        "if value is not None:",
        "test_deltas.py test_saving.py",
    ),
)
