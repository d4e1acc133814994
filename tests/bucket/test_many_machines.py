"""Rows on a server and payloads in a bucket: what machines without a common disk share."""

from __future__ import annotations

from functools import partial

import pytest

from checkpointdb import InvalidInputError, PipelineCheckpoint, generate_encryption_key


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
