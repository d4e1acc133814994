"""Write what of docs/ is made by code."""

from __future__ import annotations

from pathlib import Path

from . import MADE

DOCS = Path(__file__).resolve().parent.parent

for name, make in MADE.items():
    (DOCS / name).write_text(make(), encoding="utf-8")
