"""Sources of streams that are gone when they were read: never taken for empty ones."""

from __future__ import annotations

import io
import os
import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from checkpointdb import InvalidInputError, InvalidStateError, StreamedValue
from checkpointdb.sources import Flowing

MIB = 1 << 20
NOISE = random.Random(5).randbytes(3 * MIB)
MORE = NOISE + b"and more"


def generated(data):
    yield data


class OnlyRead:
    """The least that some libraries call a file."""

    def __init__(self, data):
        self._file = io.BytesIO(data)

    def read(self, count):
        return self._file.read(min(count, 70_000))


class NoReadInto(OnlyRead):
    """A file that can be sought in, and has nothing but `read`: such as a mmap."""

    def seekable(self):
        return True

    def tell(self):
        return self._file.tell()

    def seek(self, position):
        return self._file.seek(position)


class NoSeekable(NoReadInto):
    """One that does not say so, as a mmap before Python 3.13."""

    seekable = property()


class Pipe(io.BytesIO):
    """A file with all that a file has, and no way back."""

    def seekable(self):
        return False


ONCE = {
    "iterator": lambda data: iter([data]),
    "generator": generated,
    "file": io.BytesIO,
    "file with nothing but read": OnlyRead,
}


@pytest.mark.parametrize("once", ONCE.values(), ids=ONCE)
def test_a_function_that_gives_the_same_stream_again_is_told(archive, once):
    """A delta that becomes a full reads again what it found elsewhere in part."""
    archive.save({"stream": StreamedValue(NOISE)}, "before")
    given = once(MORE)
    state = {"stream": StreamedValue(lambda: given), "new": os.urandom(20 * MIB)}
    with pytest.raises(InvalidStateError, match=r"'stream'.*a new one each time"):
        archive.save(state, "x")
    assert [each.checkpoint_id for each in archive.list_checkpoints()] == ["before"]


def test_a_function_may_give_the_same_bytes_again(archive):
    archive.save({"stream": StreamedValue(NOISE)}, "before")
    given = [MORE]
    state = {"stream": StreamedValue(lambda: given), "new": os.urandom(20 * MIB)}
    archive.save(state, "x")
    assert not archive.get_checkpoint_info("x").is_incremental
    assert b"".join(archive.load("x")["stream"]) == MORE


@pytest.mark.parametrize("wrap", [lambda given: given, lambda given: lambda: given])
def test_a_generator_that_was_read_already_is_no_empty_stream(archive, wrap):
    given = generated(NOISE)
    archive.save({"stream": StreamedValue(given)}, "first")
    with pytest.raises(InvalidStateError, match=r"'stream'.*read already"):
        archive.save({"stream": StreamedValue(wrap(given))}, "second")


GONE = {
    "pipe": Pipe,
    "file with nothing but read": OnlyRead,
    "generator": generated,
    "iterator of a list": lambda data: iter([data]),
    "map": lambda data: map(bytes, [data]),
}


@pytest.mark.parametrize("once", GONE.values(), ids=GONE)
def test_streams_of_one_file_or_iterator_in_one_save_are_the_same(archive, once):
    given = once(NOISE)
    archive.save({"one": StreamedValue(given), "other": StreamedValue(given)}, "x")
    for stream in archive.load("x").values():
        assert b"".join(stream) == NOISE


@pytest.mark.parametrize("once", GONE.values(), ids=GONE)
def test_another_stream_of_what_was_read_is_no_empty_one(archive, once):
    given = once(NOISE)
    one, other = StreamedValue(given), StreamedValue(given)
    archive.save({"stream": one}, "first")
    with pytest.raises(InvalidStateError, match=r"'stream'.*read already"):
        archive.save({"stream": other}, "second")
    assert b"".join(one) == NOISE


@pytest.mark.parametrize("once", [Pipe, OnlyRead, generated])
def test_a_stream_made_later_of_what_was_read_is_no_empty_one(archive, once):
    given = once(NOISE)
    archive.save({"stream": StreamedValue(given)}, "first")
    with pytest.raises(InvalidStateError, match=r"'stream'.*read already"):
        archive.save({"stream": StreamedValue(given)}, "second")


class BeginsAnew:
    """An iterator that `iter` begins anew, as many are written."""

    def __iter__(self):
        self.left = [b"x" * MIB, b"y" * MIB, b"z" * MIB]
        return self

    def __next__(self):
        if not self.left:
            raise StopIteration
        return self.left.pop(0)


@pytest.mark.parametrize("wrap", [lambda made: made, lambda made: lambda: made])
def test_an_iterator_that_iter_begins_anew_is_read_once(archive, wrap):
    archive.save({"stream": StreamedValue(wrap(BeginsAnew()))}, "one")
    assert b"".join(archive.load("one")["stream"]) == b"".join(BeginsAnew())


def test_what_gives_its_bytes_anew_makes_as_many_streams_as_one_likes(archive):
    pieces, file = [NOISE, b"and more"], NoSeekable(MORE)
    for name in ("first", "second"):
        one, other = StreamedValue(pieces), StreamedValue(file)
        archive.save({"pieces": one, "file": other}, name)
        file.seek(0)
        assert [b"".join(each) for each in archive.load(name).values()] == [MORE, MORE]


@pytest.mark.parametrize("excess", [-1, 1])
def test_a_file_that_says_it_read_more_than_it_can_have_is_refused(archive, excess):
    class Wrong(OnlyRead):
        is_over = False

        def readinto(self, target):
            if self.is_over:
                return 0
            self.is_over = True
            return len(target) + 1 if excess > 0 else -1

    with pytest.raises(InvalidStateError, match=r"'stream'.*readinto says"):
        archive.save({"stream": StreamedValue(Wrong(NOISE))}, "x")
    with pytest.raises(InvalidInputError, match="readinto says"):
        StreamedValue(lambda: Wrong(NOISE)).open().read()


def test_a_file_that_can_only_be_read_and_sought_in_is_read_at_each_save(archive):
    value = StreamedValue(NoReadInto(MORE))
    archive.save({"stream": value}, "first")
    archive.save({"stream": value, "n": 1}, "second")
    assert b"".join(archive.load("second")["stream"]) == MORE
    assert archive.diff("first", "second").unchanged == ("stream",)


PIECES = st.lists(
    st.tuples(
        st.sampled_from([bytes, bytearray, memoryview, "reused"]),
        st.sampled_from([0, 1, 80, 5_000, 64 << 10, 70_000, 2 * MIB]),
    ),
    max_size=40,
)


def test_pieces_of_all_sizes_and_kinds_come_in_their_order(archive):
    """A buffer that is filled anew for each piece too, as `readinto` in a loop does."""

    @settings(max_examples=30, deadline=None)
    @given(PIECES)
    @example([(bytes, 80), ("reused", 5_000), ("reused", 5_000)])
    def come(parts):
        data = [(kind, NOISE[at : at + size]) for at, (kind, size) in enumerate(parts)]
        buffer = bytearray(2 * MIB)

        def flow():
            for kind, piece in data:
                if kind == "reused":
                    buffer[: len(piece)] = piece
                    yield memoryview(buffer)[: len(piece)]
                else:
                    yield kind(piece)

        archive.save({"stream": StreamedValue(flow), "once": StreamedValue(flow())}, "x")
        whole = b"".join(piece for _, piece in data)
        assert b"".join(archive.load("x")["stream"]) == whole
        assert b"".join(archive.load("x")["once"]) == whole
        assert b"".join(StreamedValue(flow)) == whole

    come()


def test_lines_take_not_much_longer_than_their_bytes():
    calls = 0

    class Counting(Flowing):
        def readinto(self, target):
            nonlocal calls
            calls += 1
            return super().readinto(target)

    with io.BufferedReader(Counting(iter([b"a line of text\n"] * 100_000)), MIB) as stream:
        assert len(stream.read()) == 1_500_000
    assert calls < 1_000
