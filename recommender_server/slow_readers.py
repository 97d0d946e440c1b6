"""Giving up clients who do not read: an answer that is sent as it is made waits for whoever takes it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager
from typing import TypeVar

# A client who takes nothing for so long is given up.
UNREAD_S = 30.0

Part = TypeVar("Part")


class Open:
    """Counts the answers that are being sent, each until its generator, or the task that it runs in, has ended.

    A task that is cancelled leaves its generator to the garbage collector, which comes when it likes.
    """

    def __init__(self) -> None:
        self._open: set[object] = set()

    def __len__(self) -> int:
        return len(self._open)

    @contextmanager
    def one(self) -> Iterator[None]:
        """Count one, inside its generator."""
        mark, answering = object(), asyncio.current_task()
        assert answering is not None
        self._open.add(mark)
        answering.add_done_callback(lambda _: self._open.discard(mark))
        try:
            yield
        finally:
            self._open.discard(mark)


async def unless_unread(parts: AsyncIterator[Part]) -> AsyncGenerator[Part, None]:
    """Yield the parts; the task that answers is cancelled when one of them is not taken within ``UNREAD_S``.

    The server then closes the connection; what it had sent and nobody read, some 64 KB, the system keeps until the
    client goes.
    """
    answering = asyncio.current_task()
    assert answering is not None
    async for part in parts:
        give_up = asyncio.get_running_loop().call_later(UNREAD_S, answering.cancel)
        try:
            yield part
        finally:
            give_up.cancel()
