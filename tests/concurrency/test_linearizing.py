"""The checker of histories: what a store can have done it explains, what it cannot it refuses."""

from __future__ import annotations

import random
import re

import pytest
from linearizing import NEVER, Call, Checkpoint, after, unexplained


def history(text):
    """Read a history: a line for each caller, its calls drawn where they are under way.

    `--save a 1--` lasts from its first dash to its last; one with a question mark failed.
    """
    return [
        _call(f"caller {number}", drawn)
        for number, line in enumerate(text.splitlines())
        for drawn in re.finditer(r"-+[^-]+-+", line)
    ]


def _call(who, drawn):
    what, *words = drawn[0].strip("-").rstrip("?").split()
    call = Call(who, drawn.start(), drawn.end() - 1, what, is_known="?" not in drawn[0])
    return _MADE[what](call, *words)


def _of_one(call, name, *missing):
    return call._replace(about=name, found=not missing)


_MADE = {
    "save": lambda call, name, tag, *most: call._replace(about=(name, tag, *map(int, most))),
    "delete": _of_one,
    "pin": _of_one,
    "unpin": _of_one,
    "prune": lambda call, *names: call._replace(found=names),
    "load": lambda call, name, tag: call._replace(about=name, found=None if tag == "none" else tag),
    "latest": lambda call, *found: call._replace(found=found or None),
    "list": lambda call, *found: call._replace(found=tuple(map(_checkpoint, found))),
    "lineage": lambda call, *found: call._replace(
        found=tuple((each.strip("!"), each.endswith("!")) for each in found)
    ),
}


def _checkpoint(word):
    name, tag = word.rstrip("!").split("=")
    return Checkpoint(name, tag, word.endswith("!"))


EXPLAINED = {
    "one after the other": """
        -save a 1- -load a 1- -save a 2- -load a 2- -delete a- -load a none- -delete a missing-
    """,
    "a reader sees the old and then the new while it is replaced": """
        -save a 1- ------save a 2------
                    -load a 1- -load a 2- -load a 2-
    """,
    "of two readers the one sees the new, while the other still reads the old": """
        -save a 1- ----save a 2----
                    -load a 2-
                      -load a 1-
    """,
    "of two saves at once either stays": """
        --save a 1--
         --save a 2-- -load a 1-
    """,
    "a save that failed has happened": "-save a 1- -save a 2?- -load a 2- -load a 2-",
    "a save that failed has not happened": "-save a 1- -save a 2?- -load a 1- -load a 1-",
    "what was missing at one moment of the call": """
        -save a 1- -delete a-   -save a 2-
                           -------load a none-------
    """,
    "a prune leaves what is pinned, and what it does not say": """
        -save a 1- -pin a- -save b 1- -save c 1- -prune b- -list a=1! c=1-
    """,
    "retention with each save": """
        -save a 1 2- -save b 1 2- -pin a- -save c 1 2- -save d 1 2- -list a=1! c=1 d=1-
    """,
    "the latest that is deleted meanwhile": """
        -save a 1- -save b 1-  -delete b-
                            ------latest a 1----
    """,
    "a replaced one keeps its pin, and is saved last": """
        -save a 1- -save b 1- -pin a- -save a 2- -lineage b a!- -unpin a- -latest a 2-
    """,
    "many at once": """
        -------save a 1------- -lineage c b a-
        -------save b 1------- -load b 1-
        -------save c 1-------
        -------load a none----
    """,
}

REFUSED = {
    "a stale read": "-save a 1- -save a 2- -load a 1-",
    "a lost save": "-save a 1- -load a none-",
    "a read from the future": "-save a 1- -load a 2- -save a 2-",
    "a read of what nobody saved": "-save a 1- -load a 3-",
    "the new and then the old": """
        -save a 1- ------save a 2---------
                    -load a 2- -load a 1-
    """,
    "two saves that change places": """
        -save a 1-
        -save a 2- -load a 1- -load a 2-
    """,
    "a failed save that comes and goes": "-save a 1- -save a 2?- -load a 2- -load a 1-",
    "a failed save that comes after its end": "-save a 1- -save a 2?- -load a 1- -load a 2-",
    "a deleted one that comes back": "-save a 1- -delete a- -load a none- -load a 1-",
    "a pinned one that is pruned": "-save a 1- -save b 1- -pin a- -prune a-",
    "the last one, pruned": "-save a 1- -save b 1- -prune a b-",
    "half a prune": """
        -save a 1- -save b 1- -save c 1- ----prune a b------
                                          -list b=1 c=1-
    """,
    "a list of two moments": """
        -save a 1- -save b 1- -save a 2- -save b 2-
                             ----list a=1 b=2-------
    """,
    "a list without one that was there all the time": """
        -save a 1- -save b 1- -save b 2-
                            ----list b=2-------
    """,
    "a lineage in another order": "-save a 1- -save b 1- -lineage b a-",
    "retention that forgot too little": "-save a 1 1- -save b 1 1- -load a 1-",
    "retention that forgot what is pinned": "-save a 1 1- -pin a- -save b 1 1- -load a none-",
    "a pin that a save lost": "-save a 1- -pin a- -save a 2- -list a=2-",
    "a pin that comes back": "-save a 1- -pin a- -unpin a- -list a=1!-",
    "an old one as the latest": "-save a 1- -save b 1- -latest a 1-",
    "deleted twice": "-save a 1- -delete a- -delete a-",
    "missing where it is": "-save a 1- -delete a missing-",
}


@pytest.mark.parametrize("name", EXPLAINED)
def test_what_one_call_at_a_time_can_give_is_explained(name):
    assert unexplained(history(EXPLAINED[name])) is None


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_order_of_the_calls_can_give_is_refused(name):
    assert "no order of the calls explains" in (unexplained(history(REFUSED[name])) or "")


def test_what_is_refused_is_the_first_call_that_cannot_be():
    told = unexplained(history("-save a 1- -load a 1- -load a none- -load a 2-"))
    assert "found=None" in told.splitlines()[0]
    assert "Checkpoint(checkpoint_id='a', tag='1', is_pinned=False)" in told


def test_a_call_that_never_ended_may_happen_at_any_time():
    killed = Call("killed", 2, NEVER, "save", ("a", "2"), is_known=False)
    saved, *reads = history("-save a 1-         -load a 1- -load a 2-")
    assert unexplained([saved, killed, *reads]) is None
    late = Call("late", 99, 100, "load", "a", "1")
    assert unexplained([saved, killed, *reads, late]) is not None


def invented(seed):
    """A history that a store can have given: each call has its moment, and dawdles around it."""
    chosen, store, calls = random.Random(seed), (), []
    kinds = ["save", "save", "delete", "pin", "load", "load", "list"]
    for moment in range(0, 4_000, 10):
        what, name = chosen.choice(kinds), chosen.choice("abc")
        began, ended = moment - chosen.randrange(40), moment + chosen.randrange(40)
        about = (name, str(moment)) if what == "save" else name
        call = Call(f"at {moment}", began, ended, what, about)
        tags = {each.checkpoint_id: each.tag for each in store}
        found = {"save": True, "load": tags.get(name), "list": tuple(sorted(store))}.get(
            what, name in tags
        )
        calls.append(call._replace(found=found))
        store = after(store, calls[-1])
    return calls


@pytest.mark.parametrize("seed", range(20))
def test_an_invented_history_is_explained_and_one_with_a_changed_answer_refused(seed):
    calls = invented(seed)
    assert unexplained(calls) is None
    loads = [number for number, each in enumerate(calls) if each.what == "load" and each.found]
    stale = random.Random(seed).choice(loads[len(loads) // 2 :])
    first = next(each.about[1] for each in calls if each.what == "save")
    calls[stale] = calls[stale]._replace(found=first)
    assert unexplained(calls) is not None
