"""What counts depend on beside the code that is counted."""

from __future__ import annotations

import pytest

from checkpointdb import sealing


@pytest.fixture(autouse=True)
def cut_alike(monkeypatch):
    """Cut the values of an encrypted store where those of one in the clear are cut.

    By its random key one value in some hundreds has a chunk more, and that another query.
    """
    derive = sealing._derive

    def derived(key, salt, purpose):
        return bytes(32) if purpose == b"chunks" else derive(key, salt, purpose)

    monkeypatch.setattr(sealing, "_derive", derived)
