"""The rest of a history as a stream to come: which events, in which order, and which of them are scored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.evaluation import is_scored
from models.events import PositiveRule
from models.items import Item
from stores.history import History


class StreamEvent(NamedTuple):
    """One event to come. ``position``: its place in the whole history. ``new_item``: what to tell of its item first."""

    position: int
    user_id: str
    item_id: str
    body: dict[str, Any]
    positive: bool
    scored: bool
    new_item: Item | None


class Stream:
    """The events of a history from ``cut`` on.

    Scored are the events that the trainer scores: positives of users with an earlier positive, no repeats, one in
    ``every`` by event_id. So what is measured from outside is measured on the very same events.
    """

    def __init__(self, history: History, cut: int, rule: PositiveRule, every: int) -> None:
        self._history, self._every = history, every
        self._strengths = history.strengths(rule)
        before: NDArray[np.intp] = np.flatnonzero(self._strengths[:cut])
        self._learned = set(zip(history.users[before].tolist(), history.items[before].tolist(), strict=True))
        self._active = set(history.users[before].tolist())
        self._known_items = set(history.items[:cut].tolist())
        self.cut, self.end = cut, len(history)

    def events(self, start: int) -> Iterator[StreamEvent]:
        """Yield the events from position ``start`` (at or after the cut) on. To be called once."""
        for position in range(self.cut, self.end):
            event = self._next(position)
            if position >= start:
                yield event

    def body(self, position: int) -> dict[str, Any]:
        """Return an event as it is posted; its event_id names its place, so sending it twice is harmless."""
        return self._history.event(position) | {"event_id": f"demo-{position}"}

    def _next(self, position: int) -> StreamEvent:
        history = self._history
        user, item = int(history.users[position]), int(history.items[position])
        body = self.body(position)
        positive = bool(self._strengths[position] > 0)
        fresh = positive and (user, item) not in self._learned
        scored = fresh and user in self._active and is_scored(body["event_id"], self._every)
        is_new = item not in self._known_items
        self._known_items.add(item)
        if positive:
            self._learned.add((user, item))
            self._active.add(user)
        new_item = history.catalogue.get(body["item_id"]) if is_new else None
        return StreamEvent(position, body["user_id"], body["item_id"], body, positive, scored, new_item)

    def favourites(self) -> list[str]:
        """Return three items of the history that one visitor may like: the most popular one and two of its kind."""
        history = self._history
        counts = np.bincount(history.items[: self.cut][self._strengths[: self.cut] > 0])
        order = [history.item_ids[item] for item in np.argsort(-counts, kind="stable")[:200]]
        kind = _first_category(history, order[0])
        alike = [item_id for item_id in order[1:] if _first_category(history, item_id) == kind]
        return [order[0], *(alike + order[1:])[:2]]

    def title(self, item_id: str) -> str:
        """Return what people call an item."""
        item = self._history.catalogue.get(item_id)
        return (item.title if item else "") or item_id

    def some_user(self) -> str:
        """Return a user of the history."""
        return self._history.user_ids[int(self._history.users[0])]

    def busy_user(self, start: int, look_ahead: int = 4000, positives: int = 5) -> str | None:
        """Return a known user who will soon have ``positives`` new positives, ``None`` when there is none."""
        counts: dict[int, int] = {}
        for position in range(start, min(start + look_ahead, self.end)):
            user = int(self._history.users[position])
            if self._strengths[position] > 0 and user in self._active:
                counts[user] = counts.get(user, 0) + 1
                if counts[user] == positives:
                    return self._history.user_ids[user]
        return None


def _first_category(history: History, item_id: str) -> str:
    item = history.catalogue.get(item_id)
    return (item.category or "").partition("|")[0] if item else ""
