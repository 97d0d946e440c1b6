"""The index: the table, where it stands, and the searches over it.

For one thread: searches and writes run one after the other on the event loop, which is all the locking there is.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence

import numpy as np

from faiss_server.approximate_search import ApproximateSearch
from faiss_server.exact_search import Rows, prepare
from faiss_server.fencing import Fence
from faiss_server.item_table import EXTRA_COLUMNS, ItemTable, table_of
from faiss_server.recent_queries import RecentQueries
from faiss_server.searching import Searching
from stores.ports import Candidates, IndexStatus, ItemRows, Query, Stamp, Vectors


class NotLoaded(Exception):
    """Nothing can be searched before the first whole table."""


class ItemIndex:
    """An item index in this process; the rules of ``stores.ports.ItemIndexWriter`` and ``ItemIndexReader``.

    Attributes
    ----------
    changed
        Rows written or deleted since ``watch_changes``, for whoever builds the next ``approximate`` beside the writes.
    """

    def __init__(self) -> None:
        self.boot_id = uuid.uuid4().hex
        self.fence = Fence()
        self._searching = Searching(ItemTable(0))
        self.changed: set[int] | None = None

    @property
    def table(self) -> ItemTable:
        """What is searched."""
        return self._searching.table

    @property
    def approximate(self) -> ApproximateSearch | None:
        """What large tables are searched with, once it is built and as long as it is good enough; else ``None``."""
        return self._searching.approximate

    @property
    def recent_queries(self) -> RecentQueries:
        """What was asked last."""
        return self._searching.recent_queries

    # --- writing ----------------------------------------------------------------------------------------------------

    def status(self) -> IndexStatus:
        """Return where the index stands. ``ready``: it can be searched."""
        return IndexStatus(
            boot_id=self.boot_id,
            epoch=self.fence.epoch,
            seq=self.fence.seq,
            ready=self.fence.loaded,
            items=self.table.items,
            rows=len(self.table),
            dimension=self.table.dimension,
            kind="exact" if self.approximate is None else self.approximate.kind,
        )

    def upsert(self, rows: ItemRows, stamp: Stamp) -> IndexStatus:
        """Add or overwrite rows. Safe to repeat. Raises ``StaleEpoch``, ``Gap``, or ``BadRows``, changing nothing."""
        for _ in self.upsert_steps(rows, stamp):
            pass
        return self.status()

    def upsert_steps(self, rows: ItemRows, stamp: Stamp) -> Iterator[None]:
        """``upsert`` in steps, between which others may search; nothing else is to be written meanwhile."""
        if not self.fence.admits(stamp):
            return
        searching = self._searching
        for places, columns in searching.table.put(rows):
            if self._searching is not searching:  # a whole table has come instead
                break
            self._follow(places)
            if searching.approximate is not None:
                searching.approximate.put(places, columns)
            yield
        self._advance(stamp)

    def set_popularity(self, columns: Vectors, stamp: Stamp) -> IndexStatus:
        """Overwrite the popularity columns. Safe to repeat. Raises ``StaleEpoch``, ``Gap`` or ``BadRows``."""
        for _ in self.popularity_steps(columns, stamp):
            pass
        return self.status()

    def popularity_steps(self, columns: Vectors, stamp: Stamp) -> Iterator[None]:
        """``set_popularity`` in steps, between which others may search; nothing else is to be written meanwhile."""
        if not self.fence.admits(stamp):
            return
        table = self.table
        if columns.ndim == 2 and len(columns) != len(table):
            raise self.fence.gap(stamp, f"the table has {len(table)} rows, not {len(columns)}")
        yield from table.put_popularity(columns)
        self._advance(stamp)
        if self.approximate is not None:
            self.approximate.popularity_changed()

    def delete(self, item_ids: Sequence[str], stamp: Stamp) -> IndexStatus:
        """Make items unfindable. Safe to repeat. Raises ``StaleEpoch`` or ``Gap``."""
        if self.fence.admits(stamp):
            rows = self.table.delete(item_ids)
            self._follow(rows)
            if self.approximate is not None:
                self.approximate.remove(rows)
            self.fence.advance(stamp)
        return self.status()

    def replace(self, rows: ItemRows, stamp: Stamp) -> IndexStatus:
        """Load the whole table. Safe to repeat. Raises ``StaleEpoch``, or ``BadRows``, changing nothing."""
        return self.install(table_of(rows), stamp)

    def close(self) -> None:
        """Nothing is held that is not memory."""

    def install(self, table: ItemTable, stamp: Stamp) -> IndexStatus:
        """Replace everything by this table. Safe to repeat. Raises ``StaleEpoch``."""
        self.fence.refuse_older(stamp)
        prepare(table.dimension + EXTRA_COLUMNS)
        self._searching = Searching(table)
        self.changed = None
        self.fence.restart(stamp)
        return self.status()

    def watch_changes(self) -> None:
        """Begin to keep the rows that change."""
        self.changed = set()

    def catch_up(self, approximate: ApproximateSearch, most: int) -> bool:
        """Write at most so many of the rows that changed while it was built; True when some are left."""
        assert self.changed is not None
        taken = np.array([self.changed.pop() for _ in range(min(most, len(self.changed)))], dtype=np.int64)
        approximate.remove(taken)
        alive = taken[self.table.alive[taken]]
        approximate.put(alive, self.table.columns[alive])
        return bool(self.changed)

    def adopt(self, approximate: ApproximateSearch | None) -> None:
        """Search with this from now on, or exactly; it must have caught up."""
        if approximate is not None:
            approximate.popularity_changed()
        self._searching.approximate = approximate
        self.changed = None

    def _advance(self, stamp: Stamp) -> None:
        # Another trainer may have written after all: then this write does not count.
        if self.fence.admits(stamp):
            self.fence.advance(stamp)

    def _follow(self, rows: Rows) -> None:
        if self.changed is not None:
            self.changed.update(rows.tolist())

    # --- searching --------------------------------------------------------------------------------------------------

    def search(self, queries: Sequence[Query]) -> list[Candidates]:
        """Answer several queries, in order. Raises ``BadQuery`` or ``NotLoaded``."""
        return self._loaded().search(queries)

    def similar(self, item_ids: Sequence[str], k: int) -> dict[str, list[tuple[str, float]]]:
        """Return, per known item, the k items nearest by cosine, best first. Raises ``BadQuery`` or ``NotLoaded``."""
        return self._loaded().similar(item_ids, k)

    def vectors(self, item_ids: Sequence[str]) -> tuple[list[str], Vectors]:
        """Return the known ones of these items and their item vectors at length 1, (n, d). Raises ``NotLoaded``."""
        return self._loaded().vectors(item_ids)

    def _loaded(self) -> Searching:
        if not self.fence.loaded:
            raise NotLoaded("the index has no table yet")
        return self._searching
