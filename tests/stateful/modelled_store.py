"""What the state machines share: a store with its model, ways to break in."""

from __future__ import annotations

import atexit
import os
import shutil
import sqlite3
import tempfile
from contextlib import closing, contextmanager
from datetime import timedelta
from functools import cache
from pathlib import Path

import postgres_server
import sqlalchemy as sa
from hypothesis import strategies as st
from modelled_contents import Contents, in_order
from modelled_retention import forgotten_by_handle
from modelled_states import edited, same

from checkpointdb import (
    CheckReport,
    PipelineCheckpoint,
    RebuildReport,
    RetentionPolicy,
    format,
)
from checkpointdb.database import Database
from checkpointdb.local_payloads import LocalPayloads
from checkpointdb.rebuild import rebuild
from checkpointdb.store.carrying import manifest_of
from checkpointdb.sweep import sweep

HANDLES = st.integers(0, 2)
VERSIONS = st.sampled_from([None, 0, 1, 2])
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "full_every": st.sampled_from([2, 4]),
        "enable_incremental": st.booleans(),
        "compression_level": st.sampled_from(["stored", "fastest", "smallest"]),
        "state_version": VERSIONS,
    },
)


# --- a store


class Killed(BaseException):
    """The process dies here, as far as the store can tell."""


@cache
def empty_store():
    """An empty store, made by the migrations once: most of the time would go there."""
    root = Path(tempfile.mkdtemp(prefix="checkpointdb-empty-"))
    atexit.register(shutil.rmtree, root)
    PipelineCheckpoint(root / "store").close()
    return root / "store"


def opened(directory, key=None, **options):
    """Open a directory, encrypted if there is a key; states of all versions look the same."""
    if options.get("state_version") is not None:
        options["state_upgrades"] = dict.fromkeys(range(options["state_version"]), dict)
    return PipelineCheckpoint(
        directory, key, enable_encryption=key is not None, durable=False, **options
    )


def version_of(handle):
    """Return the version of a handle's states."""
    return handle._engine.versions.current


class Store(Contents):
    """A directory, its payload files and its database, and what must be in it.

    `written` is what was ever saved, by id and sequence; `strays` all files that may lie
    there without a row; `stash` has a link to every payload that there ever was.
    """

    def __init__(self, key=None, url=None):
        super().__init__()
        self.key, self.url = key, url
        self.root = Path(tempfile.mkdtemp(prefix="checkpointdb-"))
        self.directory = self.root / "0"
        if url is None:
            shutil.copytree(empty_store(), self.directory)
        self.stash = self.root / "stash"
        self.past = {}
        self.written = {}
        self.manifests = {}
        self.strays = set()
        self.ever_opened = []
        self.observer = self.open(retention_policy=RetentionPolicy.KEEP_ALL)

    def open(self, **options):
        self.ever_opened.append(opened(self.directory, self.key, database_url=self.url, **options))
        return self.ever_opened[-1]

    def alter(self, statement):
        """Run a statement on the database behind the store's back."""
        if self.url is not None:
            postgres_server.alter(sa.make_url(self.url), statement, ())
            return
        with closing(sqlite3.connect(self.directory / "checkpoints.db")) as database, database:
            database.execute(statement)

    def remove(self):
        self.observer.close()
        shutil.rmtree(self.root)

    # --- the model

    def saved(self, handle, checkpoint_id, state, pinned, options):
        """Note an acknowledged save, and what retention by the handle's `options` forgets after it.

        A pin stays with the id, unless the save says otherwise.
        """
        time = self.observer.get_checkpoint_info(checkpoint_id).timestamp
        self.put(checkpoint_id, state, version_of(handle), time)
        self.has_written(checkpoint_id)
        if pinned is not None:
            (self.pinned.add if pinned else self.pinned.discard)(checkpoint_id)
        for each in forgotten_by_handle(self, options):
            self.forgotten(each)

    def has_written(self, checkpoint_id):
        """Note that the checkpoint that an id is now lies in the newest of all payloads."""
        state, name = self.states[checkpoint_id], self.name_of(checkpoint_id)
        self.tried(checkpoint_id, state)
        self.wrote(name, checkpoint_id, state)
        self.strays.discard(name)

    def wrote(self, name, checkpoint_id, state):
        """Note what some save, acknowledged or not, wrote to a payload file."""
        self.written[checkpoint_id, format.sequence_of(name)] = state

    def tried(self, checkpoint_id, state):
        self.past.setdefault(checkpoint_id, []).append(state)

    # --- files

    @property
    def payloads(self):
        return self.directory / "payloads"

    def files(self):
        """Return the names of all payloads, once what was freed is unlinked."""
        for handle in self.ever_opened:
            handle._engine.pool.close()  # a thread of it does that
        return {path.relative_to(self.payloads).as_posix() for path in self.payloads.glob("p-*/*")}

    def name_of(self, checkpoint_id):
        found = Path(self.observer.get_checkpoint_info(checkpoint_id).file_path)
        return found.relative_to(self.payloads).as_posix()

    def keep_links(self):
        """Link every payload into the stash, where unlinking does not reach it."""
        for name in self.files():
            link = self.stash / name
            if link.exists() and not link.samefile(self.payloads / name):
                link.unlink()
            if not link.exists():
                link.parent.mkdir(parents=True, exist_ok=True)
                os.link(self.payloads / name, link)

    def unlinked(self):
        """Return the payloads that were unlinked."""
        ever = {path.relative_to(self.stash).as_posix() for path in self.stash.glob("p-*/*")}
        return sorted(ever - self.files())

    def bring_back(self, name):
        """Put an unlinked payload back, as if it had not been unlinked yet."""
        os.link(self.stash / name, self.payloads / name)
        self.strays.add(name)

    # --- the real thing

    def check(self):
        """Compare everything with the model, and ask `check`."""
        self.compare_with(self.observer)
        self.assert_sound(self.observer.check(read_data=True))

    def assert_sound(self, report: CheckReport):
        for problem in report.problems:
            assert problem.kind == "orphan", problem
            assert problem.subject in self.strays, problem

    def resealed(self, key):
        """Note that every payload is another file now, opened by `key` alone."""
        self.observer.close()
        self.key = key
        self.observer = self.open(retention_policy=RetentionPolicy.KEEP_ALL)
        shutil.rmtree(self.stash, ignore_errors=True)

    def sweep(self):
        opened = Database(self.observer._engine.database.url, durable=False)
        try:
            payloads = LocalPayloads(self.payloads, durable=False)
            report = sweep(opened, payloads, grace=timedelta(days=-1))
        finally:
            opened.close()
        assert report.missing_files == ()
        assert set(report.removed_files) <= self.strays
        self.strays.clear()
        self.manifests.clear()  # the next save may have the name of one that died
        assert self.observer.check(read_data=True).is_ok

    def rebuilt(self) -> tuple[Path, RebuildReport]:
        """Copy the directory without its database and rebuild it there."""
        self.files()  # nothing is unlinked any more while it is copied
        target = Path(tempfile.mkdtemp(dir=self.root)) / "store"
        shutil.copytree(empty_store(), target)
        shutil.copytree(
            self.payloads, target / "payloads", copy_function=os.link, dirs_exist_ok=True
        )
        if self.key is not None:
            shutil.copy(self.directory / "keyring.json", target)
        cipher = self.observer._engine.cipher
        database = Database(f"sqlite:///{target / 'checkpoints.db'}", durable=False)
        try:
            report = rebuild(
                database, LocalPayloads(target / "payloads", durable=False), cipher=cipher
            )
        finally:
            database.close()
        assert report.unreadable == ()
        return target, report

    def compare(self, copy: PipelineCheckpoint, report: RebuildReport):
        """Compare a rebuilt store with the model.

        Every acknowledged checkpoint is there as it was. Only a replacement of it may have won
        that the database does not know, having a higher sequence.
        """
        assert in_order(copy) == list(report.checkpoints)
        found_in = {each.checkpoint_id: each for each in copy.list_checkpoints()}
        assert all(each.pinned for each in found_in.values())
        assert set(self.states) <= set(report.checkpoints)
        acknowledged = []
        for checkpoint_id in report.checkpoints:
            found = copy.load(checkpoint_id)
            if checkpoint_id not in self.states:  # forgotten or never acknowledged, yet whole
                assert any(same(found, state) for state in self.past[checkpoint_id])
                continue
            rivals = self.rivals_of(checkpoint_id)
            assert any(same(found, state) for state in [self.states[checkpoint_id], *rivals])
            if not rivals:
                acknowledged.append(checkpoint_id)
                assert found_in[checkpoint_id].state_version == self.versions[checkpoint_id]
                assert found_in[checkpoint_id].timestamp == self.times[checkpoint_id]
        assert acknowledged == [each for each in self.states if each in acknowledged]
        for problem in copy.check(read_data=True).problems:
            assert problem.kind == "orphan", problem

    def rivals_of(self, checkpoint_id):
        """Return the states of later saves of an id whose files are still there.

        They died before they were acknowledged, or a rebuild left them out since a payload that
        they refer to was gone; and a save since then may have stored its bytes again.
        """
        mine = self.sequence_of(checkpoint_id)
        found = (each for name in self.files() for each in self.described(name))
        later = {each.sequence for each in found if each.checkpoint_id == checkpoint_id}
        return [self.written[checkpoint_id, sequence] for sequence in later if sequence > mine]

    def sequence_of(self, checkpoint_id):
        """Return the sequence that a checkpoint was saved with, as its payload tells."""
        [place] = [each for each in self.observer.lineage() if each.checkpoint_id == checkpoint_id]
        [told] = [
            each
            for each in self.described(self.name_of(checkpoint_id))
            if (each.chain, each.depth) == (place.chain, place.depth)
        ]
        return told.sequence

    def described(self, name):
        """Return the checkpoints that a payload describes; while it is there it stays the same."""
        if name not in self.manifests:
            engine = self.observer._engine
            self.manifests[name] = manifest_of(engine.payloads, name, engine.cipher).checkpoints
        return self.manifests[name]

    def go_on(self, target: Path):
        """Leave the old directory; from now on the rebuilt one is the store."""
        self.observer.close()
        self.directory = target
        self.manifests.clear()  # what nothing is left of, another file may have the name of
        self.observer = self.open(retention_policy=RetentionPolicy.KEEP_ALL)
        # Copies: a stream that was loaded is read from the store, by a key that may be replaced.
        self.states = {
            each: edited(self.observer.load(each), []) for each in in_order(self.observer)
        }
        for each in self.observer.list_checkpoints():
            self.versions[each.checkpoint_id] = each.state_version
            self.times[each.checkpoint_id] = each.timestamp
        self.pinned = set(self.states)
        self.strays = {each.subject for each in self.observer.check().problems}
        shutil.rmtree(self.stash, ignore_errors=True)


@contextmanager
def killed_at_commit(is_due):
    """Let the first commit die at which `is_due` is true: all else is done, the rows are not."""

    def die(_connection):
        if is_due():
            raise Killed

    sa.event.listen(sa.Engine, "commit", die)
    try:
        yield
    finally:
        sa.event.remove(sa.Engine, "commit", die)
