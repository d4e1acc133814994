"""The analysis of a municipal development plan, checkpointed after each of nine stages.

python -m examples.orchestrator examples/policy/plan.pdf --policy-code PDM2024-ANT-MED
python -m examples.orchestrator examples/policy/plan.pdf --policy-code PDM2024-ANT-MED \
    --resume-from PDM2024-ANT-MED_stage_4
python -m examples.orchestrator --list-checkpoints

In the manner of the system that checkpointdb began with; needs the extra `examples`.
"""

from __future__ import annotations

import argparse
import json
import logging
import runpy
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from checkpointdb import (
    CheckpointError,
    CheckpointMetadata,
    CloudBackupConfig,
    CloudBackupProvider,
    InvalidInputError,
    PipelineCheckpoint,
    generate_encryption_key,
    load_encryption_key,
    meta,
)
from checkpointdb.pipeline import Event, Pipeline, Stage

# Started by its path: what is saved is of the same classes as by -m.
if __name__ == "__main__" and not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    runpy.run_module("examples.orchestrator", run_name="__main__")
    sys.exit()

from .policy.context import PipelineContext
from .policy.stages import STAGES

log = logging.getLogger("orchestrator")


class CheckpointedOrchestrator:
    """Analyses plans, each a run of nine stages, whose checkpoints are `CODE_stage_1` to `_9`."""

    stages: Sequence[Stage] = STAGES

    def __init__(
        self,
        output_dir: str | Path,
        checkpoint_dir: str | Path | None = None,
        enable_encryption: bool = False,
        encryption_key: bytes | str | None = None,
        retention_count: int = 10,
        cloud_backup: bool = False,
        cloud_provider: str = "aws_s3",
        cloud_bucket: str | None = None,
        log_level: str = "INFO",
    ) -> None:
        log.setLevel(log_level)
        self.output_dir = Path(output_dir)
        self.output_dir.mkdir(parents=True, exist_ok=True)
        self.cloud_backup = cloud_backup
        self.store = PipelineCheckpoint(
            checkpoint_dir or self.output_dir / "checkpoints",
            encryption_key=encryption_key,
            enable_encryption=enable_encryption,
            retention_count=retention_count,
            cloud_backup_config=CloudBackupConfig(
                cloud_backup, CloudBackupProvider(cloud_provider), cloud_bucket
            ),
        )
        self.pipeline = Pipeline(
            "policy", self.store, self.stages, progress=tell, state_type=PipelineContext
        )

    def process_plan_with_checkpoints(
        self,
        pdf_path: str | Path,
        policy_code: str,
        es_municipio_pdet: bool = False,
        resume_from: str | int | None = None,
    ) -> PipelineContext:
        """Run the stages, or those after a checkpoint, and write report and answers."""
        if Path(policy_code).name != policy_code:  # before hours of work, for files are named so
            raise InvalidInputError(f"a policy code names files: it cannot be {policy_code!r}")
        context = self.pipeline.run(
            PipelineContext(Path(pdf_path), policy_code, es_municipio_pdet),
            run_id=policy_code,
            resume_from=resume_from,
            metadata={"policy_code": policy_code, "pdet": es_municipio_pdet},
        )
        report = self.output_dir / f"{policy_code}_report.md"
        report.write_text(context.report, encoding="utf-8")
        answers = json.dumps([asdict(each) for each in context.answers], ensure_ascii=False)
        (self.output_dir / f"{policy_code}_answers.json").write_text(answers, encoding="utf-8")
        log.info("the report is in %s", report)
        if self.cloud_backup:
            self.sync_to_cloud()
        return context

    def list_checkpoints(self, policy_code: str | None = None) -> list[CheckpointMetadata]:
        where = None if policy_code is None else meta("policy_code") == policy_code
        return self.store.list_checkpoints(reverse=False, where=where)

    def get_checkpoint_info(self, checkpoint_id: str) -> CheckpointMetadata | None:
        return self.store.get_checkpoint_info(checkpoint_id)

    def delete_checkpoint(self, checkpoint_id: str) -> None:
        self.store.delete_checkpoint(checkpoint_id)

    def get_statistics(self) -> dict[str, Any]:
        return self.store.get_statistics()

    def sync_to_cloud(self) -> None:
        self.store.sync_to_cloud()

    def close(self) -> None:
        self.store.close()


def tell(event: Event) -> None:
    log.info("%s: stage %d of %d, %s", event.kind, event.stage, event.stages, event.name)


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.orchestrator")
    parser.add_argument("pdf_path", nargs="?", help="the plan")
    parser.add_argument("--policy-code", help="such as PDM2024-ANT-MED")
    parser.add_argument("--pdet", action="store_true", help="the municipality is one of PDET")
    parser.add_argument("--resume-from", help="latest, a stage's number or name, or an id")
    parser.add_argument("--output-dir", default="output")
    parser.add_argument("--checkpoint-dir", help="output/checkpoints unless given")
    parser.add_argument("--encrypt", action="store_true", help="by the key in --key-file")
    parser.add_argument("--key-file", help="made if it is new; OUTPUT/checkpoints.key unless given")
    parser.add_argument("--retention-count", type=int, default=10)
    parser.add_argument("--cloud-backup", action="store_true")
    providers = [each.value for each in CloudBackupProvider]
    parser.add_argument("--cloud-provider", default="aws_s3", choices=providers)
    parser.add_argument("--cloud-bucket")
    levels = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
    parser.add_argument("--log-level", default="INFO", choices=levels)
    parser.add_argument("--list-checkpoints", action="store_true")
    parser.add_argument("--checkpoint-stats", action="store_true")
    options = parser.parse_args(given)
    asks = options.list_checkpoints or options.checkpoint_stats
    if not asks and not (options.pdf_path and options.policy_code):
        parser.error("a plan and its --policy-code are needed")
    return options


def key_of(options: argparse.Namespace) -> bytes | None:
    if not options.encrypt:
        return None
    path = Path(options.key_file or Path(options.output_dir, "checkpoints.key"))
    path.parent.mkdir(parents=True, exist_ok=True)
    return load_encryption_key(path) if path.exists() else generate_encryption_key(path)


def main(given: Sequence[str] | None = None) -> int:
    options = arguments(given)
    logging.basicConfig(format="%(message)s")
    try:
        orchestrator = CheckpointedOrchestrator(
            options.output_dir,
            options.checkpoint_dir,
            options.encrypt,
            key_of(options),
            options.retention_count,
            options.cloud_backup,
            options.cloud_provider,
            options.cloud_bucket,
            options.log_level,
        )
        try:
            return act(orchestrator, options)
        finally:
            orchestrator.close()
    except (CheckpointError, OSError) as error:
        print(error, file=sys.stderr)
        return 1


def act(orchestrator: CheckpointedOrchestrator, options: argparse.Namespace) -> int:
    if options.list_checkpoints:
        for each in orchestrator.list_checkpoints(options.policy_code):
            print(each.checkpoint_id, each.timestamp, each.custom_metadata["name"], each.size_bytes)
    elif options.checkpoint_stats:
        print(json.dumps(orchestrator.get_statistics(), indent=2))
    else:
        resume_from = options.resume_from
        if resume_from is not None and resume_from.isdigit():
            resume_from = int(resume_from)
        orchestrator.process_plan_with_checkpoints(
            options.pdf_path, options.policy_code, options.pdet, resume_from
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
