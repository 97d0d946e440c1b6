"""``/v1/rank``."""

from __future__ import annotations

from typing import Annotated

import falcon.asgi
from msgspec import Meta

from recommender_server.answers import Ranking, answer
from recommender_server.degradation import NewDeadline
from recommender_server.field_types import Id
from recommender_server.parameters import AFTER, BODY_PROBLEMS, EXPLAIN_PARTS, FAVOURITES, ITEM_ID, LEVEL, USER_ID
from recommender_server.problems import Problem, bad_parameter
from recommender_server.ranking_given import GivenRanker
from recommender_server.recommendation_request import from_members
from recommender_server.requests import MAX_LISTED, Bounds, id_list, query_parameters, read_json, refuse_unknown
from stores.openapi import Operation, Parameter

Candidates = Annotated[list[Id], Meta(min_length=1, max_length=MAX_LISTED)]

POST = Operation(
    "post",
    "/v1/rank",
    "Put items that you name in order for someone; nothing is left out, whatever the user has seen.",
    Ranking,
    body=(
        Parameter(
            "candidates",
            Annotated[list[Id], Meta(min_length=1, max_length=MAX_LISTED)],
            "The items to rank.",
            required=True,
        ),
        USER_ID,
        ITEM_ID,
        FAVOURITES,
        AFTER,
        LEVEL,
        EXPLAIN_PARTS,
    ),
    problems=(*BODY_PROBLEMS, "starting"),
    example={"user_id": "ada", "candidates": ["vertigo", "alien", "psycho"]},
)
OPERATIONS = (POST,)


class RankResource:
    """``/v1/rank``."""

    def __init__(self, ranker: GivenRanker, bounds: Bounds, deadline: NewDeadline) -> None:
        self._ranker = ranker
        self._bounds = bounds
        self._deadline = deadline

    async def on_post(self, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        """Rank a given list."""
        query_parameters(request, ())
        body = await read_json(request, self._bounds.max_body_bytes, self._deadline())
        if not isinstance(body, dict):
            raise Problem(400, "bad-body", "the body must be a JSON object")
        refuse_unknown(body, POST.members)
        candidates = list(dict.fromkeys(id_list("candidates", body.pop("candidates", None))))
        if not candidates:
            raise bad_parameter("candidates", "candidates must name at least one item")
        wanted = from_members(body, self._bounds)
        if wanted.explain == "full":
            raise bad_parameter("explain", "explain must be none or basic: nothing is left out of a given list")
        answer(response, await self._ranker.rank(wanted, candidates, request.context.request_id))
