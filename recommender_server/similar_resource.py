"""``/v1/items/{item_id}/similar``."""

from __future__ import annotations

from typing import Literal, cast

import falcon.asgi
import msgspec

from recommender_server.answers import Recommendations, answer
from recommender_server.content_similarity import By, ContentSimilarity
from recommender_server.parameters import ITEM_ID, QUERY_PROBLEMS, K
from recommender_server.problems import Problem
from recommender_server.recommending import Recommender
from recommender_server.requests import Bounds, count, one_of, path_id, query_parameters
from stores.openapi import Operation, Parameter

BY = Parameter(
    "by",
    Literal["behaviour", "content", "both"],
    "What makes items alike: who consumes them, what is known of them, or the mean of both. Without it: who consumes"
    " them, and what is known of them while the index does not know the item.",
)
OPERATIONS = (
    Operation(
        "get",
        "/v1/items/{item_id}/similar",
        "The items most like one.",
        Recommendations,
        parameters=(ITEM_ID, K, BY),
        problems=(*QUERY_PROBLEMS, "unknown-item", "starting", "items-unavailable"),
    ),
)


class SimilarResource:
    """``/v1/items/{item_id}/similar``."""

    def __init__(self, recommender: Recommender, content: ContentSimilarity, bounds: Bounds) -> None:
        self._recommender = recommender
        self._content = content
        self._bounds = bounds

    async def on_get(self, request: falcon.asgi.Request, response: falcon.asgi.Response, item_id: str) -> None:
        """List the items most like one."""
        given = query_parameters(request, ("k", "by"))
        k = count("k", given.get("k", self._bounds.default_k), self._bounds.max_k)
        by = one_of("by", given["by"], ("behaviour", "content", "both")) if "by" in given else None
        wanted = path_id("item_id", item_id)
        if by in ("content", "both"):
            answer(response, await self._content.similar(wanted, k, cast(By, by), request.context.request_id))
            return
        found = await self._recommender.similar(wanted, k, request.context.request_id)
        if found is None:
            raise Problem(404, "unknown-item", f"nothing is known of item {wanted!r}")
        if by is None and not found.items:
            # Its record came this moment; or the trainer has just started and has no map from content yet.
            alike = await self._content.similar(wanted, k, "content", request.context.request_id)
            found = msgspec.structs.replace(alike, degraded=alike.degraded or found.degraded)
        answer(response, found)
