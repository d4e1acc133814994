"""Where a value is cut is a function of its bytes alone, whatever is known of those before."""

from __future__ import annotations

import random

import pytest

from checkpointdb import serialize
from checkpointdb.chunking import cut_stream
from checkpointdb.sealing import Plain
from checkpointdb.store.cutting import cut
from checkpointdb.store.head import Stream
from checkpointdb.store.pool import Pool


@pytest.fixture
def cut_after():
    cipher, pool = Plain(), Pool()

    def cut_after(stream: bytes, before: Stream | None):
        parts = (memoryview(stream),)
        serialized = serialize.Serialized("pickle5", "bytes", parts, (len(stream),))
        return cut("key", serialized, before, cipher, pool)

    yield cut_after
    pool.close()


def edited(chance: random.Random, text: bytes) -> bytes:
    """Change a text in a few places, as states change: put in, leave out, move, double a part."""
    for _ in range(chance.choice([1, 1, 2, 5])):
        start = chance.choice([0, len(text), chance.randrange(len(text) + 1)])
        end = min(len(text), start + chance.choice([1, 1_000, 30_000, len(text) // 2]))
        part = text[start:end]
        new = [b"", chance.randbytes(chance.choice([1, len(part), 700, 40_000])), part * 2]
        text = text[:start] + chance.choice(new) + text[end:]
        if chance.random() < 0.2:
            text += part
    return text or b"-"


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("size", [17_000, 60_000, 400_000, 5_000_000])
def test_what_was_cut_before_makes_no_difference(cut_after, size, seed):
    chance = random.Random(f"{size} {seed}")
    page = chance.randbytes(chance.choice([5_000, size]))
    text = (page * (size // len(page) + 1))[:size]
    before = cut_after(text, None).stream
    for _ in range(6 if size < 1_000_000 else 2):
        text = edited(chance, text)
        found, anew = cut_after(text, before), cut_after(text, None)
        assert found._replace(serialized=None) == anew._replace(serialized=None)
        assert [len(chunk) for chunk in found.chunks] == cut_stream(text)
        before = found.stream


def test_a_stream_that_ends_where_a_chunk_ended_has_the_chunks_before_it(cut_after):
    text = random.Random(1).randbytes(300_000)
    before = cut_after(text, None).stream
    for count in range(2, len(before.lengths)):
        shorter = text[: sum(before.lengths[:count])]
        found = cut_after(shorter, before)
        assert found.digests == cut_after(shorter, None).digests
