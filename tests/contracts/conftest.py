"""Servers for a session, and where a test has a place of its own at each."""

from __future__ import annotations

import logging
import uuid

import pytest
import servers

logging.getLogger("werkzeug").setLevel(logging.ERROR)


@pytest.fixture(scope="session")
def moto():
    with servers.moto() as server:
        yield server


PLACES = ["directory", "file", "memory", "s3"]


@pytest.fixture(params=PLACES)
def place(request, tmp_path):
    """A URL under which there is nothing yet; None: the local directory that needs none."""
    match request.param:
        case "directory":
            return None
        case "file":
            return (tmp_path / "elsewhere" / "payloads").as_uri()
        case "memory":
            return f"memory://{uuid.uuid4().hex}/a/b"
    return request.getfixturevalue({"s3": "moto"}[request.param]).place()
