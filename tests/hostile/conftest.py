"""A store to attack, made once: each test attacks a copy of it."""

from __future__ import annotations

import pytest
from attacked import copy_store, make_store


@pytest.fixture(scope="session")
def pattern(tmp_path_factory):
    """The directory of a sound store, which must not be touched."""
    directory = tmp_path_factory.mktemp("pattern") / "store"
    make_store(directory)
    return directory


@pytest.fixture
def copy(pattern, tmp_path):
    """Make a fresh copy of the sound store; the one before it is gone."""
    return lambda: copy_store(pattern, tmp_path / "store")
