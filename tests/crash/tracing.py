"""Runs a function in a child process and stops it before each of its effects on files.

By ptrace, and a seccomp filter that stops at effects alone: strace counts the calls of each kind
and of each thread for itself, so that with it there is no n-th effect of a process.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import struct
import sys
import traceback
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

# Of x86-64; "openat" is one if it creates or empties.
CALLS = {
    1: "write",
    18: "pwrite64",
    20: "writev",
    40: "sendfile",
    74: "fsync",
    75: "fdatasync",
    77: "ftruncate",
    82: "rename",
    83: "mkdir",
    84: "rmdir",
    86: "link",
    87: "unlink",
    90: "chmod",
    91: "fchmod",
    257: "openat",
    258: "mkdirat",
    263: "unlinkat",
    264: "renameat",
    265: "linkat",
    285: "fallocate",
    316: "renameat2",
    326: "copy_file_range",
}
AVAILABLE = sys.platform == "linux" and platform.machine() == "x86_64"
CREATES = os.O_CREAT | os.O_TRUNC

# What has no effect, and may fail as well.
READS = {
    0: "read",
    4: "stat",
    6: "lstat",
    17: "pread64",
    21: "access",
    217: "getdents64",
    262: "newfstatat",
    269: "faccessat",
    332: "statx",
    439: "faccessat2",
}

# What would have an effect, too, and is called by nobody: if it were, kills and cuts would miss it.
UNKNOWN = {
    2: "open",
    16: "ioctl",
    76: "truncate",
    85: "creat",
    88: "symlink",
    133: "mknod",
    209: "io_submit",
    259: "mknodat",
    266: "symlinkat",
    275: "splice",
    278: "vmsplice",
    296: "pwritev",
    328: "pwritev2",
    425: "io_uring_setup",
    426: "io_uring_enter",
    427: "io_uring_register",
    437: "openat2",
}
_CLONES = {0x40049409, 0x4020940D}  # FICLONE and FICLONERANGE: of its requests those that write

_TRACE_ME, _CONTINUE, _SYSCALL, _SET_OPTIONS, _GET_SYSCALL_INFO = 0, 7, 24, 0x4200, 0x420E
_SET_REGISTER = 6
_NEW_TASKS, _SECCOMP_EVENT = 0x2 | 0x4 | 0x8, 7
_OPTIONS = 0x1 | _NEW_TASKS | 0x80 | 0x100000  # mark system calls, seccomp, kill the child on exit
_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER_MODE = 38, 22, 2
_ALLOW, _TRACE = 0x7FFF0000, 0x7FF00000
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_WALL = 0x40000000
# Where the registers are that hold what a call returns, its number, and its arguments.
_RESULT, _NUMBER, _ARGUMENTS = 80, 120, (112, 104, 96, 56, 72, 64)
_LENGTHS = {"write": 2, "pwrite64": 2, "sendfile": 3, "copy_file_range": 4}  # which argument
_MOST_SHORT_BYTES = 1_000  # of a short write, whose length may be more than there is

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


class Stop(NamedTuple):
    """A thread that stands before an effect, or (if `result` is told) just behind it."""

    thread: int
    call: str
    arguments: tuple[int, ...]
    result: int | None = None


class Child:
    """A child process under trace, from its start to its end.

    It stops at effects alone; or at `calls`, and then at each "openat".
    """

    def __init__(self, act: Callable[[], None], calls: Mapping[int, str] = CALLS) -> None:
        self.exit: int | None = None
        self._calls = calls
        self.pid = os.fork()
        if self.pid == 0:
            _run(act, calls)
        os.waitpid(self.pid, _WALL)
        _ptrace(_SET_OPTIONS, self.pid, 0, _OPTIONS)
        _ptrace(_CONTINUE, self.pid, 0, 0)

    def stops(self, *, with_results: bool = False) -> Iterator[Stop]:
        """Yield each effect before it takes place, until the end of the process.

        And behind it, if results are asked for: then one thread at a time is let into an effect,
        so that their order here is the order in which they took place.
        """
        inside: Stop | None = None
        waiting: deque[tuple[int, int]] = deque()
        while found := waiting.popleft() if waiting and not inside else self._wait():
            thread, status = found
            event, number = status >> 16, os.WSTOPSIG(status)
            how, signalled = _CONTINUE, 0
            if event == _SECCOMP_EVENT:
                if inside:
                    waiting.append(found)
                    continue
                if stop := self._entered(thread):
                    yield stop
                    if with_results:
                        inside, how = stop, _SYSCALL
            elif number == signal.SIGTRAP | 0x80:
                if inside and inside.thread == thread:
                    yield inside._replace(result=_result(thread))
                    inside = None
            elif event == 0 and number != signal.SIGSTOP:
                signalled = number
            with suppress(ProcessLookupError):  # killed while it stood
                _ptrace(how, thread, 0, signalled)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        while self._wait() is not None:
            pass

    def _entered(self, thread: int) -> Stop | None:
        number, *arguments = struct.unpack_from("7Q", _info(thread), 24)
        if number in UNKNOWN:
            self._refuse(UNKNOWN[number], arguments)
            return None
        if self._calls is CALLS and CALLS[number] == "openat" and not arguments[2] & CREATES:
            return None
        return Stop(thread, self._calls[number], tuple(arguments))

    def _refuse(self, call: str, arguments: Sequence[int]) -> None:
        """Raise AssertionError for a call that has an effect, and is not traced."""
        if call == "open" and not arguments[1] & CREATES:
            return
        if call == "ioctl" and arguments[1] not in _CLONES:
            return
        self.kill()
        raise AssertionError(f"an effect that is not known: {call}")

    def _wait(self) -> tuple[int, int] | None:
        """Wait until a thread stops; None when the process has ended."""
        while self.exit is None:
            thread, status = os.waitpid(-1, _WALL)
            if os.WIFSTOPPED(status):
                return thread, status
            if thread == self.pid:
                self.exit = os.waitstatus_to_exitcode(status)
        return None


def fail(stop: Stop, error: int) -> None:
    """Let a call return an error instead of what it does."""
    _ptrace(_SET_REGISTER, stop.thread, _NUMBER, -1)
    _ptrace(_SET_REGISTER, stop.thread, _RESULT, -error)


def is_short(stop: Stop) -> bool:
    """Say whether a write has a single byte, which it takes or not."""
    return stop.call in _LENGTHS and stop.arguments[_LENGTHS[stop.call]] < 2


def shorten(stop: Stop) -> Callable[[], None]:
    """Let a write take some of its bytes; return what is to be called behind it."""
    changed = dict(enumerate(stop.arguments))
    at = _LENGTHS.get(stop.call, 2)
    if stop.call == "writev":  # becomes a write of its first piece
        _ptrace(_SET_REGISTER, stop.thread, _NUMBER, 1)
        with Path(f"/proc/{stop.thread}/mem").open("rb", buffering=0) as memory:
            memory.seek(stop.arguments[1])
            changed[1], changed[2] = struct.unpack("2Q", memory.read(16))
    changed[at] = max(1, min(changed[at] // 2, _MOST_SHORT_BYTES))
    _set_arguments(stop.thread, changed.values())
    return lambda: _set_arguments(stop.thread, stop.arguments)  # its caller finds them unchanged


def _set_arguments(thread: int, arguments: Iterable[int]) -> None:
    for register, value in zip(_ARGUMENTS, arguments, strict=True):
        _ptrace(_SET_REGISTER, thread, register, value)


def _run(act: Callable[[], None], calls: Mapping[int, str]) -> None:
    try:
        _ptrace(_TRACE_ME, 0, 0, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
        _stop_at({*calls, *UNKNOWN})
        act()
        os._exit(0)
    except BaseException:  # noqa: BLE001 - told by the parent
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


def _stop_at(calls: Collection[int]) -> None:
    lines = [(_LOAD, 0, 0, 0)]
    lines += [(_JUMP_IF_EQUAL, len(calls) - at, 0, call) for at, call in enumerate(calls)]
    lines += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _TRACE)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in lines))
    program = ctypes.create_string_buffer(
        struct.pack("HxxxxxxQ", len(lines), ctypes.addressof(code))
    )
    assert _libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0
    assert _libc.prctl(_SET_SECCOMP, _FILTER_MODE, program) == 0


def _ptrace(request: int, thread: int, address: int, data: int | ctypes.Array) -> None:
    given = data if isinstance(data, int) else ctypes.addressof(data)
    if _libc.ptrace(request, thread, address, given) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"ptrace: {os.strerror(number)}")


def _info(thread: int) -> bytes:
    found = ctypes.create_string_buffer(88)
    _ptrace(_GET_SYSCALL_INFO, thread, len(found), found)
    return found.raw


def _result(thread: int) -> int:
    return struct.unpack_from("q", _info(thread), 24)[0]
