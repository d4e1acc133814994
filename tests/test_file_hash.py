"""The hash of a file is that of its bytes in order, whichever thread takes it."""

from __future__ import annotations

import random
from concurrent.futures import wait
from hashlib import sha256
from threading import Event, Thread

import pytest

from checkpointdb.store.file_hash import FileHash
from checkpointdb.store.pool import Pool


@pytest.fixture
def pool():
    made = Pool()
    yield made
    made.close()


@pytest.mark.parametrize("seed", range(20))
def test_it_is_that_of_all_pieces_in_their_order_and_buffers_come_back(pool, seed):
    chance = random.Random(seed)
    expected, free, buffers = sha256(b"header"), [], []
    found = FileHash(pool, b"header", free)
    for _ in range(40):
        sizes = [
            chance.choice([0, 10, 5_000, 100_000, 300_000]) for _ in range(chance.choice([1, 3]))
        ]
        buffer = bytearray(chance.randbytes(sum(sizes)))
        pieces = [
            memoryview(buffer)[sum(sizes[:n]) : sum(sizes[: n + 1])] for n in range(len(sizes))
        ]
        expected.update(buffer)
        buffers.append(buffer)
        found.update(pieces, chance.choice([buffer, None]))
        if chance.random() < 0.1:
            assert found.digest() == expected.digest()
    assert found.digest() == expected.digest()
    assert {id(each) for each in free} <= {id(each) for each in buffers}
    assert len(free) == len({id(each) for each in free})


def test_what_came_as_the_task_was_ending_is_in_it(pool):
    found = FileHash(pool, b"", [])
    found.update([b"x" * 200_000], None)
    found._task.result()
    found._waiting.append(([b"late"], None))  # as `update` does, for which the task goes on
    assert found.digest() == sha256(b"x" * 200_000 + b"late").digest()


def test_what_waits_is_bounded_while_no_thread_is_free(pool):
    gate, expected = Event(), sha256()
    blocking = [pool.submit(gate.wait) for _ in range(pool.threads)]
    found = FileHash(pool, b"", [])
    pieces = [bytes([number]) * 200_000 for number in range(30)]

    def update():
        for piece in pieces:
            found.update([piece], None)

    thread = Thread(target=update)
    thread.start()
    thread.join(0.2)
    try:
        assert thread.is_alive()
        assert len(found._waiting) <= 8
    finally:
        gate.set()
    thread.join()
    for each in blocking:
        each.result()
    expected.update(b"".join(pieces))
    assert found.digest() == expected.digest()


def test_what_the_task_met_is_raised_and_never_a_hash_of_less(pool):
    class NoPiece:
        def __len__(self):
            return 200_000

    found = FileHash(pool, b"", [])
    found.update([NoPiece()], None)
    wait([found._task])
    with pytest.raises(TypeError):
        found.update([b"x" * 200_000], None)
    with pytest.raises(TypeError):
        found.digest()
