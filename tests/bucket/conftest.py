"""Stores whose payloads lie elsewhere than in their directories."""

from __future__ import annotations

import uuid

import fault_proxy
import pytest
from object_servers import REAL

from checkpointdb import PipelineCheckpoint, RetentionPolicy


@pytest.fixture(params=["memory", *REAL])
def url(request):
    """A place in this process's memory: a bucket as any other, but for the network."""
    if request.param == "memory":
        return f"memory://{uuid.uuid4().hex}/a/b"
    return request.getfixturevalue(request.param).place()


@pytest.fixture
def proxy(moto):
    """A proxy in front of a bucket, which misbehaves as it is told."""
    with fault_proxy.running(moto.address) as found:
        yield found


@pytest.fixture
def proxied(moto, proxy):
    """A place behind it."""
    return moto.place().replace(f":{moto.address[1]}", f":{proxy.server_port}")


@pytest.fixture
def placed(tmp_path, empty_database, url):
    """Open handles of a store whose payloads are at `url`; at the end it passes `check`."""
    handles = []

    def open_store(name="store", **options):
        directory = tmp_path / name
        if not directory.exists():
            directory.mkdir()
            (directory / "checkpoints.db").write_bytes(empty_database.read_bytes())
            options.setdefault("payload_url", url)
        options.setdefault("retention_policy", RetentionPolicy.KEEP_ALL)
        handles.append(PipelineCheckpoint(directory, durable=False, **options))
        return handles[-1]

    yield open_store
    for directory in sorted({handle.checkpoint_dir for handle in handles}):
        with PipelineCheckpoint(directory) as handle:
            assert handle.check(read_data=True).problems == (), directory
    for handle in handles:
        handle.close()
