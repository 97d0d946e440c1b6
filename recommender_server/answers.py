"""What the recommender answers: the JSON bodies of the API, as records."""

from __future__ import annotations

from typing import Any, Literal

import falcon
import falcon.asgi
import msgspec

from models.items import Item

_encoder = msgspec.json.Encoder()

Source = Literal["personal", "neighbours", "similar", "popular", "last_known_popular"]


class RecommendedItem(msgspec.Struct, frozen=True):
    """One place of a list. Scores of one source are comparable; larger is better."""

    item_id: str
    score: float
    reason: str
    title: str
    category: str | None
    price: float | None
    text: str | None
    attributes: dict[str, Any]


class AsOf(msgspec.Struct, frozen=True):
    """What an answer takes into account: ``learned``, the NEXT offset per partition; ``pending`` events beyond it."""

    learned: dict[int, int]
    pending: int


class Recommendations(msgspec.Struct, frozen=True):
    """A list, and how it came about.

    ``degraded``: something was down, and the list is less than it could be. ``stale``: the state that ``after`` asked
    for was not reached in time. ``next``: hand it back as ``cursor``, with the same request, for the next page;
    ``null`` when this was the last.
    """

    request_id: str
    source: Source
    degraded: bool
    stale: bool
    as_of: AsOf
    items: list[RecommendedItem]
    next: str | None = None


class HistoryItem(msgspec.Struct, frozen=True):
    """One item of a user's history. ``state``: ``learned``, or ``pending`` (accepted and counted, not yet learned)."""

    item_id: str
    title: str
    category: str | None
    feedback: Literal["positive", "negative", "history"]
    state: Literal["learned", "pending"]


class History(msgspec.Struct, frozen=True):
    """What a user consumed, newest first."""

    request_id: str
    user_id: str
    degraded: bool
    as_of: AsOf
    items: list[HistoryItem]


class EventResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one event or item of a batch."""

    status: Literal["accepted", "rejected"]
    receipt: str | None = None
    reason: str | None = None
    detail: str | None = None


class Accepted(msgspec.Struct, frozen=True):
    """What became of a batch, in its order; ``receipts`` holds ``null`` where one was rejected.

    All accepted ones are durable. ``counted``: they count in the very next answer; otherwise only once learned (events)
    or once the trainer has read the topic (items).
    """

    request_id: str
    counted: bool
    receipts: list[str | None]
    results: list[EventResult]


def recommended(item_id: str, score: float, reason: str, item: Item | None) -> RecommendedItem:
    """Return one place of a list; an item without metadata is returned all the same, with an empty title."""
    item = item or Item(item_id)
    return RecommendedItem(
        item_id=item_id,
        score=score,
        reason=reason,
        title=item.title,
        category=item.category,
        price=item.price,
        text=item.text,
        attributes=item.attributes,
    )


def answer(response: falcon.asgi.Response, document: Any, status: int = 200) -> None:
    """Write a JSON answer."""
    response.status = status
    response.content_type = falcon.MEDIA_JSON
    response.data = _encoder.encode(document)
