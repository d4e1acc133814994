"""Let another do something whole in the middle of operations: right before calls of theirs.

    python tests/meanwhile [--points N] [--every] [--other OTHER] [OPERATION ...]

Before the first and the last call by each line of the code, or before every one; or before N of
these. The other saves, prunes, rewrites, pushes, checks, or does the same, in the same store. Each
line says how many were tried. Exit code 1 if one of the two failed, or left something wrong.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

HERE = Path(__file__).parent
sys.path += [str(HERE.parent), *(str(HERE.parent / each) for each in ("crash", "faults"))]


def main() -> int:
    from both import tried_on
    from loads import OPERATIONS
    from others import others_of
    from stopping import fresh_processes

    parser = argparse.ArgumentParser(prog="python tests/meanwhile", description=__doc__)
    parser.add_argument("operations", nargs="*", metavar="OPERATION")
    parser.add_argument("--points", type=int, metavar="N")
    parser.add_argument("--every", action="store_true")
    parser.add_argument("--other", action="append", dest="others")
    options = parser.parse_args()
    pairs = [
        (name, other)
        for name in options.operations or OPERATIONS
        for other in others_of(name)
        if options.others is None or other in options.others
    ]
    total, is_wrong = 0, False
    tried_with = partial(tried_on, sample=options.points, is_every=options.every)
    with fresh_processes() as pool:
        for (name, other), (tried, wrong) in zip(pairs, pool.map(tried_with, pairs), strict=True):
            if tried is None:
                is_wrong = True
                print(f"{name} / {other}: {wrong}", flush=True)
                continue
            told = f", {tried.refused} times one was told of the other" if tried.refused else ""
            print(f"{name:21} / {other:8} {tried.count:4} times{told}", flush=True)
            total += tried.count
    print(f"{total} times: {'see above' if is_wrong else 'both were right'}")
    return int(is_wrong)


if __name__ == "__main__":
    sys.exit(main())
