"""Database files with flipped bits, cut off, or with pages in each other's place."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from attacked import attack
from effort import NIGHTLY, some

CASES = 3_000 if NIGHTLY else some(60, long=120)
PAGE_BYTES = 4096


def flip_bits(raw: bytearray, chosen: random.Random) -> None:
    for _ in range(chosen.choice([1, 1, 3, 20, 200])):
        raw[chosen.randrange(len(raw))] ^= 1 << chosen.randrange(8)


def change_headers(raw: bytearray, chosen: random.Random) -> None:
    """Of the file (its first 100 bytes) and of pages: what SQLite steers by."""
    for _ in range(chosen.choice([1, 2, 5])):
        page = chosen.randrange(len(raw) // PAGE_BYTES) * PAGE_BYTES
        place = chosen.choice([chosen.randrange(100), page + chosen.randrange(12)])
        raw[place] = chosen.randrange(256)


def cut_off(raw: bytearray, chosen: random.Random) -> None:
    del raw[chosen.randrange(len(raw)) :]


def enlarge(raw: bytearray, chosen: random.Random) -> None:
    raw += chosen.randbytes(chosen.choice([1, PAGE_BYTES, 10 * PAGE_BYTES]))


def copy_pages(raw: bytearray, chosen: random.Random) -> None:
    pages = len(raw) // PAGE_BYTES
    one, other = (chosen.randrange(pages) * PAGE_BYTES for _ in range(2))
    raw[one : one + PAGE_BYTES] = raw[other : other + PAGE_BYTES]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("damage", [flip_bits, change_headers, cut_off, enlarge, copy_pages])
def test_a_damaged_database_is_read_or_told_with_the_file_and_never_gives_a_wrong_state(
    copy, damage
):
    chosen = random.Random(damage.__name__)
    for _ in range(CASES // 5):
        path: Path = copy() / "checkpoints.db"
        raw = bytearray(path.read_bytes())
        damage(raw, chosen)
        path.write_bytes(raw)
        attack(path.parent)


@pytest.mark.parametrize("side", ["-wal", "-shm", "-journal"])
@pytest.mark.parametrize("content", [b"noise" * 5_000, b"\x37\x7f\x06\x82" + bytes(8_000)])
def test_files_beside_the_database_that_are_noise_do_no_harm(copy, side, content):
    directory = copy()
    (directory / f"checkpoints.db{side}").write_bytes(content)
    attack(directory)
