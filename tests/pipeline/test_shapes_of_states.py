"""States that are dictionaries, dataclasses and pydantic models come back as what they were."""

from __future__ import annotations

import collections
import dataclasses
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict

import pydantic
import pytest

from checkpointdb import InvalidStateError, StreamedValue
from checkpointdb.pipeline import Pipeline
from checkpointdb.pipeline.states import as_dict, from_dict


@dataclasses.dataclass(frozen=True)
class Source:
    path: Path
    pages: tuple[int, ...] = ()


@dataclasses.dataclass
class Context:
    source: Source
    extra: dict[str, Path] = dataclasses.field(default_factory=dict)
    seen: list[Any] = dataclasses.field(default_factory=list)
    count: int = dataclasses.field(init=False, default=0)

    @cached_property
    def name(self):
        return self.source.path.name


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    path: Path
    total: int = 0


class Typed(TypedDict, total=False):
    path: Path
    pages: list[str]


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    path: Path
    source: Source
    total: int = 0
    _secret: int = pydantic.PrivateAttr(default=7)


def context():
    made = Context(Source(Path("a/b.pdf"), (1, 2)), {"out": Path("x")})
    made.count, made.seen = 5, [Source(Path("c"))]
    return made


def model():
    made = Model(path=Path("a"), source=Source(Path("b")), more=[1])
    made._secret = 8
    return made


STATES = [context, lambda: Frozen(Path("a"), 3), lambda: Typed(path=Path("a")), model]


def nothing(_state):
    pass


@pytest.mark.parametrize("make", STATES, ids=["dataclass", "frozen", "typed", "pydantic"])
def test_a_state_comes_back_as_what_it_was(archive, make):
    pipeline = Pipeline("plan", archive, [nothing])
    pipeline.run(make(), "R")
    found = pipeline.run(make(), "R", "latest")
    assert found == make()
    assert type(found) is type(make())
    again = Pipeline("plan", archive, [nothing], state_type=type(make())).run(None, "R", "latest")
    assert again == make()


def test_each_field_is_a_key_of_its_own(archive):
    Pipeline("plan", archive, [nothing]).run(context(), "R")
    assert archive.load("R_stage_1", keys=["source"]) == {"source": context().source}
    assert archive.get_checkpoint_info("R_stage_1").state_keys == [
        "source",
        "extra",
        "seen",
        "count",
    ]


def test_a_model_keeps_what_is_beside_its_fields(archive):
    pipeline = Pipeline("plan", archive, [nothing])
    pipeline.run(model(), "R")
    found = pipeline.run(model(), "R", "latest")
    assert (found._secret, found.more, found.model_fields_set) == (
        8,
        [1],
        model().model_fields_set,
    )


def test_a_stage_gives_a_frozen_state_a_successor(archive):
    def add(state):
        return dataclasses.replace(state, total=state.total + 1), {"total": state.total + 1}

    def again(state):
        return dataclasses.replace(state, total=state.total + 1)

    assert Pipeline("plan", archive, [add, again]).run(Frozen(Path("a"))) == Frozen(Path("a"), 2)


def test_what_is_cached_is_no_part_of_the_state_and_what_is_no_field_is_refused():
    made = context()
    assert made.name == "b.pdf"
    assert "name" not in as_dict(made)
    made.stray = 1
    with pytest.raises(InvalidStateError, match="'stray'") as caught:
        as_dict(made)
    assert caught.value.key == "stray"


def test_without_a_class_a_state_that_had_one_is_not_guessed(archive):
    pipeline = Pipeline("plan", archive, [nothing])
    pipeline.run(context(), "R")
    with pytest.raises(ValueError, match="state_type"):
        pipeline.run(None, "R", "latest")


class Required(pydantic.BaseModel):
    path: Path
    source: Source
    total: int
    needed: int


class Fewer(pydantic.BaseModel):
    path: Path


@dataclasses.dataclass
class Wider(Context):
    added: int = 9
    made: list[int] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Needier:
    source: Source
    extra: dict[str, Path]
    seen: list[Any]
    count: int
    needed: int


def test_a_field_that_is_new_takes_its_default():
    found = from_dict(Wider, as_dict(context()))
    assert (found.added, found.made, found.source) == (9, [], context().source)


@pytest.mark.parametrize(
    ("shape", "state", "key"),
    [
        (Context, {**as_dict(context()), "unknown": 1}, "unknown"),
        (Needier, as_dict(context()), "needed"),
        (Fewer, {"path": Path("a"), "total": 1}, "total"),
        (Required, {"path": Path("a"), "source": None, "total": 1}, "needed"),
    ],
    ids=["unknown field", "lacking field", "unknown of a model", "lacking of a model"],
)
def test_a_class_with_other_fields_is_told_which(shape, state, key):
    with pytest.raises(InvalidStateError, match=f"'{key}'") as caught:
        from_dict(shape, state)
    assert caught.value.key == key


class Computing(pydantic.BaseModel):
    total: int = 2

    @pydantic.computed_field
    @cached_property
    def double(self) -> int:
        return self.total * 2


def test_what_a_model_has_cached_is_no_part_of_the_state(archive):
    pipeline = Pipeline("plan", archive, [lambda state: {"double": state.double}])
    pipeline.run(Computing(), "R")
    assert archive.load("R_stage_1") == {"total": 2}
    assert pipeline.run(Computing(), "R", "latest").double == 4


class Guarded(Model):
    _since: dict[str, int] = pydantic.PrivateAttr(default_factory=dict)
    _declared: int = pydantic.PrivateAttr()


def test_a_private_attribute_that_is_new_takes_its_default():
    found = from_dict(Guarded, as_dict(model()))
    assert (found._since, found._secret) == ({}, 8)
    with pytest.raises(AttributeError):
        _ = found._declared


class Slotted:
    __slots__ = ("hidden",)


@dataclasses.dataclass
class OnSlots(Slotted):
    total: int = 0


def test_a_slot_of_a_base_that_is_no_field_is_refused():
    made = OnSlots()
    assert as_dict(made) == {"total": 0}
    made.hidden = 1
    with pytest.raises(InvalidStateError, match="'hidden'"):
        as_dict(made)


@pytest.mark.parametrize(
    "state", [collections.defaultdict(list), collections.OrderedDict(a=1)], ids=repr
)
def test_a_dictionary_that_would_come_back_as_a_plain_one_is_refused(archive, state):
    with pytest.raises(InvalidStateError, match="plain dict"):
        Pipeline("plan", archive, [nothing]).run(state, "R")


# --- a state whose class changed on the way


def widen(state):
    made = Wider(state.source, added=5)
    made.count = 3
    return made


def test_a_subclass_that_a_stage_returned_comes_back_as_such(archive):
    pipeline = Pipeline("plan", archive, [widen])
    expected = pipeline.run(context(), "R")
    found = pipeline.run(context(), "R", "latest")
    assert (type(found), found) == (Wider, expected)


def test_a_dictionary_is_never_given_back_in_the_place_of_a_class(archive):
    def classify(state):
        return Frozen(Path("a"), state["total"]), {}

    Pipeline("plan", archive, [classify]).run({"total": 3}, "R")
    with pytest.raises(ValueError, match="Frozen: give Pipeline its class as state_type"):
        Pipeline("plan", archive, [classify]).run({"total": 3}, "R", "latest")
    typed = Pipeline("plan", archive, [classify, nothing], state_type=Frozen)
    assert typed.run({"total": 3}, "R", "latest") == Frozen(Path("a"), 3)


# --- streams


@pytest.mark.parametrize("is_background", [False, True])
def test_states_have_streams_that_are_read_by_later_stages(archive, is_background):
    def measure(state):
        state["log"] = StreamedValue(line for line in [b"one\n", b"two\n"])

    def count(state):
        state["lines"] = sum(block.count(b"\n") for block in state["log"])

    def describe(state):
        state["copy"] = StreamedValue(lambda: [b"copy of ", *state["log"]])

    stages = [measure, count, describe]
    state = Pipeline("plan", archive, stages, background=is_background).run({"n": 1}, run_id="r")
    assert state["lines"] == 2
    for name in ("r_stage_1", "r_stage_2", "r_stage_3"):
        assert b"".join(archive.load(name)["log"]) == b"one\ntwo\n"
    assert b"".join(archive.load("r_stage_3")["copy"]) == b"copy of one\ntwo\n"
