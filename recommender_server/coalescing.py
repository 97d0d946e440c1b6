"""Joining the requests of one event-loop tick into one call to whoever answers them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Request = TypeVar("Request")
Answer = TypeVar("Answer")


class Coalescer(Generic[Request, Answer]):
    """Requests made in the same tick of the event loop share ONE call of ``answer_all``.

    ``answer_all`` gets the requests in order and returns their answers in the same order; it must end by itself (a
    budget is its own business). When it raises, every request of that call raises the same. A call has at most
    ``max_batch`` requests, and at most ``max_calls`` calls are under way: what comes meanwhile goes with the next one.
    So the busier it is, the more requests share a call.
    """

    def __init__(
        self,
        answer_all: Callable[[list[Request]], Awaitable[Sequence[Answer]]],
        max_batch: int = 256,
        max_calls: int = 4,
    ) -> None:
        self._answer_all = answer_all
        self._max_batch = max_batch
        self._max_calls = max_calls
        self._waiting: list[tuple[Request, asyncio.Future[Answer]]] = []
        self._calls: set[asyncio.Task[None]] = set()

    async def ask(self, request: Request) -> Answer:
        """Return the answer to one request. A caller that gives up leaves the others undisturbed."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._send)
        self._waiting.append((request, future))
        return await future

    def _send(self) -> None:
        while self._waiting and len(self._calls) < self._max_calls:
            first, self._waiting = self._waiting[: self._max_batch], self._waiting[self._max_batch :]
            call = asyncio.ensure_future(self._answer(first))
            self._calls.add(call)  # the loop itself holds tasks only weakly
            call.add_done_callback(self._ended)

    def _ended(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        self._send()

    async def _answer(self, waiting: list[tuple[Request, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await self._answer_all([request for request, _ in waiting])
        except BaseException as error:
            for _, future in waiting:
                if not future.done():
                    future.set_exception(error)
                    future.exception()  # whoever still waits raises it; nobody else needs to hear of it
            if not isinstance(error, Exception):
                raise
            return
        for (_, future), answer in zip(waiting, answers, strict=True):
            if not future.done():
                future.set_result(answer)
