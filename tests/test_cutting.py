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


class Seeded(Plain):
    """In the clear, but cut as an encrypted store cuts."""

    seed = 0x1234_5678_9ABC_DEF


@pytest.fixture(params=[Plain, Seeded])
def cut_after(request):
    cipher, pool = request.param(), Pool()

    def cut_after(stream: bytes, before: Stream | None):
        parts = (memoryview(stream),)
        serialized = serialize.Serialized("pickle5", "bytes", parts, (len(stream),))
        return cut("key", serialized, before, cipher, pool)

    cut_after.seed = cipher.seed
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
        if cut_after.seed == 0:
            assert [len(chunk) for chunk in found.chunks()] == cut_stream(text)
        before = found.stream


@pytest.mark.parametrize("size", [300_000, 5_000_000])
def test_a_stream_that_is_as_before_is_not_cut_again(cut_after, size):
    text = random.Random(size).randbytes(size)
    before = cut_after(text, None).stream
    assert cut_after(bytes(bytearray(text)), before).stream is before


def test_what_changes_where_a_chunk_ended_makes_no_difference_either(cut_after):
    text = random.Random(2).randbytes(300_000)
    before = cut_after(text, None).stream
    for count in range(1, len(before.lengths)):
        at = sum(before.lengths[:count])
        flipped = bytes([text[at] ^ 1])
        for new in (
            text[:at] + flipped + text[at + 1 :],
            text[:at] + b"new" + text[at:],
            text[:at] + text[at + 1 :],
            text[:at] + flipped,
            text[: at + 1],
            text[: at - 1] + text[at:],
        ):
            assert cut_after(new, before).digests == cut_after(new, None).digests


def test_a_stream_that_ends_where_a_chunk_ended_has_the_chunks_before_it(cut_after):
    text = random.Random(1).randbytes(300_000)
    before = cut_after(text, None).stream
    for count in range(2, len(before.lengths)):
        shorter = text[: sum(before.lengths[:count])]
        found = cut_after(shorter, before)
        assert found.digests == cut_after(shorter, None).digests
