"""The names that pickles of common values need and that run nothing of an attacker's choosing."""

from __future__ import annotations

import builtins
from typing import Final

_NUMPY_CORE = "multiarray._reconstruct multiarray.scalar numeric._frombuffer"
_PATHS = "Path PosixPath PurePath PurePosixPath PureWindowsPath WindowsPath"

# By module. What makes arrays and frames moved between versions: every place is here.
_NAMES = {
    "builtins": """bool bytearray bytes complex dict float frozenset int list object range set
        slice str tuple Ellipsis NotImplemented""",
    "collections": "ChainMap Counter OrderedDict UserDict UserList UserString defaultdict deque",
    "datetime": "date datetime time timedelta timezone",
    "zoneinfo": "ZoneInfo ZoneInfo._unpickle",
    "pytz": "_UTC _p",  # time zones of pandas 2, by their names
    "decimal": "Decimal",
    "fractions": "Fraction",
    "uuid": "UUID SafeUUID",
    "pathlib": _PATHS,
    "pathlib._local": _PATHS,  # Python 3.13
    "numpy": """ndarray dtype matrix recarray record bool bool_ int8 int16 int32 int64 uint8 uint16
        uint32 uint64 intc uintc intp uintp longlong ulonglong float16 float32 float64 longdouble
        complex64 complex128 clongdouble str_ bytes_ void object_ datetime64 timedelta64""",
    "numpy.dtypes": "*",
    "numpy.rec": "recarray record",
    "numpy.ma": "MaskedArray core.MaskedArray core._mareconstruct",
    "numpy._core._internal": "_convert_to_stringdtype_kwargs",
    "numpy.core": _NUMPY_CORE,  # numpy 1
    "numpy._core": _NUMPY_CORE,
    "numpy.random": """_generator.Generator mtrand.RandomState _mt19937.MT19937 _pcg64.PCG64
        _pcg64.PCG64DXSM _philox.Philox _sfc64.SFC64""",
    "numpy.random._pickle": "__randomstate_ctor __generator_ctor __bit_generator_ctor",
    "numpy.random.bit_generator": "SeedSequence __pyx_unpickle_SeedSequence",
    "pandas": """DataFrame Series Index RangeIndex MultiIndex CategoricalIndex DatetimeIndex
        PeriodIndex TimedeltaIndex IntervalIndex Categorical Interval Period Timestamp Timedelta NA
        NaT BooleanDtype CategoricalDtype DatetimeTZDtype Float32Dtype Float64Dtype Int8Dtype
        Int16Dtype Int32Dtype Int64Dtype IntervalDtype PeriodDtype SparseDtype StringDtype
        UInt8Dtype UInt16Dtype UInt32Dtype UInt64Dtype""",
    "pandas.arrays": "*",
    "pandas.core": "frame.DataFrame series.Series flags.Flags arrays.* dtypes.dtypes.* indexes.*",
    "pandas.core.indexes": """base._new_Index datetimes._new_DatetimeIndex period._new_PeriodIndex
        timedeltas._new_TimedeltaIndex interval._new_IntervalIndex""",
    "pandas.core.internals": "blocks.* managers.*",
    "pandas._libs": """arrays.NDArrayBacked arrays.__pyx_unpickle_NDArrayBacked interval.Interval
        interval.__pyx_unpickle_IntervalMixin internals.BlockPlacement internals._unpickle_block
        missing.NA missing.NAType sparse.BlockIndex sparse.IntIndex""",
    "pandas._libs.tslibs": """nattype.NaTType nattype._nat_unpickle nattype.__nat_unpickle offsets.*
        period.Period period._unpickle_period timedeltas.Timedelta timedeltas._timedelta_unpickle
        timestamps.Timestamp timestamps._unpickle_timestamp""",
}
_ERRORS = [
    f"builtins.{name}"
    for name, each in vars(builtins).items()
    if isinstance(each, type) and issubclass(each, BaseException)
]

SAFE_GLOBALS: Final = frozenset(
    [f"{module}.{name}" for module, names in _NAMES.items() for name in names.split()] + _ERRORS
)
