"""What is imported with the first handle: not before, and not later."""

from __future__ import annotations

from checkpointdb.gate import passing


def import_all() -> None:
    """Import what a handle runs on, now that there is one.

    Not at its first use: a child that is forked while another thread imports a module would wait
    for that for ever; so a fork waits until this is done. Not with the package: to import it would
    take twice as long.
    """
    with passing():
        import sqlalchemy.dialects.sqlite  # noqa: F401 - all of them

        import checkpointdb.filters
        import checkpointdb.forgetting
        import checkpointdb.recording
        import checkpointdb.retention
        import checkpointdb.serialize
        import checkpointdb.store.background
        import checkpointdb.store.capturing
        import checkpointdb.store.comparing
        import checkpointdb.store.engine
        import checkpointdb.store.key_sources
        import checkpointdb.store.loading
        import checkpointdb.store.opening
        import checkpointdb.store.planning
        import checkpointdb.store.restoring
        import checkpointdb.store.saving
        import checkpointdb.store.spool
        import checkpointdb.store.state_versions
        import checkpointdb.trusted_globals  # noqa: F401
