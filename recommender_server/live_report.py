"""``/v1/metrics/stream``: the trainer's report about once a second, as server-sent events, for pages that show it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Annotated, Any, Literal

import falcon.asgi
import msgspec

from recommender_server.degradation import Deadline, DependencyUnavailable
from recommender_server.dependencies import Dependencies
from recommender_server.parameters import QUERY_PROBLEMS
from recommender_server.problems import Problem
from recommender_server.recommending import Recommender
from recommender_server.requests import query_parameters
from recommender_server.slow_readers import Open, unless_unread
from stores.openapi import Operation

EVERY_S = 1.0
# How often a stream looks whether the process is told to stop.
LOOK_EVERY_S = 0.1
MOST_CLIENTS = 32
EVENT_STREAM = "text/event-stream"


class LiveEvent(msgspec.Struct, frozen=True):
    """One server-sent event. ``id``: the version of the report, of a report only."""

    event: Literal["report", "unavailable"]
    data: Annotated[str, msgspec.Meta(extra_json_schema={"contentMediaType": "application/json"})]
    id: str | None = None


OPERATIONS = (
    Operation(
        "get",
        "/v1/metrics/stream",
        "The trainer's report about once a second, as server-sent events: quality beside its baselines, event rate,"
        " table sizes, freshness. Event `report`, or `unavailable` while the item store does not answer.",
        LiveEvent,
        answer_media=(EVENT_STREAM,),
        problems=QUERY_PROBLEMS,
    ),
)


class LiveReport:
    """The resource, and the middleware that notices that the process is told to stop.

    A server waits for its open answers before it tells the application to stop; these never end by themselves. So the
    signal itself is listened to.
    """

    def __init__(
        self,
        dependencies: Dependencies,
        recommender: Recommender,
        new_deadline: Callable[[], Deadline],
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._dependencies = dependencies
        self._recommender = recommender
        self._new_deadline = new_deadline
        self._pause = pause
        self._clients = Open()
        self._stopping = False

    async def process_startup(self, _scope: dict[str, Any], _event: dict[str, Any]) -> None:
        """Listen to SIGTERM beside whoever handles it already."""
        handler = signal.getsignal(signal.SIGTERM)
        if not callable(handler):  # no server that would stop gracefully
            return

        def stop(number: int, frame: Any) -> None:
            self.stop()
            handler(number, frame)

        signal.signal(signal.SIGTERM, stop)

    async def process_shutdown(self, _scope: dict[str, Any], _event: dict[str, Any]) -> None:
        """End what is still open."""
        self.stop()

    def stop(self) -> None:
        """Let every stream end. Safe to repeat."""
        self._stopping = True

    async def on_get(self, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        """Send reports until the client leaves or the process stops."""
        query_parameters(request, ())
        self.refuse_one_too_many()
        response.sse = unless_unread(self.reports())

    def refuse_one_too_many(self) -> None:
        """Raise ``Problem`` when enough clients are watching."""
        if len(self._clients) >= MOST_CLIENTS:
            raise Problem(
                503, "too-many-requests-at-once", f"{MOST_CLIENTS} clients are watching already", retry_after_s=10
            )

    async def reports(self) -> AsyncGenerator[falcon.asgi.SSEvent, None]:
        """Yield a report about once a second, until told to stop."""
        with self._clients.one():
            while not self._stopping:
                yield await self._report()
                waited_s = 0.0
                while waited_s < EVERY_S and not self._stopping:
                    await self._pause(LOOK_EVERY_S)
                    waited_s += LOOK_EVERY_S

    async def _report(self) -> falcon.asgi.SSEvent:
        try:
            state = await self._dependencies.serving_state(self._new_deadline())
        except DependencyUnavailable as error:
            return falcon.asgi.SSEvent(event="unavailable", json={"detail": str(error)})
        document = {
            "version": state.version,
            "learned": {str(partition): offset for partition, offset in state.learned.items()},
            "report": msgspec.to_builtins(state.report),
            "answers_by_source": dict(self._recommender.answers_by_source),
        }
        return falcon.asgi.SSEvent(event="report", event_id=str(state.version), json=document)
