"""The routes of the faiss server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import falcon
import falcon.asgi

from faiss_server.item_index import ItemIndex
from faiss_server.item_table import table_of
from faiss_server.problems import Problem
from faiss_server.rebuilding import Rebuilding
from faiss_server.searching import BadQuery
from stores import index_wire as wire
from stores.ports import MAX_HITS, Candidates, Clock, Gap, Metrics, StaleEpoch

# So many queries are searched before others have their turn: more together are faster, but not in a large table.
MOST_AT_ONCE, LEAST_AT_ONCE = 64, 8
ROWS_AT_ONCE = 2_000_000

Message = TypeVar("Message")
Answer = TypeVar("Answer")
Request = falcon.asgi.Request
Response = falcon.asgi.Response


class IndexRoutes:
    """What clients do with the index. Every body and answer is MessagePack, or JSON when its media type says so."""

    def __init__(
        self,
        index: ItemIndex,
        rebuilding: Rebuilding,
        clock: Clock,
        metrics: Metrics,
        max_body_bytes: int,
        max_table_bytes: int,
    ) -> None:
        self._index = index
        self._rebuilding = rebuilding
        self._clock = clock
        self._metrics = metrics
        self._max_body_bytes = max_body_bytes
        self._max_table_bytes = max_table_bytes

    # --- reading ----------------------------------------------------------------------------------------------------

    async def on_post_search(self, request: Request, response: Response) -> None:
        """Answer several queries."""
        message = await self._message(wire.Search, request)
        started_s = self._clock.monotonic_s()
        size = max(LEAST_AT_ONCE, min(MOST_AT_ONCE, ROWS_AT_ONCE // max(1, len(self._index.table))))
        answers: list[Candidates] = self._index.search(message.queries[:size])
        for first in range(size, len(message.queries), size):
            await asyncio.sleep(0)
            answers += self._index.search(message.queries[first : first + size])
        self._metrics.timing("index_search_seconds", self._clock.monotonic_s() - started_s)
        _answer(request, response, wire.Found(answers))

    async def on_post_similar(self, request: Request, response: Response) -> None:
        """Return the nearest of several items."""
        message = await self._message(wire.Similar, request)
        if len(message.item_ids) > MOST_AT_ONCE:
            raise BadQuery(f"at most {MOST_AT_ONCE} items at once, not {len(message.item_ids)}")
        started_s = self._clock.monotonic_s()
        items: dict[str, list[tuple[str, float]]] = self._index.similar([], message.k)
        for item_id in message.item_ids:
            items |= self._index.similar([item_id], message.k)
            await asyncio.sleep(0)
        self._metrics.timing("index_similar_seconds", self._clock.monotonic_s() - started_s)
        _answer(request, response, wire.FoundSimilar(items))

    async def on_post_vectors(self, request: Request, response: Response) -> None:
        """Return the item vectors of several items, for those who compare items with one another."""
        message = await self._message(wire.AskVectors, request)
        if len(message.item_ids) > MAX_HITS:
            raise BadQuery(f"at most {MAX_HITS} items at once, not {len(message.item_ids)}")
        _answer(request, response, wire.FoundVectors(*self._index.vectors(message.item_ids)))

    async def on_get_status(self, request: Request, response: Response) -> None:
        """Return where the index stands."""
        _answer(request, response, self._index.status())

    # --- writing ----------------------------------------------------------------------------------------------------

    async def on_post_upsert(self, request: Request, response: Response) -> None:
        """Add or overwrite rows."""
        message = await self._message(wire.Upsert, request)
        await self._write_in_steps("index_upsert_seconds", self._index.upsert_steps(message.rows, message.stamp))
        _answer(request, response, self._index.status())

    async def on_post_popularity(self, request: Request, response: Response) -> None:
        """Overwrite the popularity columns."""
        message = await self._message(wire.SetPopularity, request, self._max_table_bytes)
        steps = self._index.popularity_steps(message.columns, message.stamp)
        await self._write_in_steps("index_popularity_seconds", steps)
        _answer(request, response, self._index.status())

    async def on_post_delete(self, request: Request, response: Response) -> None:
        """Make items unfindable."""
        message = await self._message(wire.Delete, request)
        _answer(request, response, self._write(lambda: self._index.delete(message.item_ids, message.stamp)))

    async def on_put_snapshot(self, request: Request, response: Response) -> None:
        """Replace the whole table. It is read and checked in a thread, while the old one goes on answering."""
        started_s = self._clock.monotonic_s()
        body = await _body(request, self._max_table_bytes)
        media_type = _media_type(request)

        def load() -> tuple[wire.Upsert, Any]:
            message = wire.decode(wire.Upsert, body, media_type)
            return message, table_of(message.rows)

        message, table = await asyncio.to_thread(load)
        status = self._write(lambda: self._index.install(table, message.stamp))
        self._metrics.timing("index_replace_seconds", self._clock.monotonic_s() - started_s)
        _answer(request, response, status)

    async def _write_in_steps(self, timing: str, steps: Iterator[None]) -> None:
        """Write a little at a time. The first step alone can be refused, as long as there is one trainer."""
        started_s = self._clock.monotonic_s()
        while self._attempt(lambda: next(steps, _DONE)) is not _DONE:
            await asyncio.sleep(0)
        self._written()
        self._metrics.timing(timing, self._clock.monotonic_s() - started_s)

    def _write(self, write: Callable[[], Answer]) -> Answer:
        answer = self._attempt(write)
        self._written()
        return answer

    def _written(self) -> None:
        _gauge(self._index, self._metrics)
        self._rebuilding.wake()

    def _attempt(self, write: Callable[[], Answer]) -> Answer:
        try:
            return write()
        except Gap:
            self._metrics.count("index_gaps")
            raise
        except StaleEpoch:
            self._metrics.count("index_stale_epochs")
            raise

    async def _message(self, kind: type[Message], request: Request, max_bytes: int | None = None) -> Message:
        return wire.decode(kind, await _body(request, max_bytes or self._max_body_bytes), _media_type(request))


class HealthRoutes:
    """What operators ask."""

    def __init__(self, index: ItemIndex, metrics: Metrics, exposition: Callable[[], str], version: str) -> None:
        self._index = index
        self._metrics = metrics
        self._exposition = exposition
        self._version = version

    async def on_get_healthz(self, _request: Request, response: Response) -> None:
        """200 as long as the process answers."""
        response.media = {"status": "ok"}

    async def on_get_readyz(self, _request: Request, response: Response) -> None:
        """200 when the index holds the newest state it knows of."""
        fence = self._index.fence
        if not fence.loaded:
            raise Problem(503, wire.NOT_LOADED, "no whole table has come since this process started")
        if fence.behind:
            raise Problem(503, "behind", "a write from further on was refused; the whole table has not come yet")
        response.media = {"status": "ready"}

    async def on_get_version(self, _request: Request, response: Response) -> None:
        """Name the program, its version, and this boot."""
        response.media = {"name": "faiss_server", "version": self._version, "boot_id": self._index.boot_id}

    async def on_get_metrics(self, _request: Request, response: Response) -> None:
        """Write the metrics as Prometheus text."""
        _gauge(self._index, self._metrics)
        response.content_type = "text/plain; version=0.0.4; charset=utf-8"
        response.text = self._exposition()


_DONE = object()


def _gauge(index: ItemIndex, metrics: Metrics) -> None:
    """Record where the index stands: after every write for StatsD, and whenever ``/metrics`` is asked for."""
    status = index.status()
    metrics.gauge("index_items", status.items)
    metrics.gauge("index_rows", status.rows)
    metrics.gauge("index_seq", status.seq)


def _media_type(request: Request) -> str:
    media_type = (request.content_type or wire.MSGPACK).partition(";")[0].strip().lower()
    if media_type not in (wire.MSGPACK, wire.JSON):
        raise Problem(415, "unsupported-media-type", f"write {wire.MSGPACK} or {wire.JSON}")
    return media_type


def _answer(request: Request, response: Response, message: Any) -> None:
    # Programs name both types; a person who asks without saying what he accepts is answered JSON.
    wanted = (request.content_type or request.accept).lower()
    response.content_type = wire.MSGPACK if wanted.startswith(wire.MSGPACK) else wire.JSON
    response.data = wire.encode(message, response.content_type)


async def _body(request: Request, max_bytes: int) -> bytearray:
    """Read the body into one piece of memory; refuse it, unread where its length is told, when it is too large."""
    length = request.content_length
    if length is not None and length > max_bytes:
        raise _too_large(max_bytes)
    body, filled = bytearray(length or 0), 0
    async for chunk in request.stream:
        if filled + len(chunk) > max_bytes:
            raise _too_large(max_bytes)
        body[filled : filled + len(chunk)] = chunk
        filled += len(chunk)
    return body


def _too_large(max_bytes: int) -> Problem:
    return Problem(413, "body-too-large", f"the body may have at most {max_bytes} bytes")
