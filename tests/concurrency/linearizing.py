"""Whether what concurrent calls saw can have come of a store that does one call at a time.

The store of this model does each call at one moment between its beginning and its end. A history
is explained if such moments can be chosen that every call saw what it says. This goes through the
beginnings and ends in the order of time and keeps every state that the store may be in, each with
the calls under way that have had their moment in it (just-in-time linearization, Lowe 2017).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

NEVER = 1 << 63


class Checkpoint(NamedTuple):
    """What the model knows of one: its state is known by its tag."""

    checkpoint_id: str
    tag: str
    is_pinned: bool = False


Store = tuple[Checkpoint, ...]  # in the order of saving


class Call(NamedTuple):
    """What somebody called, when, and what came of it.

        save      about (id, tag) or (id, tag, how many retention leaves), found True
        delete    about id, found True, or False if it was missing
        pin       the same; so unpin
        prune     found the ids that were forgotten
        load      about id, found its tag, or None if it was missing
        latest    found (id, tag), or None
        list      found each checkpoint, in the order of their ids
        lineage   found (id, whether it is pinned) of each, in the order of saving

    Of a call that failed, or never ended, nobody knows: `is_known` says so. Not of a prune, since
    what it would have forgotten is not known either.
    """

    who: str
    began: int
    ended: int
    what: str
    about: Any = None
    found: Any = True
    is_known: bool = True

    @property
    def is_read(self) -> bool:
        return self.what in _READS or self.found in (False, ())


# --- a store that does one call at a time


def after(store: Store, call: Call) -> Store | None:
    """What a call makes of a store; None if it would have found something else there."""
    return _MEANINGS[call.what](store, call)


def _save(store: Store, call: Call) -> Store:
    checkpoint_id, tag, *retained = call.about
    before = find(store, checkpoint_id)
    rest = tuple(each for each in store if each is not before)
    saved = (*rest, Checkpoint(checkpoint_id, tag, before is not None and before.is_pinned))
    if not retained:
        return saved
    free = [each for each in saved if not each.is_pinned]
    forgotten = free[: max(0, len(free) - retained[0])]
    return tuple(each for each in saved if each not in forgotten or each is saved[-1])


def _delete(store: Store, call: Call) -> Store | None:
    there = find(store, call.about)
    if (there is not None) != call.found:
        return None
    return tuple(each for each in store if each is not there)


def _set_pinned(store: Store, call: Call) -> Store | None:
    there = find(store, call.about)
    if (there is not None) != call.found:
        return None
    pinned = call.what == "pin"
    return tuple(each._replace(is_pinned=pinned) if each is there else each for each in store)


def _prune(store: Store, call: Call) -> Store | None:
    """All at once; not what is pinned, nor what was saved last."""
    assert call.is_known, f"nobody knows what this forgot: {call}"
    for checkpoint_id in call.found:
        there = find(store, checkpoint_id)
        if there is None or there.is_pinned or there is store[-1]:
            return None
    return tuple(each for each in store if each.checkpoint_id not in call.found)


def _load(store: Store, call: Call) -> Store | None:
    there = find(store, call.about)
    return store if call.found == (there and there.tag) else None


def _latest(store: Store, call: Call) -> Store | None:
    return store if call.found == (store[-1][:2] if store else None) else None


def _list(store: Store, call: Call) -> Store | None:
    return store if call.found == tuple(sorted(store)) else None


def _lineage(store: Store, call: Call) -> Store | None:
    there = tuple((each.checkpoint_id, each.is_pinned) for each in store)
    return store if call.found == there else None


_READS = {"load", "latest", "list", "lineage"}
_MEANINGS = {
    "save": _save,
    "delete": _delete,
    "pin": _set_pinned,
    "unpin": _set_pinned,
    "prune": _prune,
    "load": _load,
    "latest": _latest,
    "list": _list,
    "lineage": _lineage,
}


def find(store: Store, checkpoint_id: str) -> Checkpoint | None:
    return next((each for each in store if each.checkpoint_id == checkpoint_id), None)


# --- all that may have happened


class Possible(NamedTuple):
    """A state that the store may be in, and the calls under way that have had their moment."""

    store: Store
    had: frozenset[int]


def unexplained(calls: Iterable[Call], store: Store = ()) -> str | None:
    """Say which call of a history cannot have found what it did, and what was possible; or None."""
    known = [each for each in calls if each.is_known or not each.is_read]
    under_way: dict[int, Call] = {}
    possible = {Possible(store, frozenset())}
    for number, is_end in _moments(known):
        call = known[number]
        if not is_end:
            under_way[number] = call
            possible = {_with_reads(each, under_way) for each in possible}
            continue
        had = _until(possible, number, under_way)
        del under_way[number]
        if not had and call.is_known:
            return _told(call, possible, under_way)
        left = had if call.is_known else had | possible
        possible = {each._replace(had=each.had - {number}) for each in left}
    return None


def _moments(calls: list[Call]) -> Iterator[tuple[int, bool]]:
    """The number of each call at its beginning and at its end, in the order of time."""
    moments = [(each.began, False, number) for number, each in enumerate(calls)]
    moments += [(each.ended, True, number) for number, each in enumerate(calls)]
    for _, is_end, number in sorted(moments):
        yield number, is_end


def _until(possible: set[Possible], number: int, under_way: dict[int, Call]) -> set[Possible]:
    """What is possible once a call had its moment, with those under way before it as they like."""
    found = {each for each in possible if number in each.had}
    seen, todo = set(possible), [each for each in possible if number not in each.had]
    while todo:
        each = todo.pop()
        for other, call in under_way.items():
            if other in each.had or call.is_read:
                continue
            store = after(each.store, call)
            if store is None:
                continue
            then = _with_reads(Possible(store, each.had | {other}), under_way)
            if number in then.had:
                found.add(then)
            elif then not in seen:
                seen.add(then)
                todo.append(then)
    return found


def _with_reads(possible: Possible, under_way: dict[int, Call]) -> Possible:
    """Let those who read do so as soon as they find what they found: it changes nothing."""
    reads = {
        number
        for number, call in under_way.items()
        if call.is_read and number not in possible.had and after(possible.store, call) is not None
    }
    return possible._replace(had=possible.had | reads) if reads else possible


def _told(call: Call, possible: set[Possible], under_way: dict[int, Call]) -> str:
    stores = sorted({each.store for each in possible})
    lines = [f"no order of the calls explains {call}", "What the store may have held before:"]
    lines += [f"  {store}" for store in stores[:5]]
    lines += ["Under way at its end:", *(f"  {each}" for each in under_way.values())]
    return "\n".join(lines)
