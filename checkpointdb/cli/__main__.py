"""`python -m checkpointdb.cli` is `checkpointdb`."""

from checkpointdb.cli import main

main()
