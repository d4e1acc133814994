"""What the demo prints: aligned text, coloured and animated on a terminal only."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from typing import Any, TextIO

STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "cyan": "36"}
# What `size`, `seconds` and ratios look like.
AMOUNT = re.compile(r"[\d.,]+ (B|kB|MB|ms|s|×|%)")


class Screen:
    """Lines of the demo on a stream; knows whether somebody watches."""

    def __init__(self, stream: TextIO = sys.stdout) -> None:
        self.stream = stream
        self.live = stream.isatty() and os.environ.get("TERM") != "dumb"
        self.coloured = self.live and not os.environ.get("NO_COLOR")

    def paint(self, style: str, text: str) -> str:
        """Colour a text, if colours are wanted."""
        return f"\x1b[{STYLES[style]}m{text}\x1b[0m" if self.coloured else text

    def line(self, text: str = "", style: str | None = None) -> None:
        """Print a line, over the progress bar if one stands there."""
        clear = "\r\x1b[K" if self.live else ""
        indented = f"  {text}" if text else ""
        print(clear + (self.paint(style, indented) if style else indented), file=self.stream)
        self.stream.flush()

    def heading(self, text: str, aside: str = "") -> None:
        """Begin a part."""
        self.line()
        self.line(self.paint("bold", text) + ("   " + self.paint("dim", aside) if aside else ""))

    def passing(self, text: str) -> None:
        """Show a text that the next line replaces."""
        if self.live:
            self.stream.write(f"\r\x1b[K  {text}")
            self.stream.flush()

    def bar(self, label: str, percent: int, width: int = 30) -> None:
        """Show how far something is."""
        filled = percent * width // 100
        drawn = self.paint("cyan", "█" * filled) + self.paint("dim", "░" * (width - filled))
        self.passing(f"{label} {drawn} {percent:3d} %")

    def table(self, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Print rows in columns: numbers and amounts to the right, texts to the left."""
        cells = [[_text(cell) for cell in row] for row in rows]
        widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
        right = [all(_is_number(row[i]) for row in rows) for i in range(len(header))]
        self.line("  " + _aligned(header, widths, right), "dim")
        for row in cells:
            self.line("  " + _aligned(row, widths, right))


def size(count: float) -> str:
    """Bytes for people: 812 B, 17.3 kB, 2.1 MB."""
    if count < 1000:
        return f"{count:.0f} B"
    return f"{count / 1e3:.1f} kB" if count < 1e6 else f"{count / 1e6:.1f} MB"


def seconds(duration: float) -> str:
    """A duration for people: 3 ms, 1.25 s."""
    return f"{duration * 1000:.0f} ms" if duration < 0.9995 else f"{duration:.2f} s"


def _text(cell: Any) -> str:
    if isinstance(cell, float):
        return f"{cell:.2f}"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)


def _is_number(cell: Any) -> bool:
    return isinstance(cell, int | float) or bool(AMOUNT.fullmatch(cell))


def _aligned(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    pairs = zip(cells, widths, right, strict=True)
    return "   ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in pairs).rstrip()
