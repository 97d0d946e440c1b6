"""Do new items reach anyone? 200 of them, put into the running product while a stream is replayed.

``python -m benchmarks.new_items --data FOLDER [--items 200] [--seconds 60]``

The real processes on the demo's ports: initial training on the older half of the log, then the stream at 400 events per
second, and before every fifth positive the list of its user, as in the demo. After some seconds as many new items are
put as records alone, each with the content of an item of the catalogue under a new id. Measured: how soon each of some
of them is an answer's subject in ``similar``, and known to the index itself, and which of them stood on anyone's list
within the time, and why there.
The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import numpy as np

from demo import processes
from demo.client import RecommenderClient
from demo.freshness import Freshness
from demo.replay import Progress, Replayer
from demo.run import Watch
from demo.stream import Stream, StreamEvent
from models.event_settings import EventSettings
from models.events import PositiveRule
from models.items import Item
from models.settings import load
from stores.history import History, load_history

RATE = 400.0
BEFORE_S = 5.0
ADDRESS = f"http://127.0.0.1:{processes.RECOMMENDER_PORT}"
# So many are asked for one by one until they are found; no longer than this.
ASKED_FOR, GIVE_UP_S = 20, 20.0


class NotingClient(RecommenderClient):
    """A client that notes, of every new item, the source of the first place that it was given."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        super().__init__(session)
        self.new: set[str] = set()
        self.first_sources: dict[str, str] = {}
        self.lists = self.places = self.degraded = 0

    async def put_items(self, items: Sequence[Item]) -> None:
        """Put the new items alone: the stream's own are in the catalogue since initial training, and not new again."""
        if items and items[0].item_id in self.new:
            await super().put_items(items)

    async def recommend(self, user_id: str, k: int = 10, **parameters: str) -> dict[str, Any]:
        """Ask, and note."""
        answer = await super().recommend(user_id, k, **parameters)
        self.lists += 1
        self.degraded += answer["degraded"]
        for item in answer["items"]:
            if item["item_id"] in self.new:
                self.places += 1
                self.first_sources.setdefault(item["item_id"], item["source"])
        return answer


def some_new(history: History, count: int, seed: int) -> list[Item]:
    """Return items of their own ids with the content of random items, that have a text where any item has one."""
    catalogue = list(history.catalogue.values())
    described = [item for item in catalogue if item.text] or [item for item in catalogue if item.category]
    chosen = np.random.default_rng(seed).choice(len(described), size=min(count, len(described)), replace=False)
    return [msgspec.structs.replace(described[place], item_id=f"new-{place}") for place in chosen.tolist()]


async def _nothing(batch: list[StreamEvent]) -> None:
    pass


async def until_similar(client: RecommenderClient, item_id: str, **parameters: str) -> float | None:
    """Return seconds until it is answered what is like an item; ``None`` when it is not in time."""
    started_s = time.monotonic()
    while (waited_s := time.monotonic() - started_s) < GIVE_UP_S:
        answer = await client.similar(item_id, **parameters)
        if answer.get("source") == "similar" and answer["items"]:
            return waited_s
        await asyncio.sleep(0.02)
    return None


async def measure(
    client: NotingClient, replayer: Replayer, new: Sequence[Item], seconds: float
) -> tuple[list[float | None], list[float | None], float]:
    """Replay, put the items, look; return seconds until ``similar`` answers, until the index does, and of putting."""
    end_s = time.monotonic() + BEFORE_S + seconds
    sending = asyncio.create_task(replayer.run(lambda: time.monotonic() > end_s))
    await asyncio.sleep(BEFORE_S)
    client.new = {item.item_id for item in new}
    client.lists = client.degraded = 0
    started_s = time.monotonic()
    # One by one at first, each looked for at once; the rest together.
    waits, index_waits = [], []
    for item in new[:ASKED_FOR]:
        await client.put_items([item])
        by_index = asyncio.create_task(until_similar(client, item.item_id, by="behaviour"))
        waits.append(await until_similar(client, item.item_id))
        index_waits.append(await by_index)
    await client.put_items(new[ASKED_FOR:])
    took_s = time.monotonic() - started_s
    await sending
    return waits, index_waits, took_s


async def run(
    services: processes.Services, stream: Stream, progress: Progress, path: Path, new: list[Item], seconds: float
) -> dict[str, Any]:
    """Return what was measured."""
    async with aiohttp.ClientSession(ADDRESS, timeout=aiohttp.ClientTimeout(total=5.0)) as session:
        client = NotingClient(session)
        watch = Watch(client, services, asyncio.Event())
        await watch.until_ready()
        replayer = Replayer(
            client,
            stream,
            progress,
            path,
            rate=RATE,
            true_ranks=None,
            freshness=Freshness(client),
            on_accepted=_nothing,
        )
        waits, index_waits, put_s = await measure(client, replayer, new, seconds)
        await asyncio.sleep(1.5)
        await watch.look()
    sources = list(client.first_sources.values())
    return {
        "new_items": len(new),
        "recommended": len(client.first_sources),
        "share": round(len(client.first_sources) / len(new), 4),
        "first_place_by_source": {source: sources.count(source) for source in sorted(set(sources))},
        "seconds": seconds,
        "put_seconds": round(put_s, 2),
        "lists": client.lists,
        "lists_degraded": client.degraded,
        "share_of_places": round(client.places / max(10 * client.lists, 1), 4),
        "until_similar_s": _summary(waits),
        "until_in_index_s": _summary(index_waits),
        "events": progress.sent,
        "recall10_served": round(progress.hits / max(progress.scored, 1), 4),
        "index_items": watch.status["index"]["items"],
        "content_score_difference": watch.status["trainer"]["report"].get("content_score_difference"),
        "index_score_difference": watch.status["trainer"]["report"].get("index_score_difference"),
    }


def _summary(waits: Sequence[float | None]) -> dict[str, Any]:
    found = [wait for wait in waits if wait is not None]
    return {
        "asked": len(waits),
        "found": len(found),
        "p50": round(float(np.median(found)), 3) if found else None,
        "max": round(max(found), 3) if found else None,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.new_items", description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder or log of past events, with a catalogue")
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args(arguments)
    if ports := processes.ports_in_use():
        print(f"something listens on port {' and '.join(map(str, ports))} already", file=sys.stderr)
        return 2
    history = load_history(options.data)
    cut = len(history.split(0.5)[0])
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder)
        stores = {f"{name.upper()}_URL": f"sqlite:///{state}/{name}.db" for name in ("events", "users", "items")}
        env = processes.environment(state, os.environ, stores)
        if processes.train(options.data, "", 0.5, env) != 0:
            return 1
        progress = Progress(str(options.data), 0.5, cut)
        stream = Stream(history, cut, PositiveRule(load(EventSettings, env).positive_events), processes.EVALUATE_EVERY)
        services = processes.Services(env, state / "services.log")
        try:
            result = asyncio.run(
                run(
                    services,
                    stream,
                    progress,
                    state / "replay.json",
                    some_new(history, options.items, 0),
                    options.seconds,
                )
            )
        finally:
            services.stop()
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
