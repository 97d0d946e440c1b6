"""``/v1/popular``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import falcon.asgi
from msgspec import Meta

from recommender_server.answers import Recommendations, answer
from recommender_server.charts import Charts
from recommender_server.parameters import QUERY_PROBLEMS, K
from recommender_server.recommendation_request import MAX_CATEGORY
from recommender_server.recommending import Recommender
from recommender_server.requests import Bounds, count, one_of, query_parameters, short_text
from stores.openapi import Operation, Parameter
from stores.ports import WINDOWS

GET = Operation(
    "get",
    "/v1/popular",
    "What is popular now: by the model, or counted from the live stream within a window.",
    Recommendations,
    parameters=(
        K,
        Parameter(
            "window",
            Literal["hour", "day", "week"],
            "Count what happened within about this time. Without it, and without category and order, the list is that"
            " of the model, which decays per event.",
        ),
        Parameter("category", Annotated[str, Meta(min_length=1, max_length=MAX_CATEGORY)], "Only of this category."),
        Parameter(
            "order",
            Literal["popular", "trending"],
            "The most, or what lies farthest above what the next longer window lets expect.",
            default="popular",
        ),
    ),
    problems=(*QUERY_PROBLEMS, "starting", "items-unavailable"),
)
OPERATIONS = (GET,)


class PopularResource:
    """``/v1/popular``."""

    def __init__(self, recommender: Recommender, charts: Charts, bounds: Bounds) -> None:
        self._recommender = recommender
        self._charts = charts
        self._bounds = bounds

    async def on_get(self, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        """List what is popular now."""
        given = query_parameters(request, GET.query)
        k = count("k", given.get("k", self._bounds.default_k), self._bounds.max_k)
        request_id = request.context.request_id
        if not given.keys() & {"window", "category", "order"}:
            answer(response, await self._recommender.popular(k, request_id))
            return
        order: Any = one_of("order", given.get("order", "popular"), ("popular", "trending"))
        window: Any = one_of("window", given.get("window", "week"), WINDOWS)
        category = short_text("category", given["category"], MAX_CATEGORY) if "category" in given else None
        answer(response, await self._charts.of(order, window, category, k, request_id))
