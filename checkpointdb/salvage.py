"""What payload files alone can bring back: a pure function from manifests to what is alive.

A checkpoint's state is, per key, the latest opening at or before its depth in its chain, among
openings that still exist. It comes back if its `state_digest` comes out equal and every value is
defined somewhere with all its chunks; of several with one id, the newest that does.

Among the files may be some that no database named: of saves killed before their commit, and of
forgotten checkpoints not yet unlinked. They are read like all others. What they opened is left
aside unless a checkpoint that comes back sees it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby, pairwise

from checkpointdb.digests import Digests
from checkpointdb.manifest import Checkpoint, Entry, Manifest, Value


@dataclass(frozen=True, slots=True)
class Source:
    """A payload file as it was read; `damaged` are its members that are not whole."""

    name: str
    sequence: int
    sha256: bytes
    stored_bytes: int
    manifest: Manifest
    damaged: frozenset[int] = frozenset()
    key_epoch: int | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """A checkpoint as a source (by its number) describes it, and the order of saving."""

    source: int
    checkpoint: Checkpoint
    sequence: int

    @property
    def age(self) -> tuple[int, datetime, bool, int]:
        """What orders items from oldest to newest.

        Two checkpoints have one sequence if a save died. Of what several files say of one, the
        full is last, which it was merged to, else what the newest file says.
        """
        each = self.checkpoint
        return self.sequence, each.created_at, not each.is_incremental, self.source


@dataclass(frozen=True, slots=True)
class Opening:
    """An entry that a living checkpoint sees, and the source that defines its value."""

    chain: str
    depth: int
    source: int
    entry: Entry
    defined_in: int | None


@dataclass(slots=True)
class Salvaged:
    """What comes back of a pipeline whose sources are numbered from oldest to newest.

    `checkpoints` are in the order of saving, `openings` of chains and depths. `values`
    are those needed of each source; their chunks are named by number where that source has
    them, else by digest, and `chunks` says where these are: (source, number). `members` are
    those of each source in which anything needed lies.
    """

    checkpoints: list[Item] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    next_depths: dict[str, int] = field(default_factory=dict)
    openings: list[Opening] = field(default_factory=list)
    values: dict[int, dict[bytes, Value]] = field(default_factory=lambda: defaultdict(dict))
    chunks: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    members: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))

    def sources(self) -> list[int]:
        """Return the sources that anything alive needs, from oldest to newest."""
        found = {item.source for item in self.checkpoints}
        found.update(opening.source for opening in self.openings)
        return sorted(found | self.values.keys() | self.members.keys())


def salvage(sources: Sequence[Source], digests: Digests) -> Salvaged:
    """Return what the payloads of one pipeline, ordered by sequence, can bring back."""
    stock = _Stock(sources)
    chains: dict[str, list[Item]] = defaultdict(list)
    for number, source in enumerate(sources):
        for checkpoint in source.manifest.checkpoints:
            saved = source.sequence if checkpoint.sequence is None else checkpoint.sequence
            chains[checkpoint.chain].append(Item(number, checkpoint, saved))
    for items in chains.values():
        items.sort(key=lambda item: (item.checkpoint.depth, item.age))
    whole = [item for items in chains.values() for item in _whole(items, stock, digests)]
    found = Salvaged(_newest(whole), chunks=stock.chunks)
    found.next_depths = {chain: items[-1].checkpoint.depth + 1 for chain, items in chains.items()}
    back = {item.checkpoint.checkpoint_id for item in found.checkpoints}
    mentioned = (each.checkpoint_id for source in sources for each in source.manifest.checkpoints)
    found.left_out = [each for each in dict.fromkeys(mentioned) if each not in back]
    _add_openings(found, chains, stock)
    _add_members(found, stock)
    return found


# --- values and chunks


class _Stock:
    """Which values are defined and which chunks are stored, whole, and where; newest last."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.chunks: dict[bytes, tuple[int, int]] = {}
        self.values: dict[bytes, dict[int, Value]] = defaultdict(dict)
        # Of each source: the digest of each chunk, and the member that it lies in.
        self._digests = [
            [chunk.digest for member in source.manifest.members for chunk in member.chunks]
            for source in sources
        ]
        self._members = [
            [number for number, member in enumerate(source.manifest.members) for _ in member.chunks]
            for source in sources
        ]
        for number, source in enumerate(sources):
            self._add_chunks(number, source)
        for number, source in enumerate(sources):
            self._add_values(number, source)

    def member_of(self, source: int, chunk: int) -> int:
        """Return the member of a source in which a chunk lies."""
        return self._members[source][chunk]

    def definition(self, digest: bytes, source: int) -> int:
        """Return the source whose definition of a value to take: its own, else the newest."""
        found = self.values[digest]
        return source if source in found else next(reversed(found))

    def _add_chunks(self, number: int, source: Source) -> None:
        for chunk, digest in enumerate(self._digests[number]):
            if digest is not None and self.member_of(number, chunk) not in source.damaged:
                self.chunks[digest] = (number, chunk)

    def _add_values(self, number: int, source: Source) -> None:
        for value in source.manifest.values:
            refs = [self._whole_ref(number, source, ref) for ref in value.chunks]
            whole = tuple(ref for ref in refs if ref is not None)
            if len(whole) == len(refs):
                self.values[value.digest][number] = value._replace(chunks=whole)

    def _whole_ref(self, number: int, source: Source, ref: int | bytes) -> int | bytes | None:
        """Return a chunk's number or, where it is elsewhere, its digest; None if it is lost."""
        if isinstance(ref, int):
            if self.member_of(number, ref) not in source.damaged:
                return ref
            digest = self._digests[number][ref]
        else:
            digest = ref
        return digest if digest in self.chunks else None


def _add_members(found: Salvaged, stock: _Stock) -> None:
    for number, values in found.values.items():
        for value in values.values():
            for ref in value.chunks:
                source, chunk = (number, ref) if isinstance(ref, int) else stock.chunks[ref]
                found.members[source].add(stock.member_of(source, chunk))


# --- checkpoints


def _whole(items: Iterable[Item], stock: _Stock, digests: Digests) -> Iterator[Item]:
    """Yield the checkpoints of a chain, ordered by depth, whose state comes out as it was."""
    state: dict[str, Entry] = {}
    lost: set[str] = set()
    for _, together in groupby(items, key=lambda item: item.checkpoint.depth):
        at_depth = list(together)
        for item in at_depth:
            for entry in item.checkpoint.entries:
                state.pop(entry.key, None)
                lost.discard(entry.key)
                if entry.value is not None:
                    state[entry.key] = entry
                    if entry.value not in stock.values:
                        lost.add(entry.key)
        if lost:
            continue
        ordered = sorted(state.values(), key=lambda entry: (entry.position, entry.key))
        values = [(entry.key, entry.value) for entry in ordered if entry.value is not None]
        for item in at_depth:
            each = item.checkpoint
            found = digests.state(each.pipeline, each.checkpoint_id, values, each.state_version)
            if each.state_digest == found:
                yield item


def _newest(items: Iterable[Item]) -> list[Item]:
    """Return, in the order of saving, the newest checkpoint of each id and of each place."""
    found: list[Item] = []
    taken: set[str | tuple[str, int]] = set()
    for item in sorted(items, key=lambda item: item.age, reverse=True):
        each = item.checkpoint
        names: set[str | tuple[str, int]] = {each.checkpoint_id, (each.chain, each.depth)}
        if not names & taken:
            taken |= names
            found.append(item)
    return found[::-1]


# --- entries


def _add_openings(found: Salvaged, chains: dict[str, list[Item]], stock: _Stock) -> None:
    """Add the openings that a checkpoint sees, and the definitions of their values."""
    depths: dict[str, list[int]] = defaultdict(list)
    for item in found.checkpoints:
        depths[item.checkpoint.chain].append(item.checkpoint.depth)
    for chain, seen_at in depths.items():
        for depth, source, entry in _seen(chains[chain], sorted(seen_at)):
            defined_in = None
            if entry.value is not None:
                defined_in = stock.definition(entry.value, source)
                found.values[defined_in][entry.value] = stock.values[entry.value][defined_in]
            found.openings.append(Opening(chain, depth, source, entry, defined_in))
    found.openings.sort(key=lambda opening: (opening.chain, opening.depth, opening.source))


def _seen(items: Iterable[Item], depths: Sequence[int]) -> Iterator[tuple[int, int, Entry]]:
    """Yield (depth, source, entry) of the openings whose interval holds one of the depths."""
    by_key: dict[str, dict[int, tuple[int, Entry]]] = defaultdict(dict)
    for item in items:
        for entry in item.checkpoint.entries:
            by_key[entry.key][item.checkpoint.depth] = (item.source, entry)
    for openings in by_key.values():
        for depth, following in pairwise([*openings, None]):
            assert depth is not None
            first = bisect_left(depths, depth)
            if first < len(depths) and (following is None or depths[first] < following):
                yield depth, *openings[depth]
