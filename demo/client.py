"""The recommender as the demo and the benchmarks put it under load and measure it: many requests at once, over HTTP.

Programs use ``recommender_client``, which is typed, synchronous, of one connection, and tells at once what went wrong.
This one is none for them: it counts the errors that it hides by asking again until a server that was killed is back,
and answers what the server said, unread, so that measuring costs little.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec

from models.items import Item
from recommender_client import Unreachable

# A request is repeated until then: events carry ids, so the trainer learns a repeated one once.
_PATIENCE_S = 30.0
_PAUSE_S = 0.2


class RecommenderClient:
    """One client, one connection pool. ``errors_5xx`` counts answers of 500 and above, repeated requests included.

    Every method but ``status`` raises ``Unreachable`` when nobody answered, however often it asked.
    """

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self.errors_5xx = 0

    async def post_events(self, events: Sequence[Mapping[str, Any]]) -> list[str | None]:
        """Post events in order; return a receipt each, ``None`` for a rejected one. Safe to repeat (event_id)."""
        status, answer = await self._request("POST", "/v1/events", json={"events": list(events)})
        if status == 400:
            return [None] * len(events)
        receipts: list[str | None] = answer["receipts"]
        return receipts

    async def put_items(self, items: Sequence[Item]) -> None:
        """Tell the catalogue of items. Safe to repeat."""
        await self._request("PUT", "/v1/items", json=[msgspec.to_builtins(item) for item in items])

    async def recommend(self, user_id: str, k: int = 10, **parameters: str) -> dict[str, Any]:
        """Return the answer for a user; ``after`` and ``level`` as the API has them."""
        query = {"user_id": user_id, "k": str(k), **parameters}
        return (await self._request("GET", "/v1/recommendations", params=query))[1]

    async def recommend_to_visitor(self, item_ids: Sequence[str], k: int = 10) -> dict[str, Any]:
        """Return the answer for an anonymous visitor with these favourites."""
        body = {"item_ids": list(item_ids), "k": k}
        return (await self._request("POST", "/v1/recommendations", json=body))[1]

    async def similar(self, item_id: str, k: int = 10, **parameters: str) -> dict[str, Any]:
        """Return the items most like one; ``by`` as the API has it."""
        path = f"/v1/items/{quote(item_id, safe='')}/similar"
        return (await self._request("GET", path, params={"k": str(k), **parameters}))[1]

    async def status(self) -> dict[str, Any] | None:
        """Return what the recommender tells of the whole system, ``None`` while it does not answer."""
        try:
            async with self._session.get("/v1/status") as response:
                return dict(await response.json()) if response.status == 200 else None
        except (aiohttp.ClientError, TimeoutError):
            return None

    async def _request(self, method: str, path: str, **arguments: Any) -> tuple[int, dict[str, Any]]:
        give_up_s = time.monotonic() + _PATIENCE_S
        while True:
            try:
                async with self._session.request(method, path, **arguments) as response:
                    if response.status < 500:
                        return response.status, await response.json(content_type=None)
                    self.errors_5xx += 1
                    why = f"{response.status} {await response.text()}"
            except (aiohttp.ClientError, TimeoutError) as error:
                why = f"{type(error).__name__}: {error}"
            if time.monotonic() > give_up_s:
                raise Unreachable(f"{method} {path}: {why}")
            await asyncio.sleep(_PAUSE_S)
