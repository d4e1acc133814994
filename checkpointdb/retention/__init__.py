"""Retention: frozen policies that say which checkpoints to keep, as SQL; pure.

Rules keep, and unite by `|`; limits take from what the rules keep, by `&`. What no policy ever
forgets stands in `exemptions.py`.
"""

from checkpointdb.retention.buckets import (
    KeepDaily,
    KeepHourly,
    KeepMonthly,
    KeepWeekly,
    KeepYearly,
)
from checkpointdb.retention.limits import AtMostBytes, AtMostPer
from checkpointdb.retention.named import policy_of
from checkpointdb.retention.parts import Limit, Question, Rule, Scope
from checkpointdb.retention.policy import (
    Policy,
    Retention,
    as_retention,
    damaged_in,
    exemptions,
)
from checkpointdb.retention.rules import (
    KeepAll,
    KeepBest,
    KeepNewest,
    KeepUntilBackedUp,
    KeepWhere,
    KeepWithin,
)

__all__ = [
    "AtMostBytes",
    "AtMostPer",
    "KeepAll",
    "KeepBest",
    "KeepDaily",
    "KeepHourly",
    "KeepMonthly",
    "KeepNewest",
    "KeepUntilBackedUp",
    "KeepWeekly",
    "KeepWhere",
    "KeepWithin",
    "KeepYearly",
    "Limit",
    "Policy",
    "Question",
    "Retention",
    "Rule",
    "Scope",
    "as_retention",
    "damaged_in",
    "exemptions",
    "policy_of",
]
