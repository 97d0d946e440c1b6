"""``/v1/items``."""

from __future__ import annotations

import falcon.asgi

from models.items import Item
from recommender_server.answers import Accepted, answer
from recommender_server.degradation import NewDeadline
from recommender_server.ingesting import Ingest
from recommender_server.parameters import BODY_PROBLEMS
from recommender_server.requests import Bounds, query_parameters, read_json, refuse_batch_size
from stores.openapi import Operation

OPERATIONS = (
    Operation(
        "put",
        "/v1/items",
        "Create or replace one item, or a list of them.",
        Accepted,
        body=[Item, list[Item]],
        problems=(*BODY_PROBLEMS, "bad-item", "bad-batch", "log-unavailable"),
        example={"item_id": "casablanca", "title": "Casablanca", "category": "drama", "price": 9.5},
    ),
)


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
