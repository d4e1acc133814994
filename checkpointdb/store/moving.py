"""The rows of a store that lies in a directory of its own brought to a server."""

from __future__ import annotations

from pathlib import Path

from checkpointdb.backup.snapshots import opened
from checkpointdb.database import Database
from checkpointdb.directories import matching
from checkpointdb.errors import InvalidInputError
from checkpointdb.payloads import PayloadStore
from checkpointdb.postgres import server_url
from checkpointdb.row_copies import copy_rows, delete_rows, filled_table
from checkpointdb.schema import leases
from checkpointdb.schema import place as place_table
from checkpointdb.store.claims import claimed_inside, place_of, write_place


def move_rows(path: Path, payloads: PayloadStore, database_url: str) -> None:
    """Bring the rows of a SQLite file, which nobody else has, to a server, and remove the file.

    In one transaction, with a claim that stands beside the payloads before: rows of an attempt
    that was interrupted are known by it, and replaced. Raises InvalidInputError if the database
    there has others.
    """
    source, target = opened(path), Database(server_url(database_url))
    try:
        target.prepare(upgrade=False)
        place = claimed_inside(payloads)
        with source.read() as ours, target.write() as theirs:
            if place_of(theirs) == place:
                delete_rows(theirs)
            elif found := filled_table(theirs):
                raise InvalidInputError(
                    f"the database {target.where!r} is not empty (it has {found}): name a new one, "
                    "or a new ?schema= of it"
                )
            copy_rows(ours, theirs, leaving_out=[place_table, leases])
            write_place(theirs, place)
    finally:
        source.close()
        target.close()
    for each in matching(path.parent, f"{path.name}*"):
        each.unlink()
