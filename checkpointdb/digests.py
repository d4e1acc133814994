"""What names chunks, values and states: digests, keyed in an encrypted store.

BLAKE3 names content; SHA-256, in `format`, guards bytes on disk.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from functools import lru_cache, partial
from itertools import chain
from typing import Any

from blake3 import blake3

Buffer = bytes | bytearray | memoryview

_LENGTH = struct.Struct("<Q")


class Digests:
    """BLAKE3 digests, under a key of 32 bytes if one is given.

    Keyed, a digest tells nobody without the key what it names, nor whether a guess is right:
    https://github.com/BLAKE3-team/BLAKE3-specs, section 2.3, the mode `keyed_hash`.
    """

    def __init__(self, key: bytes | None = None) -> None:
        self._is_keyed = key is not None
        self._new = blake3 if key is None else partial(blake3, key=key)

    def chunk(self, chunk: Buffer) -> bytes:
        """Return the digest of a chunk's bytes."""
        return self._new(chunk).digest()

    def value(self, serializer: str, layout: Sequence[int], chunks: Iterable[bytes]) -> bytes:
        """Return the digest of a value: how it was serialized, its parts, its chunks in order."""
        head = serializer.encode()
        parts = _parts(len(layout)).pack(len(head), len(layout), *layout)
        return self._new(b"".join((b"value", parts, head, *chunks))).digest()

    def values_of_one(self, serializer: str, chunks: Iterable[Buffer]) -> list[bytes]:
        """Return the digest of each value that is one chunk: as `value` does, in fewer steps."""
        new, head = self._new, serializer.encode()
        pack, size = partial(_parts(1).pack, len(head), 1), len
        return [
            new(b"value" + pack(size(chunk)) + head + new(chunk).digest()).digest()
            for chunk in chunks
        ]

    def state(
        self,
        pipeline: str,
        checkpoint_id: str,
        values: Iterable[tuple[str, bytes]],
        state_version: int | None = None,
    ) -> bytes:
        """Return the digest of a state: its keys in order, each with its value's digest.

        Its version is covered, if it has one: a state that was upgraded twice, or not at all,
        because a row was changed, is not the state that was saved. Raises TypeError for one that
        is no whole number, which only a damaged row holds.

        Keyed, it is that of this checkpoint: who can write the database, but has no key, cannot
        give one checkpoint the state of another. In the clear equal states have equal digests.
        """
        told: list[Any] = [*chain.from_iterable(values)]  # flat: pairs would be collected
        keys = texts(told[::2])
        return self.state_of(pipeline, checkpoint_id, keys, told[1::2], state_version)

    def state_of(
        self,
        pipeline: str,
        checkpoint_id: str,
        keys: Sequence[bytes],
        values: Iterable[bytes],
        state_version: int | None,
    ) -> bytes:
        """Return the digest of a state of which the keys are given as `texts` gives them."""
        parts = [_head(state_version)]
        if self._is_keyed:
            parts += texts((pipeline, checkpoint_id))
        pairs = [b""] * (2 * len(keys))
        pairs[::2], pairs[1::2] = keys, values
        return self._new(b"".join(parts + pairs)).digest()


@lru_cache
def _parts(count: int) -> struct.Struct:
    return struct.Struct(f"<B{count + 1}Q")


def texts(keys: Iterable[str]) -> list[bytes]:
    """Return texts as they are hashed: each after its length."""
    encoded = [*map(str.encode, keys)]
    return [*map(bytes.__add__, map(_LENGTH.pack, map(len, encoded)), encoded)]


def merged_chain(chain: str, depth: int) -> str:
    """Return the chain that a checkpoint begins when it is merged: a name made of its old place.

    Not a random one: manifests of what was forked from it name the old place, and are never
    changed; so they still tell, without a column or a file that keeps the old place, what they
    were forked from.
    """
    return blake3(f"merged {chain} {depth}".encode()).digest(length=16).hex()


def _head(state_version: int | None) -> bytes:
    if state_version is None:
        return b"state"
    # Called by its class, since of anything but an integer it is to be a TypeError.
    return b"versioned state" + int.to_bytes(state_version, 8, "little", signed=True)
