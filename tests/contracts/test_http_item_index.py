"""The faiss server over HTTP: the application on a real socket, in a thread; tests/unit/faiss_server starts processes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest
import uvicorn

from faiss_server.app import create_app
from faiss_server.item_index import ItemIndex
from faiss_server.settings import FaissServerSettings
from stores.clock import SystemClock
from stores.http_item_index import HttpItemIndexReader, HttpItemIndexWriter
from stores.recording_metrics import RecordingMetrics
from tests.contracts.item_index_contract import ItemIndexContract


@pytest.fixture
def url() -> Iterator[str]:
    metrics = RecordingMetrics()
    app = create_app(
        ItemIndex("boot"),
        FaissServerSettings(),
        clock=SystemClock(),
        metrics=metrics,
        exposition=metrics.prometheus_text,
        version="1",
    )
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, lifespan="on", log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join(timeout=10.0)
        assert not thread.is_alive()


class TestHttpItemIndex(ItemIndexContract):
    @pytest.fixture
    def writer(self, url: str) -> Iterator[HttpItemIndexWriter]:
        writer = HttpItemIndexWriter(url, timeout_s=10.0)
        yield writer
        writer.close()

    @pytest.fixture
    def open_reader(self, url: str) -> Callable[[], HttpItemIndexReader]:
        return lambda: HttpItemIndexReader(url, timeout_s=10.0)
