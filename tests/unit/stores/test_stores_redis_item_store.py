"""What the Redis adapter does where no Redis is: no test here needs one."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from models.items import Item
from stores.adapters import check_items_url, open_item_reader, open_item_writer
from stores.ports import ItemReader, ItemWriter, ServingState, StoreUnavailable, version_of

TIMEOUT_S = 0.2
# What scheduling may add on a busy machine; the driver's own patience is many times that.
SLACK_S = 1.0

READS: dict[str, Callable[[ItemReader], Any]] = {
    "get_many": lambda reader: reader.get_many(["i1"]),
    "popular": lambda reader: reader.popular("popular", 10),
    "neighbours": lambda reader: reader.neighbours(["i1"]),
    "recent_users": lambda reader: reader.recent_users(["i1"]),
    "search_text": lambda reader: reader.search_text("whale", 10),
    "newest": lambda reader: reader.newest(10),
    "categories": lambda reader: reader.categories(),
    "scan": lambda reader: reader.scan(0, 10),
    "rules": lambda reader: reader.rules(),
    "put_rule": lambda reader: reader.put_rule("name", b"rule"),
    "serving_state": lambda reader: reader.serving_state(),
    "put_many": lambda reader: reader.put_many([Item(f"i{n}") for n in range(1000)]),
}
WRITES: dict[str, Callable[[ItemWriter], None]] = {
    "put_many": lambda writer: writer.put_many([Item(f"i{n}") for n in range(1000)]),
    "delete": lambda writer: writer.delete(["i1"]),
    "put_popular": lambda writer: writer.put_popular({"popular": []}, 1),
    "put_recent_users": lambda writer: writer.put_recent_users({"i1": ["u1"]}, 1),
    "put_neighbours": lambda writer: writer.put_neighbours({f"i{n}": [] for n in range(1000)}, 1),
    "put_serving_state": lambda writer: writer.put_serving_state(
        ServingState(version_of(1, 1), 4, [[1.0]], 0.8, 10, {}, {})
    ),
}


@pytest.fixture(params=["silent", "refusing", "unknown", "no redis"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a server that takes connections and says nothing, or is not there, or speaks another language."""
    if request.param == "unknown":
        yield "redis://no-such-host.invalid:6379/0"
        return
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        if request.param == "refusing":
            server.close()
        if request.param == "no redis":
            server.close()
            yield from _saying(b"SSH-2.0-OpenSSH_9.2\r\n")
            return
        yield f"redis://127.0.0.1:{port}/0"


def _saying(words: bytes) -> Iterator[str]:
    server = socket.create_server(("127.0.0.1", 0))
    held: list[socket.socket] = []

    def talk() -> None:
        while True:
            try:
                held.append(server.accept()[0])
                held[-1].sendall(words)
            except OSError:
                return

    thread = threading.Thread(target=talk)
    thread.start()
    yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join()
    for connection in held:
        connection.close()


@pytest.mark.parametrize("call", READS)
def test_serving_learns_within_its_deadline_that_nobody_answers(url: str, call: str):
    async def ask() -> None:
        reader = open_item_reader(url, timeout_s=TIMEOUT_S)
        started_s = time.monotonic()
        with pytest.raises(StoreUnavailable):
            await READS[call](reader)
        assert time.monotonic() - started_s < TIMEOUT_S + SLACK_S
        await reader.close()

    asyncio.run(ask())


@pytest.mark.parametrize("url", ["silent", "refusing"], indirect=True)
def test_many_requests_at_once_wait_no_longer_than_one(url: str):
    async def ask() -> list[Any]:
        reader = open_item_reader(url, timeout_s=TIMEOUT_S)
        started_s = time.monotonic()
        answers = await asyncio.gather(*(reader.get_many(["i1"]) for _ in range(200)), return_exceptions=True)
        assert time.monotonic() - started_s < TIMEOUT_S + SLACK_S
        await reader.close()
        return answers

    assert {type(answer) for answer in asyncio.run(ask())} == {StoreUnavailable}


@pytest.mark.parametrize("call", WRITES)
def test_the_trainer_learns_within_its_deadline_that_nobody_answers(url: str, call: str):
    with closing(open_item_writer(url, timeout_s=TIMEOUT_S)) as writer:
        started_s = time.monotonic()
        with pytest.raises(StoreUnavailable):
            WRITES[call](writer)
        assert time.monotonic() - started_s < TIMEOUT_S + SLACK_S


def test_a_url_that_cannot_be_read_is_refused_at_once():
    for bad in ("redis://host:port/0", "redis://host/0?prefix", "redis://host/0?socket_timeout=60"):
        with pytest.raises(ValueError):
            open_item_writer(bad)
        with pytest.raises(ValueError):
            open_item_reader(bad)
    for good in ("redis://host:6379/3?prefix=shop", "rediss://user:secret@host/0", "unix:///run/redis.sock?db=2"):
        check_items_url(good)
        open_item_writer(good).close()
