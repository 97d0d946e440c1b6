"""Group commit: concurrent writes of one event loop share one transaction, and with it one fsync.

While one transaction is being synced the next writes queue up; all that wait are taken together into the next one.
So a lone write waits for one sync, and a thousand at once wait for two.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, TypeVar

from stores.ports import StoreUnavailable
from stores.sqlite_file import SqliteFile

# A transaction takes at most this many writes, so that one in the queue never waits for an unbounded one.
MAX_GROUP = 1_000

Result = TypeVar("Result")
Write = Callable[[sqlite3.Connection], Any]


class _Waiting(NamedTuple):
    write: Write
    done: asyncio.Future[Any]


class GroupCommit:
    """Runs writes on a thread of its own, which the first write starts. Owns ``file`` and closes it.

    The event loop never waits for a lock or a disk. A write that fails for a reason of its own does not take its
    neighbours with it.
    """

    def __init__(self, file: SqliteFile, *, timeout_s: float) -> None:
        self._file = file
        self._timeout_s = timeout_s
        self._queue: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closed = False
        self.commits = 0
        self.writes = 0

    async def run(self, write: Callable[[sqlite3.Connection], Result]) -> Result:
        """Run ``write`` inside a transaction and return its result once that is committed.

        Raises ``StoreUnavailable`` after ``timeout_s``; the write may still happen then.
        """
        if self._closed:
            raise StoreUnavailable("closed")
        if self._thread is None:
            # Daemon: a process that ends without close() must not hang; what was acknowledged is on the disk.
            self._thread = threading.Thread(target=self._work, name="group-commit", daemon=True)
            self._thread.start()
        done: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._queue.put(_Waiting(write, done))
        try:
            async with asyncio.timeout(self._timeout_s):
                return await done
        except TimeoutError:
            raise StoreUnavailable(f"not committed within {self._timeout_s} s") from None

    async def close(self) -> None:
        """Finish what was asked for and close the file. Safe to repeat."""
        if self._closed:
            return
        self._closed = True
        if self._thread is not None:
            self._queue.put(None)
            await asyncio.to_thread(self._thread.join)
        self._file.close()

    def _work(self) -> None:
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
            self._commit(group)
            if last:
                return

    def _commit(self, group: list[_Waiting]) -> None:
        outcomes: list[Any]
        try:
            with self._file.write() as connection:
                outcomes = [waiting.write(connection) for waiting in group]
            self.commits += 1
            self.writes += len(group)
        except StoreUnavailable as error:
            outcomes = [error] * len(group)
        except Exception as error:
            if len(group) > 1:
                for waiting in group:
                    self._commit([waiting])
                return
            outcomes = [error]
        _resolve(group, outcomes)


def _resolve(group: list[_Waiting], outcomes: list[Any]) -> None:
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
