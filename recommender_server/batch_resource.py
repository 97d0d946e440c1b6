"""``/v1/recommendations:batch``: many requests in one, answered as they are ready."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import Any

import falcon
import falcon.asgi
import msgspec

from recommender_server.answers import BatchLine
from recommender_server.degradation import NewDeadline
from recommender_server.parameters import BODY_PROBLEMS, MEMBERS
from recommender_server.problems import Problem, document_of
from recommender_server.recommendation_request import from_body
from recommender_server.recommending import Recommender
from recommender_server.requests import Bounds, query_parameters, read_body, refuse_batch_size
from recommender_server.served_log import ServedLog
from recommender_server.slow_readers import unless_unread
from stores.openapi import NDJSON, Operation

# So many lines are answered at once: the recommender coalesces them, and other clients have their turn.
AT_ONCE = 16

POST = Operation(
    "post",
    "/v1/recommendations:batch",
    "Many requests, one per line, each as the body of POST /v1/recommendations; answered as a stream, in their order.",
    BatchLine,
    body=MEMBERS,
    body_media=(NDJSON,),
    answer_media=(NDJSON,),
    problems=(*BODY_PROBLEMS, "bad-batch"),
    example={"user_id": "ada", "k": 5},
)
OPERATIONS = (POST,)

_log = logging.getLogger(__name__)
_encoder = msgspec.json.Encoder()


class BatchResource:
    """``/v1/recommendations:batch``."""

    def __init__(self, recommender: Recommender, served: ServedLog, bounds: Bounds, deadline: NewDeadline) -> None:
        self._recommender = recommender
        self._served = served
        self._bounds = bounds
        self._deadline = deadline

    async def on_post(self, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        """Answer a stream of lines."""
        query_parameters(request, ())
        body = await read_body(request, self._bounds.max_body_bytes, self._deadline())
        lines = [line for line in body.split(b"\n") if line.strip()]
        refuse_batch_size(lines, self._bounds.max_batch)
        response.content_type = NDJSON
        response.stream = unless_unread(self._answers(lines, request.context.request_id))

    async def _answers(self, lines: Sequence[bytes], request_id: str) -> AsyncIterator[bytes]:
        under_way: deque[asyncio.Task[bytes]] = deque()
        try:
            for number, line in enumerate(lines):
                if len(under_way) >= AT_ONCE:
                    yield await under_way.popleft()
                under_way.append(asyncio.create_task(self._line(number, line, request_id)))
            while under_way:
                yield await under_way.popleft()
        finally:  # the client may have left
            for task in under_way:
                task.cancel()

    async def _line(self, number: int, line: bytes, request_id: str) -> bytes:
        try:
            wanted = from_body(_json(line), POST.members, self._bounds)
            answer = await self._recommender.recommend(wanted, f"{request_id}-{number}")
        except Problem as problem:
            return _encoder.encode(BatchLine(number, problem=document_of(problem))) + b"\n"
        except Exception:  # the other lines are to be answered all the same
            _log.exception("line %d of a batch failed", number)
            fault = Problem(500, "internal", "the recommender failed to answer this line")
            return _encoder.encode(BatchLine(number, problem=document_of(fault))) + b"\n"
        self._served.record(wanted, answer)
        return _encoder.encode(BatchLine(number, answer)) + b"\n"


def _json(line: bytes) -> Any:
    try:
        return msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(400, "bad-json", f"the line is not JSON: {error}") from None
