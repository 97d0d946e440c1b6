"""The log of what was served, so that later positives can be joined to what was shown."""

from __future__ import annotations

import asyncio
import contextlib
import random

import msgspec

from recommender_server.answers import Recommendations
from recommender_server.degradation import DependencyUnavailable
from recommender_server.dependencies import Dependencies
from recommender_server.recommendation_request import RecommendationRequest
from stores.ports import RECOMMENDATIONS_SERVED, Clock, Entry, Metrics

WAITING_ANSWERS = 10_000
BATCH = 500
# Answers gather for so long, so that the disk is asked a few times a second and not once per answer.
GATHER_S = 0.25

_encoder = msgspec.json.Encoder()


class ServedLog:
    """Appends a sample of the answers to topic ``recommendations_served``, behind the back of the requests.

    An answer never waits for it: when the log is slow, records are dropped and counted.
    """

    def __init__(
        self, dependencies: Dependencies, clock: Clock, metrics: Metrics, sample_rate: float, chance: random.Random
    ) -> None:
        self._dependencies = dependencies
        self._clock = clock
        self._metrics = metrics
        self._sample_rate = sample_rate
        self._chance = chance
        self._waiting: asyncio.Queue[Entry] = asyncio.Queue(WAITING_ANSWERS)

    def record(self, request: RecommendationRequest, answer: Recommendations) -> None:
        """Note one answer; returns at once."""
        if self._chance.random() >= self._sample_rate:
            return
        document = {
            "request_id": answer.request_id,
            "served_at": self._clock.now_s(),
            "user_id": request.user_id,
            "item_id": request.item_id,
            "liked": request.liked,
            "source": answer.source,
            "degraded": answer.degraded,
            "items": [[item.item_id, item.score] for item in answer.items],
        }
        try:
            self._waiting.put_nowait(Entry(request.user_id or answer.request_id, _encoder.encode(document)))
        except asyncio.QueueFull:
            self._metrics.count("served_records_dropped")

    async def run(self) -> None:
        """Write what was noted, until cancelled; then write what is left, once."""
        try:
            while True:
                await asyncio.sleep(GATHER_S)
                while not self._waiting.empty():
                    await self._write()
        finally:
            with contextlib.suppress(asyncio.CancelledError):
                await self._write()

    async def _write(self) -> None:
        entries = [self._waiting.get_nowait() for _ in range(min(BATCH, self._waiting.qsize()))]
        if not entries:
            return
        try:
            await self._dependencies.append(RECOMMENDATIONS_SERVED, entries)
        except DependencyUnavailable:
            self._metrics.count("served_records_dropped", len(entries))
