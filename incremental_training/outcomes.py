"""What became of the lists that were served: positives joined to the newest list that showed them.

This is the on-line measure beside the prequential one: it counts what people saw. Events and served lists come by two
topics whose order is not fixed, so whichever of a pair comes first waits for the other. Nothing here decides what is
learned; it is in the snapshot so that every list and every hit is counted once.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from stores.ports import Record

# A positive this long after the list still counts for it.
WINDOW_S = 1_800.0
# Clocks of the recommender and of the log may differ by so much.
SKEW_S = 1.0
# Memory: lists that still wait for positives, of all users and of one, and positives that wait for their list.
MOST_OPEN, MOST_OPEN_OF_USER, MOST_WAITING = 10_000, 5, 2_000
# Positions and categories beyond so many are not counted.
MOST_POSITIONS, MOST_CATEGORIES = 50, 1_000


class _Served(msgspec.Struct, frozen=True):
    """The part of a record of ``recommendations_served`` that is needed here."""

    served_at: float
    source: str
    items: list[tuple[str, float]]
    user_id: str | None = None


class OpenList(msgspec.Struct, array_like=True):
    """A served list that positives may still be joined to."""

    user_id: str
    served_at_s: float
    source: str
    item_ids: list[str]
    hit: bool = False


class Counts(msgspec.Struct):
    """Each ``[shown, hits]``: lists by source, and items by position (from 0) and by category."""

    by_source: dict[str, list[int]] = {}
    by_position: list[list[int]] = []
    by_category: dict[str, list[int]] = {}
    bad_records: int = 0


_decode = msgspec.json.Decoder(_Served).decode


class Outcomes:
    """Counts shown lists and hits. ``category_of`` tells the category of an item, if it has one."""

    def __init__(self, category_of: Callable[[str], str | None]) -> None:
        self.counts = Counts()
        self._category_of = category_of
        # By a running number, oldest first; and the numbers of each user.
        self._open: OrderedDict[int, OpenList] = OrderedDict()
        self._of_user: defaultdict[str, list[int]] = defaultdict(list)
        self._next = 0
        # (user_id, item_id) → arrival, oldest first: positives that no list has shown, as far as is known.
        self._waiting: OrderedDict[tuple[str, str], float] = OrderedDict()

    def take_served(self, records: Sequence[Record]) -> None:
        """Count the lists of these records of ``recommendations_served``. NOT safe to repeat.

        A list for nobody in particular cannot be joined and is left out.
        """
        for record in records:
            try:
                served = _decode(record.value)
            except (msgspec.DecodeError, UnicodeDecodeError):
                self.counts.bad_records += 1
                continue
            if served.user_id is not None and served.items:
                ids = [item_id for item_id, _ in served.items][:MOST_POSITIONS]
                self._open_list(OpenList(served.user_id, served.served_at, served.source, ids))

    def _open_list(self, shown: OpenList) -> None:
        self.counts.by_source.setdefault(shown.source, [0, 0])[0] += 1
        for position, item_id in enumerate(shown.item_ids):
            for pair in self._pairs(position, item_id):
                pair[0] += 1
        self._open[self._next] = shown
        numbers = self._of_user[shown.user_id]
        numbers.append(self._next)
        self._next += 1
        if len(numbers) > MOST_OPEN_OF_USER:
            self._close(numbers[0])
        while len(self._open) > MOST_OPEN or next(iter(self._open.values())).served_at_s < shown.served_at_s - WINDOW_S:
            self._close(next(iter(self._open)))
        for item_id in shown.item_ids:
            arrival_s = self._waiting.get((shown.user_id, item_id))
            if arrival_s is not None and _fits(shown, arrival_s):
                del self._waiting[shown.user_id, item_id]
                self._hit(shown, item_id)

    def take_positive(self, user_id: str, item_id: str, arrival_s: float) -> None:
        """Join a positive to the newest list that showed its item to its user. NOT safe to repeat."""
        for number in reversed(self._of_user.get(user_id, ())):
            shown = self._open[number]
            if item_id in shown.item_ids and _fits(shown, arrival_s):
                self._hit(shown, item_id)
                return
        self._waiting[user_id, item_id] = arrival_s
        if len(self._waiting) > MOST_WAITING:
            self._waiting.popitem(last=False)

    def forget(self, user_id: str) -> None:
        """Drop what waits of a user; what was counted stays counted. Safe to repeat."""
        for number in list(self._of_user.get(user_id, ())):
            self._close(number)
        for pair in [pair for pair in self._waiting if pair[0] == user_id]:
            del self._waiting[pair]

    def _hit(self, shown: OpenList, item_id: str) -> None:
        if not shown.hit:
            shown.hit = True
            self.counts.by_source[shown.source][1] += 1
        for pair in self._pairs(shown.item_ids.index(item_id), item_id):
            pair[1] += 1

    def _pairs(self, position: int, item_id: str) -> list[list[int]]:
        by_position, by_category = self.counts.by_position, self.counts.by_category
        while len(by_position) <= position:
            by_position.append([0, 0])
        category = self._category_of(item_id)
        if category is None or (category not in by_category and len(by_category) >= MOST_CATEGORIES):
            return [by_position[position]]
        return [by_position[position], by_category.setdefault(category, [0, 0])]

    def _close(self, number: int) -> None:
        shown = self._open.pop(number)
        numbers = self._of_user[shown.user_id]
        numbers.remove(number)
        if not numbers:
            del self._of_user[shown.user_id]

    def state(self) -> dict[str, Any]:
        """Return what is needed to go on, JSON-able: all but positives that wait for a list of the moment before."""
        return {"counts": msgspec.to_builtins(self.counts), "open": msgspec.to_builtins(list(self._open.values()))}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state."""
        self.counts = msgspec.convert(state["counts"], Counts)
        for shown in msgspec.convert(state["open"], list[OpenList]):
            self._open[self._next] = shown
            self._of_user[shown.user_id].append(self._next)
            self._next += 1


def _fits(shown: OpenList, arrival_s: float) -> bool:
    return shown.served_at_s - SKEW_S <= arrival_s <= shown.served_at_s + WINDOW_S
