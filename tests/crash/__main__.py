"""Stop operations everywhere: by SIGKILL before each effect on files, by power cuts after each.

    python tests/crash [--kills N] [--cuts N] [OPERATION ...]

All points of all operations unless told: N of each, evenly, 0 for none. Each line says how many
were tried. Exit code 1 at the first that loses something.
"""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
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
    from further import EVERY
    from stopping import stopped_everywhere

    names = names or list(EVERY)
    stopped = partial(stopped_everywhere, most_kills=most_kills, most_cuts=most_cuts)
    kills = cuts = 0
    if len(names) == 1:
        pool, outcomes = None, map(stopped, names)
    else:  # spawned: what is forked from a process with threads may hang
        pool = ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn"))
        outcomes = pool.map(stopped, names)
    for name, (tried, disks, failed) in zip(names, outcomes, strict=True):
        if failed is not None:
            print(f"{name}: {failed}", flush=True)
            if pool is not None:
                pool.shutdown(cancel_futures=True)
            return 1
        kills, cuts = kills + tried, cuts + disks
        print(f"{name:20} {tried:5} kills {disks:5} disks after a power cut", flush=True)
    print(f"{kills} kills and {cuts} disks after power cuts: nothing lost")
    return 0


if __name__ == "__main__":
    sys.exit(main())
