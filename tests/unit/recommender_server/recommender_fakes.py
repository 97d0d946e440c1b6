"""A small world to serve from: stores, index and log in memory, which keep state and can have bad weather."""

from __future__ import annotations

import asyncio
import functools
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import numpy as np
from falcon.testing import ASGIConductor

from models import ranking
from models.items import Item
from recommender_server.app import create_app
from recommender_server.dependencies import Collaborators
from recommender_server.settings import RecommenderSettings
from stores.ports import (
    Candidates,
    DeadLetter,
    Edges,
    Entry,
    IndexStatus,
    Numbered,
    PendingEvent,
    Query,
    Receipt,
    Record,
    ServingState,
    StoreUnavailable,
    TopicPartition,
    UserDocument,
    UserState,
)
from stores.recording_metrics import RecordingMetrics

DIMENSION = 4


def in_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run an async test in an event loop of its own."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))  # type: ignore[arg-type]

    return run


class SteppedClock:
    """A clock that goes on only when told to."""

    def __init__(self) -> None:
        self.moment_s = 1000.0

    def now_s(self) -> float:
        return self.moment_s

    def monotonic_s(self) -> float:
        return self.moment_s

    def sleep(self, seconds: float) -> None:
        self.moment_s += seconds


class RunningClock:
    def now_s(self) -> float:
        return time.time()

    def monotonic_s(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class Weather:
    """Whether a dependency answers, after how long, and how often before it goes down."""

    def __init__(self) -> None:
        self.down = False
        self.delay_s = 0.0
        self.answers_left: int | None = None
        self.calls: dict[str, int] = {}

    async def pass_through(self, call: str) -> None:
        self.calls[call] = self.calls.get(call, 0) + 1
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        else:
            await asyncio.sleep(0)  # a real store gives the loop a turn
        if self.answers_left is not None:
            self.answers_left -= 1
            self.down = self.answers_left < 0
        if self.down:
            raise StoreUnavailable("bad weather")

    async def close(self) -> None:
        pass


class MemoryEventLog(Weather):
    """The log: one partition per topic."""

    def __init__(self) -> None:
        super().__init__()
        self.topics: dict[str, list[Entry]] = {}
        self.letters: list[DeadLetter] = []

    async def append(self, topic: str, entries: Sequence[Entry]) -> list[Receipt]:
        await self.pass_through("append")
        records = self.topics.setdefault(topic, [])
        first = len(records)
        records.extend(entries)
        return [Receipt(0, first + position) for position in range(len(entries))]

    async def read(self, place: TopicPartition, offset: int, limit: int) -> list[Record]:
        await self.pass_through("read")
        entries = self.topics.get(place.topic, []) if place.partition == 0 else []
        part = list(enumerate(entries))[offset : offset + limit]
        return [Record(place.topic, 0, nth, entry.key, entry.value, 1e9 + nth) for nth, entry in part]

    async def offsets_at(self, topic: str, time_s: float) -> dict[TopicPartition, int]:
        await self.pass_through("offsets_at")
        size = len(self.topics.get(topic, []))
        return {TopicPartition(topic, 0): int(min(max(time_s - 1e9, 0), size))}

    async def dead_letter(self, topic: str, receipt: Receipt) -> DeadLetter | None:
        await self.pass_through("dead_letter")
        place = (topic, receipt.partition, receipt.offset)
        return next((x for x in self.letters if (x.topic, x.partition, x.offset) == place), None)

    async def dead_letters(self, topic: str, limit: int) -> list[DeadLetter]:
        await self.pass_through("dead_letters")
        return [x for x in self.letters[::-1] if x.topic == topic][:limit]

    async def drop_dead_letters(self, topic: str, receipts: Sequence[Receipt]) -> None:
        await self.pass_through("drop_dead_letters")
        self.letters = [x for x in self.letters if x.topic != topic or Receipt(x.partition, x.offset) not in receipts]

    def decoded(self, topic: str) -> list[Any]:
        return [msgspec.json.decode(entry.value) for entry in self.topics.get(topic, [])]


class MemoryUsers(Weather):
    """The user store. ``writes_down``: pending events cannot be written, while reading works."""

    def __init__(self) -> None:
        super().__init__()
        self.documents: dict[str, UserDocument] = {}
        self.pending: dict[str, list[PendingEvent]] = {}
        self.writes_down = False

    async def get_many(self, user_ids: Sequence[str]) -> dict[str, UserState]:
        await self.pass_through("get_many")
        return {user_id: self._state(user_id) for user_id in user_ids}

    def _state(self, user_id: str) -> UserState:
        document = self.documents.get(user_id)
        as_of = document.as_of if document else {}
        first: dict[str, PendingEvent] = {}
        for event in self.pending.get(user_id, []):
            if event.offset >= as_of.get(event.partition, 0):
                first.setdefault(event.event_id, event)
        return UserState(document, list(first.values()))

    async def add_pending(self, events: Mapping[str, Sequence[PendingEvent]]) -> None:
        await self.pass_through("add_pending")
        if self.writes_down:
            raise StoreUnavailable("bad weather for writing")
        for user_id, added in events.items():
            self.pending.setdefault(user_id, []).extend(added)

    async def scan(self, after: str | None, limit: int) -> list[UserDocument]:
        await self.pass_through("scan")
        return [self.documents[x] for x in sorted(self.documents) if after is None or x > after][:limit]

    async def forget_pending(self, learned: Mapping[int, int]) -> None:
        await self.pass_through("forget_pending")
        for user_id, events in self.pending.items():
            self.pending[user_id] = [e for e in events if e.offset >= learned.get(e.partition, 0)]


class MemoryItems(Weather):
    """The item store."""

    def __init__(self) -> None:
        super().__init__()
        self.records: dict[str, Item] = {}
        self.lists: dict[str, list[tuple[str, float]]] = {}
        self.edges: dict[str, list[tuple[str, float]]] = {}
        self.visitors: dict[str, list[str]] = {}
        self.state: ServingState | None = None
        self.stored_rules: dict[str, bytes] = {}

    async def rules(self) -> dict[str, bytes]:
        await self.pass_through("rules")
        return dict(self.stored_rules)

    async def put_rule(self, name: str, rule: bytes | None) -> None:
        await self.pass_through("put_rule")
        if rule is None:
            self.stored_rules.pop(name, None)
        else:
            self.stored_rules[name] = rule

    async def get_many(self, item_ids: Sequence[str]) -> dict[str, Item]:
        await self.pass_through("get_many")
        return {item_id: self.records[item_id] for item_id in item_ids if item_id in self.records}

    async def popular(self, name: str, limit: int) -> list[tuple[str, float]]:
        await self.pass_through("popular")
        return self.lists.get(name, [])[:limit]

    async def neighbours(self, item_ids: Sequence[str]) -> dict[str, Edges]:
        await self.pass_through("neighbours")
        return {item_id: Edges(self.edges[item_id]) for item_id in item_ids if item_id in self.edges}

    async def search_text(self, text: str, limit: int) -> list[Item]:
        await self.pass_through("search_text")
        *whole, last = text.lower().split()
        found = []
        for item in self.records.values():
            words = f"{item.title} {item.text or ''}".lower().split()
            if item.available and set(whole) <= set(words) and any(word.startswith(last) for word in words):
                found.append(item)
        return found[:limit]

    def _numbered(self) -> list[Numbered]:
        return [Numbered(number, item) for number, item in enumerate(self.records.values(), 1)]

    async def newest(self, limit: int, *, category: str | None = None, before: int | None = None) -> list[Numbered]:
        await self.pass_through("newest")
        shown = [x for x in self._numbered() if x.item.available and category in (None, x.item.category)]
        return [x for x in reversed(shown) if before is None or x.number < before][:limit]

    async def categories(self) -> dict[str, int]:
        await self.pass_through("categories")
        return dict(Counter(x.category for x in self.records.values() if x.available and x.category is not None))

    async def scan(self, after: int, limit: int) -> list[Numbered]:
        await self.pass_through("scan")
        return [x for x in self._numbered() if x.number > after][:limit]

    async def recent_users(self, item_ids: Sequence[str]) -> dict[str, list[str]]:
        await self.pass_through("recent_users")
        return {item_id: self.visitors[item_id] for item_id in item_ids if item_id in self.visitors}

    async def serving_state(self) -> ServingState | None:
        await self.pass_through("serving_state")
        return self.state

    async def put_many(self, items: Sequence[Item]) -> None:
        await self.pass_through("put_many")
        self.records.update((item.item_id, item) for item in items)


class ExactIndex(Weather):
    """The index: every item compared with every query."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.columns = np.zeros((0, DIMENSION + 3), np.float32)
        self.contexts = np.zeros((0, DIMENSION), np.float32)
        self.largest_k = 0

    async def search(self, queries: Sequence[Query]) -> list[Candidates]:
        await self.pass_through("search")
        return [self._search(query) for query in queries]

    def _search(self, query: Query) -> Candidates:
        self.largest_k = max(self.largest_k, query.k)
        row_of = {item_id: row for row, item_id in enumerate(self.ids)}
        vector = query.vector.copy()
        for item_id, weight in zip(query.recent, query.recent_weights, strict=True):
            if item_id in row_of:
                vector[:DIMENSION] += np.float32(weight) * self.contexts[row_of[item_id]]
        scores = self.columns @ vector
        for item_id, lift in zip(query.lifted, query.lifts, strict=True):
            if item_id in row_of:
                scores[row_of[item_id]] += lift
        within = set(self.ids if query.within is None else query.within)
        allowed = [row for row, item_id in enumerate(self.ids) if item_id in within - set(query.exclude)]
        best = sorted(allowed, key=lambda row: (-scores[row], self.ids[row]))[: query.k]
        return Candidates([self.ids[row] for row in best], scores[best])

    async def similar(self, item_ids: Sequence[str], k: int) -> dict[str, list[tuple[str, float]]]:
        await self.pass_through("similar")
        vectors = self.columns[:, :DIMENSION]
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        found = {}
        for item_id in item_ids:
            if item_id in self.ids:
                cosines = unit @ unit[self.ids.index(item_id)]
                ranked = sorted(zip(self.ids, cosines.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0]))
                found[item_id] = [pair for pair in ranked if pair[0] != item_id][:k]
        return found

    async def vectors(self, item_ids: Sequence[str]) -> dict[str, Any]:
        await self.pass_through("vectors")
        vectors = self.columns[:, :DIMENSION]
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return {item_id: unit[self.ids.index(item_id)] for item_id in item_ids if item_id in self.ids}

    async def status(self) -> IndexStatus:
        await self.pass_through("status")
        return IndexStatus("boot", 1, 1, True, len(self.ids), len(self.ids), DIMENSION, "exact")


class World:
    """Everything the recommender stands on, filled with ``items`` items and the users ``u0`` to ``u4``."""

    def __init__(self, items: int = 40, seed: int = 1) -> None:
        chances = np.random.default_rng(seed)
        self.log, self.users, self.items, self.index = MemoryEventLog(), MemoryUsers(), MemoryItems(), ExactIndex()
        self.metrics = RecordingMetrics()
        ids = [f"i{n:03d}" for n in range(items)]
        self.index.ids = ids
        self.index.columns = chances.normal(size=(items, DIMENSION + 3)).astype(np.float32)
        self.index.contexts = chances.normal(size=(items, DIMENSION)).astype(np.float32)
        self.items.records = {item_id: Item(item_id, title=f"Title {item_id}", category="c") for item_id in ids}
        popular = sorted(ids, key=lambda item_id: -self.index.columns[ids.index(item_id), DIMENSION + 1])
        self.items.lists["popular"] = [(item_id, 10.0 - place) for place, item_id in enumerate(popular)]
        for item_id in ids:
            targets = chances.choice(items, size=min(5, items), replace=False)
            self.items.edges[item_id] = sorted(
                ((ids[t], float(chances.uniform(0.01, 1))) for t in targets if ids[t] != item_id), key=lambda e: -e[1]
            )
        self.items.state = ServingState(
            version=7,
            dimension=DIMENSION,
            merge_weights=[
                [0.9, 0.4, 0.1, 0.5, 0.7, 0.6, 0.3],
                [1.1, 0.2, 0.3, 0.3, 0.9, 0.4, 0.5],
                [1.0, 0.3, 0.2, 0.4, 0.8, 0.5, 0.9],
            ],
            context_decay=0.8,
            context_length=5,
            learned={0: 0},
            report={"events_learned": 5},
        )
        for n in range(5):
            seen = [ids[t] for t in chances.choice(items, size=min(12, items // 2), replace=False)]
            self.users.documents[f"u{n}"] = UserDocument(
                user_id=f"u{n}",
                embedding=chances.normal(size=DIMENSION).astype(np.float32),
                recent=seen[-8:],
                seen=seen,
                hidden=[],
                as_of={0: 0},
                version=3,
            )

    def learned(self, offset: int) -> None:
        """Let the trainer have learned everything below ``offset``."""
        assert self.items.state is not None
        self.items.state = msgspec.structs.replace(self.items.state, learned={0: offset})

    def score(self, item_id: str, recent: Sequence[str], embedding: Any) -> float:
        """Return the score of one item by the formula of the model, recent items NEWEST FIRST."""
        w = self.items.state.merge_weights[ranking.history(len(recent))]  # type: ignore[union-attr]
        row = self.index.ids.index(item_id)
        column = self.index.columns[row].astype(np.float64)
        context = np.zeros(DIMENSION)
        long = np.zeros(DIMENSION)
        for k, item in enumerate(recent[:50]):
            vector = self.index.contexts[self.index.ids.index(item)].astype(np.float64)
            context += 0.8**k * vector if k < 5 else 0.0
            long += 0.0 if k < 5 else vector / (len(recent[:50]) - 5)
        p = np.zeros(DIMENSION) if embedding is None else embedding.astype(np.float64)
        edge = [dict(self.items.edges.get(item, [])).get(item_id, 0.0) for item in recent[:20]]
        t_all = sum(0.9**k * weight for k, weight in enumerate(edge))
        t_last = edge[0] if edge else 0.0
        features = [
            context @ column[:DIMENSION] + column[DIMENSION],
            column[DIMENSION + 1],
            column[DIMENSION + 2],
            np.log1p(t_all / 0.01),
            p @ column[:DIMENSION],
            np.log1p(t_last / 0.01),
            long @ column[:DIMENSION],
        ]
        assert len(features) == len(ranking.FEATURES)
        return float(np.dot(w, features))

    def best(self, k: int, recent: Sequence[str], embedding: Any, blocked: set[str]) -> list[str]:
        """Return the best k of ALL items that may be shown, by brute force."""
        open_ones = [i for i in self.index.ids if i not in blocked and self.items.records[i].available]
        return sorted(open_ones, key=lambda i: (-self.score(i, recent, embedding), i))[:k]


@asynccontextmanager
async def serving(
    world: World, clock: Any = None, chance: random.Random | None = None, **settings: Any
) -> AsyncIterator[ASGIConductor]:
    """Serve a world."""
    collaborators = Collaborators(
        world.log, world.users, world.items, world.index, world.metrics, clock or RunningClock()
    )
    settings = {"user_budget_ms": 500.0, "item_budget_ms": 500.0, "index_budget_ms": 500.0} | settings
    app = create_app(
        collaborators,
        RecommenderSettings(**settings),
        exposition=world.metrics.prometheus_text,
        version="0",
        chance=chance,
    )
    async with ASGIConductor(app) as client:
        yield client


def ids(result: Any) -> list[str]:
    """Return the item ids of an answer."""
    return [item["item_id"] for item in result.json["items"]]
