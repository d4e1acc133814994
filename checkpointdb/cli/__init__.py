"""The command line: each command opens a store, calls one method of the library, and prints."""

from __future__ import annotations

import sys


def main() -> None:
    """Run `checkpointdb`, or say what it needs."""
    try:
        from checkpointdb.cli.application import cli
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        sys.exit("checkpointdb: the command line needs more: pip install 'checkpointdb[cli]'")
    cli.main(prog_name="checkpointdb")
