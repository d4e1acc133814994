"""What a pickle may name, and the tricks by which one gets further."""

from __future__ import annotations

import collections
import copyreg
import datetime
import decimal
import enum
import fractions
import os
import pathlib
import pickle
import struct
import uuid
import zoneinfo

import numpy as np
import pandas as pd
import pytest

from checkpointdb import SAFE_GLOBALS, InvalidInputError, UntrustedGlobalError
from checkpointdb.trusted_globals import TrustedGlobals, Untrusted

calls = []


def call(*arguments):
    """What no pickle below may reach."""
    calls.append(arguments)


class Model:
    """A class of the user's own."""

    def __init__(self, weights):
        self.weights = weights

    def __eq__(self, other):
        return type(other) is Model and other.weights == self.weights

    __hash__ = None

    @classmethod
    def made(cls, weights):
        return cls(weights)


class ByMethod(Model):
    def __reduce__(self):
        return Model.made, (self.weights,)


class Colour(enum.Enum):
    RED = "red"


class Runs:
    """An object whose pickle calls `target`."""

    def __init__(self, target, *arguments):
        self.reduced = target, arguments

    def __reduce__(self):
        return self.reduced


@pytest.fixture(autouse=True)
def _nothing_was_called():
    calls.clear()
    yield
    assert calls == []


HERE = Model.__module__

COMMON = {
    "builtins": [1j, range(3), slice(1), frozenset({1}), {2}, ..., NotImplemented, bytearray(b"x")],
    "errors": [repr(ValueError("no")), OSError],
    "collections": [
        collections.OrderedDict(a=1),
        collections.defaultdict(list, a=[1]),
        collections.deque([1], 3),
        collections.Counter("ab"),
        collections.ChainMap({"a": 1}),
        collections.UserDict(a=1),
        collections.UserList([1]),
        collections.UserString("a"),
    ],
    "datetime": [
        datetime.date(2026, 1, 2),
        datetime.time(3),
        datetime.timedelta(1),
        datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
        datetime.datetime(2026, 1, 2, tzinfo=zoneinfo.ZoneInfo("America/Bogota")),
    ],
    "decimal": [decimal.Decimal("1.10"), fractions.Fraction(1, 3)],
    "uuid": [uuid.UUID(int=5), uuid.uuid1().is_safe],
    "pathlib": [pathlib.Path("a/b"), pathlib.PureWindowsPath("a")],
    "numpy": [
        np.float32(2),
        np.dtype([("a", "f4")]),
        np.float64,
        np.void(b"abc"),
        np.datetime64("2026-01-01"),
    ],
}
ARRAYS = {
    "in band": np.arange(5),
    "out of band": np.arange(5_000.0),
    "by columns": np.asfortranarray(np.eye(50)),
    "a view": np.eye(50)[::2],
    "objects": np.array([1, "a", None], dtype=object),
    "times": np.array(["2026"], dtype="M8[D]"),
    "texts": np.array(["a", "bc"], dtype=np.dtypes.StringDType()),
    "masked": np.ma.masked_array([1, 2], [0, 1]),
    "records": np.rec.array([(1, 2.0)], dtype=[("a", int), ("b", float)]),
}
FRAMES = {
    "mixed": pd.DataFrame({"a": [1, 2], "b": ["x", "y"], "c": [1.0, None]}),
    "typed": pd.DataFrame(
        {
            "zone": pd.date_range("2026", periods=2, tz="America/Bogota"),
            "utc": pd.date_range("2026", periods=2, tz="UTC"),
            "delta": pd.to_timedelta([1, 2]),
            "whole": pd.array([1, None], dtype="Int8"),
            "real": pd.array([1.5, None], dtype="Float64"),
            "truth": pd.array([True, None], dtype="boolean"),
            "text": pd.array(["a", None], dtype="string"),
            "kind": pd.Categorical(["a", "b"]),
            "month": pd.period_range("2026", periods=2, freq="M"),
            "span": pd.interval_range(0, 2),
            "few": pd.arrays.SparseArray([0, 1]),
        }
    ),
    "two levels": pd.DataFrame({"a": [1]}, index=pd.MultiIndex.from_tuples([(1, "x")])),
    "daily": pd.DataFrame({"a": [1]}, index=pd.date_range("2026", periods=1, freq="D")),
    "deltas": pd.DataFrame({"a": [1]}, index=pd.timedelta_range("1D", periods=1)),
    "empty": pd.DataFrame(),
    "large": pd.DataFrame(np.arange(20_000.0).reshape(-1, 4)),
}
PANDAS = [
    pd.Timestamp("2026"),
    pd.Timestamp("2026", tz="America/Bogota"),
    pd.Timedelta("1D"),
    pd.Period("2026-01"),
    pd.Interval(0, 1),
    pd.offsets.MonthEnd(2),
]


def load(stream, trusted=SAFE_GLOBALS):
    return TrustedGlobals(trusted).load([stream])


# --- what the ready set covers


def test_common_values_load_by_the_ready_set(store):
    handle = store(trusted_globals=SAFE_GLOBALS)
    handle.save({**COMMON, "pandas": PANDAS}, "x")
    assert handle.load("x") == {**COMMON, "pandas": PANDAS}


def test_what_is_missing_stays_itself(store):
    handle = store(trusted_globals=SAFE_GLOBALS)
    handle.save({"missing": [pd.NaT, pd.NA]}, "x")
    nat, na = handle.load("x")["missing"]
    assert nat is pd.NaT
    assert na is pd.NA


def test_arrays_load_by_the_ready_set_and_by_a_pattern(store):
    store().save(ARRAYS, "x")
    for trusted in (SAFE_GLOBALS, ["numpy.*"]):
        found = store(trusted_globals=trusted).load("x")
        for name, each in ARRAYS.items():
            assert type(found[name]) is type(each)
            np.testing.assert_array_equal(found[name], each)


def test_data_frames_load_by_the_ready_set(store):
    handle = store(trusted_globals=SAFE_GLOBALS)
    handle.save(FRAMES, "x")
    found = handle.load("x")
    for name, each in FRAMES.items():
        pd.testing.assert_frame_equal(found[name], each)


def test_random_generators_go_on_where_they_stood(store):
    handle = store(trusted_globals=SAFE_GLOBALS)
    generators = [np.random.Generator(kind(7)) for kind in (np.random.PCG64, np.random.MT19937)]
    handle.save({"generators": generators}, "x")
    for found, each in zip(handle.load("x")["generators"], generators, strict=True):
        assert found.random() == each.random()


def test_the_ready_set_is_names_that_cannot_run_anything():
    for name in SAFE_GLOBALS:
        module, _, last = name.rpartition(".")
        assert module not in ("os", "sys", "subprocess", "operator", "functools", "importlib")
        assert last not in ("eval", "exec", "getattr", "type", "open", "__import__", "partial")


# --- patterns


def test_a_class_that_is_not_trusted_is_refused_with_checkpoint_key_and_name(store):
    store().save({"a": 1, "model": Model([1])}, "run_7")
    handle = store(trusted_globals=SAFE_GLOBALS)
    with pytest.raises(UntrustedGlobalError) as caught:
        handle.load("run_7")
    for each in ("'run_7'", "'model'", f"'{HERE}.Model'"):
        assert each in str(caught.value)
    assert caught.value.checkpoint_id == "run_7"
    assert caught.value.key == "model"
    assert caught.value.global_name == f"{HERE}.Model"
    assert handle.load("run_7", keys=["a"]) == {"a": 1}
    with pytest.raises(UntrustedGlobalError):
        handle.lazy("run_7")["model"]


@pytest.mark.parametrize("pattern", ["Model", "*"])
def test_a_class_loads_by_its_full_name_and_by_a_pattern(store, pattern):
    handle = store(trusted_globals=[*SAFE_GLOBALS, f"{HERE}.{pattern}"])
    handle.save({"model": Model([1])}, "x")
    assert handle.load("x") == {"model": Model([1])}


def test_without_patterns_everything_loads(store):
    handle = store()
    handle.save({"model": Model([1])}, "x")
    assert handle.load("x") == {"model": Model([1])}


def test_an_empty_list_allows_plain_data_alone(store):
    plain = {"data": [1, 2.5, "three", b"four", None, True, {"five": (6, {7}, frozenset({8}))}]}
    handle = store(trusted_globals=[])
    handle.save({**plain, "path": pathlib.Path("x")}, "x")
    assert handle.load("x", keys=["data"]) == plain
    with pytest.raises(UntrustedGlobalError, match="path"):
        handle.load("x")


def test_members_of_a_trusted_enum_load(store):
    handle = store(trusted_globals=[f"{HERE}.Colour"])
    handle.save({"colour": Colour.RED}, "x")
    assert handle.load("x") == {"colour": Colour.RED}


def test_a_method_that_makes_an_object_must_be_named(store):
    store().save({"model": ByMethod([1])}, "x")
    named = [f"{HERE}.Model", f"{HERE}.Model.made"]
    assert store(trusted_globals=named).load("x") == {"model": Model([1])}
    with pytest.raises(UntrustedGlobalError, match=r"Model\.made"):
        store(trusted_globals=[f"{HERE}.*"]).load("x")


@pytest.mark.parametrize("bad", ["", "*", "numpy*", "a..b", ".a", "a.*.b", "a b", 7, None, b"a"])
def test_what_is_no_pattern_is_refused(store, bad):
    with pytest.raises(InvalidInputError, match="trusted_globals"):
        store(trusted_globals=[bad])


def test_one_text_is_no_list_of_patterns(store):
    with pytest.raises(InvalidInputError, match="list"):
        store(trusted_globals="numpy.*")


# --- tricks


def named(module, name):
    """The opcodes that push what is under a name."""
    texts = b"".join(b"\x8c" + bytes([len(each)]) + each.encode() for each in (module, name))
    return texts + b"\x93"


def called(module, name, *arguments):
    """A pickle that calls what is under a name."""
    given = b"".join(pickle.dumps(each, 2)[2:-1] for each in arguments)
    return b"\x80\x04" + named(module, name) + b"(" + given + b"tR."


WIDE = [*SAFE_GLOBALS, "builtins.*", "numpy.*", "pandas.*", "collections.*", f"{HERE}.Model"]
TRICKS = {
    "eval": called("builtins", "eval", "1"),
    "exec": called("builtins", "exec", "1"),
    "open": called("builtins", "open", "made-by-a-pickle", "w"),
    "import": called("builtins", "__import__", "os"),
    "the builtins of Python 2": b"c__builtin__\neval\n(S'1'\ntR.",
    "an object of protocol 0": b"(ios\nsystem\n.",
    "reduce into os": pickle.dumps(Runs(os.system, "true"), 5),
    "reduce into os, protocol 0": pickle.dumps(Runs(os.system, "true"), 0),
    "a function of this module": pickle.dumps(Runs(call, 1), 5),
    "a dotted name": called("collections", "_sys.modules.get", "os"),
    "a module that a trusted package imported": called(
        "numpy.testing._private.utils", "os.system", "true"
    ),
    "another": called("pandas.core.frame", "sys.exit", 1),
    "through a class": called("numpy", "ndarray.__init__.__class__"),
    "the maker of functions": called(HERE, "call.__class__"),
    "the maker of code": called("numpy.testing", "assert_equal.__code__.__class__"),
    "through a class, to its parent's": called("builtins", "int.__base__.__subclasses__"),
    "through a function": called(HERE, "Model.__init__.__globals__"),
    "a function of numpy that runs its argument": called(
        "numpy.testing._private.utils", "runstring", "1", {}
    ),
    "a method that writes a file": called("pandas", "DataFrame.to_pickle", {}, "x"),
    "a reader of pickles": called("pandas", "read_pickle", "x"),
    "the maker of classes": called("builtins", "type", "X", (), {}),
    "a subclass of it": called("builtins", "type.__subclasses__"),
    "getattr of getattr": called("builtins", "getattr", int, "__base__"),
    "getattr of a class": called("builtins", "getattr", Model, "__init__"),
    "getattr of an enum": called("builtins", "getattr", Model, "__class__"),
    "what a package imported": called("numpy._core.overrides", "functools.partial", 1),
}


@pytest.mark.parametrize("trusted", [SAFE_GLOBALS, WIDE], ids=["ready set", "wide"])
@pytest.mark.parametrize("trick", TRICKS)
def test_a_known_trick_is_refused_before_it_calls_anything(tmp_path, monkeypatch, trick, trusted):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Untrusted):
        load(TRICKS[trick], trusted)
    assert list(tmp_path.iterdir()) == []


def test_a_module_that_is_not_trusted_is_not_even_imported(tmp_path, monkeypatch):
    (tmp_path / "acts_when_imported.py").write_text(f"from {HERE} import call\ncall()\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(Untrusted):
        load(called("acts_when_imported", "Thing"))


@pytest.fixture
def extension():
    """An extension code for what is not trusted, already in the cache that pickle keeps."""
    copyreg.add_extension(HERE, "call", 77)
    assert pickle.loads(b"\x80\x02\x82\x4d.") is call
    yield 77
    copyreg.remove_extension(HERE, "call", 77)


@pytest.mark.parametrize("opcode", [b"\x82\x4d", b"\x83\x4d\0", b"\x84\x4d\0\0\0"])
def test_an_extension_code_is_a_name_like_any_other(extension, opcode):
    stream = b"\x80\x02" + opcode + b"(K\x01tR."
    with pytest.raises(Untrusted, match="call"):
        load(stream)
    with pytest.raises(pickle.UnpicklingError, match="extension code 78"):
        load(stream.replace(b"\x4d", b"\x4e"))


def test_a_persistent_id_is_refused():
    with pytest.raises(pickle.UnpicklingError):
        load(b"\x80\x04Pos.system\n.")
    with pytest.raises(pickle.UnpicklingError):
        load(b"\x80\x04" + named("builtins", "int") + b"0K\x01Q.")


def test_a_class_that_is_only_named_cannot_be_changed():
    """BUILD sets attributes, of a class too; so one could give it methods."""
    before = dict(vars(uuid.UUID))
    state = b"(N" + pickle.dumps({"hex": 1}, 2)[2:-1] + b"t"
    for what in (named("uuid", "UUID"), named("collections", "Counter")):
        with pytest.raises(Untrusted, match="may not change"):
            load(b"\x80\x04" + what + state + b"b.")
    assert dict(vars(uuid.UUID)) == before


def test_a_member_of_an_enum_cannot_be_changed():
    by_value = b"(" + pickle.dumps(0, 2)[2:-1] + b"tR"
    state = pickle.dumps({"_value_": 77}, 2)[2:-1]
    with pytest.raises(Untrusted, match="may not change"):
        load(b"\x80\x04" + named("uuid", "SafeUUID") + by_value + state + b"b.")
    assert uuid.SafeUUID.safe.value == 0


def test_what_is_named_twice_and_kept_in_the_memo_cannot_be_changed():
    stream = b"\x80\x04" + named("uuid", "UUID") + b"\x940h\0(N}t" + b"b."
    with pytest.raises(Untrusted):
        load(stream)


def test_buffers_that_are_not_there_are_an_error():
    stream = pickle.dumps(np.arange(5_000.0), 5, buffer_callback=lambda _: None)
    with pytest.raises(pickle.UnpicklingError):
        load(stream)


def test_what_is_cut_short_or_no_pickle_is_an_error_not_a_value():
    whole = pickle.dumps({"a": [pathlib.Path("x"), 1]}, 5)
    for end in range(len(whole)):
        with pytest.raises(Exception):  # noqa: B017, PT011 - any, but no value
            load(whole[:end])


def test_a_length_that_reaches_beyond_the_pickle_is_an_error():
    for huge in (b"\x8e" + struct.pack("<Q", 2**62), b"\x8d" + struct.pack("<Q", 2**62)):
        with pytest.raises((pickle.UnpicklingError, OverflowError, MemoryError, EOFError)):
            load(b"\x80\x04" + huge + b"abc.")
