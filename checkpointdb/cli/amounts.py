"""Amounts as people write them, such as 10% and 5m: callbacks of options."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Any

import click

_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 7 * 86_400}
_BYTES = {
    **{"": 1, "b": 1},
    **{f"{letter}b": 1_000**power for power, letter in enumerate("kmgt", 1)},
    **{f"{letter}ib": 1_024**power for power, letter in enumerate("kmgt", 1)},
}
_MOST_BYTES = 2**63 - 1


class Number(click.FloatRange):
    """A number within bounds; NaN, which is neither in nor out of them, is none."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number."""
        found = float(super().convert(value, param, ctx))
        if not math.isfinite(found):
            self.fail(f"{value!r} is no number", param, ctx)
        return found


def share(_ctx: click.Context, _param: click.Parameter, value: str | None) -> float | None:
    """Return a part of a whole, 10% or 0.1, as a number over 0 and at most 1."""
    if value is None:
        return None
    found = re.fullmatch(r"(\d{1,3}(?:\.\d{1,9})?)\s*(%?)", value.strip())
    number = float(found[1]) / (100 if found[2] else 1) if found else 0.0
    if not 0 < number <= 1:
        raise click.BadParameter(f"{value!r} is no share: write 10% or 0.1")
    return number


def seconds(_ctx: click.Context, _param: click.Parameter, value: str | None) -> float | None:
    """Return a time, such as 90s, 5m, 2h or 1d, in seconds."""
    if value is None:
        return None
    number = _time(value)
    if not 0 < number <= _SECONDS["d"]:
        raise click.BadParameter(f"{value!r} is no time of up to a day: write 90s, 5m or 2h")
    return number


def age(_ctx: click.Context, _param: click.Parameter, value: str | None) -> float | None:
    """Return an age, such as 36h, 30d or 8w, in seconds."""
    if value is None:
        return None
    number = _time(value) if value.strip()[-1:] in _SECONDS else 0.0  # 30 of what?
    if number <= 0:
        raise click.BadParameter(f"{value!r} is no age: write 36h, 30d or 8w")
    return number


def byte_count(_ctx: click.Context, _param: click.Parameter, value: str | None) -> int | None:
    """Return a number of bytes, such as 1000000, 500MB or 2GiB, of at least 1."""
    if value is None:
        return None
    found = re.fullmatch(r"(\d{1,19}(?:\.\d{1,9})?)\s*([a-z]*)", value.strip().lower())
    number = int(Decimal(found[1]) * _BYTES.get(found[2], 0)) if found else 0
    if not 1 <= number <= _MOST_BYTES:
        raise click.BadParameter(
            f"{value!r} is no number of bytes from 1 to {_MOST_BYTES}: write 1000000, 500MB or 2GiB"
        )
    return number


def _time(text: str) -> float:
    """Return the seconds of a number and a unit, 0 if it is none."""
    found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)\s*([smhdw]?)", text.strip())
    return float(found[1]) * _SECONDS[found[2] or "s"] if found else 0.0
