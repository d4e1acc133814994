"""A store of schema 0007, which knew no backups: upgraded, and backed up by this version."""

from __future__ import annotations

import shutil
from pathlib import Path

from make_plain_0007 import STATES

from checkpointdb import PipelineCheckpoint, RetentionPolicy

VECTOR = Path(__file__).parent / "plain_0007"
KEEP_ALL = {"retention_policy": RetentionPolicy.KEEP_ALL}


def test_it_is_upgraded_pushed_and_pulled(tmp_path):
    shutil.copytree(VECTOR, tmp_path / "store")
    with PipelineCheckpoint(tmp_path / "store", **KEEP_ALL) as store:
        with store.query() as connection:
            rows = connection.exec_driver_sql("SELECT * FROM checkpoint_backups").fetchall()
        assert {tuple(row[1:]) for row in rows} == {(name, None, None) for name in STATES}
        assert store.push_backup(tmp_path / "nas").checkpoints == len(STATES)
        assert store.check(read_data=True).is_ok
    PipelineCheckpoint.pull_backup(tmp_path / "nas", tmp_path / "back")
    with PipelineCheckpoint(tmp_path / "back", **KEEP_ALL) as back:
        assert {name: back.load(name) for name in STATES} == STATES
        back.save({**STATES["reported"], "n": 1}, "next")
        assert back.get_checkpoint_info("next").base_checkpoint_id == "reported"
