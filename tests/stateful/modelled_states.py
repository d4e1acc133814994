"""States to save, how they are edited, and when two of them are the same."""

from __future__ import annotations

import copy

import numpy as np
from hypothesis import strategies as st

from checkpointdb import StreamedValue

HOSTILE = ["", "__deleted_keys__", "\N{PARTY POPPER}", "a.b", "../x", "k" * 300, "NULL", "a b'c"]
KEYS = ["a", "b", "c", *HOSTILE]


def noise(seed, length):
    return np.random.default_rng(seed).bytes(length)


def array_of(seed):
    return np.random.default_rng(seed).integers(0, 1 << 40, 5_000)  # 40 KB: many chunks


def lines_of(seed):
    return [f"line {seed} {number}" for number in range(1_500)]


def stream_of(seed, length):
    return StreamedValue(noise(seed, length))


class Knot:
    """An object with a cycle, and with a list that it has twice."""

    def __init__(self, seed):
        self.itself = self
        self.one = self.other = lines_of(seed)

    def __eq__(self, other):
        return self.is_whole() and other.is_whole() and self.one == other.one

    def __hash__(self):
        return hash(self.one[0])

    def is_whole(self):
        return self.itself is self and self.one is self.other


ODD_NUMBERS = [0.0, -0.0, float("nan"), float("inf"), 1.0, True, 1j]
ODD_ARRAYS = [
    np.zeros((0, 3)),
    np.array(1.5),
    np.array([float("nan"), -0.0]),
    np.array([1, "two", None], dtype=object),
]
PICKLED = st.one_of(
    st.integers(-2, 2),
    st.integers(-(2**70), 2**70),
    st.sampled_from([None, "", "text", "text " * 5_000, {"nested": [1, {"a": None}], "": ()}]),
    st.builds(noise, st.integers(0, 3), st.sampled_from([0, 10, 3_000, 30_000])),
    st.builds(array_of, st.integers(0, 3)),
    st.builds(lambda seed: array_of(seed)[:20].reshape(4, 5).T, st.integers(0, 3)),
    st.builds(lines_of, st.integers(0, 3)),
    st.builds(Knot, st.integers(0, 3)),
    st.sampled_from([*ODD_NUMBERS, *ODD_ARRAYS]),
)
VALUES = st.one_of(
    PICKLED, st.builds(stream_of, st.integers(0, 3), st.sampled_from([0, 10, 200_000]))
)
EDITS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.sampled_from(KEYS), VALUES),
        st.tuples(st.sampled_from(["drop", "touch", "to front", "copy"]), st.integers(0, 9)),
    ),
    max_size=4,
)


def edited(state, edits):
    """Return a state with edits made to it, sharing nothing with it."""
    state = {key: copied(value) for key, value in state.items()}
    for what, place, *value in edits:
        if what == "set":
            state[place] = copied(value[0])
        elif state:
            key = list(state)[place % len(state)]
            if what == "drop":
                del state[key]
            elif what == "touch":
                state[key] = touched(state[key])
            elif what == "to front":
                state = {key: state[key], **state}
            else:
                state[KEYS[place]] = copied(state[key])
    return state


def copied(value):
    if isinstance(value, StreamedValue):
        return StreamedValue(b"".join(value))
    return copy.deepcopy(value)


def touched(value):
    """Return a value changed a little: in place, or grown."""
    if isinstance(value, np.ndarray) and value.size and value.dtype != object:
        value = value.copy()
        value.flat[value.size // 2] += 1
        return value
    if isinstance(value, list):
        return [*value, "one more line"]
    if isinstance(value, StreamedValue):
        return StreamedValue(touched(b"".join(value)))
    if isinstance(value, (str, bytes)):
        return (
            value[: len(value) // 2]
            + type(value)(b"!" if isinstance(value, bytes) else "!")
            + (value[len(value) // 2 :])
        )
    return [value]


def same(one, other):
    """Say whether two states are equal: keys in their order, types and values."""
    return list(one) == list(other) and all(equal(one[key], other[key]) for key in one)


def equal(one, other):
    if isinstance(one, np.ndarray):
        return (
            isinstance(other, np.ndarray)
            and one.dtype == other.dtype
            and one.shape == other.shape
            and bytes_of(one) == bytes_of(other)
        )
    if isinstance(one, StreamedValue) and isinstance(other, StreamedValue):
        return b"".join(one) == b"".join(other)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, (float, complex)):
        return repr(one) == repr(other)  # -0.0 is not 0.0, and nan is nan
    return type(one) is type(other) and one == other


def bytes_of(array):
    """Its numbers, of which nan is itself; of an array of objects, these."""
    return array.tolist() if array.dtype == object else array.tobytes()
