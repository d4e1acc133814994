"""Ask what is stored without opening it: python examples/queries.py."""

import tempfile
from typing import Any

from sqlalchemy import func, select

from checkpointdb import KeepAll, PipelineCheckpoint, checkpoints, has_key, meta

with (
    tempfile.TemporaryDirectory() as folder,
    PipelineCheckpoint(folder, retention_policy=KeepAll()) as store,
):
    for plan, accuracy in (("Medellín", 0.91), ("Apartadó", 0.72), ("Turbo", 0.95)):
        state: dict[str, Any] = {"pages": [plan] * 1_000}
        store.save(state, f"{plan} 1", custom_metadata={"stage": 1, "plan": {"of": plan}})
        state["score"] = accuracy
        about = {"stage": 2, "accuracy": accuracy, "plan": {"of": plan}}
        store.save(state, f"{plan} 2", custom_metadata=about)

    # Conditions over metadata, keys and columns become SQL.
    where = (meta("accuracy") > 0.8) & has_key("score") & (checkpoints.c.state_bytes < 10**6)
    found = store.list_checkpoints(where=where, sort_by=meta("accuracy"))
    print("good:", [each.checkpoint_id for each in found])

    # One key through all checkpoints, and two checkpoints compared; no payload is read.
    print("score:", [version.checkpoint_id for version in store.history("score")])
    print("added:", [change.key for change in store.diff("Turbo 1", "Turbo 2").added])

    # SQL of one's own, which can only read; or with SQLAlchemy.
    answer = store.sql("SELECT kind, count(*) FROM checkpoint_overview GROUP BY kind ORDER BY kind")
    print("kinds:", [tuple(row) for row in answer.rows])
    with store.query() as connection:
        total = connection.scalar(select(func.sum(checkpoints.c.stored_bytes)))
    print("stored:", total, "bytes")
