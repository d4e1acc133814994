"""The database's errors, turned into ours."""

from __future__ import annotations

import re
import sqlite3
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, IntegrityError, InvalidRequestError, StatementError

from checkpointdb.contexts import contextmanager
from checkpointdb.errors import (
    CheckpointError,
    CorruptionError,
    InvalidInputError,
    StoreBusyError,
    StoreUnavailableError,
    UnknownOutcomeError,
)
from checkpointdb.sqlite_reads import is_only_unread, is_sound_or_unread
from checkpointdb.stack import is_used_up


class LostRace(Exception):
    """A constraint or the isolation level stopped a write: look at the rows again, and retry.

    Internal: never reaches a user.
    """


class KeyringChanged(LostRace):
    """The keys changed since they were read: to be tried again, whatever else was relied on."""


# What reading a row raises if it does not hold what its columns are for. SQLite keeps any type in
# any column, and its file may be damaged or forged. Caught here, around every transaction: types
# checked at each column would cost each load, and be forgotten at the next query.
_UNSOUND = (
    TypeError,
    ValueError,
    LookupError,
    ArithmeticError,
    AttributeError,
    RecursionError,
    struct.error,
    InvalidRequestError,  # no row where there must be one, or several
)


@contextmanager
def translated(where: str, busy_seconds: float, driver: Any = sqlite3) -> Iterator[None]:
    """Turn the database's errors, and those of reading its rows, into ours.

    They are SQLAlchemy's, or those of the driver itself, a PEP 249 module.
    """
    handled = sys.exception()  # by the caller, before
    try:
        with _interrupts_first(handled):
            yield
    except CheckpointError:
        raise
    except (IntegrityError, driver.IntegrityError) as error:
        raise LostRace(str(error)) from error
    except DBAPIError as error:
        raise translate(error.orig or error, where, busy_seconds) from error
    except driver.Error as error:
        raise translate(error, where, busy_seconds) from error
    except _UNSOUND as error:
        if isinstance(error, RecursionError) and is_used_up():
            raise
        raise _unreadable(error, where) from error


@contextmanager
def asking() -> Iterator[None]:
    """Raise InvalidInputError for a user's expression, or a value there, that cannot be asked.

    It would be told as that of a row which cannot be read.
    """
    try:
        yield
    except RecursionError as error:
        if is_used_up():
            raise
        raise InvalidInputError(
            "what was asked is nested too deep: ask for less at once, or use filter_fn"
        ) from error
    except (OverflowError, UnicodeEncodeError, StatementError) as error:
        cause = getattr(error, "orig", None) or error
        state = getattr(cause, "sqlstate", None) or ""
        is_of_value = state.startswith(_DATA_EXCEPTION) or _is_of_value(cause)
        is_of_type = any(symptom in str(cause) for symptom in _NO_TYPE)
        if state == _NO_COLUMN or any(symptom in str(cause) for symptom in _UNASKED):
            raise InvalidInputError(
                f"what was asked cannot be asked of the database ({shortened(cause)}): correct the "
                "expression, or ask for less at once"
            ) from error
        if isinstance(error, DBAPIError) and not (is_of_value or is_of_type):
            raise
        raise InvalidInputError(
            "what was asked compares with a value that the column cannot hold "
            f"({shortened(cause)}): correct the expression"
        ) from error


@contextmanager
def _interrupts_first(handled: BaseException | None) -> Iterator[None]:
    """Let an interrupt through, such as Ctrl-C, in whose wake something else was raised.

    If it comes within SQLAlchemy, a transaction is left half ended: its clean-up fails on that, or
    asserts that it cannot be. `handled` may be an interrupt too, and is over.
    """
    try:
        yield
    except Exception as error:
        behind: BaseException | None = error
        while isinstance(behind, Exception) and behind is not handled:
            behind = behind.__context__
        if behind is not None and behind is not handled:
            try:
                raise behind from None
            finally:
                del behind  # its traceback would have this frame, which has it
        if isinstance(error, AssertionError) and error.__context__ is not handled:
            raise (error.__context__ or error) from None  # a handler raised what is no interrupt
        raise


@contextmanager
def closed(connection: Connection) -> Iterator[None]:
    """Close a connection at the end of a user's block, whose errors are the user's own."""
    handled = sys.exception()
    try:
        yield
    finally:
        with _interrupts_first(handled):
            connection.close()


def _unreadable(error: BaseException, where: str) -> CorruptionError:
    return CorruptionError(
        f"the database {where!r} holds a row that cannot be read ({shortened(error)}): "
        "restore a backup, or rebuild it"
    )


def shortened(error: BaseException) -> str:
    """Return what an error says, without the whole of a forged text that it may cite."""
    text = f"{type(error).__name__}: {error}"
    return text if len(text) <= _MOST_CITED else text[:_MOST_CITED] + "…"


_MOST_CITED = 300

# What SQLite says of a file that is not what it wrote; "unsafe use": of a schema that calls what
# no schema of ours does.
_DAMAGED = ("malformed", "not a database", "could not decode", "unsafe use", "unsupported file")

_BEYOND_SQLITE = ("expression tree is too large", "parser stack overflow")

_UNAVAILABLE = {
    "database or disk is full": "the disk is full: free space and retry",
    "readonly database": "the file system or the file is read-only",
    "unable to open database file": "was the store removed, is it read-only, or are too many "
    "files open?",
    "disk i/o error": "the disk failed, is full, or the store was removed",
    "no such table": "the database was replaced or emptied while it was open",
}


def put_back(where: str | None) -> StoreUnavailableError:
    """Return the error for a row that is gone, or another's, though none is ever removed."""
    return StoreUnavailableError(
        f"the database {where!r} was put back to an older state, or replaced, since this handle "
        "was opened: open it anew"
    )


def translate(error: BaseException, where: str, busy_seconds: float) -> CheckpointError | LostRace:
    """Return our error for one of a driver."""
    if hasattr(error, "sqlstate"):
        return _of_server(error, where, busy_seconds)
    text = str(error).lower()
    if "locked" in text or "busy" in text:
        return busy(busy_seconds)
    if any(symptom in text for symptom in _BEYOND_SQLITE):
        return _beyond(
            error, where, "shorten the condition: in_() compares one field with many values"
        )
    if any(symptom in text for symptom in _DAMAGED):
        if is_only_unread(error, where):
            return unread(where)
        return CorruptionError(
            f"the database {where!r} is damaged ({shortened(error)}): restore a backup, or move it "
            "(and its -wal and -shm files) away and make it anew from the payloads, by "
            "PipelineCheckpoint.rebuild or `checkpointdb rebuild`"
        )
    for symptom, advice in _UNAVAILABLE.items():
        if symptom in text:
            return StoreUnavailableError(f"the database {where!r} failed ({error}): {advice}")
    return StoreUnavailableError(f"the database {where!r} failed: {error}")


def confirm_damage(path: str | Path) -> None:
    """Raise StoreUnavailableError if a file that SQLite called damaged was only not read."""
    if is_sound_or_unread(path):
        raise unread(path)


def unread(where: object) -> StoreUnavailableError:
    """Return the error for a SQLite file that could not be read."""
    return StoreUnavailableError(
        f"the database {str(where)!r} could not be read: its disk failed, or is not there any "
        "more; nothing says that what it holds is damaged: look at the system's log, and retry"
    )


_CANCELED = "57014"

# What a server says, by the beginning of its SQLSTATE, the longest that fits.
_SAID_BY_SERVER = {
    "": "the server cannot be reached, was restarted, or ended the connection",
    "08": "the server cannot be reached, was restarted, or ended the connection",
    "25006": "this server only reads: name the primary, or add target_session_attrs=read-write",
    "28": "the server does not let this user in",
    "3D000": "create the database first",
    "3F000": "create the schema first",
    "42501": "this user may not: grant it what it needs on the schema",
    "42P01": "the database was replaced or emptied while it was open",
    "53": "the server has no room: its disk is full, or it has too many connections",
    "57": "the server is being stopped or started, or an operator ended the connection",
    _CANCELED: "it took longer than the server lets a statement take (statement_timeout), or an "
    "operator cancelled it: allow this user more, or try again",
}
# A refusal to connect comes without its SQLSTATE: libpq gives the text alone. One in another
# language (`lc_messages`) is taken for one that is not in this table.
_REFUSALS = {
    r'database ".*" does not exist': "3D000",
    r'role ".*" (does not exist|is not permitted)|authentication failed|no password supplied|'
    r"no pg_hba\.conf entry|permission denied for database": "28",
    r"too many (connections|clients)|connection slots are reserved": "53",
    r"the database system is |not currently accepting connections": "57",
}
_REFUSED = "the server refuses the connection, for the reason that it gives"
_LOST_RACES = {"40001", "40P01"}
_LOCK_NOT_AVAILABLE = "55P03"
_DATA_EXCEPTION = "22"
_NO_TYPE = ("is not supported", "cannot adapt type")  # what both drivers say of an object
_UNASKED = ("no such column", "too many SQL variables", "number of parameters must be")
_NO_COLUMN = "42703"
_BEYOND_SERVER = "54"
_DAMAGED_ON_SERVER = {"XX001", "XX002"}


def _of_server(error: Any, where: str, busy_seconds: float) -> CheckpointError | LostRace:
    state = error.sqlstate or ""
    if state in _LOST_RACES:
        return LostRace(str(error))
    if state == _LOCK_NOT_AVAILABLE:
        return busy(busy_seconds)
    if _is_of_value(error):
        return _unreadable(error, where)
    told = " ".join(shortened(error).split())
    if state.startswith(_BEYOND_SERVER):
        return _beyond(
            error,
            where,
            "shorten the id, the pipeline's name, the key or the metadata that is so long, or the "
            "condition",
        )
    if state in _DAMAGED_ON_SERVER:
        return CorruptionError(
            f"the database {where!r} is damaged ({told}): restore a backup, or rebuild it"
        )
    if state and not any(state.startswith(each) for each in _SAID_BY_SERVER if each):
        return StoreUnavailableError(f"the database {where!r} failed: {told}")
    return StoreUnavailableError(f"the database {where!r} failed ({told}): {_advice(error, state)}")


def _advice(error: Any, state: str) -> str:
    text = str(error)
    if not state and text.startswith("connection failed"):
        state = next((each for pattern, each in _REFUSALS.items() if re.search(pattern, text)), "")
        if not state and "FATAL:" in text:
            return _REFUSED
    return next(
        said
        for beginning, said in sorted(_SAID_BY_SERVER.items(), reverse=True)
        if state.startswith(beginning)
    )


def _beyond(error: BaseException, where: str, advice: str) -> InvalidInputError:
    """Return the error for what a limit of the database stopped."""
    told = " ".join(shortened(error).split())
    return InvalidInputError(f"{told}: {where!r} cannot hold or ask this; {advice}")


def _is_of_value(error: Any) -> bool:
    """Say whether a server's driver itself could not convert a value, as a time without end."""
    is_told = getattr(error, "sqlstate", None) is not None
    return not is_told and any(each.__name__ == "DataError" for each in type(error).__mro__)


def is_lost(error: BaseException) -> bool:
    """Say whether a server may have done what it was asked to, though it did not say so.

    Any other error is its answer.
    """
    cause = getattr(error, "orig", None) or error
    if not hasattr(cause, "sqlstate") or _is_of_value(cause):
        return False
    state = cause.sqlstate
    return state is None or (state[:2] in {"08", "57"} and state != _CANCELED)


def unknown_outcome(where: str, error: BaseException) -> UnknownOutcomeError:
    """Return the error for a commit whose answer was lost."""
    return UnknownOutcomeError(
        f"the connection to {where!r} broke while it was told to commit ({shortened(error)}): "
        "what was asked for may have been done or not; look, and ask again if not"
    )


def busy(seconds: float) -> StoreBusyError:
    """Return the error for a lock that was not to be had."""
    return StoreBusyError(
        f"other writers held the store for more than {seconds:g} s: try again, or look for a "
        "process that keeps a transaction open (or a signal handler that saves within a save)"
    )


def contradiction(where: str, error: BaseException) -> CorruptionError:
    """Return the error for a constraint that rows broke before they were touched."""
    return CorruptionError(
        f"the database {where!r} holds rows that contradict one another ({shortened(error)}): "
        "nothing was changed; restore a backup, or rebuild it"
    )
