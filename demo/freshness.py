"""How soon an accepted event shows: in the next answer (own), and in the index (learned). Measured from outside."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import numpy as np

from demo.client import RecommenderClient, Unreachable

# Who waits longer than this has found a fault, not a delay.
_GIVE_UP_S = 20.0


class Freshness:
    """Samples beside the stream, at most one of a kind at a time, so that measuring is no load of its own."""

    def __init__(self, client: RecommenderClient) -> None:
        self._client = client
        self.own_s: list[float] = []
        self.learned_s: list[float] = []
        self._running: dict[str, asyncio.Task[None]] = {}

    def measure_own(self, user_id: str, item_id: str, receipt: str, accepted_s: float) -> None:
        """Find out when an answer first reflects the event: it covers the receipt, and the item left the list."""
        self._start("own", self._own(user_id, item_id, receipt, accepted_s))

    def measure_learned(self, user_id: str, receipt: str, accepted_s: float) -> None:
        """Find out when the event is learned: the trainer publishes an offset only once the index has taken it."""
        self._start("learned", self._learned(user_id, receipt, accepted_s))

    async def finish(self) -> None:
        """Wait for the samples that are under way."""
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    def figures(self) -> dict[str, float | None]:
        """Return the 50th and 99th percentile of both, in milliseconds; ``None`` without a sample."""
        return {
            f"freshness_{name}_p{percent}_ms": round(1000 * float(np.percentile(samples, percent)), 2)
            if samples
            else None
            for name, samples in (("own", self.own_s), ("learned", self.learned_s))
            for percent in (50, 99)
        }

    def _start(self, kind: str, sample: Coroutine[Any, Any, None]) -> None:
        running = self._running.get(kind)
        if running is not None and not running.done():
            sample.close()
            return
        self._running[kind] = asyncio.create_task(sample)

    async def _own(self, user_id: str, item_id: str, receipt: str, accepted_s: float) -> None:
        while time.monotonic() < accepted_s + _GIVE_UP_S:
            answer = await self._ask(user_id, receipt, "history")
            if answer and not answer["stale"] and item_id not in [item["item_id"] for item in answer["items"]]:
                break
        self.own_s.append(time.monotonic() - accepted_s)

    async def _learned(self, user_id: str, receipt: str, accepted_s: float) -> None:
        while time.monotonic() < accepted_s + _GIVE_UP_S:
            answer = await self._ask(user_id, receipt, "learned")
            if answer and not answer["stale"]:
                break
        self.learned_s.append(time.monotonic() - accepted_s)

    async def _ask(self, user_id: str, receipt: str, level: str) -> dict[str, Any] | None:
        try:
            return await self._client.recommend(user_id, after=receipt, level=level)
        except Unreachable:
            return None
