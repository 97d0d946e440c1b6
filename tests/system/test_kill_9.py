"""kill -9 of the real trainer at random moments under load: afterwards everything is as if nothing had happened."""

from __future__ import annotations

import os
import random
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from pymongo import MongoClient

from stores.http_item_index import HttpItemIndexWriter
from tests.chaos.crash_world import MODEL, CrashWorld, some_events
from tests.system.real_loop import RealLoop

EVENTS, KILLS = 3000, 4
MONGO = os.environ.get("USERS_URL_TEST", "")

ENVIRONMENT = {
    "MODEL_DIMENSION": str(MODEL.dimension),
    "MODEL_NEGATIVES": str(MODEL.negatives),
    "MODEL_RECENT_POOL": str(MODEL.recent_pool),
    "MODEL_EDGES": str(MODEL.edges),
    "EVALUATE_EVERY": "3",
    "BATCH_EVENTS": "40",
    "SNAPSHOT_EVENTS": "400",
    "DEDUP_WINDOW": "100",
}


class _RealWorld(CrashWorld):
    """The crash world with trainer and index in processes of their own; the recommender tells how far they are."""

    def __init__(self, folder: Path, users_url: str | None = None) -> None:
        super().__init__(folder)
        self.settings = replace(self.settings, users_url=users_url or self.settings.users_url)
        self.loop = RealLoop(folder, **ENVIRONMENT, USERS_URL=self.settings.users_url)
        self.index: Any = HttpItemIndexWriter(self.loop.index_url)

    def start_trainer(self) -> None:
        self.loop.start("incremental_training", "--from-nothing")

    def events_learned(self) -> int:
        """Events behind the stores, as published; -1 while nothing answers."""
        try:
            return sum((self.loop.get("/v1/status")[1]["trainer"] or {"learned": {}})["learned"].values())
        except OSError:
            return -1

    def finish(self) -> dict[str, Any]:
        """Wait until every store holds exactly what was learned, end all processes, and return the contents."""

        def settled() -> bool:
            report = self.loop.get("/v1/status")[1]["trainer"]["report"]
            return self.events_learned() == EVENTS and report["settled"]

        self.loop.wait(settled, "every store holds exactly what was learned")
        assert self.loop.stop("incremental_training") == {"incremental_training": 0}, self.loop.logs()
        contents = self.contents()
        self.index.close()
        assert self.loop.stop() == {"faiss_server": 0, "recommender_server": 0}
        return contents


def _run(folder: Path, kills: int, users_url: str | None = None) -> tuple[dict[str, Any], int]:
    chance = random.Random(7)
    world = _RealWorld(folder, users_url)
    events = some_events(EVENTS, seed=2)
    try:
        world.loop.start("faiss_server")
        world.loop.start("recommender_server")
        world.append(events[: EVENTS // 2], items=30)
        world.start_trainer()
        killed = 0
        for number in range(kills):
            # Each time a little further on, at a moment that nobody chose.
            goal = (number + 1) * EVENTS // (2 * kills + 2)
            world.loop.wait(lambda goal=goal: world.events_learned() >= goal, f"{goal} events are learned")
            time.sleep(chance.random() * 0.3)
            world.loop.kill("incremental_training")
            killed += 1
            if number == kills // 2:
                world.append(events[EVENTS // 2 :])
            world.start_trainer()
        if not kills:
            world.append(events[EVENTS // 2 :])
        return world.finish(), killed
    finally:
        world.loop.stop()


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a trainer leaves that was not killed."""
    return _run(tmp_path_factory.mktemp("untouched"), 0)[0]


@pytest.fixture
def mongo_url() -> Iterator[str]:
    """A database of its own, as serving's and the trainer's users."""
    if not MONGO.startswith("mongodb"):
        pytest.skip("NO MONGODB: make services-up")
    name = f"test-{uuid.uuid4().hex[:12]}"
    yield urlsplit(MONGO)._replace(path=f"/{name}").geturl()
    with closing(MongoClient(MONGO)) as client:
        client.drop_database(name)


@pytest.mark.timeout(300)
def test_killed_trainers_leave_what_one_that_was_not_killed_leaves(tmp_path: Path, untouched: dict[str, Any]) -> None:
    contents, killed = _run(tmp_path, KILLS)
    assert killed == KILLS
    for part in untouched:
        assert contents[part] == untouched[part], part


@pytest.mark.timeout(300)
def test_the_same_with_users_in_mongodb(tmp_path: Path, untouched: dict[str, Any], mongo_url: str) -> None:
    # Two kills: each time the next trainer waits for the lease of the one before to run out.
    contents, killed = _run(tmp_path, 2, mongo_url)
    assert killed == 2
    for part in untouched:
        assert contents[part] == untouched[part], part
