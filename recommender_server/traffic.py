"""What happens around every request: its id, its count and duration, and the limit on requests at once."""

from __future__ import annotations

import random
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import falcon.asgi

from recommender_server.problems import Problem
from stores.ports import Metrics

# Answered whatever the load: who looks after the process must always be able to ask.
ALWAYS_SERVED = frozenset({"/", "/healthz", "/readyz", "/version", "/metrics"})

# Nothing here is to be guessed at, framed or run; the pages for people say themselves what they may load.
SAFE = (
    ("X-Content-Type-Options", "nosniff"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
)


# So many of the newest answers of a route are told one by one.
LAST = 20


@dataclass
class _Times:
    """How long the answers of one route took, since the process started; ``last_s`` is oldest first."""

    count: int = 0
    sum_s: float = 0.0
    last_s: deque[float] = field(default_factory=lambda: deque(maxlen=LAST))


class Traffic:
    """Falcon middleware."""

    def __init__(self, metrics: Metrics, max_in_flight: int) -> None:
        self._metrics = metrics
        self._max_in_flight = max_in_flight
        self.in_flight = 0
        self.answers_5xx = 0
        self._times: dict[str, _Times] = {}

    def timings(self) -> dict[str, dict[str, Any]]:
        """Return, by route, the count of answers, their mean time, and the times of the last ones, oldest first."""
        return {
            route: {
                "count": times.count,
                "mean_ms": round(1000 * times.sum_s / times.count, 3),
                "last_ms": [round(1000 * one_s, 3) for one_s in times.last_s],
            }
            for route, times in sorted(self._times.items())
        }

    async def process_request(self, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        """Give the request its id and a place, or refuse it. Raises ``Problem``."""
        # Routing sees the path as it was sent, still percent-encoded: an id in it may contain a slash.
        raw_path = request.scope.get("raw_path")
        if raw_path:
            request.path = raw_path.partition(b"?")[0].decode("latin-1")
        request.context.started_s = time.perf_counter()
        # It begins with its time, so that what was served is found in the log (``served_resource``).
        request.context.request_id = f"{int(time.time() * 1000):012x}{random.getrandbits(80):020x}"
        response.set_header("X-Request-Id", request.context.request_id)
        response.set_headers(SAFE)
        request.context.counted = False
        if request.path in ALWAYS_SERVED:
            return
        if self.in_flight >= self._max_in_flight:
            self._metrics.count("requests_refused")
            raise Problem(503, "too-many-requests-at-once", "the recommender is busy; try again", retry_after_s=1)
        self.in_flight += 1
        request.context.counted = True

    async def process_response(
        self, request: falcon.asgi.Request, response: falcon.asgi.Response, _resource: Any, _succeeded: bool
    ) -> None:
        """Count the request, under the template of its route so that ids never become labels."""
        route = request.uri_template or "unknown"
        took_s = time.perf_counter() - request.context.started_s
        self._metrics.timing("request_seconds", took_s, route=route)
        times = self._times.setdefault(route, _Times())
        times.count += 1
        times.sum_s += took_s
        times.last_s.append(took_s)
        status = falcon.http_status_to_code(response.status)
        self._metrics.count("requests", route=route, status=str(status))
        if status >= 500 and request.path not in ALWAYS_SERVED:
            self.answers_5xx += 1
        if request.context.counted:
            self.in_flight -= 1
