"""The policies that a handle is given: by the name of the enum, or as they are."""

from __future__ import annotations

from checkpointdb.errors import InvalidInputError
from checkpointdb.records import RetentionPolicy
from checkpointdb.retention.parts import Part, check_integer
from checkpointdb.retention.policy import Policy, Retention
from checkpointdb.retention.rules import KeepAll, KeepNewest, KeepWithin


def policy_of(
    retention_policy: RetentionPolicy | Policy | str, retention_count: int, retention_age_days: int
) -> Policy:
    """Return the policy that the three arguments of PipelineCheckpoint describe.

    Raises InvalidInputError if there is no such policy or its number is none that it can use;
    a number that the policy does not use is not looked at.
    """
    if isinstance(retention_policy, (Retention, Part)):
        return retention_policy
    try:
        chosen = RetentionPolicy(retention_policy)
    except ValueError as error:
        names = ", ".join(repr(each.value) for each in RetentionPolicy)
        raise InvalidInputError(
            f"retention_policy={retention_policy!r} is unknown: use RetentionPolicy, {names}, "
            "or rules such as KeepNewest(10) | KeepDaily(7)"
        ) from error
    if chosen is RetentionPolicy.KEEP_N_RECENT:
        check_integer(retention_count, 1, "retention_count")
        return KeepNewest(retention_count)
    if chosen is RetentionPolicy.DELETE_OLDER_THAN:
        check_integer(retention_age_days, 0, "retention_age_days")
        return KeepWithin(retention_age_days)
    return KeepAll()
