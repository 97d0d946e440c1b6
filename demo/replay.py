"""The replayer: posts the stream as if it happened now, and asks for a list before every scored event."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from demo.client import RecommenderClient
from demo.freshness import Freshness
from demo.stream import Stream, StreamEvent
from stores.ports import Receipt

# Small enough that a list asked for right after has everything in it that came before.
_MOST_IN_BATCH = 50
# To show what becomes of them: three events that are none, and as many that are sent a second time.
_NO_EVENTS = ({"user_id": "", "item_id": "1", "type": "click"}, {"user_id": "demo", "type": "click"}, {"value": "x"})
_OFTEN_OWN, _OFTEN_LEARNED = 10, 20


@dataclass
class Progress:
    """How far the replay is and what it measured; survives the demo in ``replay.json``.

    ``position``: the next event of the history to send. ``ends``: NEXT offset per partition by the receipts, so their
    sum counts every event that the recommender accepted.
    """

    data: str
    share: float
    position: int
    sent: int = 0
    rejected: int = 0
    scored: int = 0
    hits: int = 0
    oracle_hits: int = 0
    duplicates_sent: int = 0
    ends: dict[int, int] = field(default_factory=dict)

    @property
    def accepted(self) -> int:
        """Events accepted so far."""
        return sum(self.ends.values())

    def save(self, path: Path) -> None:
        """Write it, atomically."""
        part = path.with_suffix(".part")
        part.write_bytes(msgspec.json.encode(asdict(self)))
        part.replace(path)

    @classmethod
    def load(cls, path: Path) -> Progress | None:
        """Read it, ``None`` when there is none."""
        return msgspec.json.decode(path.read_bytes(), type=cls) if path.exists() else None


class Replayer:
    """Sends what is left of a stream at ``rate`` events per second. ``say`` prints a line for people."""

    def __init__(
        self,
        client: RecommenderClient,
        stream: Stream,
        progress: Progress,
        path: Path,
        *,
        rate: float,
        true_ranks: NDArray[np.int32] | None,
        freshness: Freshness,
        on_accepted: Callable[[list[StreamEvent]], Any],
    ) -> None:
        self.progress = progress
        self._client, self._stream, self._path, self._rate = client, stream, path, rate
        self._true_ranks = true_ranks
        self._freshness = freshness
        self._on_accepted = on_accepted
        self._sent_at_s: deque[tuple[float, int]] = deque(maxlen=50)
        self._since_own = self._since_learned = 0

    @property
    def has_oracle(self) -> bool:
        """Whether the truth of the data is known."""
        return self._true_ranks is not None

    @property
    def accepted_per_s(self) -> float:
        """Events accepted per second, of late."""
        if len(self._sent_at_s) < 2:
            return 0.0
        (first_s, first), (last_s, last) = self._sent_at_s[0], self._sent_at_s[-1]
        return (last - first) / max(last_s - first_s, 1e-3)

    async def run(self, should_stop: Callable[[], bool]) -> None:
        """Send until the stream is drained or told to stop; then save how far it came."""
        await self._send_bad_ones()
        started_s, first = time.monotonic(), self.progress.position
        batch: list[StreamEvent] = []
        try:
            for event in self._stream.events(first):
                if should_stop():
                    return
                due_s = started_s + (event.position - first) / self._rate
                if event.scored or len(batch) >= _MOST_IN_BATCH or (batch and due_s > time.monotonic()):
                    await self._send(batch)
                    batch = []
                if (early_s := due_s - time.monotonic()) > 0:
                    await asyncio.sleep(early_s)
                if event.scored:
                    await self._score(event)
                batch.append(event)
            await self._send(batch)
            await self._send_duplicates()
        finally:
            self.progress.save(self._path)

    async def _score(self, event: StreamEvent) -> None:
        """Ask for the user's list as it is before the event, all earlier ones being accepted."""
        answer = await self._client.recommend(event.user_id)
        self.progress.scored += 1
        self.progress.hits += event.item_id in [item["item_id"] for item in answer["items"]]
        if self._true_ranks is not None:
            self.progress.oracle_hits += bool(self._true_ranks[event.position] <= 10)

    async def _send(self, batch: list[StreamEvent]) -> None:
        if not batch:
            return
        new_items = [event.new_item for event in batch if event.new_item is not None]
        if new_items:
            await self._client.put_items(new_items)
        now_s = time.time()
        receipts = await self._client.post_events([event.body | {"timestamp": now_s} for event in batch])
        accepted_s = time.monotonic()
        self._count(receipts)
        self.progress.position = batch[-1].position + 1
        self._sent_at_s.append((accepted_s, self.progress.sent))
        # At least once a second is enough: what is sent again after a crash is dropped by its event_id.
        if self.progress.sent // 256 != (self.progress.sent - len(batch)) // 256:
            self.progress.save(self._path)
        self._sample(batch[-1], receipts[-1], accepted_s)
        await self._on_accepted(batch)

    def _count(self, receipts: list[str | None]) -> None:
        for text in receipts:
            if text is None:
                self.progress.rejected += 1
                continue
            receipt = Receipt.parse(text)
            ends = self.progress.ends
            ends[receipt.partition] = max(ends.get(receipt.partition, 0), receipt.offset + 1)
            self.progress.sent += 1

    def _sample(self, event: StreamEvent, receipt: str | None, accepted_s: float) -> None:
        if receipt is None or not event.positive:
            return
        self._since_own += 1
        self._since_learned += 1
        if self._since_own >= _OFTEN_OWN:
            self._since_own = 0
            self._freshness.measure_own(event.user_id, event.item_id, receipt, accepted_s)
        if self._since_learned >= _OFTEN_LEARNED:
            self._since_learned = 0
            self._freshness.measure_learned(event.user_id, receipt, accepted_s)

    async def _send_bad_ones(self) -> None:
        """Show that what is no event is refused alone: the answer names the reason, and nothing reaches the log."""
        if self.progress.rejected:
            return
        self._count(await self._client.post_events(_NO_EVENTS))

    async def _send_duplicates(self) -> None:
        """Send the last events once more: accepted, and dropped by the trainer."""
        if self.progress.duplicates_sent or self._stream.cut == self._stream.end:
            return
        last = range(max(self._stream.cut, self._stream.end - len(_NO_EVENTS)), self._stream.end)
        events = [self._stream.body(position) | {"timestamp": time.time()} for position in last]
        receipts = await self._client.post_events(events)
        self._count(receipts)
        self.progress.duplicates_sent = sum(receipt is not None for receipt in receipts)
