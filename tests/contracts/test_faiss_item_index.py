"""The index of the faiss server keeps the contract, in its own process's memory and over HTTP from a real server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
import uvicorn

from faiss_server.app import create_app
from faiss_server.approximate_search import build
from faiss_server.item_index import ItemIndex
from faiss_server.item_table import ItemTable
from faiss_server.settings import FaissServerSettings
from stores.clock import SystemClock
from stores.http_item_index import HttpItemIndexReader, HttpItemIndexWriter
from stores.ports import Candidates, IndexStatus, ItemIndexReader, ItemIndexWriter, Query, Stamp, Vectors
from stores.recording_metrics import RecordingMetrics
from tests.contracts.item_index_contract import ItemIndexContract

START_S = 30.0


class _AsReader:
    """The reading side of an index in this process."""

    def __init__(self, index: ItemIndex) -> None:
        self._index = index

    async def search(self, queries: Sequence[Query]) -> list[Candidates]:
        return self._index.search(queries)

    async def similar(self, item_ids: Sequence[str], k: int) -> dict[str, list[tuple[str, float]]]:
        return self._index.similar(item_ids, k)

    async def vectors(self, item_ids: Sequence[str]) -> dict[str, Vectors]:
        return dict(zip(*self._index.vectors(item_ids), strict=True))

    async def status(self) -> IndexStatus:
        return self._index.status()

    async def close(self) -> None: ...


class TestInThisProcess(ItemIndexContract):
    @pytest.fixture
    def writer(self) -> ItemIndexWriter:
        return ItemIndex()

    @pytest.fixture
    def open_reader(self, writer: ItemIndex) -> Callable[[], ItemIndexReader]:
        return lambda: _AsReader(writer)


class _AlwaysInLists(ItemIndex):
    """An index that builds inverted lists for the smallest table, and looks into all of them."""

    def install(self, table: ItemTable, stamp: Stamp) -> IndexStatus:
        super().install(table, stamp)
        rows = np.flatnonzero(table.alive)
        if len(rows):
            lists = build(table.columns[rows], rows)
            lists.use(len(rows), 1.0)
            self.adopt(lists)
        return self.status()

    def set_popularity(self, columns: Vectors, stamp: Stamp) -> IndexStatus:
        status = super().set_popularity(columns, stamp)
        while self.approximate is not None and self.approximate.refresh(self.table.columns, 3):
            pass
        return status


class TestInLists(TestInThisProcess):
    @pytest.fixture
    def writer(self) -> ItemIndexWriter:
        return _AlwaysInLists()


class TestOverHttp(ItemIndexContract):
    @pytest.fixture
    def url(self) -> Iterator[str]:
        metrics = RecordingMetrics()
        app = create_app(
            ItemIndex(),
            FaissServerSettings(),
            clock=SystemClock(),
            metrics=metrics,
            exposition=metrics.prometheus_text,
            version="0",
        )
        # In a thread of this process and not a process of its own, which would take a second to start for every test;
        # tests/unit/faiss_server starts the real one.
        server = uvicorn.Server(uvicorn.Config(app, port=0, lifespan="on", log_level="warning"))
        thread = threading.Thread(target=server.run)
        thread.start()
        deadline_s = time.monotonic() + START_S
        while not server.started:
            assert thread.is_alive() and time.monotonic() < deadline_s
            time.sleep(0.005)
        host, port = server.servers[0].sockets[0].getsockname()
        yield f"http://{host}:{port}"
        server.should_exit = True
        thread.join(timeout=START_S)
        assert not thread.is_alive()

    @pytest.fixture
    def writer(self, url: str) -> Iterator[ItemIndexWriter]:
        writer = HttpItemIndexWriter(url)
        yield writer
        writer.close()

    @pytest.fixture
    def open_reader(self, url: str) -> Callable[[], ItemIndexReader]:
        return lambda: HttpItemIndexReader(url)
