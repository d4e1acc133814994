"""A small drawing: SVG with colours for light and dark, and nothing from elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from typing import Final

# A picture has a ground of its own, so that it can be read wherever it is shown: a page may be
# dark where the reader's system is light.
_STYLE: Final = """\
text { font: 13px system-ui, sans-serif; fill: #1d2733 }
.code { font: 12px ui-monospace, monospace }
.strong { font-weight: 600 }
.dim { fill: #66717e }
.end { text-anchor: end }
.middle { text-anchor: middle }
.ground { fill: #f7f8fa; stroke: #d5dae0 }
.box { fill: #fff; stroke: #b9c1cb }
.a { fill: #2f6fb5 } .b { fill: #c3702b } .c { fill: #3d8b5a } .d { fill: #8759a8 }
.pale { fill: #b9c1cb }
.light { fill: #fff }
.line { stroke: #8893a0; fill: none }
.thin { stroke: #d5dae0; fill: none }
.cut { stroke: #b3372f; fill: none; stroke-width: 2 }
.ours { stroke: #2f6fb5; fill: none; stroke-width: 3 }
.floor { stroke: #8893a0; fill: none; stroke-dasharray: 4 4 }
@media (prefers-color-scheme: dark) {
text { fill: #dbe1e8 }
.dim { fill: #97a2af }
.ground { fill: #191d22; stroke: #333a43 }
.box { fill: #22272e; stroke: #48515c }
.a { fill: #5b97d8 } .b { fill: #d98d4d } .c { fill: #5fae7d } .d { fill: #ab80cb }
.pale { fill: #56606c }
.light { fill: #14171b }
.line { stroke: #78838f }
.thin { stroke: #333a43 }
.cut { stroke: #e0736b }
.ours { stroke: #5b97d8 }
.floor { stroke: #78838f }
}
"""


@dataclass(slots=True)
class Drawing:
    """Shapes in the order in which they are drawn, on a ground of `width` by `height`."""

    width: int
    height: int
    title: str
    shapes: list[str] = field(default_factory=list)

    def box(self, x: float, y: float, width: float, height: float, look: str = "box") -> None:
        """Draw a rectangle; `look` names classes of the style."""
        self.shapes.append(
            f'<rect class="{look}" x="{x:g}" y="{y:g}" '
            f'width="{width:g}" height="{height:g}" rx="3"/>'
        )

    def text(self, x: float, y: float, text: str, look: str = "") -> None:
        """Write a text whose line begins (or ends, or has its middle) at a point."""
        self.shapes.append(f'<text class="{look}" x="{x:g}" y="{y:g}">{escape(text)}</text>')

    def path(self, course: str, look: str = "line") -> None:
        """Draw a line along a course in the language of SVG."""
        self.shapes.append(f'<path class="{look}" d="{course}"/>')

    def svg(self) -> str:
        """Return the file's text."""
        inner = "\n".join(self.shapes)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" '
            f'width="{self.width}" height="{self.height}" role="img">\n'
            f"<title>{escape(self.title)}</title>\n"
            f"<style>\n{_STYLE}</style>\n"
            f'<rect class="ground" x="0.5" y="0.5" width="{self.width - 1}" '
            f'height="{self.height - 1}" rx="6"/>\n{inner}\n</svg>\n'
        )
