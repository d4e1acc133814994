"""What a run was made on and how, so that its figures can be judged."""

from __future__ import annotations

import os
import pickle
import platform
import sqlite3
import zlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .figures import Setting
from .naive import LEVEL

PACKAGES = ("checkpointdb", "sqlalchemy", "isal", "blake3", "pyfastcdc", "numpy")


def describe(setting: Setting) -> dict[str, str]:
    return {
        "processor": f"{_processor()}, {os.cpu_count()} cores, {_memory()}",
        "system": f"{platform.system()} {platform.release()}",
        "file system": _file_system(setting.folder),
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "SQLite": sqlite3.sqlite_version,
        "packages": versions(*PACKAGES),
        "durable": (
            "both: ours fsyncs the payload, its directory and the database's log; "
            "naive fsyncs its file and its directory"
            if setting.durable
            else "neither: no fsync on either side (SQLite synchronous=NORMAL)"
        ),
        "naive": (
            f"gzip.compress(pickle.dumps(…)), level {LEVEL} (zlib {zlib.ZLIB_RUNTIME_VERSION}), "
            f"pickle protocol {pickle.DEFAULT_PROTOCOL}, deltas of whole keys by !=, one file "
            "per checkpoint, no index, nothing verified"
        ),
        "ours": "compression_level='fast', every digest verified by loads (the defaults)",
        "method": (
            "medians of repetitions, the contestants in turns; files just written are in "
            "memory when they are loaded" + (" (quick: few repetitions)" if setting.quick else "")
        ),
    }


def load() -> str:
    """Return how many processes wanted to run of late: beside the cores, a measure of noise."""
    if not hasattr(os, "getloadavg"):
        return "unknown"
    return ", ".join(f"{each:.1f}" for each in os.getloadavg()) + " over 1, 5 and 15 minutes"


def versions(*packages: str) -> str:
    return ", ".join(f"{name} {_version(name)}" for name in packages)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(none)"


def _processor() -> str:
    return _field(Path("/proc/cpuinfo"), "model name") or platform.processor() or "unknown"


def _memory() -> str:
    found = _field(Path("/proc/meminfo"), "MemTotal")
    return f"{int(found.split()[0]) / 1024**2:.0f} GiB" if found else "memory unknown"


def _field(path: Path, name: str) -> str:
    if not path.exists():
        return ""
    found = (line.partition(":") for line in path.read_text().splitlines())
    return next((value.strip() for key, _, value in found if key.strip() == name), "")


def _file_system(folder: Path) -> str:
    """Return type and device of the mount that holds `folder`."""
    mounts = Path("/proc/mounts")
    if not mounts.exists():
        return "unknown"
    real = folder.resolve()
    found = [line.split()[:3] for line in mounts.read_text().splitlines()]
    holding = [each for each in found if real.is_relative_to(each[1])]
    device, _, kind = max(holding, key=lambda each: len(each[1]))
    return f"{kind} on {device}"
