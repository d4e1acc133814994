"""Labels of test cases that are the same in every process: no addresses, no order of sets."""

import re


def label(case):
    """Return a case's text without what differs from run to run."""
    try:
        text = str(sorted(map(str, case))) if isinstance(case, (set, frozenset)) else str(case)
    except (RecursionError, ValueError):
        text = type(case).__name__
    return re.sub(r"0x[0-9a-f]+", "", text)[:60]
