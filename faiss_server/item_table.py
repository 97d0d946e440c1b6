"""The table of the index: what is known of every item, in memory that never moves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from faiss_server.row_lookup import RowLookup
from models.growable_array import GrowableArray, grown_capacity
from models.vocabulary import Vocabulary
from stores.ports import ItemRows, Vectors

Rows = NDArray[np.int64]

# Beside the item vector (head * item embedding) the searched columns hold the bias and two columns of popularity.
EXTRA_COLUMNS = 3
# Larger numbers are refused: a product of two of them, summed over all columns, is still finite in float32.
MAX_NUMBER = 1e15
# Rows written, and rows whose popularity is overwritten, between two requests: a fifth of a millisecond.
PUT_SLICE, POPULARITY_SLICE = 32, 8_192
# Rows of a whole table written at once, in a thread.
LOADED_SLICE = 65_536


class BadRows(ValueError):
    """Rows that cannot be held: of another dimension, of uneven length, twice the same item, or not finite."""


class ItemTable:
    """The rows of all items, deleted ones included, in the order in which they first came.

    The memory is reserved once and never moves (``models.growable_array``), so that rows are overwritten in place
    while another thread reads them: such a reader may see half of an overwritten row, never memory that is gone.

    Attributes
    ----------
    dimension
        d, the length of an item embedding.
    items
        Items that are not deleted.
    """

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self.items = 0
        self._vocabulary = Vocabulary()
        self._lookup = RowLookup()
        self._columns = GrowableArray(0, (dimension + EXTRA_COLUMNS,), np.float32)
        self._contexts = GrowableArray(0, (dimension,), np.float32)
        self._norms = GrowableArray(0, (), np.float32)
        self._alive = GrowableArray(0, (), np.bool_)

    def __len__(self) -> int:
        return len(self._vocabulary)

    @property
    def columns(self) -> Vectors:
        """What is searched: (rows, d + 3) float32, a view of the table's own memory."""
        return self._columns.rows[: len(self)]

    @property
    def contexts(self) -> Vectors:
        """The context embeddings, (rows, d) float32, a view."""
        return self._contexts.rows[: len(self)]

    @property
    def norms(self) -> Vectors:
        """The Euclidean norm of every item vector (the first d columns), (rows,) float32, a view."""
        return self._norms.rows[: len(self)]

    @property
    def alive(self) -> NDArray[np.bool_]:
        """False for deleted rows, (rows,), a view."""
        return self._alive.rows[: len(self)]

    @property
    def deleted(self) -> int:
        """Rows that are never found."""
        return len(self) - self.items

    def item_ids(self, rows: Rows) -> list[str]:
        """Return the items of these rows."""
        return list(map(self._vocabulary.ids.__getitem__, rows.tolist()))

    def places_of(self, item_ids: Sequence[str]) -> Rows:
        """Return the row of each of these items, deleted or not; -1 for one that never came."""
        return self._lookup.places(item_ids)

    def rows_of(self, item_ids: Sequence[str]) -> Rows:
        """Return the rows of those of these items that can be found, in the order given."""
        rows = self._lookup.rows(item_ids)
        return rows[self._alive.rows[rows]] if self.deleted else rows

    def put(self, rows: ItemRows, at_once: int = PUT_SLICE) -> Iterator[tuple[Rows, Vectors]]:
        """Add or overwrite rows, some at a time; a deleted item comes back. Yields where, and the columns written.

        The first step raises ``BadRows``, changing nothing.
        """
        _check(rows, self.dimension)
        for first in range(0, len(rows.item_ids), at_once):
            yield self._put(rows, slice(first, first + at_once))

    def _put(self, rows: ItemRows, part: slice) -> tuple[Rows, Vectors]:
        before = len(self)
        places = np.array(list(map(self._vocabulary.add, rows.item_ids[part])), dtype=np.int64)
        if len(self) > before:
            self._make_room(len(self))
            self._lookup.add(self._vocabulary.ids[before:], np.arange(before, len(self)))
        vectors = rows.vectors[part, : self.dimension]
        columns = np.concatenate([rows.vectors[part], rows.popularity[part]], axis=1, dtype=np.float32)
        self._columns.rows[places] = columns
        self._contexts.rows[places] = rows.contexts[part]
        self._norms.rows[places] = np.sqrt(np.vecdot(vectors, vectors))
        self.items += len(places) - int(np.count_nonzero(self._alive.rows[places]))
        self._alive.rows[places] = True
        return places, columns

    def put_popularity(self, columns: Vectors) -> Iterator[None]:
        """Overwrite the popularity columns, (rows, 2) float32, a slice at a time; for every one a step is taken.

        The first step raises ``BadRows``, changing nothing. A million rows take 0.1 s, for which nothing else waits.
        """
        if columns.shape != (len(self), 2):
            raise BadRows(
                f"the popularity columns of {len(self)} rows have shape ({len(self)}, 2), not {columns.shape}"
            )
        _check_numbers({"popularity": columns})
        for first in range(0, len(columns), POPULARITY_SLICE):
            part = slice(first, first + POPULARITY_SLICE)
            self.columns[part, self.dimension + 1 :] = columns[part]
            yield

    def delete(self, item_ids: Sequence[str]) -> Rows:
        """Make items unfindable; they keep their rows. Returns those rows. Safe to repeat."""
        rows = np.unique(self.rows_of(item_ids))
        self.alive[rows] = False
        self.items -= len(rows)
        return rows

    def _make_room(self, needed: int) -> None:
        if needed > self._columns.capacity:
            capacity = grown_capacity(self._columns.capacity, needed)
            for array in (self._columns, self._contexts, self._norms, self._alive):
                array.grow(capacity)


def table_of(rows: ItemRows) -> ItemTable:
    """Return a table of exactly these rows. Raises ``BadRows``."""
    if rows.contexts.ndim != 2 or not rows.contexts.shape[1]:
        raise BadRows("contexts must have shape (n, d) with a d of at least 1")
    table = ItemTable(rows.contexts.shape[1])
    for _ in table.put(rows, LOADED_SLICE):
        pass
    return table


def _check(rows: ItemRows, dimension: int) -> None:
    n = len(rows.item_ids)
    arrays = {"vectors": rows.vectors, "contexts": rows.contexts, "popularity": rows.popularity}
    for (name, array), width in zip(arrays.items(), (dimension + 1, dimension, 2), strict=True):
        if array.shape != (n, width):
            raise BadRows(f"{name} of {n} items of dimension {dimension} have shape ({n}, {width}), not {array.shape}")
    _check_numbers(arrays)
    if len(set(rows.item_ids)) != n:
        raise BadRows("an item occurs twice in one message")


def _check_numbers(arrays: Mapping[str, Vectors]) -> None:
    # Nearly always these products tell that all is well: what is not finite, or large, makes them so too.
    with np.errstate(over="ignore", invalid="ignore"):
        if sum(map(np.vdot, arrays.values(), arrays.values())) <= MAX_NUMBER:
            return
    # Written so that NaN, which max and min pass on, fails too.
    for name, array in arrays.items():
        if not (array.max(initial=0.0) <= MAX_NUMBER and array.min(initial=0.0) >= -MAX_NUMBER):
            raise BadRows(f"{name} holds a number that is not finite, or beyond {MAX_NUMBER:g}")
