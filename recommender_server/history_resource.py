"""``/v1/users/{user_id}/history``."""

from __future__ import annotations

import falcon.asgi

from recommender_server.answers import History, answer
from recommender_server.history import Histories
from recommender_server.parameters import QUERY_PROBLEMS, USER_ID, K
from recommender_server.requests import Bounds, path_id, read_k
from stores.openapi import Operation

OPERATIONS = (
    Operation(
        "get",
        "/v1/users/{user_id}/history",
        "What a user consumed, newest first.",
        History,
        parameters=(USER_ID, K),
        problems=(*QUERY_PROBLEMS, "users-unavailable"),
    ),
)


class HistoryResource:
    """``/v1/users/{user_id}/history``."""

    def __init__(self, histories: Histories, bounds: Bounds) -> None:
        self._histories = histories
        self._bounds = bounds

    async def on_get(self, request: falcon.asgi.Request, response: falcon.asgi.Response, user_id: str) -> None:
        """List what a user consumed, newest first."""
        k = read_k(request, self._bounds)
        answer(response, await self._histories.of(path_id("user_id", user_id), k, request.context.request_id))
