"""What the recommender gauges of itself: when asked for its metrics, and every few seconds for StatsD."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from recommender_server.dependencies import Dependencies
from recommender_server.traffic import Traffic
from stores.ports import Metrics

EVERY_S = 5.0
BREAKER_GAUGE = {"closed": 0, "half_open": 1, "open": 2}


class VitalSigns:
    """Falcon middleware that gauges for as long as the process lives."""

    def __init__(
        self,
        dependencies: Dependencies,
        traffic: Traffic,
        metrics: Metrics,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._dependencies = dependencies
        self._traffic = traffic
        self._metrics = metrics
        self._pause = pause
        self._task: asyncio.Task[None] | None = None

    def record(self) -> None:
        """Gauge once."""
        self._metrics.gauge("requests_in_flight", self._traffic.in_flight)
        for guard in self._dependencies.guards:
            self._metrics.gauge("breaker_state", BREAKER_GAUGE[guard.breaker.state], dependency=guard.name)

    async def process_startup(self, _scope: dict[str, Any], _event: dict[str, Any]) -> None:
        """Begin. What has not failed yet is told too: a board shows that nothing fails, not that nothing is known."""
        for guard in self._dependencies.guards:
            self._metrics.count("dependency_failures", 0, dependency=guard.name)
            self._metrics.count("degraded", 0, dependency=guard.name)
        for name in ("requests_refused", "served_records_dropped", "stale_answers"):
            self._metrics.count(name, 0)
        self._task = asyncio.create_task(self._record_for_ever())

    async def process_shutdown(self, _scope: dict[str, Any], _event: dict[str, Any]) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _record_for_ever(self) -> None:
        while True:
            self.record()
            await self._pause(EVERY_S)
