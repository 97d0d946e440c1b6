"""From many item ids to their rows at once.

A dictionary of a hundred thousand ids answers one after another, each with some four reads of memory that no cache
holds: 0.3 to 0.6 µs an id. Here the hashes of all ids asked for are looked up together, so that those reads overlap.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]

# Of every place at most so many are taken, so that few steps lead to an id or to an empty place.
MOST_TAKEN = 0.4
_SMALLEST = 64
_EMPTY = -1


class RowLookup:
    """A hash table in two arrays with open addressing; ids are never taken out.

    It compares Python's 64-bit hashes of ids and not the ids: which ids those of others are taken for is a matter of a
    secret of this process (SipHash), and of one chance in 10¹³ per id at a million items.
    """

    def __init__(self) -> None:
        self._size = 0
        self._hashes = np.zeros(_SMALLEST, np.int64)
        self._rows = np.full(_SMALLEST, _EMPTY, np.int64)

    def add(self, item_ids: Sequence[str], rows: Rows) -> None:
        """Add distinct ids that are not in, and their rows, (n,)."""
        self._size += len(rows)
        if self._size > MOST_TAKEN * len(self._rows):
            self._enlarge()
        self._put(_hashes_of(item_ids), rows)

    def rows(self, item_ids: Sequence[str]) -> Rows:
        """Return the rows of those of these ids that are in, in the order given."""
        found = self.places(item_ids)
        return found[found != _EMPTY]

    def places(self, item_ids: Sequence[str]) -> Rows:
        """Return the row of each of these ids; -1 for one that is not in."""
        hashes = _hashes_of(item_ids)
        found, asking = np.full(len(hashes), _EMPTY), np.arange(len(hashes))
        places = self._first_places(hashes)
        while len(asking):
            rows, same = self._rows[places], self._hashes[places] == hashes[asking]
            found[asking[same]] = rows[same]
            going_on = ~same & (rows != _EMPTY)
            asking, places = asking[going_on], self._next_places(places[going_on])
        return found

    def _put(self, hashes: NDArray[np.int64], rows: Rows) -> None:
        places = self._first_places(hashes)
        while len(rows):
            empty = self._rows[places] == _EMPTY
            self._rows[places[empty]], self._hashes[places[empty]] = rows[empty], hashes[empty]
            # Of several that met at one empty place the last has it.
            going_on = self._rows[places] != rows
            hashes, rows, places = hashes[going_on], rows[going_on], self._next_places(places[going_on])

    def _enlarge(self) -> None:
        taken = self._rows != _EMPTY
        hashes, rows = self._hashes[taken], self._rows[taken]
        places = 1 << int(2 * self._size / MOST_TAKEN - 1).bit_length()
        self._hashes, self._rows = np.zeros(places, np.int64), np.full(places, _EMPTY, np.int64)
        self._put(hashes, rows)

    def _first_places(self, hashes: NDArray[np.int64]) -> NDArray[np.int64]:
        return hashes & (len(self._rows) - 1)

    def _next_places(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        return (places + 1) & (len(self._rows) - 1)


def _hashes_of(item_ids: Sequence[str]) -> NDArray[np.int64]:
    return np.fromiter(map(hash, item_ids), np.int64, len(item_ids))
