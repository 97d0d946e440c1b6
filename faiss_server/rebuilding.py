"""Building the approximate index beside the running one, and keeping watch over its recall."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

import numpy as np

from faiss_server.approximate_search import MIN_RECALL, ApproximateSearch, build, truth_of
from faiss_server.exact_search import Rows
from faiss_server.item_index import ItemIndex
from faiss_server.item_table import ItemTable
from stores.ports import Clock, Metrics, Vectors

# Measured with so many queries: real ones, once there are half as many; until then rows of the table.
MEASURED_QUERIES = 64
# A table that has grown by this much deserves lists of its own size.
GROWTH = 2.0
# Lists refreshed with new popularity between two requests: well below a millisecond.
REFRESHED_LISTS = 16
MEASURE_EVERY_S = 60.0
# A table without structure may get some as it is learned.
RETRY_AFTER_S = 600.0

_log = logging.getLogger(__name__)


class Rebuilding:
    """What happens to an index in the background: lists are built, measured, refreshed and, when of no use, dropped.

    Building runs in a thread on a copy of the table while writes go on; the rows that changed meanwhile are written
    again before the new lists are searched. All else runs on the event loop, a little at a time.
    """

    def __init__(self, index: ItemIndex, from_items: int, clock: Clock, metrics: Metrics) -> None:
        self._index = index
        self._from_items = from_items
        self._clock = clock
        self._metrics = metrics
        self._wake = asyncio.Event()
        # The table, its size and the time of the last build, whatever came of it.
        self._built: tuple[ItemTable, int, float] | None = None
        self._measured_s = 0.0

    def wake(self) -> None:
        """Look again whether there is something to do; called after every write."""
        if len(self._index.table) >= self._from_items:
            self._wake.set()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(MEASURE_EVERY_S):
                    await self._wake.wait()
            self._wake.clear()
            try:
                await self._look()
            except Exception:
                # Without lists the index is slower, not wrong.
                _log.exception("the approximate index could not be kept up; searching exactly")
                self._index.adopt(None)

    async def _look(self) -> None:
        if self._is_due():
            await self._rebuild()
        approximate = self._index.approximate
        if approximate is not None and self._clock.monotonic_s() - self._measured_s > MEASURE_EVERY_S:
            await self._measure(approximate)
        while (approximate := self._index.approximate) is not None and approximate.refresh(
            self._index.table.columns, REFRESHED_LISTS
        ):
            await asyncio.sleep(0)

    def _is_due(self) -> bool:
        table = self._index.table
        if table.items < self._from_items:
            return False
        if self._built is None or self._built[0] is not table or len(table) >= GROWTH * self._built[1]:
            return True
        return self._index.approximate is None and self._clock.monotonic_s() >= self._built[2] + RETRY_AFTER_S

    async def _rebuild(self) -> None:
        index, table = self._index, self._index.table
        started_s = self._clock.monotonic_s()
        self._built = (table, len(table), started_s)
        index.watch_changes()
        rows = np.flatnonzero(table.alive)
        columns, queries = table.columns, self._queries(rows)
        approximate, good = await asyncio.to_thread(_build, columns, rows, queries)
        if index.table is not table:
            # A whole table came meanwhile; it is looked at next.
            self._wake.set()
            return
        index.adopt(approximate if good else None)
        self._measured_s = self._clock.monotonic_s()
        self._metrics.timing("index_rebuild_seconds", self._measured_s - started_s)
        _log.info("%s: recall %.3f, %s", approximate.kind, approximate.recall, "in use" if good else "not good enough")

    async def _measure(self, approximate: ApproximateSearch) -> None:
        """Widen what is in use where the queries of today ask for it; search exactly where that is not enough."""
        index, table = self._index, self._index.table
        rows = np.flatnonzero(table.alive)
        queries = self._queries(rows)
        truth = await asyncio.to_thread(truth_of, table.columns, rows, queries)
        self._measured_s = self._clock.monotonic_s()
        while index.approximate is approximate:
            hits = 0
            for query, right in zip(queries, truth, strict=True):
                hits += approximate.hits(query[None], right[None])
                await asyncio.sleep(0)
            approximate.recall = hits / truth.size
            if approximate.recall >= MIN_RECALL:
                return
            if not approximate.widen():
                _log.info("%s: recall %.3f, not good enough any more", approximate.kind, approximate.recall)
                index.adopt(None)

    def _queries(self, rows: Rows) -> Vectors:
        recent = self._index.recent_queries.newest(MEASURED_QUERIES)
        if len(recent) >= MEASURED_QUERIES // 2:
            return recent
        # Rows stand in for queries: what is like an item, with bias and popularity counted once.
        chosen = rows[np.linspace(0, len(rows) - 1, MEASURED_QUERIES).astype(np.int64)]
        queries = self._index.table.columns[chosen].copy()
        queries[:, self._index.table.dimension :] = 1.0
        return queries


def _build(columns: Vectors, rows: Rows, queries: Vectors) -> tuple[ApproximateSearch, bool]:
    approximate, truth = build(columns, rows), truth_of(columns, rows, queries)
    while True:
        approximate.recall = approximate.hits(queries, truth) / truth.size
        if approximate.recall >= MIN_RECALL:
            return approximate, True
        if not approximate.widen():
            return approximate, False
