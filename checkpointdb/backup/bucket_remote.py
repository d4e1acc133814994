"""A bucket as a remote."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import chain

from checkpointdb.backup.layout import MOST_SMALL_BYTES
from checkpointdb.backup.remote import Blob
from checkpointdb.bucket import PART_BYTES, Bucket
from checkpointdb.errors import StoreUnavailableError
from checkpointdb.object_payloads import ObjectReader


class BucketRemote:
    """Blobs as objects; each appears whole, or not at all."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self.url = bucket.location.url

    def __repr__(self) -> str:
        return f"BucketRemote({self.url!r})"

    def blobs(self, directory: str) -> Iterator[Blob]:
        prefix = self._path("")
        for each in self._bucket.list(self._path(directory)):
            yield Blob(each.path.removeprefix(prefix), each.stored_bytes, each.modified_at)

    def unfinished(self) -> Iterator[Blob]:
        """Yield nothing: what is not finished is no object."""
        return iter(())

    def open(self, path: str) -> ObjectReader:
        found = self._bucket.find(self._path(path))
        if found is None:
            # A bucket that is gone says of each object that it is not there: this raises.
            next(self._bucket.list(self._path(path), page=1), None)
            raise FileNotFoundError(f"{self.url}/{path}")
        return ObjectReader(self._bucket, self._path(path), found.stored_bytes)

    def put(self, path: str, pieces: Iterator[bytes]) -> None:
        """Write an object, in one request if it is small.

        Without a condition: what has this name already has these bytes, or is damaged.
        """
        begun = bytearray()
        for piece in pieces:
            begun += piece
            if len(begun) >= PART_BYTES:
                self._bucket.put_parts(self._path(path), chain([bytes(begun)], pieces))
                return
        self._bucket.replace(self._path(path), bytes(begun))

    def small(self, path: str) -> bytes | None:
        return self._bucket.read_small(self._path(path), MOST_SMALL_BYTES)

    def around(self, path: str) -> Iterator[bytes]:
        parts = self._bucket.location.prefix.split("/")
        for count in range(len(parts)):
            above = "/".join([*parts[:count], path])
            with suppress(StoreUnavailableError):  # rights often end at the prefix
                found = self._bucket.read_small(above, MOST_SMALL_BYTES)
                if found is not None:
                    yield found

    def swap(self, path: str, seen: bytes | None, content: bytes) -> bool:
        if seen is None:
            return self._bucket.put_new(self._path(path), content)
        return self._bucket.replace_if(self._path(path), content, seen)

    def delete(self, *paths: str) -> None:
        for path in paths:
            self._bucket.delete(self._path(path))

    def _path(self, name: str) -> str:
        return self._bucket.location.path_of(name)
