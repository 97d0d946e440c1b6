"""Work asked for by one event loop and done together by a thread of its own; what queues up is the next group.

So a lone piece of work waits for one round, to the disk or to a broker, and a thousand at once wait for two.
"""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Generic, NamedTuple, TypeVar

from stores.ports import StoreUnavailable

# A group has at most this many pieces, so that one in the queue never waits for an unbounded one.
MAX_GROUP = 1_000

Work = TypeVar("Work")


class _Waiting(NamedTuple):
    work: Any
    done: asyncio.Future[Any]


class Grouping(ABC, Generic[Work]):
    """Does work in groups on a thread of its own; the event loop never waits for a lock or a wire."""

    def __init__(self, *, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._queue: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closed = False

    @abstractmethod
    def _do(self, group: Sequence[Work]) -> list[Any]:
        """Do a group; return for each piece its result, or the exception that it ends with. Runs on the thread."""

    def _prepare(self) -> None:
        """Do what the first group would have to wait for. Runs on the thread, before any group."""

    @abstractmethod
    def _release(self) -> None:
        """Release what is held; the thread has ended."""

    def start(self) -> None:
        """Start the thread now and not with the first piece of work; in the process that is to use it."""
        if self._thread is None:
            # Daemon: a process that ends without close() must not hang; what was acknowledged is safe.
            self._thread = threading.Thread(target=self._run, name=type(self).__name__, daemon=True)
            self._thread.start()

    async def ask(self, work: Work) -> Any:
        """Have ``work`` done and return its result.

        Raises ``StoreUnavailable`` after ``timeout_s``; the work may still be done then, unless it has not begun.
        """
        if self._closed:
            raise StoreUnavailable("closed")
        self.start()
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._queue.put(_Waiting(work, done))
        try:
            async with asyncio.timeout(self._timeout_s):
                return await done
        except TimeoutError:
            raise StoreUnavailable(f"not acknowledged within {self._timeout_s} s") from None

    async def close(self) -> None:
        """Finish what was asked for and release what is held. Safe to repeat."""
        if self._closed:
            return
        self._closed = True
        if self._thread is not None:
            self._queue.put(None)
            await asyncio.to_thread(self._thread.join)
        self._release()

    def _run(self) -> None:
        self._prepare()
        while True:
            first = self._queue.get()
            if first is None:
                return
            group, last = [first], False
            with suppress(Empty):
                while len(group) < MAX_GROUP:
                    waiting = self._queue.get_nowait()
                    if waiting is None:
                        last = True
                        break
                    group.append(waiting)
            # Nobody waits any more for what was cancelled or given up on.
            group = [waiting for waiting in group if not waiting.done.done()]
            if group:
                self._answer_all(group)
            if last:
                return

    def _answer_all(self, group: list[_Waiting]) -> None:
        try:
            outcomes = self._do([waiting.work for waiting in group])
        except Exception as error:  # the thread must live on: who waits is told
            outcomes = [error] * len(group)
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = defaultdict(list)
        for waiting, outcome in zip(group, outcomes, strict=True):
            by_loop[waiting.done.get_loop()].append((waiting.done, outcome))
        for loop, answers in by_loop.items():
            with suppress(RuntimeError):  # the loop has ended, and with it whoever waited
                loop.call_soon_threadsafe(_answer, answers)


def _answer(answers: list[tuple[asyncio.Future[Any], Any]]) -> None:
    for done, outcome in answers:
        if done.done():  # cancelled, or given up on
            continue
        if isinstance(outcome, Exception):
            done.set_exception(outcome)
        else:
            done.set_result(outcome)
