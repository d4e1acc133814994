"""States that a pipeline goes through, step by step: the same on each machine and in each run."""

from __future__ import annotations

import ast
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..corpus import documents, paragraph

State = dict[str, Any]


def text() -> Iterator[State]:
    """Ten megabytes of sources in one value; a paragraph goes into one document per step."""
    state = {"documents": dict(documents(10_000_000))}
    names = sorted(state["documents"])
    yield state
    for step in range(1, 20):
        name = names[step * 37 % len(names)]
        old = state["documents"][name]
        edited = old[: len(old) // 2] + paragraph(step) + old[len(old) // 2 :]
        state = {"documents": {**state["documents"], name: edited}}
        yield state


def _arrays() -> State:
    numbers = np.random.default_rng(1)
    return {f"layer-{n}": numbers.random(1_000_000, dtype=np.float32) for n in range(25)}


def arrays() -> Iterator[State]:
    """25 float32 arrays of 4 MB; one of them is another at each step."""
    state, numbers = _arrays(), np.random.default_rng(2)
    yield state
    for step in range(1, 12):
        state = {**state, f"layer-{step % 25}": numbers.random(1_000_000, dtype=np.float32)}
        yield state


def part_of_an_array() -> Iterator[State]:
    """The same; a hundredth of one array changes at each step."""
    state, numbers = _arrays(), np.random.default_rng(3)
    yield state
    for step in range(1, 12):
        array = state["layer-7"].copy()
        start = step * 80_000 % 990_000
        array[start : start + 10_000] = numbers.random(10_000, dtype=np.float32)
        state = {**state, "layer-7": array}
        yield state


def network() -> Iterator[State]:
    """A network trained by Adam: all weights and moments change, nothing can be shared."""
    import warnings

    from sklearn.neural_network import MLPClassifier

    numbers = np.random.default_rng(4)
    inputs, classes = numbers.random((512, 256)), numbers.integers(0, 10, 512)
    model = MLPClassifier((512, 256), solver="adam", random_state=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for epoch in range(10):
            model.partial_fit(inputs, classes, classes=np.arange(10))
            # The weights that it began with, which sklearn keeps and never changes.
            vars(model).pop("_best_coefs", None)
            yield {"model": model, "epoch": epoch, "loss": list(model.loss_curve_)}


def frame() -> Iterator[State]:
    """A data frame of 100 000 rows that gains a column per step."""
    import pandas as pd

    numbers = np.random.default_rng(5)
    table = pd.DataFrame({f"c{n}": numbers.normal(size=100_000).round(3) for n in range(8)})
    table["city"] = numbers.choice(["Medellín", "Cali", "Bogotá", "Pasto"], 100_000)
    yield {"frame": table}
    for step in range(1, 16):
        table = table.assign(**{f"derived-{step}": (table["c0"] * step).round(2)})
        yield {"frame": table}


def trees() -> Iterator[State]:
    """Sources as nested dictionaries and lists, in which a few leaves change at each step."""
    parsed = {}
    for name, source in documents(1_500_000).items():
        try:
            parsed[name] = _as_tree(ast.parse(source))
        except SyntaxError:
            continue
    names, chance = sorted(parsed), random.Random(6)
    yield {"trees": parsed}
    for step in range(1, 12):
        name = names[step * 13 % len(names)]
        parsed = {**parsed, name: _edited(parsed[name], chance, step)}
        yield {"trees": parsed}


def _as_tree(node: Any) -> Any:
    if isinstance(node, ast.AST):
        return {"kind": type(node).__name__} | {k: _as_tree(v) for k, v in ast.iter_fields(node)}
    if isinstance(node, list):
        return [_as_tree(each) for each in node]
    return node if isinstance(node, str | int | float | bool | None) else repr(node)


def _edited(tree: State, chance: random.Random, step: int) -> State:
    body = list(tree["body"])
    place = chance.randrange(len(body) + 1)
    body.insert(place, {"kind": "Expr", "value": {"kind": "Constant", "value": f"edit {step}"}})
    return {**tree, "body": body}


def forest() -> Iterator[State]:
    """A random forest that grows by ten trees per step."""
    from sklearn.ensemble import RandomForestClassifier

    numbers = np.random.default_rng(7)
    inputs, classes = numbers.random((2000, 20)), numbers.integers(0, 2, 2000)
    model = RandomForestClassifier(0, warm_start=True, random_state=1)
    for step in range(1, 13):
        model.n_estimators = step * 10
        model.fit(inputs, classes)
        yield {"forest": model}


def chat() -> Iterator[State]:
    """A list of messages that grows by one of a kilobyte, 1 000 times."""
    words = " ".join(documents(200_000).values()).split()
    chance = random.Random(8)
    messages: list[dict[str, Any]] = []
    for step in range(1000):
        said = " ".join(chance.choices(words, k=150))[:1000]
        messages = [*messages, {"role": ("user", "model")[step % 2], "id": step, "text": said}]
        yield {"messages": messages}


def many_keys() -> Iterator[State]:
    """Ten thousand small keys, of which three change at each step."""
    state: State = {f"item-{n}": {"n": n, "label": f"label {n}"} for n in range(10_000)}
    yield state
    for step in range(1, 20):
        changes = {
            f"item-{(step * 3 + n) * 71 % 10_000}": {"n": n, "label": step} for n in range(3)
        }
        state = {**state, **changes}
        yield state


WORKLOADS: dict[str, Callable[[], Iterator[State]]] = {
    each.__name__: each
    for each in (
        text,
        arrays,
        part_of_an_array,
        network,
        frame,
        trees,
        forest,
        chat,
        many_keys,
    )
}
