"""A copy of the store elsewhere, and a store made of it: python examples/cloud_backup.py [BUCKET].

Into a directory, or into a bucket of S3 (credentials, region and endpoint as AWS's own tools take
them from the environment; needs the extra `cloud`). What it puts there stays, below `example-…`.
"""

import secrets
import sys
import tempfile
from pathlib import Path

from checkpointdb import CloudBackupConfig, CloudBackupProvider, KeepAll, PipelineCheckpoint

with tempfile.TemporaryDirectory() as folder:
    if len(sys.argv) > 1:
        bucket, prefix = sys.argv[1], f"example-{secrets.token_hex(4)}"
        config = CloudBackupConfig(True, CloudBackupProvider.AWS_S3, bucket, prefix=prefix)
    else:
        config = CloudBackupConfig(True, url=Path(folder, "nas").as_uri())

    with PipelineCheckpoint(
        Path(folder, "store"), retention_policy=KeepAll(), cloud_backup_config=config
    ) as store:
        pages = [f"page {number} of the plan" for number in range(5_000)]
        state: dict[str, object] = {"pages": pages}
        store.save(state, "extracted")
        print("the first push:", store.push_backup().copied_payloads, "payload")

        state["words"] = 25_000
        store.save(state, "counted")
        report = store.push_backup()  # only what is new
        print("the second push:", report.copied_payloads, "payload,", report.copied_bytes, "bytes")
        print("in the backup:", store.list_cloud_checkpoints())

    # The machine is lost. On another one:
    PipelineCheckpoint.pull_backup(config, Path(folder, "restored"))
    with PipelineCheckpoint(Path(folder, "restored")) as restored:
        assert restored.load("counted") == state
        print("restored:", [each.checkpoint_id for each in restored.list_checkpoints()])
