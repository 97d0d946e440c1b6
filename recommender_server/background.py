"""What runs beside the requests from start to stop, and the orderly end of both."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from recommender_server.degradation import Deadline, DependencyUnavailable
from recommender_server.dependencies import Dependencies
from recommender_server.served_log import ServedLog
from stores.ports import Clock

FORGET_EVERY_S = 2.0
# What is left to write at the end gets so long.
CLOSING_S = 2.0

_log = logging.getLogger(__name__)


class Background:
    """Falcon middleware that starts the background work with the process and ends it before the stores are closed."""

    def __init__(
        self,
        dependencies: Dependencies,
        served: ServedLog,
        clock: Clock,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._dependencies = dependencies
        self._served = served
        self._clock = clock
        self._pause = pause
        self._tasks: list[asyncio.Task[None]] = []

    async def process_startup(self, _scope: dict[str, Any], _event: dict[str, Any]) -> None:
        """Begin."""
        self._tasks = [asyncio.create_task(self._served.run()), asyncio.create_task(self._forget_learned())]

    async def process_shutdown(self, _scope: dict[str, Any], _event: dict[str, Any]) -> None:
        """End, having written what was noted; then release the stores."""
        for task in self._tasks:
            task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSING_S):
                await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._dependencies.close()

    async def _forget_learned(self) -> None:
        """Drop pending events once the trainer has learned them: from then on the user's document holds them.

        A round late: a read may ask for document and pending events at once, and one that found the document before it
        was written must find the events too. No read lasts for a round.
        """
        learned: Mapping[int, int] = {}
        while True:
            await self._pause(FORGET_EVERY_S)
            try:
                state = await self._dependencies.serving_state(Deadline(self._clock, FORGET_EVERY_S))
                await self._dependencies.forget_pending(learned)
                learned = state.learned
            except DependencyUnavailable as error:
                _log.info("pending events stay for now: %s", error)
