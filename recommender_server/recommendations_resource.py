"""``/v1/recommendations``."""

from __future__ import annotations

import falcon.asgi

from recommender_server.answers import Recommendations, answer
from recommender_server.degradation import NewDeadline
from recommender_server.parameters import BODY_PROBLEMS, MEMBERS, QUERY_MEMBERS, QUERY_PROBLEMS, RECOMMENDATION_PROBLEMS
from recommender_server.recommendation_request import RecommendationRequest, from_body, from_query
from recommender_server.recommending import Recommender
from recommender_server.requests import Bounds, query_parameters, read_json
from recommender_server.served_log import ServedLog
from stores.openapi import Operation

GET = Operation(
    "get",
    "/v1/recommendations",
    "Recommend to a user, beside an item, or from favourites; ids in lists are repeated: exclude=a&exclude=b.",
    Recommendations,
    parameters=QUERY_MEMBERS,
    problems=(*QUERY_PROBLEMS, *RECOMMENDATION_PROBLEMS),
)
POST = Operation(
    "post",
    "/v1/recommendations",
    "The same with a body, for long lists.",
    Recommendations,
    body=MEMBERS,
    problems=(*BODY_PROBLEMS, *RECOMMENDATION_PROBLEMS),
    example={"item_ids": ["casablanca", "vertigo"], "k": 5, "filter": "price < 20"},
)
OPERATIONS = (GET, POST)


class RecommendationsResource:
    """``/v1/recommendations``."""

    def __init__(self, recommender: Recommender, served: ServedLog, bounds: Bounds, deadline: NewDeadline) -> None:
        self._recommender = recommender
        self._served = served
        self._bounds = bounds
        self._deadline = deadline

    async def on_get(self, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        """Recommend to a user, or beside an item."""
        await self._answer(request, response, from_query(request, GET.query, self._bounds))

    async def on_post(self, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        """Recommend to anyone, from favourites too."""
        query_parameters(request, ())
        body = await read_json(request, self._bounds.max_body_bytes, self._deadline())
        await self._answer(request, response, from_body(body, POST.members, self._bounds))

    async def _answer(
        self, request: falcon.asgi.Request, response: falcon.asgi.Response, wanted: RecommendationRequest
    ) -> None:
        recommendations = await self._recommender.recommend(wanted, request.context.request_id)
        self._served.record(wanted, recommendations)
        answer(response, recommendations)
