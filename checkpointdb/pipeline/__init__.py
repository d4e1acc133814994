"""Stages run one after the other, with a checkpoint after each, and resumed where they stopped."""

from checkpointdb.pipeline.events import Event
from checkpointdb.pipeline.points import Point
from checkpointdb.pipeline.runner import Pipeline
from checkpointdb.pipeline.stages import Stage
from checkpointdb.pipeline.termination import Terminated
from checkpointdb.runs import Failure, RunStatus, StageTime

__all__ = [
    "Event",
    "Failure",
    "Pipeline",
    "Point",
    "RunStatus",
    "Stage",
    "StageTime",
    "Terminated",
]
