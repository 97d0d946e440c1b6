"""``/v1/dead_letters`` and ``/v1/dead_letters/redrive``, for who operates the system."""

from __future__ import annotations

from typing import Annotated

import falcon.asgi
from msgspec import Meta

from recommender_server.answers import answer
from recommender_server.degradation import NewDeadline
from recommender_server.event_fates import DeadLetters, EventFates, Redriven
from recommender_server.field_types import ReceiptText
from recommender_server.parameters import BODY_PROBLEMS, QUERY_PROBLEMS, TOPIC, TOPICS, K
from recommender_server.problems import Problem, bad_parameter
from recommender_server.requests import Bounds, count, one_of, query_parameters, read_json, receipt, refuse_unknown
from stores.openapi import Operation, Parameter
from stores.ports import USER_EVENTS

# Letters that can be driven again: the newest so many.
MOST_LETTERS = 1_000

REDRIVE = Operation(
    "post",
    "/v1/dead_letters/redrive",
    "Append dead letters to the log once more, and drop them; without receipts all of the newest 1,000.",
    Redriven,
    body=(
        Parameter(
            "receipts",
            Annotated[list[ReceiptText], Meta(min_length=1, max_length=MOST_LETTERS)],
            "Which; as GET /v1/dead_letters names them.",
        ),
        TOPIC,
    ),
    problems=(*BODY_PROBLEMS, "log-unavailable"),
    example={"receipts": ["0:17"]},
)
OPERATIONS = (
    Operation(
        "get",
        "/v1/dead_letters",
        "Events, or records of items, that could not be decoded, newest first, and why.",
        DeadLetters,
        parameters=(K, TOPIC),
        problems=(*QUERY_PROBLEMS, "log-unavailable"),
    ),
    REDRIVE,
)


class DeadLettersResource:
    """``/v1/dead_letters``."""

    def __init__(self, fates: EventFates, bounds: Bounds, deadline: NewDeadline) -> None:
        self._fates = fates
        self._bounds = bounds
        self._deadline = deadline

    async def on_get(self, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        """List dead letters."""
        given = query_parameters(request, ("k", "topic"))
        k = count("k", given.get("k", self._bounds.default_k), self._bounds.max_k)
        topic = one_of("topic", given.get("topic", USER_EVENTS), TOPICS)
        answer(response, await self._fates.dead_letters(topic, k, request.context.request_id))

    async def on_post_redrive(self, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        """Append dead letters to the log once more."""
        query_parameters(request, ())
        body = await read_json(request, self._bounds.max_body_bytes, self._deadline())
        if not isinstance(body, dict):
            raise Problem(400, "bad-body", "the body must be a JSON object")
        refuse_unknown(body, REDRIVE.members)
        wanted = body.get("receipts")
        if wanted is not None and not (isinstance(wanted, list) and 1 <= len(wanted) <= MOST_LETTERS):
            raise bad_parameter("receipts", f"receipts must list 1 to {MOST_LETTERS} receipts")
        topic = USER_EVENTS if body.get("topic") is None else one_of("topic", body["topic"], TOPICS)
        receipts = None if wanted is None else [receipt("receipts", one) for one in wanted]
        answer(response, await self._fates.redrive(topic, receipts, MOST_LETTERS, request.context.request_id))
