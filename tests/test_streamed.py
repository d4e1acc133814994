"""Streams as values: of any source, chunk by chunk, in the clear and encrypted."""

from __future__ import annotations

import copy
import io
import os
import random
import threading
import tracemalloc
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyfastcdc import FastCDC

from checkpointdb import (
    InvalidInputError,
    InvalidStateError,
    NotFoundError,
    PipelineCheckpoint,
    RetentionPolicy,
    StateChangedError,
    StreamedValue,
    generate_encryption_key,
)
from checkpointdb.chunking import cut_flow

KEY = generate_encryption_key()
KEEP = {"retention_policy": RetentionPolicy.KEEP_ALL}
MIB = 1 << 20
NOISE = random.Random(4).randbytes(5 * MIB)
LONG = NOISE + bytes(2 * MIB) + b"the end"


@pytest.fixture
def sealed(tmp_path):
    """A handle of an encrypted store, which passes `check` at the end."""
    with PipelineCheckpoint(tmp_path / "sealed", KEY, True, durable=False, **KEEP) as handle:
        yield handle
        assert handle.check(read_data=True).problems == ()


@pytest.fixture(params=["archive", "sealed"], ids=["plain", "encrypted"])
def handle(request):
    return request.getfixturevalue(request.param)


def read(handle, checkpoint_id, key="stream"):
    with handle.load(checkpoint_id, keys=[key])[key].open() as stream:
        return stream.read()


def save(handle, source, checkpoint_id="x", **more):
    return handle.save({"stream": StreamedValue(source), **more}, checkpoint_id)


def pieces(data, size=100_001):
    return (data[start : start + size] for start in range(0, len(data), size))


def file_of(tmp_path, data, name="source"):
    path = tmp_path / name
    path.write_bytes(data)
    return path


def stored(handle, checkpoint_id):
    return handle.get_checkpoint_info(checkpoint_id).size_bytes


# --- what can be saved


@pytest.mark.parametrize(
    "data",
    [b"", b"1", NOISE[: 64 << 10], NOISE[:MIB], NOISE[: MIB + 1], LONG],
    ids=["empty", "one byte", "a short chunk", "a member", "a byte more", "several"],
)
def test_what_is_loaded_is_what_was_saved(handle, data):
    save(handle, pieces(data))
    assert read(handle, "x") == data
    assert handle.load("x")["stream"].raw_bytes == len(data)


SOURCES = {
    "path": lambda path: path,
    "text path": os.fspath,
    "file": lambda path: path.open("rb"),
    "unbuffered file": lambda path: path.open("rb", buffering=0),
    "bytes": lambda path: path.read_bytes(),
    "view": lambda path: memoryview(path.read_bytes()),
    "iterable": lambda path: pieces(path.read_bytes()),
    "list": lambda path: [bytearray(b""), *pieces(path.read_bytes())],
    "function of a file": lambda path: lambda: path.open("rb"),
    "function of an iterable": lambda path: lambda: pieces(path.read_bytes()),
    "file with nothing but read": lambda path: OnlyRead(path),
    "class": lambda path: opened_by_a_class(path),
}


def opened_by_a_class(path):
    class Opened(io.FileIO):
        def __init__(self):
            super().__init__(path)

    return Opened


class OnlyRead:
    """The least that some libraries call a file."""

    def __init__(self, path):
        self._file = io.BytesIO(path.read_bytes())

    def read(self, count):
        return self._file.read(min(count, 70_000))


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_every_source_gives_the_same_value(archive, tmp_path, source):
    path = file_of(tmp_path, LONG)
    save(archive, path, "first")
    given = source(path)
    save(archive, given, "second")
    if hasattr(given, "close") and not isinstance(given, type):
        given.close()
    assert read(archive, "second") == LONG
    assert archive.diff("first", "second").unchanged == ("stream",)


def test_a_file_is_read_from_where_it_stands(handle):
    file = io.BytesIO(b"head, body")
    file.seek(6)
    value = StreamedValue(file)
    file.seek(0)
    handle.save({"stream": value}, "x")
    assert read(handle, "x") == b"body"


def test_a_pipe_is_a_source(handle):
    reading, writing = os.pipe()
    thread = threading.Thread(target=fill, args=(writing,))
    thread.start()
    with os.fdopen(reading, "rb") as file:
        save(handle, file)
    thread.join()
    assert read(handle, "x") == LONG


def fill(descriptor):
    with os.fdopen(descriptor, "wb") as file:
        file.write(LONG)


def test_streams_stand_beside_other_values_in_their_order(handle):
    state = {"a": 1, "s": StreamedValue(b"one"), "b": [2], "t": StreamedValue(b"two")}
    handle.save(state, "x")
    found = handle.load("x")
    assert list(found) == ["a", "s", "b", "t"]
    assert (found["a"], found["b"], b"".join(found["s"]), b"".join(found["t"])) == (
        1, [2], b"one", b"two",
    )  # fmt: skip
    assert handle.lazy("x")["t"].open().read() == b"two"


def test_one_stream_may_be_the_value_of_two_keys(handle):
    value = StreamedValue(pieces(LONG))
    handle.save({"a": value, "b": value}, "x")
    assert read(handle, "x", "a") == read(handle, "x", "b") == LONG
    assert stored(handle, "x") < len(LONG)


# --- what cannot


class Failing(Exception):
    """What a source of the user's raises."""


def failing():
    yield NOISE
    raise Failing("no more")


def test_a_source_that_fails_half_way_is_told_with_its_key_and_leaves_nothing(handle, tree):
    handle.save({"a": 1}, "before")
    before = tree(handle.checkpoint_dir / "payloads")
    for source in (failing(), failing):
        with pytest.raises(InvalidStateError, match=r"'stream'.*Failing: no more") as caught:
            save(handle, source)
        assert isinstance(caught.value.__cause__, Failing)
        assert caught.value.key == "stream"
    assert tree(handle.checkpoint_dir / "payloads").keys() - before.keys() <= {"incoming"}
    assert [each.checkpoint_id for each in handle.list_checkpoints()] == ["before"]


def interrupting():
    yield NOISE
    raise KeyboardInterrupt


def test_an_interrupt_in_a_source_is_that_interrupt(archive):
    with pytest.raises(KeyboardInterrupt):
        save(archive, interrupting())
    assert save(archive, b"next", "next") == "next"


@pytest.mark.parametrize(
    "source",
    [
        ["text"],
        [1],
        lambda: 7,
        lambda: io.StringIO("text"),
        lambda: ["text"],
        "nowhere",
    ],
    ids=["text", "numbers", "no stream", "text file", "text later", "missing file"],
)
def test_what_gives_no_bytes_is_told_with_its_key(archive, source):
    with pytest.raises(InvalidStateError, match="'stream'"):
        save(archive, source)


@pytest.mark.parametrize("source", [7, None, io.StringIO("text")], ids=["int", "None", "text"])
def test_what_is_no_source_is_refused_at_once(source):
    with pytest.raises(InvalidInputError, match=r"binary|rb"):
        StreamedValue(source)


def test_a_file_in_text_mode_is_refused(tmp_path):
    with file_of(tmp_path, b"x").open() as file, pytest.raises(InvalidInputError, match="rb"):
        StreamedValue(file)


@pytest.mark.parametrize("wrap", [lambda v: [v], lambda v: {"deep": v}], ids=["list", "dict"])
def test_within_another_value_a_stream_cannot_be_saved(archive, wrap):
    with pytest.raises(InvalidStateError, match="key of its own"):
        archive.save({"a": wrap(StreamedValue(b"1"))})


class Truncating(io.FileIO):
    """A file that loses its end when its first part was read."""

    def readinto(self, target):
        count = super().readinto(target)
        os.truncate(self.name, MIB)
        return count


def test_a_file_that_is_truncated_meanwhile_is_an_error(handle, tmp_path):
    path = file_of(tmp_path, LONG)
    with pytest.raises(StateChangedError, match=r"'stream'.*changed") as caught:
        save(handle, lambda: Truncating(path))
    assert caught.value.key == "stream"
    assert handle.list_checkpoints() == []


def test_a_stream_that_was_lost_in_a_failed_save_is_not_taken_for_an_empty_one(archive):
    value = StreamedValue(failing())
    for match in ("no more", "read already"):
        with pytest.raises(InvalidStateError, match=match):
            archive.save({"stream": value})


def test_two_threads_cannot_read_one_file_at_once(archive):
    value = StreamedValue(io.BytesIO(LONG))
    with value.open() as stream:
        assert stream.read(3) == LONG[:3]
        with pytest.raises(InvalidStateError, match="one position"):
            archive.save({"stream": value})
    archive.save({"stream": value}, "x")
    assert read(archive, "x") == LONG


# --- reading


def test_ranges_are_read_from_anywhere(handle):
    save(handle, LONG)
    with handle.load("x")["stream"].open() as stream:
        for at, count in [(6 * MIB, 9), (3, 2 * MIB), (len(LONG) - 2, 9), (MIB - 1, 2), (0, 1)]:
            stream.seek(at)
            assert stream.read(count) == LONG[at : at + count]
        assert stream.seek(-7, os.SEEK_END) == len(LONG) - 7
        assert stream.read() == b"the end"
        assert stream.read() == b""


def test_an_archive_is_read_within_its_stream(handle):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("noise", NOISE)
        archive.writestr("small", b"found")
    save(handle, packed.getvalue())
    with handle.load("x")["stream"].open() as stream, zipfile.ZipFile(stream) as archive:
        assert archive.read("small") == b"found"


def test_a_stream_is_written_to_a_file_whole_and_to_none_that_exists(handle, tmp_path):
    save(handle, LONG)
    value = handle.load("x")["stream"]
    target = tmp_path / "out"
    assert value.save_to(target) == len(LONG)
    assert target.read_bytes() == LONG
    with pytest.raises(InvalidInputError, match="overwrite=True"):
        value.save_to(target)
    target.write_bytes(b"other")
    value.save_to(target, overwrite=True)
    assert target.read_bytes() == LONG
    assert [each.name for each in tmp_path.glob("*out*")] == ["out"]


def test_a_stream_that_cannot_be_read_leaves_no_file(tmp_path):
    with pytest.raises(Failing):
        StreamedValue(failing).save_to(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_what_can_be_read_only_once_is_left_to_the_save(archive):
    value = StreamedValue(pieces(LONG))
    assert value.raw_bytes is None
    with pytest.raises(InvalidInputError, match="save it"):
        value.open()
    archive.save({"stream": value}, "x")
    assert (value.raw_bytes, b"".join(value)) == (len(LONG), LONG)
    assert repr(value) == f"<StreamedValue of {len(LONG):,} bytes>"


def test_it_is_gone_with_its_checkpoint(archive):
    save(archive, LONG)
    value = archive.load("x")["stream"]
    save(archive, b"another")
    with pytest.raises(NotFoundError, match="forgotten or replaced"):
        value.open()


def test_a_stream_is_not_copied_with_its_state(archive):
    with pytest.raises(TypeError, match="key of its own"):
        copy.deepcopy(StreamedValue(b""))


# --- what is saved again


@pytest.fixture
def unreadable(monkeypatch):
    """From now on nothing stored can be read."""

    def forbid():
        monkeypatch.setattr("checkpointdb.store.stream_reader.read_member", None)

    return forbid


def test_a_loaded_stream_is_saved_again_without_being_read_or_stored(handle, unreadable):
    save(handle, NOISE)
    state = handle.load("x")
    unreadable()
    handle.save(state | {"more": 1}, "y")
    assert stored(handle, "y") < 2_000
    assert handle.diff("x", "y").unchanged == ("stream",)


def test_a_stream_that_was_read_once_is_saved_again_from_the_store(handle, unreadable):
    state = {"stream": StreamedValue(pieces(NOISE)), "n": 0}
    handle.save(state, "0")
    unreadable()
    for n in range(1, 4):
        handle.save(state | {"n": n}, str(n))
    assert stored(handle, "3") < 2_000


def test_a_state_saved_over_and_over_does_not_hang_on_its_first_checkpoint(store):
    handle = store(full_every=4, retention_policy=RetentionPolicy.KEEP_N_RECENT, retention_count=2)
    state = {"stream": StreamedValue(pieces(LONG))}
    for n in range(10):
        handle.save(state | {"n": n}, str(n))
    assert read(handle, "9") == b"".join(state["stream"]) == LONG


def test_an_insertion_stores_a_few_chunks(handle, tmp_path):
    path = file_of(tmp_path, NOISE)
    save(handle, path, "before")
    path.write_bytes(NOISE[:MIB] + b"inserted" + NOISE[MIB:])
    save(handle, path, "after")
    assert stored(handle, "after") < MIB + 10_000
    assert read(handle, "after") == path.read_bytes()
    assert read(handle, "before") == NOISE


def test_an_unchanged_file_stores_nothing(handle, tmp_path):
    path = file_of(tmp_path, LONG)
    save(handle, path, "0")
    save(handle, path, "1", more=1)
    with PipelineCheckpoint(handle.checkpoint_dir, KEY, None, **KEEP) as another:
        save(another, path, "2", more=2)
    assert max(stored(handle, "1"), stored(handle, "2")) < 2_000
    assert read(handle, "2") == LONG


def test_a_delta_that_becomes_a_full_reads_its_streams_again(archive):
    value = StreamedValue(pieces(NOISE))
    archive.save({"stream": value}, "0")
    archive.save({"stream": StreamedValue(pieces(NOISE)), "new": os.urandom(20 * MIB)}, "1")
    assert not archive.get_checkpoint_info("1").is_incremental
    archive.delete_checkpoint("0")
    assert read(archive, "1") == NOISE


def test_a_stream_of_another_store_is_saved_whole(archive, sealed, store):
    for source, target in [(archive, sealed), (sealed, store("third")), (archive, store("third"))]:
        save(source, LONG)
        state = source.load("x")
        target.save(state, "theirs")
        assert read(target, "theirs") == LONG
        source.delete_checkpoint("x")
        with pytest.raises(NotFoundError):
            state["stream"].open()


def test_in_the_background_only_what_is_stored_already_is_saved(archive):
    value = StreamedValue(pieces(LONG))
    with pytest.raises(InvalidStateError, match=r"'stream'.*wait=True"):
        archive.save({"stream": value}, wait=False)
    archive.save({"stream": value}, "x")
    archive.save({"stream": value, "n": 1}, "y", wait=False).result()
    assert read(archive, "y") == LONG


# --- cutting


@settings(max_examples=30)
@given(
    st.integers(0, 2**32),
    st.lists(st.integers(1, 3 * MIB), max_size=4),
    st.integers(1, 5 * MIB),
)
def test_chunks_do_not_depend_on_how_the_bytes_flow_in(seed, sizes, most):
    made = random.Random(seed)
    data = b"".join(made.choice([made.randbytes, bytes])(size) for size in sizes)
    whole = FastCDC(256 << 10, min_size=64 << 10, max_size=MIB, seed=0).cut_buf(data)
    flow = io.BytesIO(data)
    found = [
        bytes(chunk)
        for chunks in cut_flow(lambda target: flow.readinto(target[:most]))
        for chunk in chunks
    ]
    assert b"".join(found) == data
    assert list(map(len, found)) == [chunk.length for chunk in whole]


def test_any_stream_comes_back(archive):
    @settings(max_examples=20)
    @given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 400_000)), max_size=12))
    def comes_back(parts):
        data = [random.Random(seed).randbytes(size) for seed, size in parts]
        save(archive, iter(data))
        assert read(archive, "x") == b"".join(data)

    comes_back()


def test_memory_does_not_follow_the_length(archive):
    noise = random.Random(8).randbytes
    tracemalloc.start()
    try:
        save(archive, (noise(MIB) for _ in range(80)))
        assert sum(map(len, archive.load("x")["stream"])) == 80 * MIB
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 48 * MIB
