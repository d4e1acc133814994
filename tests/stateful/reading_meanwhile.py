"""Another thread that loads a checkpoint again and again, while something is done to the store."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event

from modelled_states import edited, same

from checkpointdb import NotFoundError, WrongKeyError

GONE = "there is no such checkpoint, or no such key in it"
CUT_SHORT = "it was forgotten before its streams were read"
LOCKED = "the reader's key opens the store no longer"


@contextmanager
def reading(handle, checkpoint_id, key):
    """Let a thread load a checkpoint, or one key of it, while a block runs; yield its answers.

    The first answer is from before the block, and the last one from after it.
    """
    answers, has_begun, is_over = [], Event(), Event()

    def read():
        is_last = False
        while not is_last:
            is_last = is_over.is_set()
            answers.append(_answer(handle, checkpoint_id, key))
            has_begun.set()

    with ThreadPoolExecutor(1) as threads:
        reader = threads.submit(read)
        reader.add_done_callback(lambda _: has_begun.set())  # though it failed
        has_begun.wait()
        try:
            yield answers
        finally:
            is_over.set()
    reader.result()


def _answer(handle, checkpoint_id, key):
    try:
        loaded = handle.load(checkpoint_id, keys=None if key is None else [key])
    except NotFoundError:
        return GONE
    except WrongKeyError:
        return LOCKED
    try:
        return edited(loaded, [])  # the bytes of streams are read by this
    except NotFoundError:
        return CUT_SHORT


def assert_each_is_whole(answers, history, key, *, may_be_locked=False):
    """Assert that each answer is a state of the history, and not one before the last answer's.

    A state is None where there is no checkpoint.
    """
    due = [_part(state, key) for state in history]
    if may_be_locked:
        answers = answers[: answers.index(LOCKED)] if LOCKED in answers else answers
    else:
        assert _is(answers[-1], due[-1])
    assert _is(answers[0], due[0])
    for each in answers:
        if each == CUT_SHORT:
            assert len(due) > 1
            continue
        while not _is(each, due[0]):
            del due[0]
            assert due, each


def _part(state, key):
    if key is None or state is None:
        return state
    return {key: state[key]} if key in state else None


def _is(answer, state):
    if state is None or isinstance(answer, str):
        return state is None and answer == GONE
    return same(answer, state)
