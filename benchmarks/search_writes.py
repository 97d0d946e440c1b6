"""Searching while the trainer writes: what it sends in a second of events, and how long searches then take."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.search_worlds import simulated
from faiss_server.item_index import ItemIndex
from incremental_training.settings import TrainerSettings
from models.catalogue import Catalogue
from models.evaluation import PrequentialEvaluator
from models.item_content import ItemContent
from models.learner import Learner
from models.model_settings import ModelSettings
from models.prequential import Prequential
from stores.outbox import Outbox
from stores.ports import IndexStatus, ItemRows, Query, Stamp, Vectors
from stores.publication import Publisher
from stores.recording_metrics import RecordingMetrics

EVENTS_PER_S = 2000
# Until as many rows go out as come in, and how much is recorded then.
SETTLING_S, RECORDED_S = 6.0, 4.0
SEARCHES_PER_S = 200
# How far a row moves between two publications, in standard deviations of all rows.
MOVED = 0.02


@dataclass(frozen=True)
class Write:
    """One message of the trainer: when, seconds from the first; which items, or the popularity of all (``None``)."""

    at_s: float
    rows: list[int] | None

    def message(self, rows: ItemRows, chance: np.random.Generator) -> ItemRows | None:
        """Return what it writes of these items, each moved a little, as learning does."""
        if self.rows is None:
            return None
        vectors, contexts = (
            table[self.rows] + MOVED * spread * chance.standard_normal((len(self.rows), len(spread)), dtype=np.float32)
            for table, spread in ((table, table[:4096].std(axis=0)) for table in (rows.vectors, rows.contexts))
        )
        return ItemRows([rows.item_ids[row] for row in self.rows], vectors, contexts, rows.popularity[self.rows])


class _SteppedClock:
    def __init__(self) -> None:
        self.at_s = 0.0

    def now_s(self) -> float:
        return self.at_s

    def monotonic_s(self) -> float:
        return self.at_s

    def sleep(self, seconds: float) -> None:
        self.at_s += seconds


class _Elsewhere:
    """A store that takes everything."""

    apart = False

    def __getattr__(self, _name: str) -> Any:
        return lambda *_arguments: None


class _RecordingIndex:
    """An index that only notes which rows it is sent, and when."""

    def __init__(self, learner: Learner, clock: _SteppedClock) -> None:
        self._learner, self._clock = learner, clock
        self._status = IndexStatus("boot", 0, 0, True, 0, 0, learner.settings.dimension, "")
        self.writes: list[Write] = []

    def status(self) -> IndexStatus:
        return self._status

    def replace(self, _rows: ItemRows, stamp: Stamp) -> IndexStatus:
        return self._at(stamp)

    def upsert(self, rows: ItemRows, stamp: Stamp) -> IndexStatus:
        found = [self._learner.items.row(item_id) or 0 for item_id in rows.item_ids]
        self.writes.append(Write(self._clock.at_s, found))
        return self._at(stamp)

    def set_popularity(self, _columns: Vectors, stamp: Stamp) -> IndexStatus:
        self.writes.append(Write(self._clock.at_s, None))
        return self._at(stamp)

    def _at(self, stamp: Stamp) -> IndexStatus:
        self._status = IndexStatus("boot", stamp.epoch, stamp.to_seq, True, 0, 0, self._status.dimension, "")
        return self._status


def trainer_writes(items: int, seed: int = 0) -> list[Write]:
    """Return what the trainer's own publisher sends in some seconds of so many events, flush by flush, at defaults."""
    flush_s = TrainerSettings().flush_interval_ms / 1000
    learner, clock = Learner(ModelSettings(), item_capacity=items), _SteppedClock()
    for item in range(items):
        learner.add_item(f"item-{item}")
    index = _RecordingIndex(learner, clock)
    elsewhere: Any = _Elsewhere()
    publisher = Publisher(
        learner,
        ItemContent(Catalogue()),
        Outbox(),
        users=elsewhere,
        items=elsewhere,
        index=index,  # type: ignore[arg-type]
        epoch=1,
        seq=0,
        as_of=lambda _user: {},
        clock=clock,
        metrics=RecordingMetrics(),
    )
    stream = Prequential(learner, PrequentialEvaluator(learner))
    chance = np.random.default_rng(seed)
    base = 2000
    per_flush = round(EVENTS_PER_S * flush_s)
    positives = simulated(base, round(EVENTS_PER_S * (SETTLING_S + RECORDED_S)) // 10 + 1)
    for n, positive in enumerate(positives, start=1):
        # The same demand, spread over all items.
        item = int(positive.item_id[1:]) + base * int(chance.integers(items // base))
        stream.take(positive._replace(item_id=f"item-{item}"), scored=False)
        if n % per_flush == 0:
            stream.learn_waiting()
            publisher.collect()
            publisher.flush({}, dict, idle=False)
            clock.at_s += flush_s
    return [
        Write(write.at_s - SETTLING_S, write.rows)
        for write in index.writes
        if SETTLING_S <= write.at_s < SETTLING_S + RECORDED_S
    ]


async def latencies_s(
    index: ItemIndex, queries: Sequence[Query], rows: ItemRows, writes: Sequence[Write]
) -> list[float]:
    """Return how long each search took from when it was due, while the writes come when they are due."""
    chance = np.random.default_rng(2)
    messages = [write.message(rows, chance) for write in writes]
    began_s = time.perf_counter()
    due_s = [began_s + write.at_s for write in writes]
    writing = asyncio.create_task(_write(index, rows.popularity, list(zip(due_s, messages, strict=True))))
    found = []
    for n in range(round(RECORDED_S * SEARCHES_PER_S)):
        due_s = began_s + n / SEARCHES_PER_S
        while time.perf_counter() < due_s:
            await asyncio.sleep(0)  # as the server's event loop, whoever is ready goes on; timers are too coarse
        index.search([queries[n % len(queries)]])
        found.append(time.perf_counter() - due_s)
    await writing
    return found


async def _write(index: ItemIndex, popularity: Vectors, messages: Sequence[tuple[float, ItemRows | None]]) -> None:
    status = index.status()
    for due_s, message in messages:
        while time.perf_counter() < due_s:
            await asyncio.sleep(0)
        stamp = Stamp(status.epoch, status.seq, status.seq + 1)
        steps = index.popularity_steps(popularity, stamp) if message is None else index.upsert_steps(message, stamp)
        for _ in steps:
            await asyncio.sleep(0)
        status = index.status()
