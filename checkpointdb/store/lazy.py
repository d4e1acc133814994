"""A checkpoint's state as a mapping that reads a key when it is touched."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any


class LazyState(Mapping[str, Any]):
    """A read-only mapping of one checkpoint's keys, in their order.

    Bound to the checkpoint as it was when this was made: if it is forgotten or replaced, the
    next read raises NotFoundError. What was read is kept, so that a key is always one object.
    """

    def __init__(self, checkpoint_id: str, keys: list[str], read: Callable[[str], Any]) -> None:
        self.checkpoint_id = checkpoint_id
        self._keys = dict.fromkeys(keys)
        self._read = read
        self._loaded: dict[str, Any] = {}

    def __repr__(self) -> str:
        read = f"{len(self._loaded)} of {len(self._keys)} keys read"
        return f"<LazyState of {self.checkpoint_id!r}: {read}>"

    def __getitem__(self, key: str) -> Any:
        if key not in self._keys:
            raise KeyError(key)
        if key not in self._loaded:
            self._loaded.setdefault(key, self._read(key))  # another thread may have been faster
        return self._loaded[key]

    def __contains__(self, key: object) -> bool:
        return key in self._keys  # Mapping would read the value to answer

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)
