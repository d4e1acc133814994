"""Stop operations everywhere: by SIGKILL before each effect on files, by power cuts after each.

    python tests/crash [--kills N] [--cuts N] [OPERATION ...]
    python tests/crash --exits [--kills N] [OPERATION ...]
    python tests/crash --losses [OPERATION ...]

All points of all operations unless told: N of each before it is acknowledged, where a kill tells
most, 0 for none. Each line says how many were tried. Exit code 1 at the first that loses something.

`--exits` ends some operations by `os._exit`, at steps that Python and SQLite tell of.

`--losses` asks for a verdict on what was acknowledged and never done. Exit code 1 if one passes.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from tracing import AVAILABLE


def main() -> int:
    parser = argparse.ArgumentParser(prog="python tests/crash", description=__doc__)
    parser.add_argument("operations", nargs="*", metavar="OPERATION")
    parser.add_argument("--kills", type=int, metavar="N")
    parser.add_argument("--cuts", type=int, metavar="N")
    parser.add_argument("--exits", action="store_true")
    parser.add_argument("--losses", action="store_true")
    options = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parents[1]))
    if options.losses:
        return lose_each(options.operations)
    if options.exits:
        return exit_everywhere(options.operations, options.kills)
    if not AVAILABLE:
        sys.exit("effects are traced on Linux on x86-64 alone")
    return stop_everywhere(options.operations, options.kills, options.cuts)


def stop_everywhere(names: list[str], most_kills: int | None, most_cuts: int | None) -> int:
    from further import EVERY
    from stopping import fresh_processes, stopped_everywhere

    names = names or list(EVERY)
    stopped = partial(stopped_everywhere, most_kills=most_kills, most_cuts=most_cuts)
    kills = cuts = unreached = 0
    if len(names) == 1:
        pool, outcomes = None, map(stopped, names)
    else:
        pool = fresh_processes()
        outcomes = pool.map(stopped, names)
    for name, (killed, disks, failed) in zip(names, outcomes, strict=True):
        if failed is not None:
            print(f"{name}: {failed}", flush=True)
            if pool is not None:
                pool.shutdown(cancel_futures=True)
            return 1
        kills, cuts = kills + killed.happened, cuts + disks
        unreached += killed.unreached
        print(f"{name:20} {killed.happened:5} kills {disks:5} disks after a power cut", flush=True)
    print(f"{kills} kills and {cuts} disks after power cuts: nothing lost")
    if unreached:
        print(f"{unreached} more effects were not reached again, and nothing was killed there")
    return 0


def exit_everywhere(names: list[str], most: int | None) -> int:
    from exits import ENDING, exited_everywhere
    from further import EVERY
    from stopping import warm_up

    exits = 0
    for name in names or ENDING:
        warm_up(EVERY[name])
        try:
            found, count = exited_everywhere(EVERY[name], most)
        except AssertionError as error:
            print(f"{name}: {error}")
            return 1
        exits += found.happened
        print(f"{name:20} {found.happened:5} exits, of {count} steps", flush=True)
    print(f"{exits} exits: nothing lost")
    return 0


def lose_each(names: list[str]) -> int:
    import numpy  # noqa: F401 - before the forks, each of which would import it
    from further import EVERY
    from trying import is_loss_refused

    names = names or list(EVERY)
    passed = [name for name in names if not is_loss_refused(EVERY[name])]
    for name in passed:
        print(f"{name}: acknowledged, lost, and not seen")
    print(f"{len(names) - len(passed)} of {len(names)} losses are refused")
    return 1 if passed else 0


if __name__ == "__main__":
    sys.exit(main())
