"""A value read at most every so often, and kept when its source fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, NamedTuple, TypeVar

from stores.ports import Clock, StoreUnavailable

Value = TypeVar("Value")


class Known(NamedTuple, Generic[Value]):
    """A value, and whether its source still confirms it."""

    value: Value
    confirmed: bool


class LastKnown(Generic[Value]):
    """The last good answer of ``read``, asked for again once it is older than ``max_age_s``.

    However many ask at once, one read is under way at a time. ``read`` must end by itself and raises
    ``StoreUnavailable`` when it cannot answer.
    """

    def __init__(self, read: Callable[[], Awaitable[Value]], max_age_s: float, clock: Clock) -> None:
        self._read = read
        self._max_age_s = max_age_s
        self._clock = clock
        self._value: Value | None = None
        self._read_at_s = -float("inf")
        self._reading: asyncio.Task[Value] | None = None

    async def get(self, wait_s: float, max_age_s: float | None = None) -> Known[Value]:
        """Return the value; unconfirmed when the source failed or did not answer within ``wait_s``.

        ``max_age_s`` asks for a younger one than usual. Raises ``StoreUnavailable`` when there never was one.
        """
        max_age_s = self._max_age_s if max_age_s is None else max_age_s
        if self._value is not None and self._clock.monotonic_s() - self._read_at_s < max_age_s:
            return Known(self._value, True)
        if self._reading is None:
            self._reading = asyncio.ensure_future(self._refresh())
            self._reading.add_done_callback(self._finished)
        try:
            # Shielded: a caller that gives up must not take the answer away from the others.
            async with asyncio.timeout(wait_s):
                return Known(await asyncio.shield(self._reading), True)
        except (StoreUnavailable, TimeoutError) as error:
            if self._value is not None:
                return Known(self._value, False)
            raise error if isinstance(error, StoreUnavailable) else StoreUnavailable("no answer in time") from error

    async def _refresh(self) -> Value:
        started_s = self._clock.monotonic_s()
        value = await self._read()
        self._value, self._read_at_s = value, started_s
        return value

    def _finished(self, reading: asyncio.Task[Value]) -> None:
        self._reading = None
        if not reading.cancelled():
            reading.exception()  # heard, even when every caller has left
