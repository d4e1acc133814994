"""Fixtures: a place for backups, and stores to back up."""

from __future__ import annotations

import pytest
from backed import state_of


@pytest.fixture
def nas(tmp_path):
    """A directory that holds backups, not made yet."""
    return tmp_path / "nas" / "backups"


@pytest.fixture
def saved(archive):
    """A store with three checkpoints saved upon one another."""
    for number in range(3):
        archive.save(state_of(number), f"s{number}", custom_metadata={"n": number})
    return archive


@pytest.fixture
def apart(archive):
    """A store whose three checkpoints share nothing."""
    for name in "abc":
        archive.save({"name": name, "text": f"{name} " * 2_000}, name, force_full=True)
    return archive
