"""A world in which trainers crash: a log, stores and an index that outlive them, and a trainer that can be dropped.

Everything is real but two things: the index is in this process, and a crash is an exception that leaves
through the trainer (``Crash``), after which every object of the trainer is dropped without a word to any store.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from faiss_server.item_index import ItemIndex
from incremental_training.recovery import Stores, start_trainer
from incremental_training.settings import TrainerSettings
from incremental_training.trainer import Trainer
from models.items import Item, deleted_item, encode_item
from models.model_settings import ModelSettings
from models.snapshot import SnapshotStore
from stores.adapters import open_event_log, open_item_reader, open_item_writer, open_user_reader, open_user_writer
from stores.clock import SystemClock
from stores.ports import (
    ITEMS,
    NEW,
    POPULAR,
    RECOMMENDATIONS_SERVED,
    USER_EVENTS,
    WINDOWS,
    Candidates,
    Entry,
    EventLog,
    Query,
    Record,
    popular_name,
)
from stores.recording_metrics import RecordingMetrics

FASTER = 50.0
LISTS = (
    NEW,
    POPULAR,
    *(
        popular_name(order, window, category)
        for order in ("popular", "trending")
        for window in WINDOWS
        for category in (None, "c1")
    ),
)
MODEL = ModelSettings(dimension=8, negatives=8, recent_pool=50, edges=10)


class Crash(BaseException):
    """What a killed trainer looks like from inside: no handler of the product may catch it."""


class FastClock(SystemClock):
    """Time that runs ``FASTER`` times as fast, so that what is done once a second is done in a test."""

    def monotonic_s(self) -> float:
        """Return fast seconds."""
        return super().monotonic_s() * FASTER

    def sleep(self, seconds: float) -> None:
        """Wait fast seconds."""
        super().sleep(seconds / FASTER)


class FastLog:
    """A log that is polled in fast seconds; all else is the log's own."""

    def __init__(self, log: EventLog) -> None:
        self._log = log

    def poll(self, max_records: int, timeout_s: float) -> list[Record]:
        """Wait fast seconds."""
        return self._log.poll(max_records, timeout_s / FASTER)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)


class CrashAfter:
    """A failpoint that crashes the ``count``-th time that ``name`` is reached."""

    def __init__(self, name: str, count: int) -> None:
        self.name, self.remaining = name, count

    def __call__(self, point: str) -> None:
        """Count, and crash when the count is full."""
        if point == self.name:
            self.remaining -= 1
            if self.remaining == 0:
                raise Crash(point)


def some_events(count: int, seed: int) -> list[Entry]:
    """Return events with everything in them: new users and items, repeats, duplicates, history, rejection, wishes to be
    forgotten, rubbish.
    """
    chance = random.Random(seed)
    entries = []
    for n in range(count):
        user, item = f"u{chance.randrange(4 + n // 4)}", f"i{int(chance.paretovariate(0.7)) % (10 + n // 3)}"
        event: dict[str, Any] = {"user_id": user, "item_id": item, "type": "rating", "value": chance.choice([2, 4, 5])}
        # Their own times, a few hours apart now and then: arrivals are never the same twice.
        event["timestamp"] = 1.7e9 + 60 * n + 1e4 * (n // 50)
        if chance.random() < 0.7:
            event["event_id"] = f"e{n if chance.random() < 0.95 else max(0, n - 3)}"
        if chance.random() < 0.05:
            event["type"] = "hide"
        if chance.random() < 0.03:
            event = {"user_id": user, "type": "forget", "timestamp": event["timestamp"]}
        value = b"rubbish" if chance.random() < 0.02 else msgspec.json.encode(event)
        entries.append(Entry(user, value))
    return entries


def some_items(count: int) -> list[Entry]:
    """Return item records with everything in them: items of events, some hidden, items that nobody has had, changes,
    deletions of both kinds, and one that was deleted and came back.
    """
    items = [
        Item(f"i{n}", title=f"{_WORDS[n % 4]} {_WORDS[n % 5]}", category=f"c{n % 3}", available=n % 7 != 0)
        for n in range(count)
    ]
    items += [Item(f"new{n}", title=_WORDS[n % 5], category=f"c{n % 4}") for n in range(count // 2)]
    records = [Entry(item.item_id, encode_item(item)) for item in items]
    deleted = [Entry(item_id, b"") for item_id in ("i1", "i2", "i29", "new1", "new2", "never")]
    changed = [Item("i2", title="gone and back"), Item("i3", category="c0"), Item("new2"), Item("new3", title="?")]
    changed += [Item("new4", title=_WORDS[0], available=False), Item("new5", category="c1", price=3.0)]
    return records + deleted + [Entry(item.item_id, encode_item(item)) for item in changed] if count else []


_WORDS = ("ship", "horse", "moon", "garden", "letter")


class CrashWorld:
    """The lasting part of a deployment below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.index = ItemIndex()
        self.settings = TrainerSettings(
            events_url=f"sqlite:///{folder}/events.db",
            users_url=f"sqlite:///{folder}/users.db",
            items_url=f"sqlite:///{folder}/items.db",
            snapshot_dir=f"{folder}/snapshots",
            evaluate_every=3,
            batch_events=40,
            flush_interval_ms=1.0,
            snapshot_events=60,
            dedup_window=100,
        )
        self._writers: list[Any] = []
        self._last: Trainer | None = None

    def append(self, events: list[Entry], items: int = 0) -> None:
        """Put events, and so many item records, into the log."""
        log = open_event_log(self.settings.events_url)
        log.append(USER_EVENTS, events)
        if records := some_items(items):
            log.append(ITEMS, records)
        log.close()

    def start(
        self, failpoint: Callable[[str], None], batch_events: int | None = None, *, republish: bool = False
    ) -> Trainer:
        """Start a trainer on what lasts."""
        settings = replace(self.settings, batch_events=batch_events or self.settings.batch_events)
        log = FastLog(open_event_log(settings.events_url))
        users = open_user_writer(settings.users_url)
        items = open_item_writer(settings.items_url)
        self._writers = [log, users, items]
        return start_trainer(
            Stores(log, users, items, self.index),
            SnapshotStore(Path(settings.snapshot_dir)),
            settings=settings,
            model=MODEL,
            owner="test",
            from_nothing=True,
            republish=republish,
            clock=FastClock(),
            metrics=RecordingMetrics(),
            failpoint=failpoint,
        )

    def run(
        self, failpoint: Callable[[str], None], batch_events: int | None = None, *, republish: bool = False
    ) -> bool:
        """Run a trainer until every store is exact, or it crashes; return whether it got there.

        Closing the connections and with them the lease is what the operating system does for a killed process.
        """
        self._last = None
        try:
            trainer = self.start(failpoint, batch_events, republish=republish)
            self._last = trainer
            trainer.run(lambda: self._done(trainer))
        except Crash:
            return False
        finally:
            if self._last is not None:
                with suppress(Crash):
                    self._last.wait_for_snapshot()
            for writer in self._writers:
                writer.close()
        return True

    def _done(self, trainer: Trainer) -> bool:
        log = self._writers[0]
        ends = log.end_offsets(USER_EVENTS) | log.end_offsets(ITEMS) | log.end_offsets(RECOMMENDATIONS_SERVED)
        return trainer.settled and all(trainer.positions[place] == end for place, end in ends.items())

    def contents(self) -> dict[str, Any]:
        """Return everything that the stores hold and the newest snapshot, without epochs and versions."""
        snapshot = SnapshotStore(Path(self.settings.snapshot_dir)).load_newest(MODEL.fingerprint())
        assert snapshot is not None
        learner = snapshot.records["learner"]
        users, items = [user_id for user_id in learner["user_ids"] if user_id], learner["item_ids"]
        log = open_event_log(self.settings.events_url)
        letters = log.dead_letters(USER_EVENTS, 1000)
        log.close()
        return {
            "tensors": {name: array.tobytes() for name, array in snapshot.tensors.items()},
            "records": snapshot.records,
            "offsets": snapshot.offsets,
            "letters": sorted(letters, key=lambda letter: letter.offset),
            "index": self._index_columns(),
            **asyncio.run(self._stored(users, items)),
        }

    def _index_columns(self) -> dict[str, Any]:
        # All that can be found, whether the index is in this process or a server.
        everything = Query(np.zeros(MODEL.dimension + 3, np.float32), self.index.status().items)
        items = sorted(self.index.search([everything])[0].item_ids)
        # The score of a unit vector is one column, bit by bit; a context embedding shows when it is folded into zero.
        # Scored within the items, one by one: in a search of all, last bits depend on which row an item has.
        columns = np.eye(MODEL.dimension + 3, dtype=np.float32)
        found = self.index.search([Query(column, len(items), within=items) for column in columns] if items else [])
        folded = self.index.search(
            [
                Query(
                    np.zeros(MODEL.dimension + 3, np.float32),
                    len(items),
                    recent=[item],
                    recent_weights=[1.0],
                    within=items,
                )
                for item in items
            ]
        )

        def in_order(answers: list[Candidates]) -> bytes:
            by_item = [dict(zip(answer.item_ids, answer.scores, strict=True)) for answer in answers]
            return b"".join(np.float32([scores[item] for item in items]).tobytes() for scores in by_item)

        return {"items": items, "columns": in_order(found), "contexts": in_order(folded)}

    async def _stored(self, users: list[str], items: list[str]) -> dict[str, Any]:
        user_reader = open_user_reader(self.settings.users_url)
        item_reader = open_item_reader(self.settings.items_url)
        try:
            documents = {}
            assert [x.user_id for x in await user_reader.scan(None, 100_000)] == sorted(users)
            for user_id, state in (await user_reader.get_many(users)).items():
                assert state.document is not None, user_id
                record = msgspec.structs.asdict(state.document)
                documents[user_id] = record | {"embedding": state.document.embedding.tobytes(), "version": None}
            serving = await item_reader.serving_state()
            assert serving is not None
            found = await item_reader.get_many([f"{kind}{n}" for kind in ("i", "new") for n in range(1000)])
            return {
                "users": documents,
                # When the marker of a deleted item goes is a matter of time; nobody sees it in either case.
                "items": {item_id: item for item_id, item in found.items() if item != deleted_item(item_id)},
                "neighbours": {item: list(edges) for item, edges in (await item_reader.neighbours(items)).items()},
                "popular": {name: await item_reader.popular(name, 1000) for name in LISTS},
                "recent_users": await item_reader.recent_users(items),
                "merge_weights": serving.merge_weights,
                "learned": serving.learned,
                "counters": {name: serving.report[name] for name in ("events_seen", "events_learned", "dead_letters")},
            }
        finally:
            await user_reader.close()
            await item_reader.close()
