"""Let calls of operations fail: each write, flush, rename, unlink, open, read and stat, in turn.

    python tests/faults [--calls N] [--kind KIND]... [OPERATION ...]

Each call once, and from there on; of all operations, unless told. With --calls, N of each kind of
fault, evenly; with --kind, that kind alone. Each line says how many were tried. Exit code 1 at the
first after which something is lost, half there, or told wrongly.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

HERE = Path(__file__).parent
sys.path += [str(HERE.parent), str(HERE.parent / "crash")]


def main() -> int:
    from kinds import KINDS
    from tracing import AVAILABLE

    parser = argparse.ArgumentParser(prog="python tests/faults", description=__doc__)
    parser.add_argument("operations", nargs="*", metavar="OPERATION")
    parser.add_argument("--calls", type=int, metavar="N")
    parser.add_argument("--kind", action="append", choices=KINDS, dest="kinds")
    options = parser.parse_args()
    if not AVAILABLE:
        sys.exit("calls are traced on Linux on x86-64 alone")
    return fail_everywhere(options.operations, options.kinds or list(KINDS), options.calls)


def fail_everywhere(names: list[str], kinds: list[str], sample: int | None) -> int:
    from failing import tried_on
    from loads import OPERATIONS
    from stopping import fresh_processes

    tried_with = partial(tried_on, kinds=kinds, sample=sample)
    total, pool = 0, None
    if names:
        outcomes = map(tried_with, names)
    else:
        names = list(OPERATIONS)
        pool = fresh_processes()
        outcomes = pool.map(tried_with, names)
    for name, (tried, wrong) in zip(names, outcomes, strict=True):
        if tried is None:
            print(f"{name}: {wrong}", flush=True)
            if pool is not None:
                pool.shutdown(cancel_futures=True)
            return 1
        count = tried.kinds.total()
        kinds = ", ".join(f"{each} {kind}" for kind, each in tried.kinds.items())
        print(f"{name:20} {count:5} faults, {tried.failed:5} made it fail: {kinds}", flush=True)
        total += count
    print(f"{total} faults: nothing lost")
    return 0


if __name__ == "__main__":
    sys.exit(main())
