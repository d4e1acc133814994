"""What the tests of crashes, races and faults share: self-checking states, processes, verdicts.

Programs that are killed, raced or starved are in `victims.py` and run in processes of their own.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import zlib
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from checkpointdb import PipelineCheckpoint, RetentionPolicy, StreamedValue
from checkpointdb.sweep import sweep

TESTS = Path(__file__).parent
KEEP_ALL = {"retention_policy": RetentionPolicy.KEEP_ALL}
_PATIENCE_SECONDS = 100
HARMLESS = {"orphan", "unfinished"}  # all that a crash may leave


class DaysAhead(datetime):
    """The clock of a machine that is wrong."""

    @classmethod
    def now(cls, tz=None):
        return datetime.now(tz) + timedelta(days=2)


def refuse_to_list(monkeypatch, is_refused):
    """Let no directory be listed whose path is refused; by permissions root would not be."""

    def refusing(listed):
        def list_it(path="."):
            if not isinstance(path, int) and is_refused(Path(path)):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return listed(path)

        return list_it

    for each in ("listdir", "scandir"):
        monkeypatch.setattr(os, each, refusing(getattr(os, each)))


needs_strace = pytest.mark.skipif(
    shutil.which("strace") is None, reason="strace is not installed: no faults can be injected"
)
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="it needs Linux")


# --- states that tell whether they are whole


def state_of(tag: str) -> dict[str, object]:
    """A state that is a function of its tag: chunks of its own among chunks of everyone's."""
    lines = [f"line {number}" for number in range(900)]
    return {
        "tag": tag,
        "own": [f"{tag} {number}" for number in range(600)],
        "shared": "the same in every state " * 400,
        "mixed": [*lines[:450], tag, *lines[450:]],
        "again": tag,
    }


def array_state_of(tag: str) -> dict[str, object]:
    """The same with an array of many chunks, half of them its own."""
    import numpy as np

    array = np.arange(24_000)
    array[12_000:] ^= zlib.crc32(tag.encode())
    return {**state_of(tag), "array": array}


def streamed_state_of(tag: str) -> dict[str, object]:
    """The same with a stream of many chunks, of which some are its own; it can be read once."""
    return {**state_of(tag), "stream": StreamedValue(iter([_stream_of(tag)]))}


def _stream_of(tag: str) -> bytes:
    common = random.Random(1).randbytes(1_200_000)
    return common[:600_000] + random.Random(tag).randbytes(300_000) + common[600_000:]


def tag_of(state: dict[str, object]) -> str:
    """Return the tag of a state that must be whole. Raises what reading a stream of it raises."""
    tag = str(state["tag"])
    expected = array_state_of(tag) if "array" in state else state_of(tag)
    if isinstance(stream := state.get("stream"), StreamedValue):
        state = {**state, "stream": b"".join(stream)}
        expected["stream"] = _stream_of(tag)
    assert list(state) == list(expected), f"the keys of {tag} are mixed"
    for key, value in expected.items():
        same = state[key] == value
        assert same if isinstance(same, bool) else same.all(), f"{key} of {tag} is mixed"
    return tag


def tags_of(handle: PipelineCheckpoint) -> dict[str, str]:
    """Load every checkpoint of a pipeline, which must be whole: id to tag, oldest first."""
    listed = handle.list_checkpoints(reverse=False)
    return {each.checkpoint_id: tag_of(handle.load(each.checkpoint_id)) for each in listed}


# --- processes


def command(program: str, *arguments: object) -> list[str]:
    """The command line that runs a function of `victims.py` with arguments, all of them text."""
    code = (
        f"import sys; sys.path.insert(0, {str(TESTS)!r}); "
        f"import victims; victims.{program}(*sys.argv[1:])"
    )
    return [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]


def start(program: str, *arguments: object, under: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """Start a victim; `under` is a command line that runs it, such as strace."""
    return subprocess.Popen(
        [*under, *command(program, *arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # so that its children can be ended with it
    )


def run(program: str, *arguments: object, under: tuple[str, ...] = ()) -> list[str]:
    """Run a victim to its end, however it ends, and return the lines that it printed."""
    return _ended(start(program, *arguments, under=under))[0]


def run_well(program: str, *arguments: object, under: tuple[str, ...] = ()) -> list[str]:
    """Run a victim that must end well."""
    return end_well(start(program, *arguments, under=under))


def end_well(*victims: subprocess.Popen[str], longer: float = 0) -> list[str]:
    """Wait, so many seconds longer, for victims that must end well; return the lines of all."""
    lines = []
    for victim, (output, errors) in [(each, _ended(each, longer)) for each in victims]:
        assert victim.returncode == 0, errors
        lines += output
    return lines


def _ended(victim: subprocess.Popen[str], longer: float = 0) -> tuple[list[str], str]:
    with victim:
        try:
            output, errors = victim.communicate(timeout=_PATIENCE_SECONDS + longer)
        except subprocess.TimeoutExpired:
            os.killpg(victim.pid, signal.SIGKILL)
            raise
    return output.splitlines(), errors


def strace(*options: str, log: Path | str = "/dev/null") -> tuple[str, ...]:
    """The command line that runs a program under strace, at full speed but for what is traced."""
    return ("strace", "-f", "--seccomp-bpf", "-o", str(log), *options)


def inject(syscall: str, fault: str, when: object, *paths: Path) -> tuple[str, ...]:
    """Let the calls of `syscall` numbered `when` fail or kill, on `paths` alone if given."""
    filters = [part for path in paths for part in ("-P", str(path))]
    options = (f"-etrace={syscall}", *filters, f"-einject={syscall}:{fault}:when={when}")
    if fault.startswith("signal="):  # with --seccomp-bpf strace 6.1 sends none, and says nothing
        return ("strace", "-f", "-o", "/dev/null", *options)
    return strace(*options)


# --- verdicts


def assert_sound(directory: Path, *, allowed: set[str] = HARMLESS, **options: object) -> None:
    """A store after a fault: nothing wrong but leftovers, it works, and a sweep cleans it."""
    with PipelineCheckpoint(directory, **{**KEEP_ALL, **options}) as handle:
        before = tags_of(handle)
        found = handle.check(read_data=True).problems
        assert {each.kind for each in found} <= allowed, found
        tag = f"after {len(before)}"
        handle.save(state_of(tag), "the next")
        assert tag_of(handle.load("the next")) == tag
        handle.delete_checkpoint("the next")
        sweep(handle._engine.database, handle._engine.payloads, grace=timedelta(0))
        assert handle.check(read_data=True).problems == ()
        assert tags_of(handle) == {each: tag for each, tag in before.items() if each != "the next"}


def open_files(directory: Path) -> list[str]:
    """Files of a directory that this process has open; Linux tells."""
    links = [Path(f"/proc/self/fd/{each.name}") for each in Path("/proc/self/fd").iterdir()]
    held = [str(link.readlink()) for link in links if link.is_symlink()]
    return [path for path in held if path.startswith(str(directory))]


def leftovers(directory: Path) -> list[str]:
    """Files in `incoming/`."""
    return [path.name for path in directory.glob("payloads/incoming/*")]
