"""A client who does not read is given up, and costs nothing from then on."""

from __future__ import annotations

import asyncio
import logging

import pytest
from recommender_fakes import World, in_loop, serving

from recommender_server import slow_readers


async def _never_read(app, method, path, body=b""):
    """Ask, and take no part of the answer but its head."""
    taken = []

    async def receive():
        if taken:
            await asyncio.Event().wait()
        taken.append(True)
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(event):
        if event["type"] == "http.response.body":
            await asyncio.Event().wait()

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.1"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"content-type", b"application/x-ndjson"), (b"content-length", str(len(body)).encode())],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
        "scheme": "http",
    }
    await app(scope, receive, send)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/export/items", b""),
        ("POST", "/v1/items", b'{"item_id": "a"}\n'),
        ("POST", "/v1/recommendations:batch", b'{"user_id": "u1"}\n'),
        ("GET", "/v1/metrics/stream", b""),
    ],
)
def test_who_does_not_read_is_given_up(monkeypatch, caplog, method, path, body):
    caplog.set_level(logging.CRITICAL)
    monkeypatch.setattr(slow_readers, "UNREAD_S", 0.05)
    monkeypatch.setattr("recommender_server.ndjson.MOST_STREAMS", 1)
    monkeypatch.setattr("recommender_server.live_report.MOST_CLIENTS", 1)

    @in_loop
    async def ask():
        async with serving(World()) as client:
            for _ in range(2):  # the one place is free again
                asking = asyncio.create_task(_never_read(client.app, method, path, body))
                await asyncio.wait([asking], timeout=5)
                assert asking.done() and asking.cancelled()
                del asking
                await asyncio.sleep(0.01)

    ask()


@in_loop
async def test_who_reads_slowly_but_reads_gets_everything(monkeypatch):
    monkeypatch.setattr(slow_readers, "UNREAD_S", 0.2)

    async def parts():
        for number in range(5):
            yield number

    taken = []
    async for part in slow_readers.unless_unread(parts()):
        await asyncio.sleep(0.08)
        taken.append(part)
    assert taken == list(range(5))
