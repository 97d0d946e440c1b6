"""One run of the demo while the services live: wait for them, replay, show, wait until all is learned."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console

from demo.client import RecommenderClient
from demo.freshness import Freshness
from demo.processes import Services
from demo.replay import Progress, Replayer
from demo.stream import Stream, StreamEvent
from demo.view import View, say_list

_READY_TIMEOUT_S = 90.0
_DRAIN_TIMEOUT_S = 120.0
_LOOK_EVERY_S = 0.5
# After so many new positives of one user his list is shown again.
_EVENTS_OF_ONE_USER = 5


class ServiceEnded(Exception):
    """A service ended, or never got ready, while it was needed."""


@dataclass
class Watch:
    """Looks at the system twice a second, for the view and for whoever waits for a state."""

    client: RecommenderClient
    services: Services
    stop: asyncio.Event
    status: dict[str, Any] = field(default_factory=dict)

    async def look(self) -> None:
        """Ask once. Raises ``ServiceEnded``."""
        if not self.services.alive():
            raise ServiceEnded("a service ended while it was needed")
        self.status = await self.client.status() or self.status

    async def until_ready(self) -> None:
        """Wait until recommendations come from a trained model. Raises ``ServiceEnded``."""
        give_up_s = time.monotonic() + _READY_TIMEOUT_S
        while not self.stop.is_set():
            await self.look()
            trainer, index = self.status.get("trainer"), self.status.get("index")
            # Initial training too may have published; the epoch in a report is that of a trainer that runs.
            if trainer and "events_seen" in trainer["report"] and index and index["ready"] and index["items"]:
                return
            if time.monotonic() > give_up_s:
                raise ServiceEnded(f"the services were not ready within {_READY_TIMEOUT_S:.0f} s: {self.status}")
            await asyncio.sleep(0.2)

    async def until_learned(self, ends: Mapping[int, int]) -> None:
        """Wait until everything accepted is learned and the report says so. Raises ``ServiceEnded``."""
        give_up_s = time.monotonic() + _DRAIN_TIMEOUT_S
        while not self.stop.is_set():
            await self.look()
            if has_learned(self.status, ends):
                # Figures that are made about once a second follow.
                await asyncio.sleep(2.5)
                await self.look()
                return
            if time.monotonic() > give_up_s:
                raise ServiceEnded(
                    f"not everything was learned within {_DRAIN_TIMEOUT_S:.0f} s: {self.status} of {ends}"
                )
            await asyncio.sleep(0.2)


def has_learned(status: Mapping[str, Any], ends: Mapping[int, int]) -> bool:
    """Say whether everything before these offsets, by partition, is learned."""
    learned = (status.get("trainer") or {}).get("learned", {})
    return all(int(learned.get(str(partition), 0)) >= end for partition, end in ends.items())


class OneUser:
    """Follows one user: his list before his next events and after them."""

    def __init__(self, client: RecommenderClient, console: Console, user_id: str | None) -> None:
        self._client, self._console, self.user_id = client, console, user_id
        self._before: list[str] = []
        self._events = 0

    async def before(self) -> None:
        """Print the list as it is."""
        if self.user_id is None:
            return
        answer = await self._client.recommend(self.user_id)
        self._before = [item["item_id"] for item in answer["items"]]
        say_list(self._console, f"User {self.user_id}, before the stream", answer)

    async def follow(self, batch: list[StreamEvent]) -> None:
        """Print the list again once he had enough new events."""
        if self.user_id is None:
            return
        self._events += sum(event.user_id == self.user_id and event.positive for event in batch)
        if self._events >= _EVENTS_OF_ONE_USER:
            answer = await self._client.recommend(self.user_id)
            title = f"User {self.user_id}, after {self._events} new positive events (+ is new)"
            say_list(self._console, title, answer, self._before)
            self.user_id = None


async def show_visitor(client: RecommenderClient, stream: Stream, console: Console) -> None:
    """Print what an anonymous visitor gets for three favourites, and what is like the first of them."""
    favourites = stream.favourites()
    names = [stream.title(item_id) for item_id in favourites]
    answer = await client.recommend_to_visitor(favourites)
    say_list(console, f"An anonymous visitor who likes {', '.join(names)}", answer)
    say_list(console, f"Items like {names[0]}", await client.similar(favourites[0], k=5))


async def replay(watch: Watch, replayer: Replayer, freshness: Freshness, view: View, *, once: bool) -> None:
    """Replay to the end and wait until it is learned; without ``once`` go on showing until told to stop.

    Raises ``ServiceEnded``, and ``Unreachable`` when the recommender no longer answers.
    """

    def show(progress: Progress) -> None:
        view.show(
            progress,
            watch.status,
            freshness,
            accepted_per_s=replayer.accepted_per_s if not sending.done() else 0.0,
            has_oracle=replayer.has_oracle,
        )

    sending = asyncio.create_task(replayer.run(watch.stop.is_set))
    try:
        while not sending.done():
            await watch.look()
            show(replayer.progress)
            await asyncio.wait([sending], timeout=_LOOK_EVERY_S)
        await sending
        await freshness.finish()
        await watch.until_learned(replayer.progress.ends)
        show(replayer.progress)
        while not once and not watch.stop.is_set():
            await watch.look()
            show(replayer.progress)
            with suppress(TimeoutError):
                await asyncio.wait_for(watch.stop.wait(), _LOOK_EVERY_S)
    finally:
        if not sending.done():
            sending.cancel()
            with suppress(asyncio.CancelledError):
                await sending
