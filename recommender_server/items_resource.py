"""``/v1/items``."""

from __future__ import annotations

from typing import Annotated

import falcon.asgi
from msgspec import Meta

from recommender_server.answers import Accepted, answer
from recommender_server.catalogue import Catalogue, ItemList
from recommender_server.degradation import NewDeadline
from recommender_server.ingesting import Ingest
from recommender_server.item_bodies import ItemRecord
from recommender_server.ndjson import LineResult, Streams, Summary
from recommender_server.parameters import BODY_PROBLEMS, QUERY_PROBLEMS, K
from recommender_server.requests import (
    Bounds,
    count,
    number,
    query_parameters,
    read_json,
    refuse_batch_size,
    short_text,
)
from stores.openapi import NDJSON, Operation, Parameter

MAX_QUERY = 200
MAX_CATEGORY = 256

GET = Operation(
    "get",
    "/v1/items",
    "Find items by their words (the last one by its beginning), or list the newest.",
    ItemList,
    parameters=(
        Parameter(
            "q",
            Annotated[str, Meta(min_length=1, max_length=MAX_QUERY)],
            "Words of title or text, best first; without it the newest items come first.",
            example="casab",
        ),
        Parameter("category", Annotated[str, Meta(min_length=1, max_length=MAX_CATEGORY)], "Only of this category."),
        Parameter("cursor", Annotated[str, Meta(pattern=r"^[0-9]{1,15}$")], "`next` of the page before."),
        K,
    ),
    problems=(*QUERY_PROBLEMS, "items-unavailable"),
)
OPERATIONS = (
    GET,
    Operation(
        "put",
        "/v1/items",
        "Create or replace one item, or a list of them.",
        Accepted,
        body=[ItemRecord, Annotated[list[ItemRecord], Meta(min_length=1, max_length=1000)]],
        problems=(*BODY_PROBLEMS, "bad-item", "bad-batch", "log-unavailable"),
        example={"item_id": "casablanca", "title": "Casablanca", "category": "drama", "price": 9.5},
    ),
    Operation(
        "post",
        "/v1/items",
        "Create or replace items by a stream of lines, one result per line and then a summary.",
        [LineResult, Summary],
        body=ItemRecord,
        body_required=False,
        body_media=(NDJSON,),
        answer_media=(NDJSON,),
        problems=QUERY_PROBLEMS,
        example={"item_id": "casablanca", "title": "Casablanca"},
    ),
)


class ItemsResource:
    """``/v1/items``."""

    def __init__(
        self, ingest: Ingest, catalogue: Catalogue, streams: Streams, bounds: Bounds, deadline: NewDeadline
    ) -> None:
        self._ingest = ingest
        self._catalogue = catalogue
        self._streams = streams
        self._bounds = bounds
        self._deadline = deadline

    async def on_get(self, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        """Find or list items."""
        given = query_parameters(request, GET.query)
        k = count("k", given.get("k", self._bounds.default_k), self._bounds.max_k)
        category = short_text("category", given["category"], MAX_CATEGORY) if "category" in given else None
        request_id = request.context.request_id
        cursor = number("cursor", given["cursor"]) if "cursor" in given else None
        if "q" not in given:
            answer(response, await self._catalogue.newest(k, category, cursor, request_id))
            return
        text = short_text("q", given["q"], MAX_QUERY)
        answer(response, await self._catalogue.search(text, k, category, cursor or 0, request_id))

    async def on_put(self, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        """Create or replace one item, or a list of them."""
        query_parameters(request, ())
        body = await read_json(request, self._bounds.max_body_bytes, self._deadline())
        batch = body if isinstance(body, list) else [body]
        refuse_batch_size(batch, self._bounds.max_batch)
        answer(response, await self._ingest.items(batch, request.context.request_id))

    async def on_post(self, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        """Create or replace items by a stream of lines."""
        query_parameters(request, ())
        self._streams.take(request, response, self._ingest.take_items, self._bounds)
