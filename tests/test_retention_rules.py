"""What rules and limits keep of a history, why, and how they combine."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from labels import label
from sqlalchemy.dialects import postgresql

from checkpointdb import (
    AtMostBytes,
    AtMostPer,
    InvalidInputError,
    KeepAll,
    KeepBest,
    KeepDaily,
    KeepHourly,
    KeepMonthly,
    KeepNewest,
    KeepWeekly,
    KeepWhere,
    KeepWithin,
    KeepYearly,
    Retention,
    RetentionPolicy,
    checkpoints,
    has_key,
    meta,
)
from checkpointdb.retention import Scope

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)  # a Wednesday
# Saved in this order; "z" last, so that what rules keep is told from what is saved last.
HISTORY = {
    "a": ("2024-12-30 08:00", {"loss": 5, "run": "r1"}),  # Monday, of the week of New Year
    "b": ("2025-01-01 09:00", {"loss": 4, "run": "r1"}),
    "c": ("2026-01-31 23:59", {"loss": 3, "run": "r2"}),
    "d": ("2026-02-27 10:00", {"loss": 0.5, "run": "r1", "tag": "x"}),
    "e": ("2026-02-28 10:10", {"loss": 2, "run": 7}),
    "f": ("2026-02-28 10:50", {"loss": "low"}),
    "g": ("2026-03-01 00:00", {"loss": 0.5, "run": None}),  # Sunday
    "h": ("2026-03-02 00:00", {"loss": 1, "run": 7.0}),  # Monday
    "i": ("2026-03-04 11:59", {"run": "r2"}),
    "z": ("2026-03-04 12:00", {}),
}


@pytest.fixture
def history(archive, clock):
    """A handle of a store with HISTORY, at NOW."""
    for name, (time, metadata) in HISTORY.items():
        clock.time = datetime.fromisoformat(time).replace(tzinfo=UTC)
        archive.save({"name": name}, name, custom_metadata=metadata)
    clock.time = NOW
    return archive


def kept(handle, policy):
    return "".join(each.checkpoint_id for each in handle.plan_retention(policy).kept)


def reasons(handle, policy):
    plan = handle.plan_retention(policy)
    return {each.checkpoint_id: each.reasons for each in plan.checkpoints}


# --- rules

RULES = [
    (KeepAll(), "abcdefghiz"),
    (KeepNewest(1), "z"),
    (KeepNewest(3), "hiz"),
    (KeepNewest(99), "abcdefghiz"),
    (KeepWithin(0), "z"),
    (KeepWithin(timedelta(minutes=1)), "iz"),
    (KeepWithin(4), "ghiz"),
    (KeepWithin(10**9), "abcdefghiz"),
    (KeepWithin(timedelta.max), "abcdefghiz"),
    (KeepHourly(1), "z"),
    (KeepHourly(2), "iz"),
    (KeepHourly(5), "fghiz"),
    (KeepDaily(1), "z"),
    (KeepDaily(2), "hz"),
    (KeepDaily(4), "fghz"),
    (KeepDaily(99), "abcdfghz"),
    (KeepWeekly(1), "z"),
    (KeepWeekly(2), "gz"),
    (KeepWeekly(3), "cgz"),
    (KeepWeekly(4), "bcgz"),
    (KeepMonthly(2), "fz"),
    (KeepMonthly(3), "cfz"),
    (KeepMonthly(5), "abcfz"),
    (KeepYearly(2), "bz"),
    (KeepYearly(9), "abz"),
    (KeepBest(1, "loss"), "az"),
    (KeepBest(2, "loss"), "abz"),
    (KeepBest(1, "loss", lowest=True), "gz"),
    (KeepBest(2, "loss", lowest=True), "dgz"),
    (KeepBest(99, "loss"), "abcdeghz"),
    (KeepWhere(meta("tag") == "x"), "dz"),
    (KeepWhere(~((meta("tag") != "x") | ~meta("tag").exists())), "dz"),
    (KeepWhere(~~(has_key("name") & has_key("name"))), "abcdefghiz"),
    (KeepWhere(has_key("name")), "abcdefghiz"),
    (KeepWhere(checkpoints.c.checkpoint_id.in_(["a", "c"])), "acz"),
]


@pytest.mark.parametrize(("policy", "expected"), RULES, ids=label)
def test_a_rule_keeps(history, policy, expected):
    assert kept(history, policy) == expected


@pytest.mark.parametrize("policy", [
    KeepBest(3, "lsos"),
    KeepWhere(meta("tga") == "x"),
    KeepBest(3, "lsos") | KeepWhere(meta("tga") == "x"),
    KeepBest(3, "lsos") & AtMostPer(9, "run"),
], ids=label)  # fmt: skip
def test_metadata_that_no_checkpoint_has_forgets_nothing(history, policy):
    assert kept(history, policy) == "abcdefghiz"
    assert reasons(history, policy)["a"] == ("no checkpoint matches any rule",)


def test_rules_about_other_things_forget_beside_metadata_that_no_checkpoint_has(history):
    assert kept(history, KeepBest(3, "lsos") | KeepNewest(2)) == "iz"
    assert kept(history, KeepBest(3, "lsos") | KeepWithin(0)) == "z"


def test_metadata_that_a_pinned_checkpoint_has_is_no_mistake(history):
    history.pin("a")
    assert kept(history, KeepWhere(checkpoints.c.checkpoint_id == "a")) == "az"


def test_a_save_by_a_rule_whose_field_is_misspelt_forgets_nothing(store):
    handle = store(retention_policy=KeepBest(1, "accuracy"))
    for number in range(4):
        handle.save({"n": number}, str(number), custom_metadata={"acc": number})
    assert len(handle.list_checkpoints()) == 4
    handle.save({"n": 9}, "9", custom_metadata={"accuracy": 1})
    assert [each.checkpoint_id for each in handle.list_checkpoints()] == ["9"]


def test_each_rule_says_why_it_keeps(history):
    policy = (
        KeepNewest(2)
        | KeepHourly(1)
        | KeepDaily(1)
        | KeepWeekly(2)
        | KeepMonthly(3)
        | KeepYearly(2)
        | KeepWithin(1)
        | KeepBest(1, "loss")
        | KeepWhere(meta("tag") == "x", "tagged x")
    )
    found = reasons(history, policy)
    assert found["z"] == (
        "saved last",
        "newest 1 of 2",
        "hourly 2026-03-04 12:00",
        "daily 2026-03-04",
        "weekly 2026-03-02",
        "monthly 2026-03",
        "yearly 2026",
        "within 1 day",
    )
    assert found["g"] == ("weekly 2026-02-23",)
    assert found["a"] == ("best loss 5",)
    assert found["d"] == ("tagged x",)
    assert found["e"] == (
        "not newest 2",
        "not hourly 1",
        "not daily 1",
        "not weekly 2",
        "not monthly 3",
        "not yearly 2",
        "not within 1 day",
        "not best 1 by highest loss",
        "not tagged x",
    )


def test_the_newest_of_a_bucket_is_what_was_saved_last_in_it(archive, clock):
    for name, hour in (("late", 20), ("early", 8), ("z", 7)):
        clock.time = datetime(2026, 3, 3 if name != "z" else 4, hour, tzinfo=UTC)
        archive.save({}, name)
    assert reasons(archive, KeepDaily(2))["early"] == ("daily 2026-03-03",)


def test_weeks_before_the_last_half_millisecond_of_a_sunday_are_kept(archive, clock):
    times = [datetime(2026, 2, day, 12, tzinfo=UTC) for day in (2, 9, 16, 23)]
    times += [datetime(2026, 3, 8, 23, 59, 59, 999_600, tzinfo=UTC)]
    for name, clock.time in zip("abcde", times, strict=True):
        archive.save({}, name)
    clock.time = datetime(2026, 3, 10, tzinfo=UTC)
    archive.save({}, "f")
    assert kept(archive, KeepWeekly(520)) == "abcdef"


HUGE = [
    policy
    for count in (2**63 - 1, 2**63, 10**30)
    for policy in (
        KeepNewest(count),
        KeepDaily(count),
        KeepBest(count, "loss"),
        KeepWithin(count),
        AtMostBytes(count),
        AtMostPer(count, "run"),
    )
]


@pytest.mark.parametrize("policy", HUGE, ids=label)
def test_a_number_over_64_bits_is_as_good_as_any(history, policy):
    assert "z" in kept(history, policy)
    assert "a" in kept(history, policy)


@pytest.mark.parametrize("count", [2**63 - 1, 2**63, 10**30])
def test_a_save_asks_for_more_than_64_bits_of_newest(store, count):
    for handle in (store(retention_policy=KeepNewest(count)), store(retention_count=count)):
        handle.save({"n": 1}, "a")
        handle.save({"n": 2}, "b")
        assert len(handle.list_checkpoints()) == 2


# --- limits

LIMITS = [
    (AtMostPer(1, "run"), "dfghiz"),
    (AtMostPer(2, "run"), "bcdefghiz"),
    (AtMostPer(1, "nothing"), "abcdefghiz"),
    (KeepNewest(5) & AtMostPer(1, "run"), "fghiz"),
    (KeepBest(3, "loss") & AtMostPer(1, "run"), "bcz"),
    ((KeepBest(1, "loss") | KeepNewest(3)) & AtMostPer(1, "run"), "ahiz"),
    (AtMostBytes(10**9), "abcdefghiz"),
    (AtMostBytes(1), "z"),
]


@pytest.mark.parametrize(("policy", "expected"), LIMITS, ids=label)
def test_a_limit_leaves(history, policy, expected):
    assert kept(history, policy) == expected


def test_a_limit_says_what_it_takes(history):
    found = reasons(history, AtMostPer(1, "run") & AtMostBytes(1))
    assert found["a"] == ("over 1 of run 'r1'",)
    assert found["e"] == ("over 1 of run 7",)
    assert found["g"] == ("over 1 bytes",)
    assert found["z"] == ("saved last",)


def test_limits_take_one_after_the_other(history):
    best = KeepBest(4, "loss")
    assert kept(history, best) == "abcez"
    assert kept(history, best & AtMostPer(1, "run")) == "bcez"
    sizes = {each.checkpoint_id: each.size_bytes for each in history.list_checkpoints()}
    room = AtMostBytes(sizes["c"] + sizes["e"] + sizes["z"])
    assert kept(history, best & AtMostPer(1, "run") & room) == "cez"


def test_what_is_saved_last_counts_for_limits_though_no_rule_keeps_it(history):
    history.save({}, "last", custom_metadata={"run": "r2"})
    policy = KeepBest(3, "loss") & AtMostPer(1, "run")
    assert kept(history, policy) == "blast"
    assert kept(history, KeepBest(3, "loss")) == "abclast"


def test_what_is_in_the_future_counts_for_limits_and_is_not_taken(history, clock):
    clock.time = datetime(2026, 3, 3, tzinfo=UTC)
    policy = KeepBest(3, "loss") & AtMostPer(1, "run")
    assert kept(history, policy) == "biz"


def test_what_is_pinned_counts_for_no_limit(history):
    history.save({}, "last", custom_metadata={"run": "r2"}, pinned=True)
    assert kept(history, KeepBest(3, "loss") & AtMostPer(1, "run")) == "bclast"


def test_a_reason_tells_numbers_in_full_and_texts_from_numbers(archive):
    for name, step, run in (("a", 1234567, "1"), ("b", 1234568.25, 1), ("c", 0, "1"), ("d", 0, 1)):
        archive.save({}, name, custom_metadata={"step": step, "run": run})
    best, per = reasons(archive, KeepBest(2, "step")), reasons(archive, AtMostPer(1, "run"))
    assert [best["a"], best["b"]] == [("best step 1234567",), ("best step 1234568.25",)]
    assert [per["a"], per["b"]] == [("over 1 of run '1'",), ("over 1 of run 1",)]


@pytest.mark.parametrize(
    ("age", "text"),
    [
        (1, "within 1 day"),
        (30, "within 30 days"),
        (timedelta(days=30), "within 30 days"),
        (timedelta(hours=36), "within 1 day 12:00:00"),
        (timedelta(hours=1), "within 1:00:00"),
    ],
)
def test_an_age_is_told_without_a_comma(age, text):
    assert str(KeepWithin(age)) == text


# --- what no policy forgets


def test_pinned_checkpoints_are_kept_and_not_counted(history):
    for name in "bgh":
        history.pin(name)
    assert kept(history, KeepNewest(2)) == "bghiz"
    assert kept(history, KeepDaily(3)) == "bdfghz"
    assert kept(history, KeepBest(1, "loss", lowest=True)) == "bdghz"
    assert reasons(history, KeepAll())["b"] == ("pinned",)


def test_no_limit_takes_a_pinned_one(history):
    history.pin("a")
    assert kept(history, AtMostPer(1, "run") & AtMostBytes(1)) == "az"


def test_latest_best_and_pinned_are_kept_together(history):
    history.pin("c")
    assert kept(history, KeepNewest(2) | KeepBest(1, "loss")) == "aciz"


def test_what_is_dated_in_the_future_is_never_forgotten_nor_counted_by_calendars(history, clock):
    clock.time = datetime(2026, 3, 1, 12, tzinfo=UTC)
    found = reasons(history, KeepDaily(1))
    assert [name for name in found if found[name] == ("in the future",)] == ["h", "i"]
    assert found["g"] == ("daily 2026-03-01",)
    assert found["z"] == ("in the future", "saved last")
    assert kept(history, AtMostBytes(1)) == "hiz"


def test_a_machine_whose_clock_lags_loses_nothing_that_it_saved_last(history, clock):
    clock.time = datetime(2020, 1, 1, tzinfo=UTC)
    history.save({}, "lagging", custom_metadata={})
    clock.time = NOW
    plan = history.plan_retention(KeepWithin(1) | KeepNewest(1))
    assert plan.checkpoints[-1].reasons == ("saved last", "newest 1 of 1")


def test_a_policy_stays_in_its_pipeline(history, store):
    other = store(pipeline="other")
    assert other.plan_retention(KeepNewest(1)).checkpoints == ()
    other.save({"n": 1}, "mine", custom_metadata={"loss": 99, "run": "r1"})
    assert kept(other, KeepNewest(1) & AtMostPer(1, "run")) == "mine"
    assert kept(history, KeepBest(1, "loss")) == "az"
    assert kept(history, KeepYearly(9)) == "abz"


# --- how they combine


def test_rules_unite_and_limits_follow():
    policy = (
        (KeepNewest(3) | KeepDaily(7) | KeepBest(1, "loss")) & AtMostBytes(9) & AtMostPer(2, "r")
    )
    assert policy == Retention(
        (KeepNewest(3), KeepDaily(7), KeepBest(1, "loss")), (AtMostBytes(9), AtMostPer(2, "r"))
    )
    assert str(policy) == (
        "newest 3 or daily 7 or best 1 by highest loss, at most 9 bytes, at most 2 per r"
    )


def test_a_policy_of_lists_is_that_of_tuples():
    policy = Retention([KeepNewest(1)], [AtMostBytes(9)])
    assert {policy, Retention((KeepNewest(1),), (AtMostBytes(9),))} == {policy}
    assert (Retention([KeepNewest(1)]) | KeepDaily(1)) == KeepNewest(1) | KeepDaily(1)


def test_equal_reasons_are_given_once(history):
    found = reasons(history, KeepNewest(2) | KeepNewest(2) | KeepBest(1, "loss"))
    assert found["i"] == ("newest 2 of 2",)
    assert found["b"] == ("not newest 2", "not best 1 by highest loss")


def test_kinds_of_buckets_differ():
    assert KeepDaily(3) == KeepDaily(3) != KeepWeekly(3)
    assert repr(KeepDaily(3)) == "KeepDaily(count=3)"


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: Retention(), "an empty policy would keep nothing"),
        (lambda: Retention((AtMostBytes(1),)), "is no rule of retention"),
        (lambda: Retention((KeepNewest(1),), (KeepNewest(1),)), "is no limit of retention"),
        (lambda: KeepNewest(1) | 3, "3 is no policy"),
        (lambda: KeepNewest(1) & KeepDaily(3), "& takes a limit"),
        (lambda: KeepNewest(1) | KeepDaily(3) & AtMostBytes(1), "unite the rules first"),
        (lambda: AtMostBytes(1) | KeepNewest(1), "unite the rules first"),
        (lambda: KeepNewest(0), "newest to keep must be an integer of at least 1, not 0"),
        (lambda: KeepDaily(0), "daily checkpoints to keep must be an integer of at least 1"),
        (lambda: KeepYearly(True), "yearly checkpoints to keep"),
        (lambda: KeepBest(0, "loss"), "best to keep must be"),
        (lambda: KeepBest(1, ""), "named by its path"),
        (lambda: KeepBest(1, meta("loss")), "named by its path"),
        (lambda: KeepBest(1, "\0"), "NUL"),
        (lambda: KeepBest(1, "a\\b"), "a backslash in the path"),
        (lambda: AtMostPer(1, "a\\b"), "a backslash in the path"),
        (lambda: KeepWithin(-1), "days to keep"),
        (lambda: KeepWithin(timedelta(-1)), "must not be negative"),
        (lambda: KeepWithin("30d"), "days to keep"),
        (lambda: KeepWhere("tag = x"), "takes an expression"),
        (lambda: KeepWhere(checkpoints.c.checkpoint_id), "takes an expression"),
        (lambda: KeepWhere(~checkpoints.c.depth), "takes an expression"),
        (lambda: KeepWhere(meta("tag") == "x", name=3), "must be text, not 3"),
        (lambda: Retention(KeepNewest(1)), "takes a list of rules"),
        (lambda: AtMostBytes(0), "stored_bytes must be"),
        (lambda: AtMostPer(0, "run"), "each value must be"),
    ],
)
def test_what_makes_no_policy_is_refused(make, word):
    with pytest.raises(InvalidInputError, match=word):
        make()


@pytest.mark.parametrize("policy", [3, "keep_all", RetentionPolicy.KEEP_ALL, KeepNewest], ids=label)
def test_a_plan_of_what_is_no_policy_is_refused(archive, policy):
    with pytest.raises(InvalidInputError, match="is no policy"):
        archive.plan_retention(policy)


# --- PostgreSQL


@pytest.mark.parametrize("policy", [rule for rule, _ in RULES], ids=label)
def test_a_rule_is_a_statement_of_postgresql_too(policy):
    text = str(policy.kept(Scope(1, NOW)).compile(dialect=postgresql.dialect()))
    assert "ORDER BY" in text
    assert "strftime" not in text
