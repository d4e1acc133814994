"""What is imported with the first handle: not before, and not later."""

from __future__ import annotations


def import_all() -> None:
    """Import what a handle uses, now that there is one.

    Not at its first use: a child that is forked while another thread imports a module would wait
    for that for ever. Not with the package: to import it would take twice as long.
    """
    import checkpointdb.filters
    import checkpointdb.forgetting
    import checkpointdb.recording
    import checkpointdb.store.background
    import checkpointdb.store.capturing
    import checkpointdb.store.comparing
    import checkpointdb.store.loading
    import checkpointdb.store.planning
    import checkpointdb.store.restoring
    import checkpointdb.store.saving
    import checkpointdb.store.spool
    import checkpointdb.store.state_versions  # noqa: F401
