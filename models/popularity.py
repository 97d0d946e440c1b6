"""Popularity of items: all time, and decayed per learned positive at a fast and a slow rate.

A decayed count is stored relative to a landmark: instead of decaying every item at every event, each event weighs more
than the one before, by 1 / decay; when the weight nears overflow all counts are divided by it (the landmark moves).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.compiled import compiled
from models.growable_array import GrowableArray
from models.scoring_kernel import log_shares

LANDMARK_MOVES_AT = 1e100
# An item is fresh with fewer positives than this, and another one lately: so much of the fast decayed count is left,
# which at .999 an event is one positive within the last thousand. Where items stay small, few of them are fresh.
FRESH_POSITIVES, FRESH_LEFT = 64, 0.37


class PopularityArrays(NamedTuple):
    """What counting works on.

    ``counts``: (capacity,) int64 positives of all time. ``decayed``: (capacity, 2) float64, fast and slow, in units of
    ``units`` (2,), the weight of the newest event. ``masses``: (2,) float64, sum of each decayed column in events.
    """

    counts: NDArray[np.int64]
    decayed: NDArray[np.float64]
    units: NDArray[np.float64]
    masses: NDArray[np.float64]
    decays: NDArray[np.float64]


class Popularity:
    """Popularity of all items, growing with them."""

    def __init__(self, fast_decay: float, slow_decay: float, capacity: int) -> None:
        self._counts = GrowableArray(capacity, (), np.int64)
        self._decayed = GrowableArray(capacity, (2,), np.float64)
        self._units = np.ones(2)
        self._masses = np.zeros(2)
        self._decays = np.array([fast_decay, slow_decay])
        self._arrays = self._rows()

    def grow(self, capacity: int) -> None:
        """Raise the capacity. Safe to repeat."""
        self._counts.grow(capacity)
        self._decayed.grow(capacity)
        self._arrays = self._rows()

    def _rows(self) -> PopularityArrays:
        return PopularityArrays(self._counts.rows, self._decayed.rows, self._units, self._masses, self._decays)

    def count(self, items: NDArray[np.int32], known_items: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Count learned positives, in order, and return whether each met a fresh item, (n,). NOT safe to repeat.

        ``known_items``: how many items there were at each.
        """
        fresh = np.empty(len(items), np.bool_)
        _count(self._arrays, items, known_items, fresh)
        return fresh

    def counts(self, size: int) -> NDArray[np.int64]:
        """Return learned positives of all time of the first ``size`` items (a view)."""
        return self._counts.rows[:size]

    def columns(self, size: int) -> NDArray[np.float32]:
        """Return log popularity, (size, 2) float32: fast, slow.

        It is the log of the item's share of all decayed positives, plus a floor of one item's equal share: an item that
        nobody touches ends at log(1 / size), not at minus infinity.
        """
        columns = np.empty((2, size), np.float32)
        log_shares(*self.shares(), *columns)
        return columns.T.copy()

    def shares(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return decayed counts (capacity, 2), a view, and what makes shares of them, (2,)."""
        return self._decayed.rows, 1.0 / (self._units * np.maximum(self._masses, 1.0))

    def state(self, size: int) -> dict[str, NDArray[np.generic]]:
        """Return copies of all that is needed to go on."""
        return {
            "counts": self.counts(size).copy(),
            "decayed": self._decayed.rows[:size].copy(),
            "units": self._units.copy(),
            "masses": self._masses.copy(),
        }

    def restore(self, state: dict[str, NDArray[np.generic]]) -> None:
        """Take over a state; the capacity must suffice."""
        size = len(state["counts"])
        self._counts.rows[:size] = state["counts"]
        self._decayed.rows[:size] = state["decayed"]
        self._units[:] = state["units"]
        self._masses[:] = state["masses"]


@compiled
def _count(
    popularity: PopularityArrays,
    items: NDArray[np.int32],
    known_items: NDArray[np.int64],
    fresh: NDArray[np.bool_],
) -> None:
    for event in range(len(items)):
        item = items[event]
        left = popularity.decayed[item, 0] / popularity.units[0]
        fresh[event] = popularity.counts[item] < FRESH_POSITIVES and left >= FRESH_LEFT
        popularity.counts[item] += 1
        for column in range(2):
            decay = popularity.decays[column]
            popularity.units[column] /= decay
            popularity.masses[column] = popularity.masses[column] * decay + 1.0
            popularity.decayed[item, column] += popularity.units[column]
            if popularity.units[column] > LANDMARK_MOVES_AT:
                for row in range(known_items[event]):
                    popularity.decayed[row, column] /= popularity.units[column]
                popularity.units[column] = 1.0
