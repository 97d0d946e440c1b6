"""The routes of the API: each reads its request, asks, and writes the answer; nothing is decided here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import falcon
import falcon.asgi
import msgspec

from recommender_server.answers import Accepted
from recommender_server.degradation import Deadline
from recommender_server.history import Histories
from recommender_server.ingesting import Ingest
from recommender_server.problems import Problem
from recommender_server.recommending import Recommender
from recommender_server.requests import (
    Bounds,
    RecommendationRequest,
    count,
    path_id,
    query_parameters,
    read_json,
    recommendation_from_body,
    recommendation_from_query,
)
from recommender_server.served_log import ServedLog

_encoder = msgspec.json.Encoder()

NewDeadline = Callable[[], Deadline]


def answer(response: falcon.asgi.Response, document: Any, status: int = 200) -> None:
    """Write a JSON answer."""
    response.status = status
    response.content_type = falcon.MEDIA_JSON
    response.data = _encoder.encode(document)


class RecommendationsResource:
    """``/v1/recommendations``."""

    def __init__(self, recommender: Recommender, served: ServedLog, bounds: Bounds, deadline: NewDeadline) -> None:
        self._recommender = recommender
        self._served = served
        self._bounds = bounds
        self._deadline = deadline

    async def on_get(self, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        """Recommend to a user, or beside an item."""
        await self._answer(request, response, recommendation_from_query(request, self._bounds))

    async def on_post(self, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        """Recommend to anyone, from favourites too."""
        query_parameters(request, ())
        body = await read_json(request, self._bounds.max_body_bytes, self._deadline())
        await self._answer(request, response, recommendation_from_body(body, self._bounds))

    async def _answer(
        self, request: falcon.asgi.Request, response: falcon.asgi.Response, wanted: RecommendationRequest
    ) -> None:
        recommendations = await self._recommender.recommend(wanted, request.context.request_id)
        self._served.record(wanted, recommendations)
        answer(response, recommendations)


class EventsResource:
    """``/v1/events``."""

    def __init__(self, ingest: Ingest, bounds: Bounds, deadline: NewDeadline) -> None:
        self._ingest = ingest
        self._bounds = bounds
        self._deadline = deadline

    async def on_post(self, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        """Accept one event, or ``{"events": [...]}``."""
        query_parameters(request, ())
        body = await read_json(request, self._bounds.max_body_bytes, self._deadline())
        batch = body.get("events", body) if isinstance(body, dict) else body
        if isinstance(body, dict) and "events" in body and len(body) > 1:
            raise Problem(400, "bad-body", "a batch has one member, events")
        answer(response, await self._accept(batch, request.context.request_id), 202)

    async def _accept(self, batch: Any, request_id: str) -> Accepted:
        if isinstance(batch, list):
            refuse_batch_size(batch, self._bounds.max_batch)
        elif not isinstance(batch, dict):
            raise Problem(400, "bad-body", "the body must be an event, or an object with a list of events")
        return await self._ingest.events(batch if isinstance(batch, list) else [batch], request_id)


class ItemsResource:
    """``/v1/items``."""

    def __init__(self, ingest: Ingest, bounds: Bounds, deadline: NewDeadline) -> None:
        self._ingest = ingest
        self._bounds = bounds
        self._deadline = deadline

    async def on_put(self, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        """Create or replace one item, or a list of them."""
        query_parameters(request, ())
        body = await read_json(request, self._bounds.max_body_bytes, self._deadline())
        batch = body if isinstance(body, list) else [body]
        refuse_batch_size(batch, self._bounds.max_batch)
        answer(response, await self._ingest.items(batch, request.context.request_id))


class SimilarResource:
    """``/v1/items/{item_id}/similar``."""

    def __init__(self, recommender: Recommender, bounds: Bounds) -> None:
        self._recommender = recommender
        self._bounds = bounds

    async def on_get(self, request: falcon.asgi.Request, response: falcon.asgi.Response, item_id: str) -> None:
        """List the items most like one."""
        k = read_k(request, self._bounds)
        wanted = path_id("item_id", item_id)
        found = await self._recommender.similar(wanted, k, request.context.request_id)
        if found is None:
            raise Problem(404, "unknown-item", f"nothing is known of item {wanted!r}")
        answer(response, found)


class PopularResource:
    """``/v1/popular``."""

    def __init__(self, recommender: Recommender, bounds: Bounds) -> None:
        self._recommender = recommender
        self._bounds = bounds

    async def on_get(self, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        """List what is popular now."""
        k = read_k(request, self._bounds)
        answer(response, await self._recommender.popular(k, request.context.request_id))


class HistoryResource:
    """``/v1/users/{user_id}/history``."""

    def __init__(self, histories: Histories, bounds: Bounds) -> None:
        self._histories = histories
        self._bounds = bounds

    async def on_get(self, request: falcon.asgi.Request, response: falcon.asgi.Response, user_id: str) -> None:
        """List what a user consumed, newest first."""
        k = read_k(request, self._bounds)
        answer(response, await self._histories.of(path_id("user_id", user_id), k, request.context.request_id))


def read_k(request: falcon.asgi.Request, bounds: Bounds) -> int:
    """Read ``k`` where it is the only parameter. Raises ``Problem``."""
    return count("k", query_parameters(request, ("k",)).get("k", bounds.default_k), bounds.max_k)


def refuse_batch_size(batch: list[Any], most: int) -> None:
    """Raise ``Problem`` for an empty or a too long batch."""
    if not 1 <= len(batch) <= most:
        raise Problem(400, "bad-batch", f"a batch holds 1 to {most} records, not {len(batch)}")
