"""``/v1/popular``."""

from __future__ import annotations

import falcon.asgi

from recommender_server.answers import Recommendations, answer
from recommender_server.parameters import QUERY_PROBLEMS, K
from recommender_server.recommending import Recommender
from recommender_server.requests import Bounds, read_k
from stores.openapi import Operation

OPERATIONS = (
    Operation(
        "get",
        "/v1/popular",
        "What is popular now.",
        Recommendations,
        parameters=(K,),
        problems=(*QUERY_PROBLEMS, "starting"),
    ),
)


class PopularResource:
    """``/v1/popular``."""

    def __init__(self, recommender: Recommender, bounds: Bounds) -> None:
        self._recommender = recommender
        self._bounds = bounds

    async def on_get(self, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        """List what is popular now."""
        k = read_k(request, self._bounds)
        answer(response, await self._recommender.popular(k, request.context.request_id))
