"""Which rows changed since somebody last asked: what has to be published."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.growable_array import GrowableArray
from models.learning_arrays import TouchedArrays
from models.learning_kernel import POSITIVE


class Touched(NamedTuple):
    """Rows changed since last asked. ``positives`` were learned from; ``others`` changed as negatives or context only.

    The edges of any touched item may have changed too.
    """

    users: NDArray[np.int32]
    positives: NDArray[np.int32]
    others: NDArray[np.int32]


class TouchedRows:
    """Marks that the kernel sets, growing with the tables; asking costs as much as there is to tell."""

    def __init__(self, user_capacity: int, item_capacity: int) -> None:
        self._user_marks = GrowableArray(user_capacity, (), np.uint8)
        self._item_marks = GrowableArray(item_capacity, (), np.uint8)
        self._users = GrowableArray(user_capacity, (), np.int32)
        self._items = GrowableArray(item_capacity, (), np.int32)
        self._sizes = np.zeros(2, np.int64)
        self._arrays = self._rows()

    def grow_users(self, capacity: int) -> None:
        """Raise the capacity for users."""
        self._user_marks.grow(capacity)
        self._users.grow(capacity)
        self._arrays = self._rows()

    def grow_items(self, capacity: int) -> None:
        """Raise the capacity for items."""
        self._item_marks.grow(capacity)
        self._items.grow(capacity)
        self._arrays = self._rows()

    def arrays(self) -> TouchedArrays:
        """Return what the kernel works on; take it again after growing."""
        return self._arrays

    def _rows(self) -> TouchedArrays:
        return TouchedArrays(
            self._user_marks.rows, self._item_marks.rows, self._users.rows, self._items.rows, self._sizes
        )

    def take(self) -> Touched:
        """Return the rows changed since last asked, in order of first change, and start anew."""
        users = self._users.rows[: self._sizes[0]].copy()
        items = self._items.rows[: self._sizes[1]].copy()
        positive = (self._item_marks.rows[items] & POSITIVE) != 0
        self._user_marks.rows[users] = 0
        self._item_marks.rows[items] = 0
        self._sizes[:] = 0
        return Touched(users, items[positive], items[~positive])
