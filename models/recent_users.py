"""Who consumed an item last: from here come the candidates of "users like this one"."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.compiled import compiled
from models.growable_array import GrowableArray

KEPT = 20


class RecentUsers:
    """The last ``KEPT`` users of every item, by rows, growing with the items."""

    def __init__(self, capacity: int) -> None:
        self._rings = GrowableArray(capacity, (KEPT,), np.int32)
        self._totals = GrowableArray(capacity, (), np.int64)

    def grow(self, capacity: int) -> None:
        """Raise the capacity. Safe to repeat."""
        self._rings.grow(capacity)
        self._totals.grow(capacity)

    def remember(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> None:
        """Note positives, in order; both (n,) rows. NOT safe to repeat."""
        _remember(users, items, self._rings.rows, self._totals.rows)

    def of(self, item: int) -> list[int]:
        """Return the user rows of an item, newest first, each once."""
        total = int(self._totals.rows[item])
        ring = self._rings.rows[item].tolist()
        return list(dict.fromkeys(ring[(total - 1 - nth) % KEPT] for nth in range(min(total, KEPT))))

    def state(self, size: int) -> dict[str, NDArray[np.generic]]:
        """Return copies of all that is needed to go on."""
        return {"rings": self._rings.rows[:size].copy(), "totals": self._totals.rows[:size].copy()}

    def restore(self, state: dict[str, NDArray[np.generic]]) -> None:
        """Take over a state; the capacity must suffice."""
        size = len(state["totals"])
        self._rings.rows[:size] = state["rings"]
        self._totals.rows[:size] = state["totals"]


@compiled
def _remember(
    users: NDArray[np.int32], items: NDArray[np.int32], rings: NDArray[np.int32], totals: NDArray[np.int64]
) -> None:
    for n in range(len(users)):
        item = items[n]
        rings[item, totals[item] % KEPT] = users[n]
        totals[item] += 1
