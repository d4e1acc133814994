"""The secrets of an encrypted store."""

from __future__ import annotations

from typing import NamedTuple


class Secrets(NamedTuple):
    """What seals a store: master keys by epoch, `epoch` the one for new payloads.

    Keys have 32 bytes. `content_key` is for digests and cuts, and stays for the store's life.
    """

    store: bytes
    epoch: int
    masters: dict[int, bytes]
    content_key: bytes

    def __repr__(self) -> str:
        return f"Secrets(store={self.store.hex()}, epoch={self.epoch})"
