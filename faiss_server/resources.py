"""The routes of the faiss server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, TypeVar

import falcon
import falcon.asgi

from faiss_server.item_index import ItemIndex
from faiss_server.item_table import table_of
from faiss_server.problems import Problem
from stores import index_wire as wire
from stores.ports import Gap, IndexStatus, Metrics, StaleEpoch

Message = TypeVar("Message")


def _media_type(request: falcon.asgi.Request) -> str:
    """The form of body and answer: JSON for people who ask for it, MessagePack otherwise."""
    content_type = (request.content_type or wire.MSGPACK).partition(";")[0].strip()
    if content_type not in (wire.MSGPACK, wire.JSON):
        raise Problem(415, "unsupported-media-type", f"send {wire.MSGPACK} or {wire.JSON}, not {content_type}")
    return content_type


async def read_body(request: falcon.asgi.Request, kind: type[Message], limit_bytes: int) -> Message:
    """Read a body of at most ``limit_bytes``. Raises ``Problem``, ``ValueError``."""
    media_type = _media_type(request)
    if (request.content_length or 0) > limit_bytes:
        raise Problem(413, "too-large", f"the body may have {limit_bytes} bytes, not {request.content_length}")
    body = bytearray()
    async for chunk in request.stream:
        body += chunk
        if len(body) > limit_bytes:  # sent in chunks, without a length
            raise Problem(413, "too-large", f"the body may have {limit_bytes} bytes")
    return wire.decode(kind, bytes(body), media_type)


def answer(request: falcon.asgi.Request, response: falcon.asgi.Response, message: Any) -> None:
    """Write a message in the form that the request came in."""
    media_type = wire.JSON if request.method == "GET" and wire.MSGPACK not in request.accept else _media_type(request)
    response.data = wire.encode(message, media_type)
    response.content_type = media_type


class IndexResource:
    """Writing and searching the one index; every write answers with where the index then stands."""

    def __init__(self, index: ItemIndex, metrics: Metrics, *, max_body_bytes: int, max_table_bytes: int) -> None:
        self._index = index
        self._metrics = metrics
        self._max_body_bytes = max_body_bytes
        self._max_table_bytes = max_table_bytes

    async def on_post_search(self, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        """Answer several queries."""
        body = await read_body(request, wire.Search, self._max_body_bytes)
        self._refuse_unloaded()
        started_s = time.perf_counter()
        found = wire.Found(self._index.search(body.queries))
        self._metrics.timing("index_search_seconds", time.perf_counter() - started_s)
        answer(request, response, found)

    async def on_post_similar(self, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        """Find similar items."""
        body = await read_body(request, wire.Similar, self._max_body_bytes)
        self._refuse_unloaded()
        started_s = time.perf_counter()
        found = wire.FoundSimilar(self._index.similar(body.item_ids, body.k))
        self._metrics.timing("index_similar_seconds", time.perf_counter() - started_s)
        answer(request, response, found)

    async def on_post_upsert(self, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        """Add or overwrite rows."""
        body = await read_body(request, wire.Upsert, self._max_body_bytes)
        self._write(request, response, "index_upsert_seconds", lambda: self._index.upsert(body.rows, body.stamp))

    async def on_post_popularity(self, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        """Overwrite the popularity columns."""
        body = await read_body(request, wire.SetPopularity, self._max_table_bytes)
        self._write(
            request,
            response,
            "index_popularity_seconds",
            lambda: self._index.set_popularity(body.columns, body.stamp),
        )

    async def on_post_delete(self, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        """Make items unfindable."""
        body = await read_body(request, wire.Delete, self._max_body_bytes)
        self._write(request, response, "index_upsert_seconds", lambda: self._index.delete(body.item_ids, body.stamp))

    async def on_put_snapshot(self, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        """Load the whole table; searches go on in the old one meanwhile."""
        body = await read_body(request, wire.Upsert, self._max_table_bytes)
        started_s = time.perf_counter()
        table = await asyncio.to_thread(table_of, body.rows)
        self._write(request, response, None, lambda: self._index.replace_by(table, body.stamp))
        self._metrics.timing("index_replace_seconds", time.perf_counter() - started_s)

    async def on_get_status(self, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        """Tell where the index stands."""
        answer(request, response, self._index.status())

    def _write(
        self,
        request: falcon.asgi.Request,
        response: falcon.asgi.Response,
        timing: str | None,
        write: Callable[[], IndexStatus | None],
    ) -> None:
        started_s = time.perf_counter()
        try:
            write()
        except Gap:
            self._metrics.count("index_gaps")
            raise
        except StaleEpoch:
            self._metrics.count("index_stale_epochs")
            raise
        if timing is not None:
            self._metrics.timing(timing, time.perf_counter() - started_s)
        answer(request, response, self._index.status())

    def _refuse_unloaded(self) -> None:
        if not self._index.status().ready:
            raise Problem(503, wire.NOT_LOADED, "the index holds no table yet; the trainer sends it")


class HealthResource:
    """How the faiss server is doing."""

    def __init__(self, index: ItemIndex, metrics: Metrics, exposition: Callable[[], str], version: str) -> None:
        self._index = index
        self._metrics = metrics
        self._exposition = exposition
        self._version = version

    async def on_get_healthz(self, _request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        """The process lives."""
        response.media = {"status": "alive"}

    async def on_get_readyz(self, _request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        """The trainer has sent the whole table since this process began, so the index holds the newest state."""
        ready = self._index.status().ready
        response.status = 200 if ready else 503
        response.media = {"status": "ready" if ready else "starting"}

    async def on_get_version(self, _request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        """The version of this program."""
        response.media = {"version": self._version}

    async def on_get_metrics(self, _request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        """Prometheus text."""
        status = self._index.status()
        self._metrics.gauge("index_items", status.items)
        self._metrics.gauge("index_rows", status.rows)
        self._metrics.gauge("index_seq", status.seq)
        response.content_type = "text/plain; version=0.0.4; charset=utf-8"
        response.text = self._exposition()
