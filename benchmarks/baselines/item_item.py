"""Item-item cosine (Sarwar and others: WWW 2001) over the last twenty positives of each user, kept up to date.

Two items meet when one is among the last twenty of a user who consumes the other; cosine = meetings / sqrt(n_i n_j).
Each item keeps its most frequent partners, so that memory is bounded on any catalogue.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.compiled import compiled

LAST = 20
PARTNERS = 500


class ItemItem:
    """Meetings of items, known in number beforehand."""

    def __init__(self, users: int, items: int) -> None:
        self._recent = np.zeros((users, LAST), np.int32)
        self._totals = np.zeros(users, np.int64)
        self._counts = np.zeros(items, np.int64)
        self._partners = np.zeros((items, PARTNERS), np.int32)
        self._meetings = np.zeros((items, PARTNERS), np.int32)
        self._degrees = np.zeros(items, np.int32)

    def learn(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> None:
        """Count positives one after another."""
        _learn(users, items, self._recent, self._totals, self._counts, self._partners, self._meetings, self._degrees)

    def scores(self, user: int, recent: NDArray[np.int32], size: int) -> NDArray[Any]:
        """Return each item's sum of cosines to the user's last twenty."""
        scores = np.zeros(size, np.float64)
        for item in recent[:LAST].tolist():
            degree = self._degrees[item]
            partners = self._partners[item, :degree]
            norm = np.sqrt(self._counts[partners] * float(self._counts[item]))
            scores[partners] += self._meetings[item, :degree] / norm
        return scores


@compiled
def _meet(
    partners: NDArray[np.int32], meetings: NDArray[np.int32], degrees: NDArray[np.int32], one: int, other: int
) -> None:
    degree = degrees[one]
    rarest = 0
    for slot in range(degree):
        if partners[one, slot] == other:
            meetings[one, slot] += 1
            return
        if meetings[one, slot] < meetings[one, rarest]:
            rarest = slot
    if degree < partners.shape[1]:
        rarest = degree
        degrees[one] = degree + 1
    elif meetings[one, rarest] > 1:
        return
    partners[one, rarest] = other
    meetings[one, rarest] = 1


@compiled
def _learn(
    users: NDArray[np.int32],
    items: NDArray[np.int32],
    recent: NDArray[np.int32],
    totals: NDArray[np.int64],
    counts: NDArray[np.int64],
    partners: NDArray[np.int32],
    meetings: NDArray[np.int32],
    degrees: NDArray[np.int32],
) -> None:
    for event in range(len(users)):
        user, item = users[event], items[event]
        for k in range(min(totals[user], recent.shape[1])):
            other = recent[user, k]
            _meet(partners, meetings, degrees, item, other)
            _meet(partners, meetings, degrees, other, item)
        counts[item] += 1
        recent[user, totals[user] % recent.shape[1]] = item
        totals[user] += 1
