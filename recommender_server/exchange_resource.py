"""``/v1/export/…`` and ``/v1/import/…``: everything out and in again, as streams of lines."""

from __future__ import annotations

from typing import Any

import falcon.asgi

from models.items import Item
from recommender_server.exchange import Exchange, UserHistory
from recommender_server.ingesting import Ingest
from recommender_server.ndjson import LineResult, Streams, Summary
from recommender_server.parameters import QUERY_PROBLEMS
from recommender_server.requests import Bounds, query_parameters
from stores.openapi import NDJSON, Operation


def _export(kind: str, line: Any, summary: str) -> Operation:
    path = f"/v1/export/{kind}"
    return Operation("get", path, summary, line, answer_media=(NDJSON,), problems=QUERY_PROBLEMS)


def _import(kind: str, line: Any, summary: str, example: dict[str, Any]) -> Operation:
    return Operation(
        "post",
        f"/v1/import/{kind}",
        f"{summary} One result per line, then a summary.",
        [LineResult, Summary],
        body=line,
        body_media=(NDJSON,),
        answer_media=(NDJSON,),
        problems=QUERY_PROBLEMS,
        example=example,
    )


OPERATIONS = (
    _export("items", Item, "Every item, hidden ones too."),
    _export("users", UserHistory, "The history of every learned user."),
    _export("events", dict[str, Any], "Every event that the log keeps, with its event_id and timestamp."),
    _import("items", Item, "Items, as exported.", {"item_id": "laura", "title": "Laura", "category": "noir"}),
    _import(
        "users",
        UserHistory,
        "Histories, as exported; they are taken in as events.",
        {"user_id": "eve", "recent": ["vertigo"], "seen": ["alien", "vertigo"], "hidden": ["dune"]},
    ),
    _import(
        "events",
        dict[str, Any],
        "Events, as exported: members that mean nothing here are kept.",
        {"user_id": "eve", "item_id": "heat", "type": "click", "event_id": "shop-1", "timestamp": 1700000000.0},
    ),
)


class ExportResource:
    """``/v1/export/items``, ``users`` and ``events``."""

    def __init__(self, exchange: Exchange, streams: Streams) -> None:
        self._exchange = exchange
        self._streams = streams

    async def on_get_items(self, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        """Export items."""
        query_parameters(request, ())
        self._streams.send(response, self._exchange.items())

    async def on_get_users(self, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        """Export histories."""
        query_parameters(request, ())
        self._streams.send(response, self._exchange.users())

    async def on_get_events(self, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        """Export events."""
        query_parameters(request, ())
        self._streams.send(response, self._exchange.events())


class ImportResource:
    """``/v1/import/items``, ``users`` and ``events``."""

    def __init__(self, exchange: Exchange, ingest: Ingest, streams: Streams, bounds: Bounds) -> None:
        self._exchange = exchange
        self._ingest = ingest
        self._streams = streams
        self._bounds = bounds

    async def on_post_items(self, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        """Import items."""
        query_parameters(request, ())
        self._streams.take(request, response, self._ingest.take_items, self._bounds)

    async def on_post_users(self, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        """Import histories."""
        query_parameters(request, ())
        self._streams.take(request, response, self._exchange.take_users, self._bounds)

    async def on_post_events(self, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        """Import events."""
        query_parameters(request, ())
        self._streams.take(request, response, self._ingest.import_events, self._bounds)
