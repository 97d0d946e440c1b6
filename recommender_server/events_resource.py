"""``/v1/events``."""

from __future__ import annotations

from typing import Annotated, Any

import falcon
import falcon.asgi
import msgspec

from recommender_server.answers import Accepted, answer
from recommender_server.degradation import NewDeadline
from recommender_server.event_fates import EventFate, EventFates
from recommender_server.field_types import Id, ReceiptText
from recommender_server.ingesting import Ingest
from recommender_server.ndjson import LineResult, Streams, Summary, is_ndjson
from recommender_server.parameters import BODY_PROBLEMS, QUERY_PROBLEMS, TOPIC, TOPICS
from recommender_server.problems import Problem
from recommender_server.requests import Bounds, one_of, query_parameters, read_json, refuse_batch_size
from recommender_server.requests import receipt as read_receipt
from stores.openapi import JSON, NDJSON, Operation, Parameter
from stores.ports import USER_EVENTS

# Epoch seconds are positive, so nothing happened before 1970.
Moment = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]


class EventBody(msgspec.Struct, frozen=True):
    """An event as clients send it; setting EVENT_FIELDS may give the fields other names. Other members are ignored."""

    user_id: Id
    item_id: Id
    type: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    event_id: Id | None = None
    value: float | None = None
    timestamp: Annotated[float, msgspec.Meta(ge=0)] | Moment | None = None


class EventBatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Several events; a bad one is rejected alone."""

    events: Annotated[list[EventBody], msgspec.Meta(min_length=1, max_length=1000)]


RECEIPT = Parameter("receipt", ReceiptText, "As POST /v1/events, or a change of items, answered it.", example="0:17")

OPERATIONS = (
    Operation(
        "post",
        "/v1/events",
        "Tell what users did; durable when accepted. As a stream of lines it is answered by one result per line.",
        [Accepted, LineResult, Summary],
        body=[EventBody, EventBatch],
        line=EventBody,
        body_media=(JSON, NDJSON),
        answer_media=(JSON, NDJSON),
        status=202,
        problems=(*BODY_PROBLEMS, "bad-event", "bad-batch", "log-unavailable"),
        example={"user_id": "ada", "item_id": "casablanca", "type": "rating", "value": 5},
    ),
    Operation(
        "get",
        "/v1/events/{receipt}",
        "What became of an event, or of the record of an item: accepted, learned, or dead-lettered and why.",
        EventFate,
        parameters=(RECEIPT, TOPIC),
        problems=(*QUERY_PROBLEMS, "unknown-receipt", "log-unavailable"),
    ),
)


class EventsResource:
    """``/v1/events``."""

    def __init__(
        self, ingest: Ingest, fates: EventFates, streams: Streams, bounds: Bounds, deadline: NewDeadline
    ) -> None:
        self._ingest = ingest
        self._fates = fates
        self._streams = streams
        self._bounds = bounds
        self._deadline = deadline

    async def on_post(self, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        """Accept one event, or ``{"events": [...]}``, or a stream of lines."""
        query_parameters(request, ())
        if is_ndjson(request):
            response.status = 202
            self._streams.take(request, response, self._ingest.take_events, self._bounds)
            return
        body = await read_json(request, self._bounds.max_body_bytes, self._deadline())
        batch = body.get("events", body) if isinstance(body, dict) else body
        if isinstance(body, dict) and "events" in body and len(body) > 1:
            raise Problem(400, "bad-body", "a batch has one member, events")
        answer(response, await self._accept(batch, request.context.request_id), 202)

    async def on_get_receipt(self, request: falcon.asgi.Request, response: falcon.asgi.Response, receipt: str) -> None:
        """Tell what became of an event."""
        topic = one_of("topic", query_parameters(request, ("topic",)).get("topic", USER_EVENTS), TOPICS)
        wanted = read_receipt("receipt", falcon.uri.decode(receipt, unquote_plus=False))
        answer(response, await self._fates.of(topic, wanted, request.context.request_id))

    async def _accept(self, batch: Any, request_id: str) -> Accepted:
        if isinstance(batch, list):
            refuse_batch_size(batch, self._bounds.max_batch)
        elif not isinstance(batch, dict):
            raise Problem(400, "bad-body", "the body must be an event, or an object with a list of events")
        return await self._ingest.events(batch if isinstance(batch, list) else [batch], request_id)
