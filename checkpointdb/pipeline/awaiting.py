"""The event loop that the asynchronous stages of one run share, made when the first comes."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any

from checkpointdb.errors import InvalidInputError

if TYPE_CHECKING:
    from asyncio import Runner


class Loop:
    """Waits for what stages return, if that is to be awaited."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._runner: Runner | None = None

    def __enter__(self) -> Loop:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def result_of(self, returned: Any) -> Any:
        """Return what a stage returned, or what comes of it.

        Raises InvalidInputError within another event loop.
        """
        if not hasattr(returned, "__await__"):
            return returned
        import asyncio  # only a pipeline with such stages needs it

        if asyncio._get_running_loop() is not None:
            getattr(returned, "close", lambda: None)()
            raise InvalidInputError(
                "a stage is asynchronous, and an event loop runs already: await run_async()"
            )
        if self._runner is None:
            self._runner = self._stack.enter_context(asyncio.Runner())

        async def wait() -> Any:
            return await returned

        return self._runner.run(wait())
