"""Streams of JSON lines, taken in and given out while they come: nothing is held but the batch of the moment.

A client that sends a long stream must read the answer meanwhile, as curl does: nobody keeps unread results, and one who
reads nothing is given up (``slow_readers``).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Literal

import falcon.asgi
import msgspec

from recommender_server.answers import EventResult
from recommender_server.problems import Problem
from recommender_server.requests import Bounds
from recommender_server.slow_readers import Open, unless_unread
from stores.openapi import NDJSON

# A client who sends nothing for so long is given up.
IDLE_S = 30.0
# Streams that one process serves at once: each may last for hours, and none counts among the requests at once.
MOST_STREAMS = 16

TakeBatch = Callable[[Sequence[Any]], Awaitable[tuple[list[EventResult], bool]]]

_encode = msgspec.json.Encoder().encode


class LineResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one line, from 1."""

    line: int
    status: Literal["accepted", "rejected"]
    receipt: str | None = None
    reason: str | None = None
    detail: str | None = None


class Summary(msgspec.Struct, frozen=True, omit_defaults=True):
    """The last line. ``complete``: every line was read; otherwise ``reason`` says why the stream was left."""

    lines: int
    accepted: int
    rejected: int
    complete: bool
    reason: str | None = None


class Streams:
    """Counts the streams of this process, and refuses one too many."""

    def __init__(self) -> None:
        self._open = Open()

    def send(self, response: falcon.asgi.Response, lines: AsyncIterator[bytes], media: str = NDJSON) -> None:
        """Answer with a stream. Raises ``Problem`` when there are too many."""
        if len(self._open) >= MOST_STREAMS:
            raise Problem(503, "too-many-requests-at-once", f"{MOST_STREAMS} streams are open already", retry_after_s=5)
        response.content_type = media
        response.stream = self._counted(lines)

    def take(
        self, request: falcon.asgi.Request, response: falcon.asgi.Response, take: TakeBatch, bounds: Bounds
    ) -> None:
        """Take in the lines of a body, and answer with what became of each. Raises ``Problem``."""
        lines = take_lines(request, take, max_line_bytes=bounds.max_body_bytes, max_batch=bounds.max_batch)
        self.send(response, lines)

    async def _counted(self, lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        with self._open.one():
            async for part in unless_unread(lines):
                yield part


def is_ndjson(request: falcon.asgi.Request) -> bool:
    """Whether the body says that it is a stream of JSON lines."""
    return (request.content_type or "").partition(";")[0].strip().lower() == NDJSON


async def take_lines(
    request: falcon.asgi.Request, take: TakeBatch, *, max_line_bytes: int, max_batch: int
) -> AsyncIterator[bytes]:
    """Hand the lines of a body on in batches, and yield one result per line, then a summary.

    A batch is what has arrived, so a slow stream is answered line by line. Empty lines are passed over.
    """
    lines = accepted = 0
    reason: str | None = None
    try:
        async for batch in _batches(request, max_line_bytes, max_batch):
            results = await _take(batch, take)
            numbered = [
                LineResult(lines + nth, x.status, x.receipt, x.reason, x.detail) for nth, x in enumerate(results, 1)
            ]
            lines += len(results)
            accepted += sum(x.status == "accepted" for x in results)
            yield b"".join(_encode(result) + b"\n" for result in numbered)
    except Problem as error:
        reason = error.kind
    yield _encode(Summary(lines, accepted, lines - accepted, reason is None, reason)) + b"\n"


async def _take(batch: list[bytes], take: TakeBatch) -> list[EventResult]:
    decoded: list[Any] = []
    results: list[EventResult | None] = []
    for line in batch:
        try:
            decoded.append(msgspec.json.decode(line))
            results.append(None)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            results.append(EventResult("rejected", reason="not_json", detail=str(error)))
    taken = iter((await take(decoded))[0] if decoded else ())
    return [next(taken) if result is None else result for result in results]


async def _batches(request: falcon.asgi.Request, max_line_bytes: int, most: int) -> AsyncIterator[list[bytes]]:
    rest = b""
    chunks = aiter(request.stream)
    while True:
        try:
            async with asyncio.timeout(IDLE_S):
                chunk = await anext(chunks, None)
        except TimeoutError:
            raise Problem(408, "body-too-slow", f"nothing came for {IDLE_S:.0f} s") from None
        *whole, rest = (rest + (chunk or b"\n")).split(b"\n")
        if len(rest) > max_line_bytes or any(len(line) > max_line_bytes for line in whole):
            raise Problem(413, "body-too-large", f"a line may have {max_line_bytes} bytes", max_bytes=max_line_bytes)
        full = [line for line in whole if line.strip()]
        for start in range(0, len(full), most):
            yield full[start : start + most]
        if chunk is None:
            return
