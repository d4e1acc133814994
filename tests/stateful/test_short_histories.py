"""Short histories of one writer over few values, so that a key often has again what it had before.

What a writer remembers of its last state is what makes a save quick, and what may be out of date.
"""

from __future__ import annotations

import math
import tempfile
from contextlib import ExitStack

import numpy as np
import pytest
from effort import SECONDS, some
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from modelled_states import lines_of, noise, same, stream_of

from checkpointdb import PipelineCheckpoint, RetentionPolicy

# Each beside one that is like it: equal, or of as many bytes, or of the same bytes.
VALUES = {
    "one": lambda: 1,
    "true": lambda: True,
    "one point": lambda: 1.0,
    "zero": lambda: 0.0,
    "minus zero": lambda: -0.0,
    "none": lambda: None,
    "text": lambda: "text",
    "bytes": lambda: b"text",
    "dict": lambda: {"n": 1},
    "other dict": lambda: {"n": True},
    "list": lambda: [1, 2, 3],
    "number of numpy": lambda: np.float64(1),
    "few numbers": lambda: np.arange(8),
    "many numbers": lambda: np.arange(5_000),
    "other numbers": lambda: np.arange(5_000)[::-1],
    "lines": lambda: lines_of(1),
    "other lines": lambda: lines_of(2),
    "long text": lambda: "text " * 5_000,
    "stream": lambda: stream_of(1, 10),
    "long stream": lambda: stream_of(1, 200_000),
    "bytes of the stream": lambda: noise(1, 10),
}
REST = {f"rest {number}": {"number": number} for number in range(40)}  # so that few keys changed

STATES = st.tuples(
    st.booleans(), st.dictionaries(st.sampled_from("abcd"), st.sampled_from(list(VALUES)))
)


def made(state):
    """Return a state, its values made anew, the rest before or after them."""
    is_before, names = state
    chosen = {key: VALUES[name]() for key, name in names.items()}
    return {**REST, **chosen} if is_before else {**chosen, **REST}


def is_same(loaded, expected):
    """As `same`, which for zeros is not enough."""
    return same(loaded, expected) and all(
        math.copysign(1, loaded[key]) == math.copysign(1, value)
        for key, value in expected.items()
        if type(value) is float
    )


@pytest.mark.slow
@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize("is_copied", [False, True], ids=["saved", "copied"])
@settings(
    max_examples=some(60, long=300),
    suppress_health_check=list(HealthCheck),
    deadline=None,
)
@given(history=st.lists(STATES, min_size=2, max_size=6))
def test_each_state_of_a_history_is_loaded_as_it_was_saved(is_copied, history):
    options = {"retention_policy": RetentionPolicy.KEEP_ALL, "durable": False}
    with tempfile.TemporaryDirectory() as directory, ExitStack() as handles:
        store = handles.enter_context(PipelineCheckpoint(f"{directory}/store", **options))
        for number, state in enumerate(history):
            store.save(made(state), str(number))
        if is_copied:
            store.copy_into(f"{directory}/copy")
            store = handles.enter_context(PipelineCheckpoint(f"{directory}/copy", **options))
        for number, state in enumerate(history):
            assert is_same(store.load(str(number)), made(state)), number
        assert not store.check(read_data=True).problems
