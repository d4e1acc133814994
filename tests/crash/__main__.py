"""Stop operations everywhere: by SIGKILL before each effect on files, by power cuts after each.

    python tests/crash [--kills N] [--cuts N] [OPERATION ...]

All points of all operations unless told: N of each, evenly, 0 for none. Each line says how many
were tried. Exit code 1 at the first that loses something.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tracing import AVAILABLE


def main() -> int:
    parser = argparse.ArgumentParser(prog="python tests/crash", description=__doc__)
    parser.add_argument("operations", nargs="*", metavar="OPERATION")
    parser.add_argument("--kills", type=int, metavar="N")
    parser.add_argument("--cuts", type=int, metavar="N")
    options = parser.parse_args()
    if not AVAILABLE:
        sys.exit("effects are traced on Linux on x86-64 alone")
    sys.path.insert(0, str(Path(__file__).parents[1]))
    return stop_everywhere(options.operations, options.kills, options.cuts)


def stop_everywhere(names: list[str], most_kills: int | None, most_cuts: int | None) -> int:
    import numpy  # noqa: F401 - before the forks, each of which would import it
    from kills import killed_everywhere
    from operations import OPERATIONS
    from power_cuts import cut_everywhere

    kills = cuts = 0
    for name in names or OPERATIONS:
        try:
            if most_cuts != 0:
                count, tried = cut_everywhere(OPERATIONS[name], most_cuts)
                cuts += tried
                print(f"{name:20} {count:4} effects, {tried} disks after a cut", flush=True)
            if most_kills != 0:
                count, tried = killed_everywhere(OPERATIONS[name], most_kills)
                kills += tried
                print(f"{name:20} {count:4} effects, killed before {tried} of them", flush=True)
        except AssertionError as error:
            print(f"{name}: {error}")
            return 1
    print(f"{kills} kills and {cuts} disks after power cuts: nothing lost")
    return 0


if __name__ == "__main__":
    sys.exit(main())
