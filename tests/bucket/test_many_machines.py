"""Rows on a server and payloads in a bucket: what machines without a common disk share."""

from __future__ import annotations

from functools import partial

import pytest

from checkpointdb import (
    InvalidInputError,
    PipelineCheckpoint,
    RetentionPolicy,
    checkpoints,
    generate_encryption_key,
)


def test_machines_share_a_server_and_a_bucket(server_url, url, tmp_path):
    key, other = generate_encryption_key(), generate_encryption_key()
    machine = partial(PipelineCheckpoint, enable_encryption=True, database_url=server_url)
    with (
        machine(tmp_path / "a", key, payload_url=url) as a,
        machine(tmp_path / "b", key) as b,  # the database knows where the payloads are
    ):
        a.save({"n": 1}, "one")
        b.save({"n": 2}, "two")
        assert (a.load("two"), b.load("one")) == ({"n": 2}, {"n": 1})
        a.add_key(other)
        with machine(tmp_path / "c", other) as c:
            assert c.load("two") == {"n": 2}
        a.rotate_key(generate_encryption_key(), reencrypt=True, keep=[other])
        with machine(tmp_path / "c", other) as c:
            assert c.load("one") == {"n": 1}
            assert c.check(read_data=True).problems == ()
        with pytest.raises(InvalidInputError, match="keeps its payloads in"):
            machine(tmp_path / "d", other, payload_url="memory://elsewhere")


def test_a_store_moves_to_a_server_and_a_bucket_and_comes_back_as_it_was(
    store, server_url, url, tmp_path
):
    """Rows and payloads at once; what was copied already is not copied again."""
    local = store(retention_policy=RetentionPolicy.KEEP_ALL)
    for number in range(4):
        state = {"n": number, "same": list(range(3_000))}
        local.save(state, f"s{number}", custom_metadata={"a": [number, None]}, pinned=number == 1)
    there = {"payload_url": url, "database_url": server_url}
    assert local.copy_into(tmp_path / "there", **there, where=checkpoints.c.depth < 2) == 2
    assert local.copy_into(tmp_path / "there", **there) == 2
    with PipelineCheckpoint(tmp_path / "there", database_url=server_url) as moved:
        assert moved.payload_url == url
        assert moved.check(read_data=True).problems == ()
        assert moved.copy_into(tmp_path / "back") == 4
    back = store("back", retention_policy=RetentionPolicy.KEEP_ALL)
    assert described(back) == described(local)


def described(handle):
    return [
        (
            each.checkpoint_id,
            each.timestamp,
            each.pinned,
            each.custom_metadata,
            handle.load(each.checkpoint_id),
        )
        for each in handle.list_checkpoints()
    ]
