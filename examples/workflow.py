"""A workflow that fails, is mended, and goes on where it stopped: python examples/workflow.py."""

import tempfile
from dataclasses import dataclass, field

from checkpointdb import KeepAll, PipelineCheckpoint
from checkpointdb.pipeline import Event, Pipeline


@dataclass
class Plan:
    """What the stages hand on to each other."""

    text: str
    sentences: list[str] = field(default_factory=list)
    amounts: list[float] = field(default_factory=list)
    total: float = 0.0


def extract(plan: Plan) -> dict[str, int]:
    plan.sentences = [each.strip() for each in plan.text.split(".") if each.strip()]
    return {"sentences": len(plan.sentences)}


def find_amounts(plan: Plan) -> None:
    words = [word for sentence in plan.sentences for word in sentence.split()]
    plan.amounts = [parse(word) for word in words if word.startswith("$")]


def add_up(plan: Plan) -> None:
    plan.total = sum(plan.amounts)


def parse_badly(word: str) -> float:
    return float(word[1:])  # "$1,200" is no number for it


def parse_well(word: str) -> float:
    return float(word[1:].replace(",", ""))


def show(event: Event) -> None:
    print(f"  {event.kind} {event.name}", event.checkpoint_id or "")


TEXT = "Water for all costs $1,200 this year. A road to the port costs $800. The rest is saved"
parse = parse_badly

with (
    tempfile.TemporaryDirectory() as folder,
    PipelineCheckpoint(folder, retention_policy=KeepAll()) as store,
):
    pipeline = Pipeline("plan", store, [extract, find_amounts, add_up], progress=show)
    print("the first run:")
    try:
        pipeline.run(Plan(TEXT), "R1")
    except ValueError:
        failure = pipeline.failures("R1")[0]
        print(f"  why: {failure.error_type}: {failure.message}, {failure.location}")

    parse = parse_well
    print("the second, from the last good checkpoint:")
    plan = pipeline.run(Plan(TEXT), "R1", resume_from="latest")
    print("total:", plan.total)
    print("runs:", [(run.run_id, run.status) for run in pipeline.runs()])
