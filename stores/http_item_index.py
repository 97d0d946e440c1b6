"""The item index of the faiss server, over HTTP: binary bodies on connections that are kept open.

The trainer's side is synchronous on one connection, serving's side asynchronous on a pool.
"""

from __future__ import annotations

import asyncio
import http.client
import socket
import time
from collections.abc import Sequence
from typing import Any, NoReturn, TypeVar
from urllib.parse import urlsplit

import aiohttp

from stores import index_wire as wire
from stores.ports import (
    Candidates,
    Gap,
    IndexStatus,
    ItemRows,
    Query,
    StaleEpoch,
    Stamp,
    StoreUnavailable,
    Vectors,
)

WRITER_TIMEOUT_S = 10.0
READER_TIMEOUT_S = 0.5
# Connections that one serving process keeps; it coalesces its searches, so few are in use at once.
MAX_CONNECTIONS = 8
# A whole table is allowed this much longer for every byte: 20 MB a second.
REPLACE_S_PER_BYTE = 1 / 20e6

Answer = TypeVar("Answer")


class HttpItemIndexWriter:
    """``ItemIndexWriter`` on one keep-alive connection; for one thread.

    Parameters
    ----------
    url
        ``http://host:port``; ``ValueError`` for anything else. Nothing is opened before the first call.
    timeout_s
        The deadline of a call, connecting and a possible second try included; ``replace`` gets longer by its size.
    """

    def __init__(self, url: str, timeout_s: float = WRITER_TIMEOUT_S) -> None:
        self._host, self._port = _address(url)
        self._timeout_s = timeout_s
        self._connection: http.client.HTTPConnection | None = None

    @classmethod
    def from_url(cls, url: str, timeout_s: float) -> HttpItemIndexWriter:
        """As the constructor."""
        return cls(url, timeout_s)

    def status(self) -> IndexStatus:
        """Return where the index stands."""
        return self._call("GET", "/v1/status", None, IndexStatus)

    def upsert(self, rows: ItemRows, stamp: Stamp) -> IndexStatus:
        """Add or overwrite rows. Safe to repeat. Raises ``StaleEpoch``, ``Gap``; ``ValueError`` for unusable rows."""
        return self._call("POST", "/v1/upsert", wire.Upsert(rows, stamp), IndexStatus)

    def set_popularity(self, columns: Vectors, stamp: Stamp) -> IndexStatus:
        """Overwrite the popularity columns. Safe to repeat. Raises ``StaleEpoch``, ``Gap`` and ``ValueError``."""
        return self._call("POST", "/v1/popularity", wire.SetPopularity(columns, stamp), IndexStatus)

    def delete(self, item_ids: Sequence[str], stamp: Stamp) -> IndexStatus:
        """Make items unfindable. Safe to repeat. Raises ``StaleEpoch`` and ``Gap``."""
        return self._call("POST", "/v1/delete", wire.Delete(list(item_ids), stamp), IndexStatus)

    def replace(self, rows: ItemRows, stamp: Stamp) -> IndexStatus:
        """Load the whole table. Safe to repeat. Raises ``StaleEpoch``; ``ValueError`` for unusable rows."""
        return self._call("PUT", "/v1/snapshot", wire.Upsert(rows, stamp), IndexStatus)

    def search(self, queries: Sequence[Query]) -> list[Candidates]:
        """Answer several queries in one call. Raises ``ValueError`` for a query that cannot be answered."""
        return self._call("POST", "/v1/search", wire.Search(queries), wire.Found).answers if queries else []

    def close(self) -> None:
        """Close the connection; the next call opens one. Safe to repeat."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _call(self, method: str, path: str, message: Any, answer: type[Answer]) -> Answer:
        body = None if message is None else wire.encode(message)
        allowed_s = self._timeout_s + (len(body) * REPLACE_S_PER_BYTE if body and method == "PUT" else 0.0)
        deadline_s = time.monotonic() + allowed_s
        reused = self._connection is not None
        try:
            status, text = self._exchange(method, path, body, deadline_s)
        except (http.client.HTTPException, OSError) as error:
            self.close()
            # The server may have closed an idle connection, or have been restarted. Every call is safe to repeat (a
            # write that took effect is answered again as done), but only a connection that lay idle says nothing
            # about the server; a time-out does.
            if not reused or isinstance(error, TimeoutError):
                raise StoreUnavailable(f"the index: {error!r}") from error
            try:
                status, text = self._exchange(method, path, body, deadline_s)
            except (http.client.HTTPException, OSError) as again:
                self.close()
                raise StoreUnavailable(f"the index: {again!r}") from again
        return _read(status, text, answer)

    def _exchange(self, method: str, path: str, body: bytes | None, deadline_s: float) -> tuple[int, bytes]:
        remaining_s = deadline_s - time.monotonic()
        if remaining_s <= 0:
            raise TimeoutError("no time left")
        if self._connection is None:
            self._connection = http.client.HTTPConnection(self._host, self._port, timeout=remaining_s)
            self._connection.connect()
        connection = self._connection
        assert isinstance(connection.sock, socket.socket)
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sock.settimeout(remaining_s)
        connection.request(method, path, body, {"Content-Type": wire.MSGPACK, "Accept": wire.MSGPACK})
        response = connection.getresponse()
        status, text = response.status, response.read()
        if response.will_close:
            self.close()
        return status, text


class HttpItemIndexReader:
    """``ItemIndexReader`` on a pool of keep-alive connections; for one event loop.

    Parameters
    ----------
    url
        ``http://host:port``; ``ValueError`` for anything else. The pool is made by the first call.
    timeout_s
        The deadline of a call, connecting included.
    """

    def __init__(self, url: str, timeout_s: float = READER_TIMEOUT_S) -> None:
        host, port = _address(url)
        self._base = f"http://{host if ':' not in host else f'[{host}]'}:{port}"
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None

    @classmethod
    def from_url(cls, url: str, timeout_s: float) -> HttpItemIndexReader:
        """As the constructor."""
        return cls(url, timeout_s)

    async def search(self, queries: Sequence[Query]) -> list[Candidates]:
        """Answer several queries in one call. Raises ``ValueError`` for a query that cannot be answered."""
        return (await self._call("POST", "/v1/search", wire.Search(queries), wire.Found)).answers if queries else []

    async def similar(self, item_ids: Sequence[str], k: int) -> dict[str, list[tuple[str, float]]]:
        """Return, per known item, the k nearest by cosine, best first."""
        return (await self._call("POST", "/v1/similar", wire.Similar(item_ids, k), wire.FoundSimilar)).items

    async def vectors(self, item_ids: Sequence[str]) -> dict[str, Vectors]:
        """Return the item vector of each known item, at length 1."""
        found = await self._call("POST", "/v1/vectors", wire.AskVectors(item_ids), wire.FoundVectors)
        return dict(zip(found.item_ids, found.vectors, strict=True))

    async def status(self) -> IndexStatus:
        """Return where the index stands."""
        return await self._call("GET", "/v1/status", None, IndexStatus)

    async def close(self) -> None:
        """Close the pool; the next call opens one. Safe to repeat."""
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    async def _call(self, method: str, path: str, message: Any, answer: type[Answer]) -> Answer:
        body = None if message is None else wire.encode(message)
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS),
                timeout=aiohttp.ClientTimeout(total=None),
                headers={"Content-Type": wire.MSGPACK, "Accept": wire.MSGPACK},
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        try:
            async with asyncio.timeout(self._timeout_s):
                try:
                    status, text = await self._exchange(self._session, method, path, body)
                except (aiohttp.ServerDisconnectedError, ConnectionResetError):
                    # The connection had been closed while it lay idle. Reading is safe to repeat.
                    status, text = await self._exchange(self._session, method, path, body)
        except (aiohttp.ClientError, OSError) as error:
            raise StoreUnavailable(f"the index: {error!r}") from error
        return _read(status, text, answer)

    async def _exchange(
        self, session: aiohttp.ClientSession, method: str, path: str, body: bytes | None
    ) -> tuple[int, bytes]:
        async with session.request(method, self._base + path, data=body) as response:
            return response.status, await response.read()


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname or parts.path not in ("", "/"):
        raise ValueError(f"{url!r} is no address of an index; write http://host:port")
    return parts.hostname, parts.port or 80


def _read(status: int, text: bytes, answer: type[Answer]) -> Answer:
    if status == 200:
        try:
            return wire.decode(answer, text)
        except ValueError as error:
            raise StoreUnavailable(f"the index answered something else: {error}") from error
    _raise(status, text)


def _raise(status: int, text: bytes) -> NoReturn:
    try:
        problem = wire.decode(wire.Problem, text, wire.JSON)
    except ValueError:
        raise StoreUnavailable(f"the index answered {status}") from None
    kind = problem.type.removeprefix(wire.PROBLEMS)
    if status == 409 and kind == wire.STALE_EPOCH:
        raise StaleEpoch(problem.detail)
    if status == 409 and kind == wire.GAP:
        raise Gap(problem.detail)
    if status in (400, 413):
        raise ValueError(problem.detail)
    raise StoreUnavailable(f"the index answered {status}: {problem.detail}")
