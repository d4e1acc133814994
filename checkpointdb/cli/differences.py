"""How two values differ, in lines for people: by deepdiff, texts by difflib, arrays by numbers."""

from __future__ import annotations

import difflib
import pickle
import re
import sys
from collections import deque
from datetime import datetime, time
from typing import Any, Final

from deepdiff import DeepDiff
from deepdiff.operator import BaseOperator

from checkpointdb import CheckpointError, StreamedValue
from checkpointdb.cli.shown import in_one

_LONG_TEXT: Final = 80
_LONG_LIST: Final = 1_000
_MOST_LINES: Final = 200
_MOST_CHARACTERS: Final = 200  # of a value in a line
# Comparisons of pairs of items, after which deepdiff stops looking for what was moved.
_MOST_DIFFS: Final = 100_000
_MOST_COMPARED: Final = 2_000  # lines of two texts, between what both begin and end with


def differences(old: object, new: object) -> list[str]:
    """Return a line for each difference, its place first; what is too much is counted.

    Values that cannot be compared give a line that says so.
    """
    try:
        lines = _lines(old, new)
    except (CheckpointError, OSError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - of code that is not ours
        return [f"cannot be compared: {type(error).__name__}: {error}"]
    rest = len(lines) - _MOST_LINES
    return lines if rest <= 0 else [*lines[:_MOST_LINES], f"… and {rest} lines more"]


def _lines(old: object, new: object) -> list[str]:
    special = _Special()
    found = DeepDiff(
        old,
        new,
        custom_operators=[special],
        verbose_level=2,
        max_diffs=_MOST_DIFFS,
        threshold_to_diff_deeper=0,
        view="tree",
    )
    levels = [(kind, level) for kind, levels in found.items() for level in levels or ()]
    told = [_told(*each) for each in sorted(levels, key=lambda each: _order(each[1]))]
    if lines := [*special.lines, *told]:
        return lines
    if _are_equal(old, new):
        return ["the values are equal, and were saved as other bytes"]
    return ["no difference was found, though they were saved as other bytes"]


def _are_equal(old: Any, new: Any) -> bool:
    """Say whether two values are surely equal: deepdiff passes over some differences."""
    if type(old) is not type(new):
        return False
    if isinstance(old, (list, tuple)):
        return len(old) == len(new) and all(map(_are_equal, old, new))
    if isinstance(old, dict):
        return list(old) == list(new) and all(map(_are_equal, old.values(), new.values()))
    if _teller(old, new) is _array_lines:
        return not _array_lines(old, new)
    is_same = old == new
    return getattr(is_same, "shape", ()) == () and bool(is_same)


class _Special(BaseOperator):
    """Takes what is told as a whole, not item by item: arrays, frames, long texts and lists."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def match(self, level: Any) -> bool:
        return _teller(level.t1, level.t2) is not None

    def give_up_diffing(self, level: Any, diff_instance: Any) -> bool:
        tell = _teller(level.t1, level.t2)
        if tell is not None:
            self.lines += [_at(level) + line for line in tell(level.t1, level.t2)]
        return tell is not _order_lines  # whose items deepdiff compares

    def normalize_value_for_hashing(self, _parent: Any, value: Any) -> Any:
        """Return what deepdiff hashes to find an item of a set in another: itself."""
        return value


def _teller(old: Any, new: Any) -> Any:
    if isinstance(old, StreamedValue) or isinstance(new, StreamedValue):
        return _stream_lines
    if isinstance(old, str) and isinstance(new, str):
        is_long = max(len(old), len(new)) > _LONG_TEXT or "\n" in old + new
        return _text_lines if is_long else None
    if isinstance(old, (list, tuple)) and type(old) is type(new):
        return _list_lines if max(len(old), len(new)) > _LONG_LIST else None
    if isinstance(old, deque) and isinstance(new, deque):
        return _list_lines
    if isinstance(old, dict) and type(old) is type(new):
        return _order_lines
    if isinstance(old, (datetime, time)) and type(old) is type(new):
        return _moment_lines
    # Whoever has arrays has imported what makes them.
    numpy, pandas = sys.modules.get("numpy"), sys.modules.get("pandas")
    if numpy and isinstance(old, numpy.ndarray) and isinstance(new, numpy.ndarray):
        return _array_lines
    if pandas and isinstance(old, pandas.DataFrame) and isinstance(new, pandas.DataFrame):
        return _frame_lines
    return None


def _stream_lines(old: Any, new: Any) -> list[str]:
    if type(old) is not type(new):
        return [f"{_shown(old)} → {_shown(new)}"]
    line = f"stream of {old.raw_bytes} bytes → stream of {new.raw_bytes} bytes"
    at = 0
    for before, after in zip(old, new, strict=False):
        if before != after:
            return [f"{line}, the first other byte is {at + _common([*before], [*after])}"]
        at += len(before)
    return [line]


def _text_lines(old: str, new: str) -> list[str]:
    if old == new:
        return []
    unit, before, after = _units(old, new)
    start = _common(before, after)
    end = _common(before[start:][::-1], after[start:][::-1])
    before, after = (each[start : len(each) - end] for each in (before, after))
    if max(len(before), len(after)) > _MOST_COMPARED:  # difflib would take minutes
        return [f"{len(before)} {unit}s from {unit} {start + 1} on became {len(after)} others"]
    changes = list(difflib.unified_diff(before, after, n=0, lineterm=""))[2:]
    return [
        f"text, from {unit} {start + 1} on:",
        *(_clipped(line) for line in changes if not line.startswith("@@")),
    ]


def _units(old: str, new: str) -> tuple[str, list[str], list[str]]:
    """Return what both are compared by, lines or (where there is one only) words, and these."""
    if "\n" in old + new:
        return "line", old.splitlines(), new.splitlines()
    before, after = (re.findall(r"\S+\s*|\s+", each) for each in (old, new))
    return "word", before, after


def _common(before: list[Any], after: list[Any]) -> int:
    """Return how many items both begin with."""
    pairs = enumerate(zip(before, after, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(before), len(after)))


def _list_lines(old: Any, new: Any) -> list[str]:
    """Tell two long lists by counts: deepdiff looks for what was moved, for minutes."""
    pairs = zip(old, new, strict=False)
    others = [at for at, pair in enumerate(pairs) if _is_other(*pair)]
    lines = [] if len(old) == len(new) else [f"{len(old)} items → {len(new)} items"]
    if others:
        shown = f"[{others[0]}]: {_shown(old[others[0]])} → {_shown(new[others[0]])}"
        lines.append(f"{len(others)} of {min(len(old), len(new))} items differ, first {shown}")
    return lines


def _is_other(old: Any, new: Any) -> bool:
    if old is new:
        return False
    try:
        return bool(old != new) and not bool(old != old and new != new)  # NaN
    except (ValueError, TypeError):  # an array, or pandas' NA, is neither equal nor different
        return pickle.dumps(old) != pickle.dumps(new)


def _order_lines(old: Any, new: Any) -> list[str]:
    is_other = old.keys() == new.keys() and list(old) != list(new)
    return ["the keys are in another order"] if is_other else []


def _moment_lines(old: Any, new: Any) -> list[str]:
    """Tell two times by what they look like: deepdiff takes one without a zone for UTC."""
    return [] if repr(old) == repr(new) else [f"{_shown(old)} → {_shown(new)}"]


def _array_lines(old: Any, new: Any) -> list[str]:
    import numpy as np

    if old.dtype != new.dtype or old.shape != new.shape:
        return [f"{old.dtype}{list(old.shape)} → {new.dtype}{list(new.shape)}"]
    if type(old) is not type(new):
        return [f"{type(old).__name__} → {type(new).__name__}"]
    if isinstance(old, np.ma.MaskedArray):
        return _masked_lines(old, new)
    differ = _differing(old, new)
    count = int(np.count_nonzero(differ))
    if not count:
        return []
    line = f"{count} of {old.size} items differ"
    if old.dtype.kind in "iufc":
        exact = "complex128" if old.dtype.kind == "c" else "longdouble"
        farthest = np.max(np.abs(old[differ].astype(exact) - new[differ].astype(exact)))
        line += f", by at most {farthest:.6g}"
    return [line]


def _differing(old: Any, new: Any) -> Any:
    """Return where two arrays of one shape differ."""
    import numpy as np

    if old.dtype.kind == "O":  # items may be arrays
        pairs = zip(old.ravel(), new.ravel(), strict=True)
        return np.array([_is_other(*pair) for pair in pairs], dtype=bool).reshape(old.shape)
    return ~((old == new) | ((old != old) & (new != new)))  # NaN is equal to NaN here


def _masked_lines(old: Any, new: Any) -> list[str]:
    import numpy as np

    masks = np.ma.getmaskarray(old), np.ma.getmaskarray(new)
    count = int(np.count_nonzero(masks[0] != masks[1]))
    lines = [f"{count} of {old.size} items are masked in one of both"] if count else []
    seen = ~(masks[0] | masks[1])
    return lines + _array_lines(old.data[seen], new.data[seen])


def _frame_lines(old: Any, new: Any) -> list[str]:
    lines = [] if old.shape == new.shape else [f"shape {old.shape} → {new.shape}"]
    lines += [f"column {name!r} added" for name in new.columns.difference(old.columns)]
    lines += [f"column {name!r} removed" for name in old.columns.difference(new.columns)]
    if not lines and list(old.columns) != list(new.columns):
        lines.append("the columns are in another order")
    if old.shape[0] == new.shape[0] and not old.index.identical(new.index):
        lines.append(f"index: {_shown(old.index)} → {_shown(new.index)}")
    for name in old.columns.intersection(new.columns):
        found = _column_lines(old[name], new[name])
        lines += [f"column {name!r}: {line}" for line in found]
    return lines


def _column_lines(old: Any, new: Any) -> list[str]:
    if lines := _array_lines(old.to_numpy(), new.to_numpy()):
        return lines
    before, after = (getattr(each, "dtype", None) for each in (old, new))  # of two, none
    return [] if before == after else [f"{before!r} → {after!r}"]


def _told(kind: str, level: Any) -> str:
    if kind.endswith("_added"):
        return f"{_at(level)}added {_shown(level.t2)}"
    if kind.endswith("_removed"):
        return f"{_at(level)}removed {_shown(level.t1)}"
    return f"{_at(level)}{_shown(level.t1)} → {_shown(level.t2)}"


def _order(level: Any) -> list[str]:
    """Return what sorts by place: deepdiff's own order is that of a hash."""
    steps = level.path(output_format="list")
    return [f"{step:012}" if isinstance(step, int) else str(step) for step in steps]


def _at(level: Any) -> str:
    place = level.path(root="").rstrip(":")
    return f"{place}: " if place else ""


def _shown(value: object) -> str:
    return _clipped(in_one(value))


def _clipped(text: str) -> str:
    return text if len(text) <= _MOST_CHARACTERS else text[:_MOST_CHARACTERS] + "…"
