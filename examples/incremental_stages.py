"""What a stage costs when little changed: python examples/incremental_stages.py."""

import tempfile

from checkpointdb import KeepAll, PipelineCheckpoint

with (
    tempfile.TemporaryDirectory() as folder,
    PipelineCheckpoint(folder, retention_policy=KeepAll()) as store,
):
    pages = [
        f"Page {number}: " + f"what the plan says of {number * 7919} " * 40 for number in range(500)
    ]
    state: dict[str, object] = {"pages": pages}
    store.save(state, "extracted")

    state["words"] = sum(len(page.split()) for page in pages)  # a new key
    store.save(state, "counted")

    pages.insert(3, "Page 2b: a page that was forgotten")  # within a large value
    store.save(state, "corrected")

    for each in store.list_checkpoints(reverse=False):
        kind = "incremental" if each.is_incremental else "full"
        print(f"{each.checkpoint_id:10} {kind:12} {each.state_bytes:8,} bytes of state,", end=" ")
        print(f"{each.size_bytes:7,} stored")

    # None rests on another: what is forgotten takes nothing with it.
    store.delete_checkpoint("extracted")
    assert store.load("corrected")["pages"] == pages

    changes = store.diff("counted", "corrected")
    print("changed:", [change.key for change in changes.changed], "same:", changes.unchanged)
