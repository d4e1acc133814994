"""The store: with `check`, `rebuild` and `sweep` the only place where rows and files meet."""

from checkpointdb.store.lazy import LazyState
from checkpointdb.store.pipeline_checkpoint import PipelineCheckpoint

__all__ = ["LazyState", "PipelineCheckpoint"]
