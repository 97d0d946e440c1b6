"""How the recommender and what it stands on are doing: for probes, for Prometheus, and for people."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import falcon
import falcon.asgi
import msgspec

from recommender_server.answers import answer
from recommender_server.degradation import DependencyUnavailable, NewDeadline
from recommender_server.dependencies import Dependencies
from recommender_server.recommending import Recommender
from recommender_server.requests import query_parameters
from recommender_server.traffic import Traffic
from recommender_server.vital_signs import VitalSigns
from stores.openapi import TEXT, Operation

OPERATIONS = (
    Operation(
        "get",
        "/v1/status",
        "The trainer's report, the index, the breakers, the traffic with its times by route: count, mean, the last 20.",
        dict[str, Any],
        problems=("unknown-parameter", "too-many-requests-at-once"),
    ),
    Operation("get", "/healthz", "The process lives.", dict[str, str]),
    Operation("get", "/readyz", "There is something to answer with.", dict[str, Any], problems=("starting",)),
    Operation("get", "/version", "The version of this program.", dict[str, str]),
    Operation("get", "/metrics", "Prometheus text, of this process.", None, answer_media=(TEXT,)),
)


class Health:
    """The routes that tell about the recommender itself."""

    def __init__(
        self,
        dependencies: Dependencies,
        recommender: Recommender,
        traffic: Traffic,
        vital_signs: VitalSigns,
        exposition: Callable[[], str],
        version: str,
        deadline: NewDeadline,
    ) -> None:
        self._dependencies = dependencies
        self._recommender = recommender
        self._traffic = traffic
        self._vital_signs = vital_signs
        self._exposition = exposition
        self._version = version
        self._deadline = deadline

    async def on_get_healthz(self, _request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        """The process lives."""
        answer(response, {"status": "alive"})

    async def on_get_readyz(self, _request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        """There is something to answer with: the trainer has published, now or before its store went down."""
        try:
            state = await self._dependencies.serving_state(self._deadline())
        except DependencyUnavailable as error:
            answer(response, {"status": "starting", "waiting_for": str(error)}, 503)
            return
        answer(response, {"status": "ready", "version": state.version})

    async def on_get_version(self, _request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        """The version of this program."""
        answer(response, {"version": self._version})

    async def on_get_metrics(self, _request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        """Prometheus text, of this process."""
        self._vital_signs.record()
        response.content_type = "text/plain; version=0.0.4; charset=utf-8"
        response.text = self._exposition()

    async def on_get_status(self, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        """Everything a person wants to see at a glance: the trainer's report, the index, the breakers, the traffic."""
        query_parameters(request, ())
        document: dict[str, Any] = {
            "version": self._version,
            "trainer": None,
            "index": None,
            "breakers": {guard.name: guard.breaker.state for guard in self._dependencies.guards},
            "in_flight": self._traffic.in_flight,
            "answers_by_source": self._recommender.answers_by_source,
            "answers_5xx": self._traffic.answers_5xx,
            "timings": self._traffic.timings(),
        }
        try:
            document["trainer"] = msgspec.to_builtins(await self._dependencies.serving_state(self._deadline()))
        except DependencyUnavailable as error:
            document["trainer_error"] = str(error)
        try:
            document["index"] = msgspec.to_builtins(await self._dependencies.index_status())
        except DependencyUnavailable as error:
            document["index_error"] = str(error)
        answer(response, document)
