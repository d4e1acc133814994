"""`python -m checkpointdb` is `checkpointdb`, also where the script is not on the PATH."""

from checkpointdb.cli import main

main()
