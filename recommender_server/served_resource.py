"""``/v1/recommendations/{request_id}``: what was served, as the log has it."""

from __future__ import annotations

import re

import falcon.asgi
import msgspec

from recommender_server.answers import Served, ServedItem, answer
from recommender_server.degradation import DependencyUnavailable, NewDeadline
from recommender_server.dependencies import Dependencies
from recommender_server.field_types import RequestId
from recommender_server.parameters import QUERY_PROBLEMS
from recommender_server.problems import Problem, bad_parameter
from recommender_server.requests import path_id, query_parameters
from stores.openapi import Operation, Parameter
from stores.ports import RECOMMENDATIONS_SERVED, AsyncEventLog, TopicPartition

# A record arrives a moment after its list was served; clocks differ, and a busy log takes its time.
EARLIEST_S, LATEST_S = 2.0, 10.0
# Read at once, and of each partition in all.
AT_ONCE, MOST = 500, 10_000

# The time in milliseconds, then chance, then the line of a batch.
_REQUEST_ID = re.compile(r"([0-9a-f]{12})[0-9a-f]{20}(-[0-9]{1,6})?")

OPERATIONS = (
    Operation(
        "get",
        "/v1/recommendations/{request_id}",
        "What was served, for as long as the log keeps it; it is there within a second.",
        Served,
        parameters=(Parameter("request_id", RequestId, "`request_id` of an answer."),),
        problems=(*QUERY_PROBLEMS, "unknown-request", "log-unavailable"),
    ),
)


class _Record(msgspec.Struct, frozen=True):
    """What ``served_log`` writes."""

    request_id: str
    served_at: float
    source: str
    degraded: bool
    items: list[tuple[str, float]]
    user_id: str | None = None
    item_id: str | None = None
    liked: list[str] = []


class ServedResource:
    """``/v1/recommendations/{request_id}``."""

    def __init__(self, dependencies: Dependencies, deadline: NewDeadline) -> None:
        self._dependencies = dependencies
        self._deadline = deadline

    async def on_get(self, request: falcon.asgi.Request, response: falcon.asgi.Response, request_id: str) -> None:
        """Tell what one answer was."""
        query_parameters(request, ())
        wanted = path_id("request_id", request_id)
        match = _REQUEST_ID.fullmatch(wanted)
        if match is None:
            raise bad_parameter("request_id", "request_id must be as an answer gave it")
        try:
            found = await self._dependencies.of_log(
                lambda log: _find(log, wanted, int(match[1], 16) / 1000), self._deadline()
            )
        except DependencyUnavailable as error:
            raise Problem(503, "log-unavailable", str(error), retry_after_s=1) from None
        if found is None:
            raise Problem(404, "unknown-request", "the log does not hold it: never served, not sampled, or long ago")
        items = [ServedItem(item_id, score) for item_id, score in found.items]
        answer(
            response,
            Served(
                found.request_id,
                found.served_at,
                found.user_id,
                found.item_id,
                found.liked,
                found.source,
                found.degraded,
                items,
            ),
        )


async def _find(log: AsyncEventLog, request_id: str, served_s: float) -> _Record | None:
    named = f'"{request_id}"'.encode()
    for place, first in (await log.offsets_at(RECOMMENDATIONS_SERVED, served_s - EARLIEST_S)).items():
        found = await _find_in(log, place, first, named, served_s + LATEST_S)
        if found is not None:
            return found
    return None


async def _find_in(
    log: AsyncEventLog, place: TopicPartition, first: int, named: bytes, latest_s: float
) -> _Record | None:
    for offset in range(first, first + MOST, AT_ONCE):
        records = await log.read(place, offset, AT_ONCE)
        for record in records:
            if named in record.value:
                return msgspec.json.decode(record.value, type=_Record)
        if len(records) < AT_ONCE or records[-1].arrival_s > latest_s:
            return None
    return None
