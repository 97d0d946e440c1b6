"""What is popular and what is trending within the last hour, day and week, counted from the live stream.

Counts decay with time: an event that is one window old weighs 1/e. Its time is min(event time, arrival), so that late
and future events cannot be mistaken for news; "now" is the newest such time, so that the lists depend on the records
alone, and a stream that stops leaves them as they were.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.compiled import compiled
from models.growable_array import GrowableArray, grown_capacity
from stores.ports import WINDOWS, popular_name

# The windows of the lists, and a month, against which the week is compared.
LENGTHS_S = np.array([3_600.0, 86_400.0, 7 * 86_400.0, 30 * 86_400.0])
LIST_LENGTH, CATEGORY_LENGTH = 200, 50
# So many items of one order and window are looked at: lists of categories hold no more either.
MOST_RANKED = 5_000
# A category beyond so many gets no lists: every list ever published must be replaced when its items are gone.
MOST_CATEGORIES = 1_000
# A smaller count is nothing: an event seven windows old.
NOTHING = 1e-3
# Counts stand relative to a landmark that moves before the smallest window's weights overflow.
_MOST_WINDOWS_AHEAD = 100.0

Lists = dict[str, list[tuple[str, float]]]


class Windows:
    """Decayed counts per item row and window, and the category of every item as topic ``items`` tells it."""

    def __init__(self) -> None:
        # (capacity, 4) float64, each count times exp((its time - landmark) / window).
        self._counts = GrowableArray(1024, (len(LENGTHS_S),), np.float64)
        self._size = 0
        self._landmark_s = 0.0
        # The time of the newest event, by which lists are made; epoch seconds, 0 before the first one.
        self.newest_s = 0.0
        self._categories: dict[str, str] = {}
        self._known_categories: dict[str, None] = {}
        # Of the first rows, which of the known categories each has; made anew when a category changes.
        self._places: list[int] = []
        self.changed = False

    def count(self, items: Sequence[int], strengths: Sequence[float], times_s: Sequence[float]) -> None:
        """Count positives, in order of the log; how they are cut into calls decides nothing. NOT safe to repeat."""
        if not items:
            return
        size = max(self._size, max(items) + 1)
        if size > self._counts.capacity:
            self._counts.grow(grown_capacity(self._counts.capacity, size))
        if not self._size:
            self._landmark_s = times_s[0]
        self._size = size
        self._landmark_s = _add(
            self._counts.rows[:size],
            np.array(items, np.int64),
            np.array(strengths),
            np.array(times_s),
            self._landmark_s,
        )
        self.newest_s = max(self.newest_s, *times_s)
        self.changed = True

    def put_category(self, item_id: str, category: str | None) -> None:
        """Note the category of an item, or that it has none, or no longer exists. Safe to repeat."""
        category = category or None
        if self._categories.get(item_id) == category:
            return
        self._categories.pop(item_id, None)
        if category:
            self._categories[item_id] = category
            if len(self._known_categories) < MOST_CATEGORIES:
                self._known_categories.setdefault(category)
        self._places = []
        self.changed = True

    def category_of(self, item_id: str) -> str | None:
        """Return the category of an item, if it is known to have one."""
        return self._categories.get(item_id)

    def lists(self, ids: Sequence[str]) -> Lists:
        """Return every list by its name, best first; ``ids``: the item_id of every row.

        The score of ``popular`` is the decayed count. That of ``trending`` is how far the count lies above what the
        next longer window lets expect, in standard deviations; only what lies above is listed.
        """
        counts = self._counts.rows[: self._size] * np.exp((self._landmark_s - self.newest_s) / LENGTHS_S)
        places = self._places_of(ids)
        lists: Lists = {}
        for nth, window in enumerate(WINDOWS):
            expected = counts[:, nth + 1] * (LENGTHS_S[nth] / LENGTHS_S[nth + 1])
            surprise = np.where(counts[:, nth] > NOTHING, counts[:, nth] - expected, 0.0) / np.sqrt(expected + 1.0)
            for order, scores in (("popular", counts[:, nth]), ("trending", surprise)):
                best = _best(scores)
                lists[popular_name(order, window)] = _entries(best[:LIST_LENGTH], ids, scores)
                # Category after category, each still best first.
                grouped = best[np.argsort(places[best], kind="stable")]
                starts = np.searchsorted(places[grouped], np.arange(len(self._known_categories) + 1)).tolist()
                for category, start, end in zip(self._known_categories, starts, starts[1:], strict=False):
                    rows = grouped[start : min(end, start + CATEGORY_LENGTH)]
                    lists[popular_name(order, window, category)] = _entries(rows, ids, scores)
        return lists

    def _places_of(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the place of every row's category among the known ones, (size,); behind them where it has none."""
        known = {category: place for place, category in enumerate(self._known_categories)}
        new = (self._categories.get(ids[row], "") for row in range(len(self._places), self._size))
        self._places += [known.get(category, MOST_CATEGORIES) for category in new]
        return np.array(self._places[: self._size], np.int64)

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return (arrays, facts): copies of everything needed to go on; facts are JSON-able."""
        return {"counts": self._counts.rows[: self._size].copy()}, {
            "landmark_s": self._landmark_s,
            "newest_s": self.newest_s,
            "categories": dict(self._categories),
            "known_categories": list(self._known_categories),
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> None:
        """Take over a state."""
        self._size = len(arrays["counts"])
        self._counts.grow(self._size)
        self._counts.rows[: self._size] = arrays["counts"]
        self._landmark_s, self.newest_s = facts["landmark_s"], facts["newest_s"]
        self._categories = dict(facts["categories"])
        self._known_categories = dict.fromkeys(facts["known_categories"])
        self._places = []
        self.changed = True


@compiled
def _add(
    counts: NDArray[np.float64],
    items: NDArray[np.int64],
    strengths: NDArray[np.float64],
    times_s: NDArray[np.float64],
    landmark_s: float,
) -> float:
    """Add each positive to the windows of its item, moving the landmark when one lies too far ahead; return it."""
    for event in range(len(items)):
        since_s = times_s[event] - landmark_s
        if since_s / LENGTHS_S[0] > _MOST_WINDOWS_AHEAD:
            for window in range(counts.shape[1]):
                counts[:, window] *= np.exp(-since_s / LENGTHS_S[window])
            landmark_s, since_s = times_s[event], 0.0
        for window in range(counts.shape[1]):
            counts[items[event], window] += strengths[event] * np.exp(since_s / LENGTHS_S[window])
    return landmark_s


def _entries(rows: NDArray[np.int64], ids: Sequence[str], scores: NDArray[np.float64]) -> list[tuple[str, float]]:
    return [(ids[row], score) for row, score in zip(rows.tolist(), scores[rows].tolist(), strict=True)]


def _best(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the rows with more than nothing, best first, at most ``MOST_RANKED``."""
    rows = np.flatnonzero(scores > NOTHING)
    order = np.lexsort((rows, -scores[rows]))[:MOST_RANKED]
    best: NDArray[np.int64] = rows[order]
    return best
