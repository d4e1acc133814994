"""The rules of a store by which checkpoints leave it and come into it."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkdtemp
from typing import NamedTuple

import predecessor
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from modelled_arrivals import Arriving, are_refused, arrive, leaving
from modelled_contents import Contents
from modelled_states import KEYS, PICKLED, copied
from modelled_store import HANDLES, opened

from checkpointdb import InvalidInputError, WrongKeyError, generate_encryption_key

CONFLICTS = st.sampled_from(["refuse", "skip", "replace", "rename"])
OTHER_KEY = generate_encryption_key()  # of what is encrypted by another key than the store is

# What is a file's name anywhere; and a key that means something else in the predecessor's files.
LEGACY_IDS = st.sampled_from(["one", "two", "three", "\N{PARTY POPPER}", "predecessor"])
LEGACY_KEYS = st.sampled_from([each for each in KEYS if each != "__deleted_keys__"])
# What one file of the predecessor has: values by their keys, and which of the rest are gone.
LEGACY_CONTENTS = st.tuples(
    st.dictionaries(LEGACY_KEYS, PICKLED, max_size=3), st.sets(LEGACY_KEYS, max_size=2)
)


class Parcel(NamedTuple):
    """A file with a checkpoint in it, and the key that opens it."""

    file: Path
    key: bytes | None
    checkpoint: Arriving


class Copy(Contents):
    """Another store, into which this one is copied from time to time."""

    def __init__(self, directory, key):
        super().__init__()
        self.directory, self.key = directory, key


class Transfers:
    """Rules of every store: what leaves it may come back later, and find its id taken."""

    def __init__(self):
        super().__init__()
        self.parcels = []
        self.copy = None

    @contextmanager
    def unless_its_key_was_replaced(self, number):
        """A handle whose key another has replaced saves and loads, and cannot open the store."""
        try:
            yield self.handles[number]
        except WrongKeyError:
            own = self.handles[number]._unlocked.key
            assert own.key_id not in self.store.observer.key_ids()

    # --- one checkpoint in a file

    @precondition(lambda self: self.store.states)
    @rule(
        number=HANDLES,
        data=st.data(),
        how=st.sampled_from(["as the store", "by another key", "in the clear"]),
    )
    def export(self, number, data, how):
        name = self.draw_id(data)
        file = Path(mkdtemp(dir=self.store.root)) / "parcel"
        options, key = {
            "as the store": ({}, self.store.key),
            "by another key": ({"key": OTHER_KEY}, OTHER_KEY),
            "in the clear": ({"encrypted": False}, None),
        }[how]
        with self.unless_its_key_was_replaced(number) as handle:
            handle.export_checkpoint(name, file, **options)
            pinned_nowhere = leaving(self.store, name)._replace(pinned=False)
            self.parcels = [*self.parcels[-2:], Parcel(file, key, pinned_nowhere)]

    @precondition(lambda self: self.parcels)
    @rule(number=HANDLES, data=st.data(), on_conflict=CONFLICTS)
    def import_what_was_exported(self, number, data, on_conflict):
        parcel = self.parcels[data.draw(st.integers(0, len(self.parcels) - 1), "parcel")]
        with self.unless_its_key_was_replaced(number) as handle:
            self.take(
                [parcel.checkpoint],
                on_conflict,
                lambda: handle.import_checkpoint(
                    parcel.file, key=parcel.key, on_conflict=on_conflict, allow_plain=True
                ),
            )

    # --- a directory of the predecessor

    @rule(
        number=HANDLES,
        ids=st.lists(LEGACY_IDS, min_size=1, max_size=3, unique=True),
        contents=st.lists(LEGACY_CONTENTS, min_size=3, max_size=3),
        on_conflict=CONFLICTS,
    )
    def import_from_the_predecessor(self, number, ids, contents, on_conflict):
        """A full one, and incremental ones each upon the one before."""
        directory = Path(mkdtemp(dir=self.store.root)) / "predecessor"
        state, base, arriving = {}, None, []
        for day, (name, (changed, gone)) in enumerate(zip(ids, contents, strict=False), 1):
            deleted = {} if base is None else {"__deleted_keys__": sorted(gone - changed.keys())}
            predecessor.put(directory, name, changed | deleted, base=base, day=day)
            merged = state | changed
            state = {key: merged[key] for key in merged if key in changed or key not in gone}
            time = datetime(2025, 1, day, 12, 0, 0, 1, UTC).isoformat()
            arriving.append(
                Arriving(name, {each: copied(state[each]) for each in state}, None, time)
            )
            base = name
        with self.unless_its_key_was_replaced(number) as handle:
            self.take(
                arriving,
                on_conflict,
                lambda: handle.import_legacy(directory, on_conflict=on_conflict, time_zone="UTC"),
            )

    def take(self, arriving, on_conflict, do_import):
        """Import checkpoints into the store and into its model."""
        if on_conflict == "refuse" and are_refused(self.store, arriving):
            with pytest.raises(InvalidInputError, match="nothing was imported"):
                do_import()
            return
        report = do_import()
        assert report == arrive(self.store, arriving, on_conflict)
        for each in report.imported:
            self.store.has_written(each)

    # --- all of them in another store

    @precondition(lambda self: self.store.states)
    @rule(number=HANDLES, on_conflict=CONFLICTS, encrypted=st.booleans())
    def copy_into_another_store(self, number, on_conflict, encrypted):
        """The first time all of it, and then what is new."""
        if self.copy is None:
            self.copy = Copy(self.store.root / "copy", OTHER_KEY if encrypted else None)
        arriving = [leaving(self.store, each) for each in self.store.states]
        options = {"key": self.copy.key, "encrypted": self.copy.key is not None}
        with self.unless_its_key_was_replaced(number) as handle:
            if on_conflict == "refuse" and are_refused(self.copy, arriving):
                with pytest.raises(InvalidInputError, match="nothing was copied"):
                    handle.copy_into(self.copy.directory, **options)
            else:
                copied = handle.copy_into(self.copy.directory, on_conflict=on_conflict, **options)
                assert copied == len(arrive(self.copy, arriving, on_conflict, "copied").imported)
            with opened(self.copy.directory, self.copy.key) as target:
                self.copy.compare_with(target)
                assert target.check(read_data=True).is_ok
