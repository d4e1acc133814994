"""The page of the Python interface writes every signature as the code has it."""

from __future__ import annotations

import ast
import inspect
import re
from collections import defaultdict
from datetime import timedelta
from pathlib import Path

import pytest

import checkpointdb
from checkpointdb import pipeline

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "api.md"
SPAN = re.compile(r"`(?:@?[a-z]+\.)?(\w+)\(([^`]*)\)(?: -> [^`]+)?`")
BLOCK = re.compile(r"^(\w+)\(((?:[^()]|\(\))*)\)$", re.MULTILINE)
NAMES = {"timedelta": timedelta, **vars(checkpointdb)}
OWNERS = [
    checkpointdb,
    pipeline,
    pipeline.Pipeline,
    *(
        getattr(checkpointdb, name)
        for name in (
            *("PipelineCheckpoint", "CheckpointMetadata", "PendingSave", "StreamedValue"),
            *("Key", "Serializer"),
        )
    ),
]
NOT_OURS = {"commit", "rollback"}
# Written by parts; of the last the default is a function.
BY_PARTS = {"rotate_key", "stage", "Stage"}


def parsed(arguments):
    """Return (name, whether it is given by name alone, default) of each; None if it is a call."""
    try:
        [function] = ast.parse(f"def f({arguments}): ...").body
    except SyntaxError:
        return None
    found = function.args
    given = dict(zip(found.args[::-1], found.defaults[::-1], strict=False))
    given |= dict(zip(found.kwonlyargs, found.kw_defaults, strict=True))
    return [
        (each.arg, each in found.kwonlyargs, value(given.get(each)))
        for each in [*found.args, *found.kwonlyargs]
    ]


def value(node):
    if node is None:
        return inspect.Parameter.empty
    return eval(compile(ast.Expression(node), "<page>", "eval"), dict(NAMES))


def documented():
    """Return what the page writes in parentheses after each name, calls left out."""
    found, text = defaultdict(list), PAGE.read_text()
    for name, arguments in [*SPAN.findall(text), *BLOCK.findall(text)]:
        if name not in NOT_OURS and ("…" in arguments or parsed(arguments) is not None):
            found[name].append(arguments)
    return found


def parameters(function):
    """Return what `parsed` does, of a function."""
    return [
        (each.name, each.kind is each.KEYWORD_ONLY, each.default)
        for each in inspect.signature(function).parameters.values()
        if each.name != "self"
    ]


def names(arguments):
    """Return the names of arguments of which some are left out."""
    return set(re.findall(r"(\w+)(?:=|,|$)", re.sub(r"=[^,]*", "=", arguments)))


DOCUMENTED = documented()


@pytest.mark.parametrize("name", DOCUMENTED)
def test_a_signature_is_written_as_it_is(name):
    meant = [getattr(each, name) for each in OWNERS if hasattr(each, name)]
    found = [parameters(each) for each in meant if callable(each)]
    for arguments in DOCUMENTED[name]:
        if "…" in arguments or name in BY_PARTS:
            assert any(names(arguments) <= {each for each, *_ in known} for known in found)
        else:
            assert parsed(arguments) in found, f"{name}({arguments})"


def test_every_method_of_a_handle_is_on_the_page():
    handle = checkpointdb.PipelineCheckpoint
    methods = {each for each in dir(handle) if not each.startswith("_")} - {"tables"}
    assert len(methods) > 40
    assert methods - DOCUMENTED.keys() == set()
