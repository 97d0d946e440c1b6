"""``/v1/items/{item_id}/similar``."""

from __future__ import annotations

import falcon.asgi

from recommender_server.answers import Recommendations, answer
from recommender_server.parameters import ITEM_ID, QUERY_PROBLEMS, K
from recommender_server.problems import Problem
from recommender_server.recommending import Recommender
from recommender_server.requests import Bounds, path_id, read_k
from stores.openapi import Operation

OPERATIONS = (
    Operation(
        "get",
        "/v1/items/{item_id}/similar",
        "The items most like one.",
        Recommendations,
        parameters=(ITEM_ID, K),
        problems=(*QUERY_PROBLEMS, "unknown-item", "starting"),
    ),
)


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
