"""Real text that needs no download: the sources of Python's standard library."""

from __future__ import annotations

import sysconfig
from collections.abc import Iterator
from functools import cache
from pathlib import Path

_LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "__pycache__"}


@cache
def documents(total_bytes: int) -> dict[str, str]:
    """Return sources by name, in the order of names, of about `total_bytes` in all."""
    found: dict[str, str] = {}
    for name, text in _sources():
        found[name] = text[:total_bytes]
        total_bytes -= len(found[name])
        if total_bytes <= 0:
            break
    return found


def pieces(count: int, length: int) -> list[str]:
    """Return `count` texts of `length` characters; where the sources end they begin anew."""
    text = "".join(documents(min(count * length, 8_000_000)).values())
    starts = ((number * length) % (len(text) - length) for number in range(count))
    return [text[start : start + length] for start in starts]


def paragraph(number: int) -> str:
    """Return a paragraph that no other call returns."""
    return "".join(f"# {number}: line {line} of a paragraph that was put in\n" for line in range(8))


def _sources() -> Iterator[tuple[str, str]]:
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root)
        if _LEFT_OUT.isdisjoint(name.parts):
            yield name.as_posix(), path.read_text(encoding="utf-8", errors="replace")
