"""``/v1/users/{user_id}/history``, ``/v1/users/{user_id}/similar``, and ``/v1/users/{user_id}`` to forget one."""

from __future__ import annotations

from typing import Any, Literal

import falcon.asgi

from recommender_server.answers import History, answer
from recommender_server.history import Histories
from recommender_server.ingesting import ForgottenUser, Ingest
from recommender_server.parameters import QUERY_PROBLEMS, USER_ID, K
from recommender_server.requests import Bounds, count, one_of, path_id, query_parameters, read_k
from recommender_server.similar_users import SimilarUserFinder, SimilarUsers
from stores.openapi import Operation, Parameter

HISTORY = Operation(
    "get",
    "/v1/users/{user_id}/history",
    "What a user consumed, newest or best first.",
    History,
    parameters=(
        USER_ID,
        K,
        Parameter(
            "order",
            Literal["newest", "best"],
            "best: what was liked before what was only seen before what was rejected, each by the model's score.",
            default="newest",
        ),
    ),
    problems=(*QUERY_PROBLEMS, "users-unavailable"),
)
OPERATIONS = (
    HISTORY,
    Operation(
        "get",
        "/v1/users/{user_id}/similar",
        "Users who consumed the same items lately, by how alike their tastes are.",
        SimilarUsers,
        parameters=(USER_ID, K),
        problems=(*QUERY_PROBLEMS, "users-unavailable"),
    ),
    Operation(
        "delete",
        "/v1/users/{user_id}",
        "Forget a user: history and embedding, for good. His raw events stay in the log as long as it keeps them.",
        ForgottenUser,
        parameters=(USER_ID,),
        problems=(*QUERY_PROBLEMS, "log-unavailable"),
    ),
)


class UserResource:
    """``/v1/users/{user_id}`` and what lies below."""

    def __init__(self, histories: Histories, similar: SimilarUserFinder, ingest: Ingest, bounds: Bounds) -> None:
        self._histories = histories
        self._similar = similar
        self._ingest = ingest
        self._bounds = bounds

    async def on_get_history(self, request: falcon.asgi.Request, response: falcon.asgi.Response, user_id: str) -> None:
        """List what a user consumed."""
        given = query_parameters(request, HISTORY.query)
        k = count("k", given.get("k", self._bounds.default_k), self._bounds.max_k)
        order: Any = one_of("order", given.get("order", "newest"), ("newest", "best"))
        wanted = path_id("user_id", user_id)
        answer(response, await self._histories.of(wanted, k, request.context.request_id, order))

    async def on_get_similar(self, request: falcon.asgi.Request, response: falcon.asgi.Response, user_id: str) -> None:
        """List users like one."""
        k = read_k(request, self._bounds)
        answer(response, await self._similar.of(path_id("user_id", user_id), k, request.context.request_id))

    async def on_delete(self, request: falcon.asgi.Request, response: falcon.asgi.Response, user_id: str) -> None:
        """Forget a user."""
        query_parameters(request, ())
        answer(response, await self._ingest.forget_user(path_id("user_id", user_id), request.context.request_id))
