"""The work of the pipeline: nine stages, each from a state to what it adds to the state.

The input is the standard library of the Python that runs this. Nothing here knows of
checkpoints; the same functions make the uninterrupted run that the result is compared with.
"""

from __future__ import annotations

import ast
import hashlib
import json
import math
import re
import sys
import sysconfig
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol, TypeVar

Item = TypeVar("Item")
State = dict[str, Any]
Outcome = tuple[State, str]  # what is added to the state, and a line that says so


class Progress(Protocol):
    """Hands out the items one by one, and may tell somebody how far it is."""

    def __call__(self, items: Collection[Item], /) -> Iterator[Item]: ...


LIBRARY = Path(sysconfig.get_path("stdlib"))
# Not part of every installation, or data rather than code.
LEFT_OUT = {
    "__pycache__",
    "dist-packages",
    "encodings",
    "ensurepip",
    "idlelib",
    "lib2to3",
    "pydoc_data",
    "site-packages",
    "test",
    "tests",
    "turtledemo",
}
WORD = re.compile(r"[A-Za-z_][A-Za-z_0-9]+")


def read(state: State, progress: Progress) -> Outcome:
    """Sources: module → text."""
    paths = sorted(path for path in LIBRARY.rglob("*.py") if not LEFT_OUT & set(_parts(path)))
    sources = {_module(path): path.read_text("utf-8", "replace") for path in progress(paths)}
    size = sum(map(len, sources.values()))
    return {"sources": sources}, f"{len(sources):,} files, {size / 1e6:.1f} MB of source"


def tokenize(state: State, progress: Progress) -> Outcome:
    """Tokens: module → its words in order."""
    tokens = {
        module: [sys.intern(word) for word in WORD.findall(text)]
        for module, text in progress(state["sources"].items())
    }
    return {"tokens": tokens}, f"{sum(map(len, tokens.values())):,} words"


def count(state: State, progress: Progress) -> Outcome:
    """Counts: module → word → how often."""
    counts = {
        module: dict(Counter(words).most_common())
        for module, words in progress(state["tokens"].items())
    }
    return {"counts": counts}, f"{sum(map(len, counts.values())):,} counts"


def index(state: State, progress: Progress) -> Outcome:
    """Index: word → module → how often."""
    postings: dict[str, dict[str, int]] = {}
    for module, counts in progress(state["counts"].items()):
        for word, times in counts.items():
            postings.setdefault(word, {})[module] = times
    return {"index": postings}, f"{len(postings):,} different words"


def score(state: State, progress: Progress) -> Outcome:
    """Scores: module → the words that set it apart (tf-idf)."""
    total = len(state["counts"])
    rarity = {word: math.log(total / len(where)) for word, where in state["index"].items()}
    scores = {
        module: _best({word: n * rarity[word] for word, n in counts.items()}, 12)
        for module, counts in progress(state["counts"].items())
    }
    return {"scores": scores}, "12 telling words per module"


def parse(state: State, progress: Progress) -> Outcome:
    """Definitions and imports of each module, from its syntax tree."""
    definitions, imports = {}, {}
    for module, text in progress(state["sources"].items()):
        nodes = list(ast.walk(_tree(text)))
        definitions[module] = [
            (type(node).__name__, node.name, node.lineno)
            for node in nodes
            if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        ]
        imports[module] = sorted(set(_imported(nodes)))
    said = f"{sum(map(len, definitions.values())):,} classes and functions"
    return {"definitions": definitions, "imports": imports}, said


def link(state: State, progress: Progress) -> Outcome:
    """Graph: module → the modules of the library that it imports."""
    known = state["sources"].keys()
    graph = {
        module: sorted({name for name in names if name in known and name != module})
        for module, names in progress(state["imports"].items())
    }
    return {"graph": graph}, f"{sum(map(len, graph.values())):,} imports within the library"


def rank(state: State, progress: Progress) -> Outcome:
    """Ranks: module → PageRank by who imports it."""
    graph = state["graph"]
    ranks = dict.fromkeys(graph, 1 / len(graph))
    rounds = 60
    for _ in progress(range(rounds)):
        ranks = _flow(graph, ranks)
    return {"ranks": ranks}, f"{rounds} rounds of PageRank"


def report(state: State, progress: Progress) -> Outcome:
    """Report: the ten modules that the rest leans on most, and what they are about."""
    lines = [
        f"{module:<18} {value * 100:4.1f} %   "
        + " ".join(word for word, _ in state["scores"][module][:4])
        for module, value in progress(_best(state["ranks"], 10))
    ]
    return {"report": lines}, f"{len(lines)} lines"


STAGES: list[tuple[str, Callable[[State, Progress], Outcome]]] = [
    (stage.__name__, stage)
    for stage in (read, tokenize, count, index, score, parse, link, rank, report)
]


def advance(state: State, number: int, progress: Progress) -> State:
    """Run one stage (1 … 9); the state it returns also has the stage's line in its log."""
    added, said = STAGES[number - 1][1](state, progress)
    return {**state, **added, "log": [*state.get("log", []), said]}


def digest(state: State) -> str:
    """One SHA-256 over everything in the state, whatever objects hold it."""
    text = json.dumps(state, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _parts(path: Path) -> tuple[str, ...]:
    return path.relative_to(LIBRARY).with_suffix("").parts


def _module(path: Path) -> str:
    parts = _parts(path)
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def _tree(text: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old escapes in old modules
        return ast.parse(text)


def _imported(nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def _best(numbers: dict[str, float], limit: int) -> list[tuple[str, float]]:
    return sorted(numbers.items(), key=lambda pair: (-pair[1], pair[0]))[:limit]


def _flow(graph: dict[str, list[str]], ranks: dict[str, float]) -> dict[str, float]:
    """One round of PageRank, damped by 0.85; what leads nowhere is shared by all."""
    idle = sum(ranks[module] for module, targets in graph.items() if not targets)
    following = dict.fromkeys(graph, (0.15 + 0.85 * idle) / len(graph))
    for module, targets in graph.items():
        for target in targets:
            following[target] += 0.85 * ranks[module] / len(targets)
    return following
