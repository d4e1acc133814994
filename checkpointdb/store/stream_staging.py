"""A streamed value staged: cut as it flows, and of its chunks those stored that are lacking.

It is read once. What the pipeline has is known by digest, so what did not change is only read;
should the state become a full after all, it is read again.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from checkpointdb.chunking import cut_flow
from checkpointdb.manifest import Value
from checkpointdb.sealing import Cipher
from checkpointdb.sources import Source
from checkpointdb.store.flows import opened
from checkpointdb.store.packer import Chunk
from checkpointdb.store.stored_stream import StoredStream
from checkpointdb.store.stream_reader import StreamReader
from checkpointdb.streamed import HEADER, SERIALIZER, TYPE_NAME, StreamedValue

if TYPE_CHECKING:
    from checkpointdb.store.staging import Staged

_LOOKED_UP_TOGETHER = 64


class _Piece(NamedTuple):
    """A chunk of a stream; its bytes are read if they have to be stored."""

    digest: bytes
    raw_bytes: int
    read: Callable[[], bytes]


def stage(staged: Staged, key: str, value: StreamedValue) -> None:
    """Store what the pipeline lacks of a stream (in a full: all of it).

    Raises InvalidStateError and StateChangedError, naming the key; for a stored one what reading
    it raises.
    """
    source = value._source
    is_alike = isinstance(source, StoredStream) and source.is_named_alike(staged.cipher.digests)
    if is_alike and isinstance(source, StoredStream):
        raw_bytes = len(HEADER) + source.raw_bytes
        if _is_known(staged, key, source.digest, raw_bytes):
            return
    refs: list[int | bytes] = []
    digests = [staged.cipher.digests.chunk(HEADER)]
    body_bytes = 0
    before = staged.packer.chunk_count
    groups = _stored_pieces(source) if is_alike else _cut_pieces(key, source, staged.cipher)
    with closing(groups):  # not by the garbage collector: an error would keep the source open
        for pieces in groups:
            _find(staged, key, [piece.digest for piece in pieces])
            for piece in pieces:
                refs.append(_ref(staged, key, piece))
                digests.append(piece.digest)
                body_bytes += piece.raw_bytes
    layout = (len(HEADER), body_bytes)
    digest = staged.cipher.digests.value(SERIALIZER, layout, digests)
    if _is_known(staged, key, digest, sum(layout)):
        staged.has_waste |= staged.packer.chunk_count > before
        return
    header = _header(staged, key, digests[0], is_shared=bool(refs))
    staged.new_values[digest] = Value(digest, TYPE_NAME, SERIALIZER, layout, (header, *refs))


def _cut_pieces(key: str, source: Source, cipher: Cipher) -> Generator[list[_Piece], None, None]:
    with opened(key, source) as read_into:
        for chunks in cut_flow(read_into, cipher.seed):
            # What is stored is copied: the window is soon filled anew.
            yield [
                _Piece(cipher.digests.chunk(chunk), len(chunk), partial(bytes, chunk))
                for chunk in chunks
            ]


def _stored_pieces(source: Source) -> Generator[list[_Piece], None, None]:
    """Yield the chunks of a stored stream as it was cut; read are those alone that are lacking."""
    stream = source.open()
    assert isinstance(stream, StreamReader)
    with stream:
        index = stream.index
        for first in range(0, len(index.lengths), _LOOKED_UP_TOGETHER):
            numbers = range(first, min(first + _LOOKED_UP_TOGETHER, len(index.lengths)))
            yield [
                _Piece(index.digests[each], index.lengths[each], partial(stream.chunk, each))
                for each in numbers
            ]


def _is_known(staged: Staged, key: str, digest: bytes, raw_bytes: int) -> bool:
    """Note what value a key has, and say whether nothing of it has to be stored."""
    if staged.note(key, digest, raw_bytes):
        return True
    if staged.head is not None and not staged.is_full:
        staged.find({key: digest})
    return key in staged.known


def _find(staged: Staged, key: str, digests: Iterable[bytes]) -> None:
    """Look chunks up in what the pipeline has: first in what the key had, if that is known."""
    if staged.head is None or staged.is_full:
        return
    wanted = set(digests) - staged.own_chunks.keys() - staged.reused_chunks.keys()
    if (before := staged.head.values.get(key)) is not None:
        found = {digest: before.chunks[digest] for digest in before.chunks.keys() & wanted}
        staged.reused_chunks |= found
        wanted -= found.keys()
    staged.look_up_chunks(wanted)


def _ref(staged: Staged, key: str, piece: _Piece) -> int | bytes:
    if piece.digest in staged.reused_chunks:
        return piece.digest
    number = staged.own_chunks.get(piece.digest)
    if number is None:
        chunk = Chunk(memoryview(piece.read()), piece.digest, key, True)
        number = staged.own_chunks[piece.digest] = staged.packer.add(chunk)
    return number


def _header(staged: Staged, key: str, digest: bytes, *, is_shared: bool) -> int:
    """Store the first part, once in a payload: another one must not be kept alive for it."""
    number = staged.own_chunks.get(digest) if is_shared else None
    if number is None:
        number = staged.packer.add(Chunk(memoryview(HEADER), digest, key, is_shared))
        if is_shared:
            staged.own_chunks[digest] = number
    return number
