"""Values as text for people: a part that cannot be shown does not hide the rest."""

from __future__ import annotations

from pprint import PrettyPrinter
from typing import Any


def in_lines(value: object) -> str:
    """Return a value over several lines, if it needs them."""
    return _Printer(width=100, sort_dicts=False).pformat(value)


def in_one(value: object) -> str:
    """Return a value as `repr` does."""
    try:
        return repr(value)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - of code that is not ours
        return _Printer(sort_dicts=False).format(value, {}, 0, 0)[0]


class _Printer(PrettyPrinter):
    def format(
        self, object: Any, context: dict[int, int], maxlevels: int, level: int
    ) -> tuple[str, bool, bool]:
        try:
            return super().format(object, context, maxlevels, level)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - of code that is not ours
            return _told(object, error), False, False


def _told(value: object, error: Exception) -> str:
    if isinstance(value, int):  # Python writes none of more than 4 300 digits, which takes long
        return f"<an integer of {value.bit_length()} bits>"
    return f"<{type(value).__name__} that cannot be shown: {type(error).__name__}: {error}>"
