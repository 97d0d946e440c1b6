"""The clients of the index in bad weather, against sockets that misbehave."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from stores import index_wire as wire
from stores.http_item_index import HttpItemIndexReader, HttpItemIndexWriter
from stores.ports import Gap, IndexStatus, Query, StaleEpoch, Stamp, StoreUnavailable

ROOT = Path(__file__).parents[3]
STATUS = IndexStatus(boot_id="b", epoch=1, seq=2, ready=True, items=3, rows=4, dimension=5, kind="exact")
TIMEOUT_S = 0.3


class Weather:
    """A server whose connections are each handled by the next of these functions, the last one for ever."""

    def __init__(self) -> None:
        self.days: list[Callable[[socket.socket], None]] = []
        self.requests: list[bytes] = []
        self.connections = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._open: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self._open.append(connection)
            day = self.days[min(self.connections, len(self.days) - 1)]
            self.connections += 1
            threading.Thread(target=self._handle, args=(day, connection), daemon=True).start()

    def _handle(self, day: Callable[[socket.socket], None], connection: socket.socket) -> None:
        with suppress(OSError):
            day(connection)

    def read_request(self, connection: socket.socket) -> bool:
        text = b""
        while b"\r\n\r\n" not in text:
            more = connection.recv(65536)
            if not more:
                return False
            text += more
        head, _, body = text.partition(b"\r\n\r\n")
        length = next((int(x[15:]) for x in head.lower().split(b"\r\n") if x.startswith(b"content-length:")), 0)
        while len(body) < length:
            body += connection.recv(65536)
        self.requests.append(head.split(b"\r\n")[0])
        return True

    def answers(self, *answers: tuple[int, bytes]) -> Callable[[socket.socket], None]:
        """Answer so many requests, then close the connection without a word."""

        def day(connection: socket.socket) -> None:
            for status, body in answers:
                if not self.read_request(connection):
                    return
                head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                connection.sendall(head + body)
            connection.close()

        return day

    def silent(self, connection: socket.socket) -> None:
        self.read_request(connection)

    def close(self) -> None:
        # A thread that waits in accept would keep a socket that is only closed.
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for connection in self._open:
            connection.close()


@pytest.fixture
def weather() -> Iterator[Weather]:
    weather = Weather()
    yield weather
    weather.close()


@pytest.fixture(params=["writer", "reader"])
def status(request, weather) -> Iterator[Callable[[], IndexStatus]]:
    """Asks for the status on one client, again and again."""
    if request.param == "writer":
        writer = HttpItemIndexWriter(weather.url, TIMEOUT_S)
        yield writer.status
        writer.close()
    else:
        with asyncio.Runner() as runner:
            reader = HttpItemIndexReader(weather.url, TIMEOUT_S)
            yield lambda: runner.run(reader.status())
            runner.run(reader.close())


OK = (200, wire.encode(STATUS))


def test_one_connection_serves_many_calls(status, weather):
    weather.days = [weather.answers(*[OK] * 5)]
    assert [status() for _ in range(5)] == [STATUS] * 5
    assert weather.connections == 1


def test_a_connection_that_was_closed_while_idle_is_opened_again(status, weather):
    weather.days = [weather.answers(OK)]
    for _ in range(3):
        assert status() == STATUS
        time.sleep(0.05)
    assert weather.connections == 3


def test_a_silent_server_is_left_within_the_deadline_and_not_asked_twice(status, weather):
    weather.days = [weather.silent]
    started_s = time.monotonic()
    with pytest.raises(StoreUnavailable):
        status()
    assert TIMEOUT_S * 0.9 <= time.monotonic() - started_s < TIMEOUT_S + 1.0
    assert len(weather.requests) == 1


def test_a_server_that_comes_back_is_used_again(status, weather):
    weather.days = [weather.silent, weather.answers(OK)]
    with pytest.raises(StoreUnavailable):
        status()
    assert status() == STATUS


def test_nobody_listening_is_unavailable_at_once(status, weather):
    weather.close()
    started_s = time.monotonic()
    with pytest.raises(StoreUnavailable):
        status()
    assert time.monotonic() - started_s < 1.0


@pytest.mark.parametrize("body", [b"", b"garbage", wire.encode(wire.Found([]))])
def test_another_program_at_this_address_is_unavailable(status, weather, body):
    weather.days = [weather.answers((200, body)), weather.answers((404, body)), weather.answers((502, body))]
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            status()


@pytest.mark.parametrize(
    ("code", "kind", "raised"),
    [
        (409, "stale-epoch", StaleEpoch),
        (409, "gap", Gap),
        (409, "something-new", StoreUnavailable),
        (400, "bad-request", ValueError),
        (413, "body-too-large", ValueError),
        (404, "not-found", StoreUnavailable),
        (500, "internal", StoreUnavailable),
        (503, "not-loaded", StoreUnavailable),
    ],
)
def test_every_problem_has_its_meaning(status, weather, code, kind, raised):
    text = json.dumps({"type": f"/problems/{kind}", "title": "", "status": code, "detail": "the reason"}).encode()
    weather.days = [weather.answers((code, text))]
    with pytest.raises(raised, match="the reason"):
        status()


def test_a_write_that_may_have_been_done_is_sent_again_only_on_a_connection_that_lay_idle(weather):
    weather.days = [weather.answers(OK), weather.answers(OK)]
    writer = HttpItemIndexWriter(weather.url, TIMEOUT_S)
    assert writer.delete(["a"], Stamp(1, 1, 2)) == STATUS
    time.sleep(0.05)
    assert writer.delete(["b"], Stamp(1, 2, 3)) == STATUS
    writer.close()
    # On a fresh connection, nothing was idle: the caller decides.
    weather.days = [weather.answers()]
    weather.connections = 0
    with pytest.raises(StoreUnavailable):
        writer.delete(["c"], Stamp(1, 3, 4))
    assert weather.connections == 1


def test_no_queries_need_no_call():
    writer = HttpItemIndexWriter("http://127.0.0.1:9", TIMEOUT_S)
    assert writer.search([]) == []
    writer.close()


def test_concurrent_calls_share_one_client(weather):
    weather.days = [weather.answers(*[(200, wire.encode(wire.Found([])))] * 50)]

    async def scenario() -> None:
        reader = HttpItemIndexReader(weather.url, 5.0)
        query = Query(np.zeros(3, np.float32), 1)
        assert await asyncio.gather(*(reader.search([query]) for _ in range(50))) == [[]] * 50
        await reader.close()
        await reader.close()

    asyncio.run(scenario())
    assert weather.connections <= 8


@pytest.mark.parametrize("url", ["", "localhost:8001", "https://x", "http://", "http://x/path", "http://x:port"])
@pytest.mark.parametrize("client", [HttpItemIndexReader, HttpItemIndexWriter])
def test_an_address_that_is_none_is_refused_at_once(client, url):
    with pytest.raises(ValueError):
        client(url)


def test_the_clients_need_neither_faiss_nor_torch():
    check = "import sys, stores.http_item_index; assert not {'faiss', 'torch', 'falcon'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True, cwd=ROOT, timeout=60)
