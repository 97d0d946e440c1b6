"""``/v1/items/{item_id}``, its neighbours, and the categories."""

from __future__ import annotations

from typing import Any, Literal

import falcon.asgi

from models.items import Item
from recommender_server.answers import answer
from recommender_server.catalogue import Catalogue, Categories, ChangedItem, Neighbours, OneItem
from recommender_server.degradation import NewDeadline
from recommender_server.item_bodies import ItemFields, ItemPatch
from recommender_server.parameters import BODY_PROBLEMS, ITEM_ID, QUERY_PROBLEMS, K
from recommender_server.problems import bad_parameter
from recommender_server.requests import Bounds, count, one_of, path_id, query_parameters, read_json
from stores.openapi import Operation, Parameter

_CHANGING = (*BODY_PROBLEMS, "bad-item", "log-unavailable", "items-unavailable")
_DIRECTIONS = ("next", "previous", "both")

NEIGHBOURS = Operation(
    "get",
    "/v1/items/{item_id}/neighbours",
    "The edges of an item in the item graph, both ways.",
    Neighbours,
    parameters=(
        ITEM_ID,
        K,
        Parameter("direction", Literal["next", "previous", "both"], "Which edges.", default="both"),
    ),
    problems=(*QUERY_PROBLEMS, "unknown-item", "items-unavailable"),
)
OPERATIONS = (
    Operation(
        "get",
        "/v1/items/{item_id}",
        "One item, also a hidden one.",
        OneItem,
        parameters=(ITEM_ID,),
        problems=(*QUERY_PROBLEMS, "unknown-item", "items-unavailable"),
    ),
    Operation(
        "put",
        "/v1/items/{item_id}",
        "Create or replace an item; with If-None-Match: * only one that does not exist.",
        ChangedItem,
        parameters=(ITEM_ID,),
        body=ItemFields,
        problems=(*_CHANGING, "item-exists"),
        example={"title": "Casablanca", "category": "drama", "price": 9.5},
    ),
    Operation(
        "patch",
        "/v1/items/{item_id}",
        "Change some members of an item (JSON merge patch), such as available to hide and un-hide it.",
        ChangedItem,
        parameters=(ITEM_ID,),
        body=ItemPatch,
        problems=(*_CHANGING, "unknown-item"),
        example={"available": False},
    ),
    Operation(
        "delete",
        "/v1/items/{item_id}",
        "Delete an item.",
        ChangedItem,
        parameters=(ITEM_ID,),
        problems=(*QUERY_PROBLEMS, "unknown-item", "log-unavailable", "items-unavailable"),
    ),
    NEIGHBOURS,
    Operation(
        "get",
        "/v1/categories",
        "How many items every category has.",
        Categories,
        problems=(*QUERY_PROBLEMS, "items-unavailable"),
    ),
)


class ItemResource:
    """``/v1/items/{item_id}``, ``/v1/items/{item_id}/neighbours`` and ``/v1/categories``."""

    def __init__(self, catalogue: Catalogue, bounds: Bounds, deadline: NewDeadline) -> None:
        self._catalogue = catalogue
        self._bounds = bounds
        self._deadline = deadline

    async def on_get(self, request: falcon.asgi.Request, response: falcon.asgi.Response, item_id: str) -> None:
        """Show one item."""
        query_parameters(request, ())
        item: Item = await self._catalogue.known(path_id("item_id", item_id))
        answer(response, OneItem(request.context.request_id, item))

    async def on_put(self, request: falcon.asgi.Request, response: falcon.asgi.Response, item_id: str) -> None:
        """Create or replace one item."""
        query_parameters(request, ())
        only_new = request.get_header("If-None-Match")
        if only_new not in (None, "*"):
            raise bad_parameter("If-None-Match", "If-None-Match may only be *")
        body = await read_json(request, self._bounds.max_body_bytes, self._deadline())
        wanted = path_id("item_id", item_id)
        answer(
            response,
            await self._catalogue.put(wanted, body, only_new is not None, request.context.request_id),
        )

    async def on_patch(self, request: falcon.asgi.Request, response: falcon.asgi.Response, item_id: str) -> None:
        """Change one item."""
        query_parameters(request, ())
        wanted = path_id("item_id", item_id)
        changes = await read_json(request, self._bounds.max_body_bytes, self._deadline())
        answer(response, await self._catalogue.patch(wanted, changes, request.context.request_id))

    async def on_delete(self, request: falcon.asgi.Request, response: falcon.asgi.Response, item_id: str) -> None:
        """Delete one item."""
        query_parameters(request, ())
        answer(response, await self._catalogue.delete(path_id("item_id", item_id), request.context.request_id))

    async def on_get_neighbours(
        self, request: falcon.asgi.Request, response: falcon.asgi.Response, item_id: str
    ) -> None:
        """Show the edges of one item."""
        given = query_parameters(request, NEIGHBOURS.query)
        k = count("k", given.get("k", self._bounds.default_k), self._bounds.max_k)
        direction: Any = one_of("direction", given.get("direction", "both"), _DIRECTIONS)
        wanted = path_id("item_id", item_id)
        answer(response, await self._catalogue.neighbours(wanted, k, direction, request.context.request_id))

    async def on_get_categories(self, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        """Count the items of every category."""
        query_parameters(request, ())
        answer(response, await self._catalogue.categories(request.context.request_id))
