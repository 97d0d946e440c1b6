"""Building the approximate index beside the running one, and keeping watch over its recall."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

import numpy as np

from faiss_server.approximate_search import MIN_RECALL, RECALL_AT, ApproximateSearch, build, truth_of
from faiss_server.exact_search import Rows, search_exactly
from faiss_server.item_index import ItemIndex
from faiss_server.item_table import ItemTable
from stores.ports import Clock, Metrics, Vectors

# Measured with so many queries: real ones, once there are as many; until then rows of the table.
MEASURED_QUERIES = 256
# A table that has grown by this much deserves lists of its own size.
GROWTH = 2.0
# Lists refreshed with new popularity between two requests: well below a millisecond.
REFRESHED_LISTS = 16
# Rows written again between two requests when new lists are caught up with: about a millisecond.
CAUGHT_UP_ROWS = 256
MEASURE_EVERY_S = 60.0
# A table without structure may get some as it is learned.
RETRY_AFTER_S = 600.0

Answer = TypeVar("Answer")

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
        self._measured_with_real = False

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
        if approximate is not None and self._is_to_be_measured():
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

    def _is_to_be_measured(self) -> bool:
        if not self._measured_with_real and self._has_real_queries():
            return True
        return self._clock.monotonic_s() >= self._measured_s + MEASURE_EVERY_S

    def _has_real_queries(self) -> bool:
        return len(self._index.recent_queries) >= MEASURED_QUERIES

    async def _rebuild(self) -> None:
        index, table = self._index, self._index.table
        started_s = self._clock.monotonic_s()
        self._built = (table, len(table), started_s)
        index.watch_changes()
        rows = np.flatnonzero(table.alive)
        columns, queries = table.columns, self._queries(rows)
        approximate = await _in_thread(lambda: _build(columns, rows, queries))
        while index.table is table and approximate.recall >= MIN_RECALL and index.catch_up(approximate, CAUGHT_UP_ROWS):
            await asyncio.sleep(0)
        if index.table is not table:
            # A whole table came meanwhile; it is looked at next.
            self._wake.set()
            return
        index.adopt(approximate if approximate.recall >= MIN_RECALL else None)
        self._measured_s = self._clock.monotonic_s()
        self._metrics.timing("index_rebuild_seconds", self._measured_s - started_s)
        _log.info("%s: recall %.3f, %s", approximate.kind, approximate.recall, f"now searched: {index.status().kind}")

    async def _measure(self, approximate: ApproximateSearch) -> None:
        """Probe as many lists as the queries of today ask for; search exactly where that is not worth it."""
        index, table = self._index, self._index.table
        rows = np.flatnonzero(table.alive)
        queries = self._queries(rows)
        truth = await _in_thread(lambda: truth_of(table.columns, rows, queries))
        self._measured_s = self._clock.monotonic_s()
        nprobe: int | None = max(1, approximate.nprobe // 2)
        while nprobe is not None:
            hits = 0
            for query, right in zip(queries, truth, strict=True):
                hits += approximate.hits(query[None], right[None], nprobe)
                await asyncio.sleep(0)
            recall = hits / truth.size
            if recall >= MIN_RECALL:
                approximate.use(nprobe, recall)
                return
            nprobe = approximate.wider(nprobe)
        if index.approximate is approximate:
            _log.info("%s: recall %.3f, not good enough any more", approximate.kind, recall)
            index.adopt(None)

    def _queries(self, rows: Rows) -> Vectors:
        self._measured_with_real = self._has_real_queries()
        if self._measured_with_real:
            return self._index.recent_queries.newest(MEASURED_QUERIES)
        # Rows stand in for queries: what is like an item, with bias and popularity counted once.
        chosen = rows[np.linspace(0, len(rows) - 1, MEASURED_QUERIES).astype(np.int64)]
        queries = self._index.table.columns[chosen].copy()
        queries[:, self._index.table.dimension :] = 1.0
        return queries


async def _in_thread(work: Callable[[], Answer]) -> Answer:
    """Run in a thread that does not hold up the end of the process, as asyncio's own threads would."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Answer] = loop.create_future()

    def settle(finish: Callable[[], None]) -> None:
        if not done.cancelled():
            finish()

    def run() -> None:
        try:
            answer = work()
        except Exception as error:
            finish = partial(done.set_exception, error)
        else:
            finish = partial(done.set_result, answer)
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(settle, finish)

    threading.Thread(target=run, daemon=True, name="rebuilding").start()
    return await done


def _build(columns: Vectors, rows: Rows, queries: Vectors) -> ApproximateSearch:
    # Both from one copy: measured against a table that has been learned meanwhile, good lists would look bad.
    values = columns[rows]
    truth = rows[search_exactly(values, queries, RECALL_AT)[1]]
    approximate = build(values, rows)
    nprobe: int | None = 1
    while nprobe is not None and approximate.recall < MIN_RECALL:
        approximate.use(nprobe, approximate.hits(queries, truth, nprobe) / truth.size)
        nprobe = approximate.wider(nprobe)
    return approximate
