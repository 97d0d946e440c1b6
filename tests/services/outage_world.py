"""The whole loop on real servers under load, one of which goes away and comes back, and the ledger of every event."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from models.items import Item
from stores.adapters import open_event_log
from stores.http_item_index import HttpItemIndexWriter
from stores.ports import ITEMS, RECOMMENDATIONS_SERVED, USER_EVENTS, Entry, Record, TopicPartition
from tests.chaos.crash_world import MODEL, CrashWorld
from tests.system.real_loop import RealLoop

ITEM_COUNT = 60
# More than any outage makes a client send again.
DEDUP_WINDOW = 1_000_000
ENVIRONMENT = {
    "MODEL_DIMENSION": str(MODEL.dimension),
    "MODEL_NEGATIVES": str(MODEL.negatives),
    "MODEL_RECENT_POOL": str(MODEL.recent_pool),
    "MODEL_EDGES": str(MODEL.edges),
    "EVALUATE_EVERY": "3",
    "SNAPSHOT_EVENTS": "400",
    "DEDUP_WINDOW": str(DEDUP_WINDOW),
}
_BATCH, _PAUSE_S = 10, 0.04
_SETTLE_S = 90.0
_BEGIN_S = time.time()


# What becomes of an event; each becomes one of these.
PARTS = ("events_learned", "non_positives", "repeats", "duplicates", "dead_letters")


@dataclass
class Answers:
    """What clients saw. ``refused``: events that the recommender did not accept, to be sent again."""

    statuses: Counter[int | str] = field(default_factory=Counter)
    degraded: int = 0
    slowest_s: float = 0.0
    refused: int = 0


class Load:
    """Two clients: one posts events until each is accepted, one asks for recommendations, both until told to stop."""

    def __init__(self, loop: RealLoop, seed: int) -> None:
        self.answers = Answers()
        self.accepted: set[str] = set()
        self._loop, self._chance = loop, random.Random(seed)
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=client) for client in (self._post_events, self._ask)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(_SETTLE_S)

    def _post_events(self) -> None:
        number = 0
        while not self._stop.is_set():
            events = [self._event(number + n) for n in range(_BATCH)]
            number += _BATCH
            # A client that got no receipt sends the same events again; the trainer knows them by their ids.
            while not self._accept(events):
                self.answers.refused += _BATCH
                if self._stop.wait(_PAUSE_S * 5):
                    return
            self.accepted |= {event["event_id"] for event in events}
            self._stop.wait(_PAUSE_S)

    def _accept(self, events: list[dict[str, Any]]) -> bool:
        try:
            return self._loop.post("/v1/events", {"events": events})[0] == 202
        except OSError:
            return False

    def _event(self, number: int) -> dict[str, Any]:
        chance = self._chance
        event: dict[str, Any] = {
            "event_id": f"e{number if chance.random() < 0.95 else max(0, number - 3)}",
            "user_id": f"u{chance.randrange(4 + number // 8)}",
            "item_id": f"i{int(chance.paretovariate(0.7)) % (10 + number // 8)}",
            "type": "hide" if chance.random() < 0.05 else "rating",
            # Before its arrival by any clock: then windows of time do not depend on when which log accepted it.
            "timestamp": time.time() - 1.0,
        }
        return event | ({"value": chance.choice([2, 4, 5])} if event["type"] == "rating" else {})

    def _ask(self) -> None:
        chance = random.Random(3)
        while not self._stop.is_set():
            started_s = time.monotonic()
            try:
                status, answer = self._loop.get(f"/v1/recommendations?user_id=u{chance.randrange(50)}&k=5")
                self.answers.statuses[status] += 1
                self.answers.degraded += status == 200 and bool(answer["degraded"])
            except (OSError, json.JSONDecodeError) as error:
                self.answers.statuses[type(error).__name__] += 1
            self.answers.slowest_s = max(self.answers.slowest_s, time.monotonic() - started_s)
            self._stop.wait(_PAUSE_S)


def event_id_of(record: Record) -> str | None:
    """Return the id that the client gave an event, ``None`` for a record of another topic."""
    return msgspec.json.decode(record.value)["event_id"] if record.topic == USER_EVENTS else None


def _comparable(contents: dict[str, Any]) -> dict[str, Any]:
    """Leave out what a log calls its topics, and what comes of served lists: nobody asks an undisturbed run."""
    del contents["records"]["topic_ids"]
    del contents["records"]["intake"]["outcomes"]
    contents["offsets"] = {
        place: offset for place, offset in contents["offsets"].items() if not place.startswith(RECOMMENDATIONS_SERVED)
    }
    return contents


class OutageWorld:
    """The services as real processes on the given stores."""

    def __init__(self, folder: Path, urls: dict[str, str]) -> None:
        self.folder = folder
        self.loop = RealLoop(folder, **ENVIRONMENT, **urls)
        self._settled = CrashWorld(folder)
        self._settled.index = HttpItemIndexWriter(self.loop.index_url)  # type: ignore[assignment]
        named = {name.lower(): url for name, url in urls.items() if name in ("EVENTS_URL", "USERS_URL", "ITEMS_URL")}
        self._settled.settings = replace(self._settled.settings, **named, dedup_window=DEDUP_WINDOW)

    def start(self) -> None:
        """Start the loop and tell of some items."""
        self.loop.start_all()
        items = [msgspec.to_builtins(Item(f"i{n}", title=f"Item {n}")) for n in range(ITEM_COUNT)]
        self.loop.wait(lambda: self.loop.post("/v1/items", items, "PUT")[0] == 200, "items are accepted")
        # Until something is learned there is nothing to answer with.
        self.loop.wait(lambda: self.accepts() and self.whole(), "something is learned")

    def accepts(self) -> bool:
        """Whether events are accepted; the probe is a duplicate from the second time on."""
        probe = {
            "user_id": "probe",
            "item_id": "i1",
            "type": "rating",
            "value": 5,
            "event_id": "probe",
            "timestamp": _BEGIN_S,
        }
        return self.loop.post("/v1/events", probe)[0] == 202

    def whole(self) -> bool:
        """Whether answers are there and not degraded."""
        status, answer = self.loop.get("/v1/recommendations?user_id=u1&k=5")
        return status == 200 and not answer["degraded"]

    def log_records(self) -> list[Record]:
        """Return everything that the log holds, partition by partition."""
        with closing(open_event_log(self._settled.settings.events_url)) as log:
            ends = log.end_offsets(USER_EVENTS) | log.end_offsets(ITEMS)
            log.seek(dict.fromkeys(ends, 0))
            records: list[Record] = []
            give_up_s = time.monotonic() + _SETTLE_S
            while len(records) < sum(ends.values()):
                assert time.monotonic() < give_up_s, "the log does not give back what it holds"
                records += log.poll(10_000, 1.0)
        return records

    def wait_until_learned(self) -> dict[str, Any]:
        """Wait until all of the log is learned and in every store; return the trainer's report."""
        with closing(open_event_log(self._settled.settings.events_url)) as log:
            ends = {place.partition: end for place, end in log.end_offsets(USER_EVENTS).items()}

        def settled() -> bool:
            trainer = self.loop.get("/v1/status")[1]["trainer"]
            learned = {int(partition): offset for partition, offset in trainer["learned"].items()}
            return learned == ends and trainer["report"]["settled"]

        self.loop.wait(settled, "every store holds exactly what was learned", _SETTLE_S)
        return dict(self.loop.get("/v1/status")[1]["trainer"]["report"])

    def finish(self) -> dict[str, Any]:
        """End the loop and return what the stores hold."""
        assert self.loop.stop("incremental_training") == {"incremental_training": 0}, self.loop.logs()
        contents = _comparable(self._settled.contents())
        self._settled.index.close()
        assert self.loop.stop() == {"faiss_server": 0, "recommender_server": 0}, self.loop.logs()
        return contents

    def undisturbed(self, records: list[Record]) -> dict[str, Any]:
        """Return what the same log leaves on embedded stores that nothing happened to."""
        folder = self.folder / "undisturbed"
        folder.mkdir()
        world = CrashWorld(folder)
        world.settings = replace(world.settings, dedup_window=DEDUP_WINDOW, batch_events=2000)
        with closing(open_event_log(world.settings.events_url)) as log:
            for topic in (USER_EVENTS, ITEMS):
                mine = [record for record in records if record.topic == topic]
                assert {TopicPartition(topic, record.partition) for record in mine} <= {TopicPartition(topic, 0)}
                assert [record.offset for record in mine] == list(range(len(mine)))
                log.append(topic, [Entry(record.key, record.value) for record in mine])
        assert world.run(lambda point: None)
        return _comparable(world.contents())
