"""What the recommender answers: the JSON bodies of the API, as records."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import falcon
import falcon.asgi
import msgspec

from models.items import Item

_encoder = msgspec.json.Encoder()

Source = Literal["personal", "neighbours", "similar", "popular", "last_known_popular", "pinned", "new"]


Why = Literal["given", "hidden", "excluded", "shown_before", "seen", "unavailable", "filtered"]


class Part(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one thing counts in a score. ``item_id``: the item of the user's history that it comes from, if one.

    ``of``: ``context`` (what the model expects after an item), ``transitions`` (what others went on to), ``embedding``
    (the user's learned taste), ``bias`` and ``popularity_fast``, ``popularity_slow`` (the item's own); ``similarity``
    and ``popularity`` where these are the whole score; ``boost``, what rules add.
    """

    of: Literal[
        "context",
        "transitions",
        "embedding",
        "bias",
        "popularity_fast",
        "popularity_slow",
        "similarity",
        "popularity",
        "boost",
    ]
    value: float
    item_id: str | None = None


class LeftOut(msgspec.Struct, frozen=True):
    """An item that would have been listed, and why it was not."""

    item_id: str
    title: str
    score: float
    why: Why


class RecommendedItem(msgspec.Struct, frozen=True):
    """One place of a list. Scores of one source are comparable; larger is better.

    ``parts``: with ``explain``, what the score is the sum of.
    """

    item_id: str
    score: float
    source: Source
    reason: str
    title: str
    category: str | None
    price: float | None
    text: str | None
    attributes: dict[str, Any]
    parts: list[Part] | msgspec.UnsetType = msgspec.UNSET


class Pick(NamedTuple):
    """An item chosen for a list, without its metadata. ``boost``: the part of its score that rules added."""

    item_id: str
    score: float
    reason: str
    source: Source
    boost: float = 0.0
    parts: list[Part] | msgspec.UnsetType = msgspec.UNSET


class AsOf(msgspec.Struct, frozen=True):
    """What an answer takes into account: ``learned``, the NEXT offset per partition; ``pending`` events beyond it."""

    learned: dict[int, int]
    pending: int


class Recommendations(msgspec.Struct, frozen=True):
    """A list, and how it came about.

    ``degraded``: something was down, and the list is less than it could be. ``stale``: the state that ``after`` asked
    for was not reached in time. ``next``: hand it back as ``cursor``, with the same request, for the next page;
    ``null`` when this was the last. ``left_out``: with ``explain=full``, what would have been listed, best first.
    """

    request_id: str
    source: Source
    degraded: bool
    stale: bool
    as_of: AsOf
    items: list[RecommendedItem]
    next: str | None = None
    left_out: list[LeftOut] | msgspec.UnsetType = msgspec.UNSET


class Ranking(msgspec.Struct, frozen=True):
    """A given list in order. ``unranked``: those of it that the index does not know, as they were given."""

    request_id: str
    source: Source
    degraded: bool
    stale: bool
    as_of: AsOf
    items: list[RecommendedItem]
    unranked: list[str]


class ServedItem(msgspec.Struct, frozen=True):
    """One place of a list that was served."""

    item_id: str
    score: float


class Served(msgspec.Struct, frozen=True):
    """A list that was served: ``served_at``, epoch seconds; to whom, beside what, from which favourites; and what."""

    request_id: str
    served_at: float
    user_id: str | None
    item_id: str | None
    liked: list[str]
    source: str
    degraded: bool
    items: list[ServedItem]


class BatchLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one line of a batch, counted from 0: an answer, or a problem."""

    line: int
    answer: Recommendations | None = None
    problem: dict[str, Any] | None = None


class HistoryItem(msgspec.Struct, frozen=True):
    """One item of a user's history. ``state``: ``learned``, or ``pending`` (accepted and counted, not yet learned).

    ``score``: of the model, when the best were asked for first and the index knows the item.
    """

    item_id: str
    title: str
    category: str | None
    feedback: Literal["positive", "negative", "history"]
    state: Literal["learned", "pending"]
    score: float | None = None


class History(msgspec.Struct, frozen=True):
    """What a user consumed."""

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


def recommended(pick: Pick, item: Item | None) -> RecommendedItem:
    """Return one place of a list; an item without metadata is returned all the same, with an empty title."""
    item = item or Item(pick.item_id)
    return RecommendedItem(
        item_id=pick.item_id,
        score=pick.score,
        source=pick.source,
        reason=pick.reason,
        title=item.title,
        category=item.category,
        price=item.price,
        text=item.text,
        attributes=item.attributes,
        parts=pick.parts,
    )


def answer(response: falcon.asgi.Response, document: Any, status: int = 200) -> None:
    """Write a JSON answer."""
    response.status = status
    response.content_type = falcon.MEDIA_JSON
    response.data = _encoder.encode(document)
