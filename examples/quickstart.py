"""Save three stages, load one, ask about them, follow a key: python examples/quickstart.py."""

from typing import Any

from checkpointdb import PipelineCheckpoint, RetentionPolicy, has_key, meta

with PipelineCheckpoint("checkpoints", retention_policy=RetentionPolicy.KEEP_ALL) as store:
    # A pipeline hands over its state, a dictionary, after each stage.
    state: dict[str, Any] = {"pages": [f"page {number} of the plan" for number in range(20_000)]}
    store.save(state, "extracted", custom_metadata={"stage": 1})

    state["scores"] = [number % 7 / 7 for number in range(20_000)]
    store.save(state, "scored", custom_metadata={"stage": 2, "accuracy": 0.81})

    state["scores"] = [score**2 for score in state["scores"]]
    state["report"] = "seven groups"
    store.save(state, "reported", custom_metadata={"stage": 3, "accuracy": 0.93})

    # Any stage comes back, whole or in part; each byte is verified on the way.
    print("scored:  ", list(store.load("scored")))
    print("reported:", store.load("reported", keys=["report"]))

    # A filter is SQL, over columns, metadata and keys.
    for found in store.list_checkpoints(where=(meta("accuracy") > 0.9) & has_key("report")):
        print("found:   ", found.checkpoint_id, found.size_bytes, "bytes")

    # A key has a history, read from the database alone.
    for version in store.history("scores"):
        print("history: ", version.checkpoint_id, version.change, version.raw_bytes, "bytes")
