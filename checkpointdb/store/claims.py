"""Where the payloads of a store lie, if not in its own directory, and that they are its own.

A row of the database names the place; a note there, the claim, names the row, from the first save
on. So a database that is opened without the URL finds its payloads, and two databases never take
one place: each would take what the other saves for leftovers. A database that is made anew from a
place takes it over, and the old one, if it still lives somewhere, is refused there.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection, delete, insert, select

from checkpointdb import queries
from checkpointdb.bucket_urls import directory_of_url, is_file_url
from checkpointdb.database import Database
from checkpointdb.directories import make_directories
from checkpointdb.errors import InvalidInputError, StoreUnavailableError
from checkpointdb.local_payloads import LocalPayloads, unavailable
from checkpointdb.payloads import PayloadStore
from checkpointdb.records import CloudBackupConfig
from checkpointdb.schema import payloads as payload_table
from checkpointdb.schema import place as table
from checkpointdb.sqlite_file import identity
from checkpointdb.store.guarding import GuardedPayloads
from checkpointdb.store.places import (
    DATABASE_NAME,
    PAYLOAD_DIRECTORY,
    access_to,
    named_place,
    payloads_at,
)

CLAIM_NAME = "claim"
INSIDE = "."  # of rows on a server: payloads in the directory that it is opened with


class Place(NamedTuple):
    """What the database says of its place."""

    claim: str
    url: str

    @property
    def note(self) -> bytes:
        """The claim as it lies beside the payloads."""
        return f"{self.claim}\n".encode()


class Wanted(NamedTuple):
    """Where a store is, and where its payloads are to be: in its directory, if no URL says else."""

    directory: Path
    url: str | None
    config: CloudBackupConfig | None
    durable: bool

    @classmethod
    def of(
        cls, directory: Path, url: str | None, config: CloudBackupConfig | None, *, durable: bool
    ) -> Wanted:
        """Bring a URL into its one form. Raises InvalidInputError if it names no place."""
        if url is not None:
            url = named_place(url, directory, access_to(url, config))
        return cls(directory, url, config, durable)

    def payloads(self, url: str | None = None) -> PayloadStore:
        """Return the payloads at a URL, or where they are wanted."""
        url = url or self.url
        if url is None or url == INSIDE:
            return LocalPayloads(self.directory / PAYLOAD_DIRECTORY, durable=self.durable)
        access = access_to(url, self.config)
        return payloads_at(url, self.directory, durable=self.durable, access=access)


class Found(NamedTuple):
    """The payloads of a store; `claim` if they lie elsewhere than in the directory of its rows."""

    payloads: PayloadStore
    claim: Claim | None = None

    @property
    def is_inside(self) -> bool:
        """Whether they lie in the directory that the store was opened with."""
        return self.claim is None or self.claim.place.url == INSIDE


def find_payloads(database: Database, wanted: Wanted, *, takes_over: bool = False) -> Found:
    """Return the payloads of a store, in the place that it remembers, or that a new one takes.

    With `takes_over` for a rebuild, which calls `take_over`: whoever the place belongs to.
    Raises InvalidInputError if the store keeps its payloads elsewhere than wanted,
    StoreUnavailableError if the place is another database's.
    """
    with database.read() as connection:
        place = place_of(connection)
    if place is None and wanted.url is None and database.server is not None:
        wanted = wanted._replace(url=INSIDE)
    if place is None and wanted.url is None:
        return Found(wanted.payloads())
    if place is not None and wanted.url is None:
        _refuse_endpoint(wanted, place)
    if place is None and database.read_only:
        raise _elsewhere(wanted, None)
    if place is None:
        place = _remember(database, wanted, takes_over=takes_over)
    if wanted.url not in {None, place.url}:
        place = _moved(database, wanted, place, takes_over=takes_over)
    payloads = wanted.payloads(place.url)
    claim = Claim(database, payloads, place, _shown_place(wanted, place))
    if takes_over:
        return Found(payloads, claim)
    return Found(GuardedPayloads(payloads, claim.check), claim)


def claimed_by_another(found: bytes, where: str) -> StoreUnavailableError:
    """Return the error for a place that is some database's, and is to be that of a new one."""
    return StoreUnavailableError(
        f"{where!r} belongs to another database: its claim says {_shown(found)}. If that is on "
        "a server, give its database_url; else give this store a place of its own; or, if that "
        "database is lost, make it anew by PipelineCheckpoint.rebuild(directory, "
        "payload_url=…), at the prompt `checkpointdb rebuild --payload-url`"
    )


def refuse_inside(wanted: Wanted) -> None:
    """Raise InvalidInputError for the payload directory of another store, which has no claim.

    For a rebuild, too, which would take the payloads from a store that is in use.
    """
    if wanted.url is None or not is_file_url(wanted.url):
        return
    root = directory_of_url(wanted.url)
    if root.name == PAYLOAD_DIRECTORY and identity(str(root.parent / DATABASE_NAME)) is not None:
        raise InvalidInputError(
            f"{str(root)!r} is where the store {str(root.parent)!r} keeps its payloads: give this "
            f"store a place of its own; or, if {str(root.parent / DATABASE_NAME)!r} is lost or "
            "damaged, move that away, and rebuild the store where it is"
        )


def place_of(connection: Connection) -> Place | None:
    """Return what the database says of its place."""
    row = connection.execute(select(table.c.claim, table.c.payload_url)).one_or_none()
    return None if row is None else Place(str(row.claim), str(row.payload_url))


def expect_place(connection: Connection, claim: Claim | None) -> None:
    """Raise StoreUnavailableError if a store has another place than when a handle was opened.

    To be asked with the first look at its pipeline's row, from which on it keeps its place.
    """
    found = place_of(connection)
    if (found and found.claim) != (claim and claim.place.claim):
        raise StoreUnavailableError(
            "the store was given another place for its payloads since it was opened, before "
            "anything was saved: nothing was changed; open it again"
        )


class Claim(NamedTuple):
    """That a place belongs to a database."""

    database: Database
    payloads: PayloadStore
    place: Place
    where: str  # what to call it in messages

    @property
    def url(self) -> str | None:
        """The place, by its URL; None: in the directory that the store was opened with."""
        return None if self.place.url == INSIDE else self.place.url

    def check(self, in_haste: bool = False) -> None:
        """Raise StoreUnavailableError unless the place belongs to this database.

        One without payloads claims by this a place without any. `in_haste` as for `note`.
        """
        ours, note = self.place.claim, self.place.note
        found = self.payloads.note(CLAIM_NAME, in_haste=in_haste)
        if found is None:
            is_new = _is_new(self.database) and next(self.payloads.files(), None) is None
            if is_new and self.payloads.put_note(CLAIM_NAME, note, is_new=True):
                return
            # Another process may have claimed it meanwhile.
            found = self.payloads.note(CLAIM_NAME, in_haste=in_haste)
        if found == note:
            return
        where = self.where
        if found is None:
            # A bucket that is gone says of each object that it is not there: this raises.
            next(self.payloads.files(), None)
            raise StoreUnavailableError(
                f"{where!r} should hold the payloads of this store, and its claim is not there: is "
                "it the right place, is it mounted? If all payloads are there, and the claim alone "
                f"is lost, write {ours} into {where}/{CLAIM_NAME}"
            )
        raise StoreUnavailableError(
            f"{where!r} belongs to another database: its claim says {_shown(found)}, and not "
            f"{ours}. Was the database made anew elsewhere, or brought back from before that? "
            f"Nothing was changed. To take the place, once the other database is no longer used, "
            f"write {ours} into {where}/{CLAIM_NAME}"
        )

    def take_over(self) -> None:
        """Make the place that of this database, whoever it belonged to."""
        self.payloads.put_note(CLAIM_NAME, self.place.note)


def claimed_inside(payloads: PayloadStore) -> Place:
    """Return the place of payloads in the directory of a store on a server, claimed for it.

    If they have a claim already, that one: whoever was at it before was interrupted.
    """
    found = payloads.note(CLAIM_NAME)
    if found is None:
        found = Place(uuid.uuid4().hex, INSIDE).note
        payloads.put_note(CLAIM_NAME, found)
    return Place(found.decode().strip(), INSIDE)


def write_place(connection: Connection, place: Place) -> Place:
    """Let the database say where its payloads are."""
    connection.execute(delete(table))
    connection.execute(insert(table), {"id": 1, "claim": place.claim, "payload_url": place.url})
    return place


def _remember(database: Database, wanted: Wanted, *, takes_over: bool) -> Place:
    """Note the place of a database that has no payloads yet, and make it, if it is a directory."""
    assert wanted.url is not None
    refuse_inside(wanted)
    claimed = None if takes_over else wanted.payloads().note(CLAIM_NAME)
    # After the claim: another process that makes the same store notes its place first.
    with database.read() as connection:
        if found := _noted(connection, wanted):
            return found
    if claimed is not None:
        raise claimed_by_another(claimed, wanted.url)
    _make_root(wanted)
    with database.write() as connection:
        found = _noted(connection, wanted)
        return found or write_place(connection, Place(uuid.uuid4().hex, wanted.url))


def _make_root(wanted: Wanted) -> None:
    """Make the place that is wanted, if it is a directory."""
    assert wanted.url is not None
    if is_file_url(wanted.url):
        root = directory_of_url(wanted.url)
        try:
            make_directories(root, durable=wanted.durable)
        except OSError as error:
            raise unavailable(error, root) from error


def _noted(connection: Connection, wanted: Wanted) -> Place | None:
    """Return the place that another process has noted meanwhile, if any.

    Raises InvalidInputError if there is none, but it is used: payloads are in the directory.
    """
    found = place_of(connection)
    if found is None and is_used(connection):
        raise _elsewhere(wanted, None)
    return found


def _moved(database: Database, wanted: Wanted, place: Place, *, takes_over: bool) -> Place:
    """Note that a place has another URL now, if it is the same by its claim, or was never used."""
    assert wanted.url is not None
    claimed = wanted.payloads().note(CLAIM_NAME)
    if claimed != place.note:
        return _changed(database, wanted, place, None if takes_over else claimed)
    moved = place._replace(url=wanted.url)
    if not database.read_only:
        with database.write() as connection:
            found = place_of(connection)
            if found is None or found.claim != place.claim:  # changed by another meanwhile
                raise _elsewhere(wanted, found)
            write_place(connection, moved)
    return moved


def _changed(database: Database, wanted: Wanted, place: Place, claimed: bytes | None) -> Place:
    """Give a store that was never used another place, with a claim of its own.

    By that a handle that was opened with the one before finds out: see `expect_place`. The place
    before keeps its claim, and is no place for anybody from then on: with one claim in two places
    the store could be opened with the one that lacks its payloads.
    """
    assert wanted.url is not None
    with database.read() as connection:  # and again below: here no directory is made for nothing
        has_begun = is_used(connection)
    if database.read_only or has_begun:
        raise _elsewhere(wanted, place)
    refuse_inside(wanted)
    if claimed is not None:
        raise claimed_by_another(claimed, wanted.url)
    _make_root(wanted)
    with database.write() as connection:
        found = place_of(connection)
        if found is not None and found.url == wanted.url:
            return found  # another process was first
        if found != place or is_used(connection):
            raise _elsewhere(wanted, found)
        return write_place(connection, Place(uuid.uuid4().hex, wanted.url))


def _refuse_endpoint(wanted: Wanted, place: Place) -> None:
    """Refuse to send a provider's token to where a database says, which anybody may have made.

    To S3 no secret is sent, but a signature.
    """
    scheme, _, rest = place.url.partition("://")
    if scheme in {"gs", "az"} and "endpoint=" in rest:
        raise InvalidInputError(
            f"the store {str(wanted.directory)!r} keeps its payloads in {place.url!r}: give this "
            "as payload_url (--payload-url), since credentials are not sent to an endpoint that a "
            "database alone names"
        )


def _shown_place(wanted: Wanted, place: Place) -> str:
    if place.url == INSIDE:
        return str(wanted.directory / PAYLOAD_DIRECTORY)
    return place.url.partition("?")[0]


def _is_new(database: Database) -> bool:
    """Say whether a database knows no payload yet."""
    with database.read() as connection:
        return not _has_payloads(connection)


def is_used(connection: Connection) -> bool:
    """Say whether a handle has begun to save: from then on a store keeps its place."""
    return connection.execute(queries.pipeline_names().limit(1)).first() is not None


def _has_payloads(connection: Connection) -> bool:
    return connection.execute(select(payload_table.c.id).limit(1)).first() is not None


def _elsewhere(wanted: Wanted, place: Place | None) -> InvalidInputError:
    where = _shown_place(wanted, place or Place("", INSIDE))
    return InvalidInputError(
        f"the store {str(wanted.directory)!r} keeps its payloads in {where!r}, and not in "
        f"{wanted.url!r}: open it without payload_url, or copy it into a new store there by "
        "copy_into(directory, payload_url=…), at the prompt `checkpointdb copy`"
    )


def _shown(note: bytes) -> str:
    return ascii(note[:40].decode(errors="replace").strip())
