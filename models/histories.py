"""Each user's newest positives: what forms his context, and what an item is said to follow."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.compiled import compiled
from models.growable_array import GrowableArray
from models.ranking import FOLDED

RECENT_KEPT = FOLDED


class Recent(NamedTuple):
    """What users had before each of n events: ``items`` (n, length) int32, newest first, the first ``counts`` (n,)."""

    items: NDArray[np.int32]
    counts: NDArray[np.int64]

    def only(self, which: NDArray[np.bool_]) -> Recent:
        """Return that of some events, in order."""
        return Recent(self.items[which], self.counts[which])


class Histories:
    """The last ``RECENT_KEPT`` positives of every user, by rows, growing with the users."""

    def __init__(self, capacity: int) -> None:
        self._rings = GrowableArray(capacity, (RECENT_KEPT,), np.int32)
        self._totals = GrowableArray(capacity, (), np.int64)

    def grow(self, capacity: int) -> None:
        """Raise the capacity. Safe to repeat."""
        self._rings.grow(capacity)
        self._totals.grow(capacity)

    def advance(
        self, users: NDArray[np.int32], items: NDArray[np.int32], liked: NDArray[np.bool_], length: int
    ) -> Recent:
        """Add the ``liked`` of these events, in order, and return what each user had before, at most ``length``.

        NOT safe to repeat: it adds again.
        """
        recent = Recent(np.empty((len(users), length), np.int32), np.empty(len(users), np.int64))
        _advance(self._rings.rows, self._totals.rows, users, items, liked, recent.items, recent.counts)
        return recent

    def newest(self, user: int, limit: int) -> NDArray[np.int32]:
        """Return a user's newest positives, NEWEST FIRST, at most ``limit``."""
        out = np.empty(min(limit, RECENT_KEPT), np.int32)
        return out[: _newest_first(self._rings.rows, self._totals.rows, user, out)]

    def total(self, user: int) -> int:
        """Return how many positives of a user there ever were."""
        return int(self._totals.rows[user])

    def forget(self, user: int) -> None:
        """Forget a user's positives. Safe to repeat."""
        self._rings.rows[user] = 0
        self._totals.rows[user] = 0

    def forget_all(self) -> None:
        """Begin every history anew. Safe to repeat."""
        self._totals.rows[:] = 0

    def state(self, size: int) -> dict[str, NDArray[np.generic]]:
        """Return copies of all that is needed to go on."""
        return {"rings": self._rings.rows[:size].copy(), "totals": self._totals.rows[:size].copy()}

    def restore(self, state: dict[str, NDArray[np.generic]]) -> None:
        """Take over a state; the capacity must suffice."""
        size = len(state["totals"])
        self._rings.rows[:size] = state["rings"]
        self._totals.rows[:size] = state["totals"]


@compiled
def _newest_first(rings: NDArray[np.int32], totals: NDArray[np.int64], user: int, out: NDArray[np.int32]) -> int:
    """Write a user's newest positives into ``out`` and return how many there are (at most its length)."""
    length = rings.shape[1]
    total = totals[user]
    count = min(total, min(length, len(out)))
    for k in range(count):
        out[k] = rings[user, (total - 1 - k) % length]
    return count


@compiled
def _advance(
    rings: NDArray[np.int32],
    totals: NDArray[np.int64],
    users: NDArray[np.int32],
    items: NDArray[np.int32],
    liked: NDArray[np.bool_],
    recent: NDArray[np.int32],
    counts: NDArray[np.int64],
) -> None:
    length = rings.shape[1]
    for event in range(len(users)):
        user = users[event]
        counts[event] = _newest_first(rings, totals, user, recent[event])
        if liked[event]:
            rings[user, totals[user] % length] = items[event]
            totals[user] += 1
