"""Keep what matters and forget the rest: python examples/retention.py."""

import tempfile

from checkpointdb import AtMostPer, KeepAll, KeepBest, KeepNewest, PipelineCheckpoint

# Of all checkpoints the two newest and the best, and of each run two at most.
policy = (KeepNewest(2) | KeepBest(1, "accuracy")) & AtMostPer(2, "run")

with (
    tempfile.TemporaryDirectory() as folder,
    PipelineCheckpoint(folder, retention_policy=KeepAll()) as store,
):
    for number, accuracy in enumerate([0.61, 0.97, 0.72, 0.80, 0.81]):
        about = {"accuracy": accuracy, "run": "first" if number < 3 else "second"}
        store.save({"weights": [accuracy] * 5_000}, f"epoch {number}", custom_metadata=about)
    store.pin("epoch 0")  # whatever the policy says

    plan = store.plan_retention(policy)  # nothing is changed yet
    for each in plan.checkpoints:
        print(f"{each.checkpoint_id}: {'kept' if each.is_kept else 'forgotten'}, {each.reasons}")

    report = store.prune(plan)  # exactly that
    print(f"{len(report.forgotten)} forgotten, {report.freed_bytes} bytes freed")
    print("left:", [each.checkpoint_id for each in store.list_checkpoints(reverse=False)])
