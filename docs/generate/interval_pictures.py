"""Drawings of chains as intervals: what a load asks, what a forgotten one takes, what forks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from .drawing import Drawing

_KEYS: Final = ("pages", "scores", "report", "draft")
_STEP, _ROW = 92, 34


@dataclass(frozen=True, slots=True)
class _Entry:
    """A key's value from one depth until before another (None: still)."""

    key: str
    since: int
    until: int | None
    value: str
    look: str


# What docs/explanation/delta-chains.md tells and asserts.
_ENTRIES: Final = (
    _Entry("pages", 0, None, "A", "a"),
    _Entry("draft", 0, 2, "E", "d"),
    _Entry("scores", 1, 2, "B", "b"),
    _Entry("draft", 2, None, "absent", "pale"),
    _Entry("scores", 2, None, "C", "b"),
    _Entry("report", 3, None, "D", "c"),
)


@dataclass(frozen=True, slots=True)
class _Chain:
    """Where in a drawing a chain's depths and keys stand."""

    drawing: Drawing
    x: int
    y: int
    depths: int

    def at(self, depth: float) -> float:
        """Return where a depth begins."""
        return self.x + depth * _STEP

    def row(self, key: str) -> float:
        return self.y + 30 + _KEYS.index(key) * _ROW

    def bottom(self) -> float:
        return self.y + 30 + len(_KEYS) * _ROW

    def draw(self, entries: Sequence[_Entry], *, gone: frozenset[int] = frozenset()) -> None:
        """Draw the grid, the depths (those that are forgotten struck out) and the entries."""
        for key in _KEYS:
            self.drawing.text(self.x - 12, self.row(key) + 19, key, "code end")
        for depth in range(self.depths):
            middle = self.at(depth) + _STEP / 2
            self.drawing.path(f"M{self.at(depth)} {self.y + 22} V{self.bottom()}", "thin")
            look = "middle dim" if depth in gone else "middle strong"
            self.drawing.text(middle, self.y + 14, f"depth {depth}", look)
            if depth in gone:
                self.drawing.path(f"M{middle - 30} {self.y + 10} h60", "cut")
        for entry in entries:
            self._draw_entry(entry)

    def _draw_entry(self, entry: _Entry) -> None:
        start = self.at(entry.since) + 2
        end = self.at(entry.until or self.depths) - 2
        y = self.row(entry.key)
        self.drawing.box(start, y + 3, end - start, 24, entry.look)
        arrow = "" if entry.until else " →"
        self.drawing.text(start + 10, y + 20, f"{entry.value}{arrow}", "light strong")


def intervals() -> str:
    """Draw a chain, and a load of its second checkpoint."""
    drawing = Drawing(520, 226, "Each key of a chain has one value from one depth to another")
    chain = _Chain(drawing, 92, 14, 4)
    chain.draw(_ENTRIES)
    middle = chain.at(1) + _STEP * 0.75
    drawing.path(f"M{middle} {chain.y + 24} V{chain.bottom() + 6}", "cut")
    told = "load depth 1: what the line crosses, A, B and E"
    drawing.text(middle, chain.bottom() + 26, told, "middle")
    return drawing.svg()


def forgetting() -> str:
    """Draw what the second checkpoint takes along when it is forgotten: what covers it alone."""
    drawing = Drawing(520, 226, "Forgetting a checkpoint removes what covers it alone")
    chain = _Chain(drawing, 92, 14, 4)
    alive = [entry for entry in _ENTRIES if entry.value != "B"]
    chain.draw(alive, gone=frozenset({1}))
    y = chain.row("scores")
    drawing.box(chain.at(1) + 2, y + 3, _STEP - 4, 24, "thin")
    drawing.path(f"M{chain.at(1) + 10} {y + 24} L{chain.at(2) - 10} {y + 6}", "cut")
    told = "B covered depth 1 alone, and goes; nothing else changes"
    drawing.text(chain.at(2), chain.bottom() + 26, told, "middle")
    return drawing.svg()


def fork() -> str:
    """Draw a chain that goes on from the first checkpoint of another."""
    drawing = Drawing(520, 432, "A fork repeats the entries, and shares the values")
    first = _Chain(drawing, 92, 14, 4)
    first.draw(_ENTRIES)
    second = _Chain(drawing, 92 + 2 * _STEP, 222, 2)
    second.draw(_FORKED)
    start, end = first.at(0) + _STEP / 2, second.at(0)
    y = second.y + 10
    drawing.path(f"M{start} {first.bottom() + 4} V{y} H{end - 8} m-6 -4 l6 4 l-6 4")
    told = "A and E are named again, not stored again"
    drawing.text(second.at(1), second.bottom() + 26, told, "middle")
    return drawing.svg()


_FORKED: Final = (
    _Entry("pages", 0, None, "A", "a"),
    _Entry("draft", 0, None, "E", "d"),
    _Entry("scores", 0, None, "F", "b"),
    _Entry("report", 1, None, "G", "c"),
)
