"""The orchestrator of plans: a real PDF, nine stages, and a run that resumes from any of them."""

from __future__ import annotations

import dataclasses
import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
from object_servers import endpoint_of, own_bucket

from checkpointdb import (
    CheckpointError,
    CloudBackupConfig,
    CloudBackupProvider,
    PipelineCheckpoint,
)
from checkpointdb.pipeline import Stage
from examples.orchestrator import CheckpointedOrchestrator, main
from examples.policy import make_plan
from examples.policy.stages import STAGES

ROOT = Path(__file__).resolve().parent.parent
PLAN = ROOT / "examples" / "policy" / "plan.pdf"
CODE = "PDM2024-ANT-MED"
IDS = [f"{CODE}_stage_{number}" for number in range(1, 10)]


def break_down(_context):
    raise RuntimeError("injected")


class Failing(CheckpointedOrchestrator):
    """Fails in stage 5, under the name and version of the stage that it stands for."""

    stages = (*STAGES[:4], Stage(break_down, STAGES[4].name, STAGES[4].version), *STAGES[5:])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """An orchestrator that has gone through the plan, and the context that came of it."""
    orchestrator = CheckpointedOrchestrator(tmp_path_factory.mktemp("output"))
    context = orchestrator.process_plan_with_checkpoints(PLAN, CODE, es_municipio_pdet=True)
    yield orchestrator, context
    assert orchestrator.store.check(read_data=True).problems == ()
    orchestrator.close()


def ids(orchestrator, *arguments):
    return [each.checkpoint_id for each in orchestrator.list_checkpoints(*arguments)]


def test_the_pdf_holds_the_text_that_it_was_made_of(finished):
    _, context = finished
    text = " ".join(" ".join(context.pages).split())
    for sentences in make_plan.SECTIONS.values():
        assert [each for each in sentences if each not in text] == []


def test_each_stage_has_done_its_work(finished):
    _, context = finished
    assert len(context.pages) == len(make_plan.SECTIONS) == len(context.key_terms)
    assert len(context.sentences) == sum(map(len, make_plan.SECTIONS.values()))
    assert any(each.connective == "debido a" for each in context.causal_links)
    assert [len(each.steps) for each in context.mechanisms] == [3, 3]
    assert (len(context.audit.lines), context.audit.difference_millions) == (7, 500.0)
    assert context.validation["takes up the PDET pillars"]
    assert not context.validation["its money adds up"]
    assert len({each.question_id for each in context.answers}) == 300
    assert sum(each.page is not None for each in context.answers) == 300
    assert len(context.scores) == 16
    assert "| not accounted for | 500 |" in context.report


def test_report_and_answers_are_written(finished):
    orchestrator, context = finished
    report = orchestrator.output_dir / f"{CODE}_report.md"
    assert report.read_text(encoding="utf-8") == context.report
    answers = json.loads((orchestrator.output_dir / f"{CODE}_answers.json").read_text("utf-8"))
    assert len(answers) == 300


def test_a_failure_in_stage_5_resumes_from_stage_4(tmp_path, finished):
    failing = Failing(tmp_path, log_level="WARNING")
    with pytest.raises(RuntimeError, match="injected"):
        failing.process_plan_with_checkpoints(PLAN, CODE, True)
    assert ids(failing) == IDS[:4]
    [failure] = failing.pipeline.failures()
    assert (failure.stage, failure.name, failure.checkpoint_id) == (5, "financial_audit", IDS[3])
    failing.close()
    mended = CheckpointedOrchestrator(tmp_path)
    context = mended.process_plan_with_checkpoints(PLAN, CODE, True, resume_from=IDS[3])
    assert context == finished[1]
    assert ids(mended) == IDS
    assert mended.pipeline.runs()[0].status == "completed"
    mended.close()


@pytest.mark.parametrize("number", range(1, 10))
def test_resuming_by_id_works_for_every_stage(finished, caplog, number):
    orchestrator, context = finished
    with caplog.at_level(logging.INFO, "orchestrator"):
        found = orchestrator.process_plan_with_checkpoints(
            PLAN, CODE, True, resume_from=IDS[number - 1]
        )
    assert found == context
    began = [each.message for each in caplog.records if each.message.startswith("began")]
    assert len(began) == 9 - number


def test_checkpoints_are_listed_described_counted_and_deleted(tmp_path):
    orchestrator = CheckpointedOrchestrator(tmp_path, retention_count=12, log_level="WARNING")
    for code in (CODE, "OTHER"):
        orchestrator.process_plan_with_checkpoints(PLAN, code)
    assert (len(ids(orchestrator)), ids(orchestrator, CODE)) == (12, IDS[6:])
    info = orchestrator.get_checkpoint_info("OTHER_stage_5")
    assert (info.custom_metadata["name"], info.custom_metadata["pdet"]) == (
        "financial_audit",
        False,
    )
    assert set(info.state_keys) == {
        each.name for each in dataclasses.fields(orchestrator.pipeline._shape)
    }
    orchestrator.delete_checkpoint("OTHER_stage_5")
    assert orchestrator.get_checkpoint_info("OTHER_stage_5") is None
    assert orchestrator.get_statistics()["total_checkpoints"] == 11
    orchestrator.close()


def test_the_command_line_has_the_same_options(tmp_path, capsys):
    pytest.importorskip("cryptography")
    common = ["--output-dir", str(tmp_path), "--encrypt", "--log-level", "ERROR"]
    assert main([str(PLAN), "--policy-code", CODE, "--pdet", *common]) == 0
    assert main([str(PLAN), "--policy-code", CODE, "--resume-from", IDS[7], *common]) == 0
    assert main([str(PLAN), "--policy-code", CODE, "--resume-from", "8", *common]) == 0
    assert main(["--list-checkpoints", *common]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == IDS
    assert main(["--checkpoint-stats", *common]) == 0
    assert json.loads(capsys.readouterr().out)["encrypted_checkpoints"] == 9
    assert main([str(PLAN), "--policy-code", CODE, "--resume-from", "nobody", *common]) == 1
    assert "neither a stage nor a checkpoint" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--pdet"])


def test_without_the_key_nothing_is_read(tmp_path):
    pytest.importorskip("cryptography")
    assert main([str(PLAN), "--policy-code", CODE, "--output-dir", str(tmp_path), "--encrypt"]) == 0
    with pytest.raises(CheckpointError, match="encrypted"):
        CheckpointedOrchestrator(tmp_path)


def test_a_plan_is_backed_up_when_it_is_done_and_can_be_brought_back(tmp_path):
    # A bucket by its name alone would be asked for at its vendor's.
    orchestrator = CheckpointedOrchestrator(
        tmp_path / "output", cloud_backup=True, cloud_bucket="plans", log_level="WARNING"
    )
    elsewhere = CloudBackupConfig(True, url=(tmp_path / "backup").as_uri())
    orchestrator.store.configure_cloud_backup(elsewhere)
    context = orchestrator.process_plan_with_checkpoints(PLAN, CODE)
    orchestrator.close()
    PipelineCheckpoint.pull_backup(elsewhere, tmp_path / "checkpoints")
    brought = CheckpointedOrchestrator(tmp_path / "again", tmp_path / "checkpoints")
    assert ids(brought) == IDS
    assert brought.process_plan_with_checkpoints(PLAN, CODE, resume_from="latest") == context
    brought.close()


def test_a_bucket_is_named_on_the_command_line(tmp_path, moto, monkeypatch):
    bucket = own_bucket(moto)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint_of(moto))
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    output = ["--output-dir", str(tmp_path / "output"), "--log-level", "WARNING"]
    plan = [str(PLAN), "--policy-code", CODE]
    assert main([*plan, *output, "--cloud-backup", "--cloud-bucket", bucket]) == 0
    config = CloudBackupConfig(True, CloudBackupProvider.AWS_S3, bucket)
    PipelineCheckpoint.pull_backup(config, tmp_path / "pulled")
    with PipelineCheckpoint(tmp_path / "pulled") as pulled:
        assert {each.checkpoint_id for each in pulled.list_checkpoints()} == set(IDS)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([str(PLAN), "--policy-code", "a/b"], "names files"),
        ([str(PLAN), "--policy-code", "../x"], "names files"),
        ([str(PLAN), "--policy-code", CODE, "--retention-count", "0"], "retention_count"),
        (["nowhere.pdf", "--policy-code", CODE], "nowhere.pdf"),
        ([str(PLAN), "--policy-code", CODE, "--resume-from", "nobody"], "'nobody'"),
        ([str(PLAN), "--policy-code", CODE, "--cloud-backup"], "does not say where"),
    ],
)
def test_what_is_wrong_on_the_command_line_is_said_in_a_sentence(tmp_path, capsys, given, said):
    output = ["--output-dir", str(tmp_path / "output"), "--log-level", "ERROR"]
    assert main([*given, *output]) == 1
    assert said in capsys.readouterr().err


def test_it_runs_by_its_path_as_by_its_name_and_each_goes_on_with_what_the_other_saved(tmp_path):
    by_path, by_name = [ROOT / "examples" / "orchestrator.py"], ["-m", "examples.orchestrator"]
    options = ["--policy-code", CODE, "--output-dir", tmp_path]
    for way, more in ((by_path, []), (by_name, ["--resume-from", IDS[3]])):
        command = [sys.executable, *way, PLAN, *options, *more]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_a_program_that_imports_it_without_its_package_is_not_replaced_by_it():
    command = [sys.executable, "-c", "import orchestrator"]
    done = subprocess.run(
        command, cwd=ROOT / "examples", capture_output=True, text=True, check=False
    )
    assert done.stderr.splitlines()[-1].startswith("ImportError")
