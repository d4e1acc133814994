"""A stage: a function with a name, and what tells whether it is still the same."""

from __future__ import annotations

import ast
import functools
import inspect
import json
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from types import CodeType
from typing import Any, NamedTuple

from checkpointdb.errors import InvalidInputError
from checkpointdb.pipeline.points import checked_name

_DIGITS = 16


class Identity(NamedTuple):
    """What a stage was when it ran; as JSON a list."""

    name: str
    version: str | None
    code: str
    parameters: str

    def changes(self, now: Identity) -> list[str]:
        """Say what is different now. Where versions are given, they alone stand for the code."""
        found = []
        if now.name != self.name:
            found.append(f"was {self.name!r} then")
        if now.version != self.version:
            found.append(f"has version {now.version!r}, had {self.version!r}")
        elif now.version is None and now.code != self.code:
            found.append("has other code")
        if now.parameters != self.parameters:
            found.append("has other parameters")
        return found


@dataclass(frozen=True, slots=True)
class Stage:
    """A function that changes the state, and may return metrics or a new state.

    It is called with the state and, by name, `parameters`, which are JSON. Its `name` is the
    function's unless given. Give a `version`, and change it when results change; without one the
    source of the function is compared, but for comments and layout: not what it calls.

    Raises InvalidInputError for a name that cannot be told from a checkpoint, or parameters that
    are no JSON.
    """

    function: Callable[..., Any]
    name: str = ""
    version: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise InvalidInputError(f"a stage must be callable, not {self.function!r}")
        name = self.name or getattr(_function_of(self.function), "__name__", "")
        if checked_name(name, "the stage's name") == "latest":
            raise InvalidInputError("no stage can be named 'latest': resume_from has it already")
        object.__setattr__(self, "name", name)
        _digest_of_parameters(self)

    def call(self, state: object) -> Any:
        """Call the function; a coroutine function gives what is to be awaited."""
        return self.function(state, **self.parameters)

    def identity(self) -> Identity:
        """Return what is compared when a run is resumed."""
        version = None if self.version is None else str(self.version)
        return Identity(self.name, version, code_digest(self.function), _digest_of_parameters(self))


def code_digest(function: Callable[..., Any]) -> str:
    """Return a digest of a function's source, or of its bytecode if there is no source."""
    inner = inspect.unwrap(_function_of(function))
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(inner)))
        # Written out again: without comments, and in one layout.
        text = ast.unparse(_Undocumented().visit(tree))
    except (OSError, TypeError, SyntaxError):
        text = _bytecode(getattr(inner, "__code__", None)) or repr(type(inner))
    return _digest(text)


def parameters_of(function: Callable[..., Any]) -> list[Any]:
    """Return what partial functions bind, the outermost first."""
    found = []
    while isinstance(function, functools.partial):
        found.append([list(function.args), function.keywords])
        function = function.func
    return found


def _function_of(function: Callable[..., Any]) -> Any:
    while isinstance(function, functools.partial):
        function = function.func
    if inspect.isroutine(function) or inspect.isclass(function):
        return function
    return type(function)  # an object with a __call__


def _digest_of_parameters(stage: Stage) -> str:
    bound = [dict(stage.parameters), parameters_of(stage.function)]
    try:
        return _digest(json.dumps(bound, sort_keys=True))
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"the parameters of stage {stage.name!r} must be JSON, to be told apart later: {error}"
        ) from error


def _bytecode(code: CodeType | None) -> str:
    if code is None:
        return ""
    constants: Sequence[Any] = code.co_consts
    inner = [_bytecode(each) if isinstance(each, CodeType) else repr(each) for each in constants]
    return repr((code.co_code, code.co_names, code.co_varnames, inner))


def _digest(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]


class _Undocumented(ast.NodeTransformer):
    """Takes docstrings away: they change no result."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_text(body[0]):
            body[:1] = [] if len(body) > 1 else [ast.Pass()]
        return node


def _is_text(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
