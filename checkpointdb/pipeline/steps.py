"""How far a stage's loops have come, also one within another.

A loop is known by its name and by the steps it runs in: `epoch`, and `epoch=3/batch` for the
batches of one epoch. When a step ends, what was within it is forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator

from checkpointdb.contexts import contextmanager
from checkpointdb.errors import InvalidInputError
from checkpointdb.store.validation import checked_count, checked_id


class Steps:
    """The last step of each loop that is done; `last` is what a checkpoint says of them."""

    def __init__(self, last: dict[str, int]) -> None:
        self.last = last
        self._open: list[str] = []
        self._over: set[str] = set()  # loops that came to their end

    def next(self, name: str) -> int:
        """Return the number of the step to begin a loop with: 0 for a new one."""
        return self.last.get(self._loop(name), -1) + 1

    def begin(self, name: str) -> int:
        """Return what `next` does, for a loop that was not at its end already.

        Raises InvalidInputError otherwise: another of its name would be skipped silently.
        """
        if self._loop(name) in self._over:
            raise InvalidInputError(f"there are two loops {name!r}: give one another name")
        return self.next(name)

    def end(self, name: str) -> None:
        """Note that a loop came to its end."""
        self._over.add(self._loop(name))

    @contextmanager
    def taking(self, name: str, number: int) -> Iterator[None]:
        """Take a step: it is done if nothing is raised.

        Raises InvalidInputError if it, or a later one, is done already.
        """
        loop = self._loop(name)
        checked_count(number, "a step's number", least=0)
        if number < self.next(name):
            raise InvalidInputError(
                f"step {number} of {name!r} was done before, and its result is in the state: begin "
                f"the loop at next_step({name!r}), or write `for … in steps({name!r}, …)`"
            )
        self._open.append(f"{name}={number}")
        within = "/".join(self._open) + "/"
        try:
            yield
        finally:
            self._open.pop()
        done = {each: last for each, last in self.last.items() if not each.startswith(within)}
        self.last = {**done, loop: number}

    def _loop(self, name: str) -> str:
        if set(checked_id(name, "the loop's name")) & set("=/"):
            raise InvalidInputError(f"a loop's name must be without = and /, not {name!r}")
        return "/".join([*self._open, name])
