"""Where a test has a place of its own, at each server."""

from __future__ import annotations

import uuid

import pytest
from object_servers import REAL

PLACES = ["directory", "file", "memory", "s3", "gcs", "azure", *REAL]


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
    return request.getfixturevalue({"s3": "moto"}.get(request.param, request.param)).place()
