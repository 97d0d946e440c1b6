"""How soon does an event count, and is an answer ever stale? Against the real processes, over HTTP.

``python -m benchmarks.freshness [--rounds 10000] [--stack full]``

A round: a list is there, its first item is liked, and the next list is asked for at once with
``after=<receipt>&level=history``. It must say that it is not stale, and must not hold the item. Half of the rounds are
of users whom the model knows, half of brand-new ones; half with nothing else going on, half while 2,000 events per
second of other users arrive in batches. *Own* freshness is the time from the receipt to that answer. *Learned*
freshness, beside it, is the time from the receipt until the index holds the moved vector, asked by ``level=learned``.

The processes are started on free ports with the shipped defaults, a trainer that begins with nothing, and a small
world of items that are liked by popularity. Prints a table and, last, one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.loop import running
from benchmarks.verdict import Bar, conclude
from demo import processes
from demo.client import RecommenderClient
from demo.freshness import Freshness
from demo.run import Watch, has_learned
from demo.stack import STACKS, NoServers

ITEMS, KNOWN_USERS, OTHER_USERS = 3000, 1000, 5000
EVENTS_BEFORE = 30_000
LOAD_PER_S, LOAD_BATCH = 2000, 200
# One round in so many is followed until it is learned: measuring is to be no load of its own.
FOLLOWED = 10
# In ms, but for the count of stale answers.
BARS = {
    "stale": 0,
    "own_idle_p99_ms": 30.0,
    "own_loaded_p99_ms": 100.0,
    "learned_idle_p99_ms": 150.0,
    "learned_loaded_p99_ms": 400.0,
}


class World:
    """Items by popularity, and users who like them. Every draw is of one seed."""

    def __init__(self, seed: int = 0) -> None:
        self._chance = np.random.default_rng(seed)
        weights = 1.0 / np.arange(1, ITEMS + 1)
        self._share = weights / weights.sum()

    def likes(self, user_prefix: str, users: int, count: int) -> list[dict[str, Any]]:
        """Return events of random users."""
        items = self._chance.choice(ITEMS, size=count, p=self._share).tolist()
        whose = self._chance.integers(users, size=count).tolist()
        return [
            {"user_id": f"{user_prefix}{user}", "item_id": f"i{item}", "type": "like"}
            for user, item in zip(whose, items, strict=True)
        ]


@dataclass
class Phase:
    """What the rounds of one phase showed. ``own_s``: of known and of new users together."""

    own_s: list[float] = field(default_factory=list)
    rounds: dict[str, int] = field(default_factory=lambda: {"known": 0, "new": 0})
    stale: dict[str, int] = field(default_factory=lambda: {"known": 0, "new": 0})
    refused: int = 0
    degraded: int = 0
    load_per_s: float = 0.0


async def one_round(client: RecommenderClient, user_id: str, kind: str, phase: Phase) -> tuple[str, float] | None:
    """Look, like, look again; return the receipt and when it came, ``None`` where the event was refused."""
    before = await client.recommend(user_id)
    liked = before["items"][0]["item_id"]
    phase.rounds[kind] += 1
    [receipt] = await client.post_events([{"user_id": user_id, "item_id": liked, "type": "like"}])
    accepted_s = time.monotonic()
    if receipt is None:
        phase.refused += 1
        return None
    after = await client.recommend(user_id, after=receipt, level="history")
    phase.own_s.append(time.monotonic() - accepted_s)
    phase.stale[kind] += after["stale"] or liked in [item["item_id"] for item in after["items"]]
    phase.degraded += after["degraded"]
    return receipt, accepted_s


async def rounds(
    client: RecommenderClient, freshness: Freshness, name: str, count: int, seed: int, phase: Phase
) -> None:
    """Do so many rounds, one after another, known and new users in turn."""
    chance = np.random.default_rng(seed)
    for n in range(count):
        kind = "new" if n % 2 else "known"
        user_id = f"new-{name}-{n}" if n % 2 else f"u{chance.integers(KNOWN_USERS)}"
        done = await one_round(client, user_id, kind, phase)
        if done and n % FOLLOWED < 2:  # as many known ones as new ones
            freshness.measure_learned(user_id, *done)
    await freshness.finish()


async def load(client: RecommenderClient, world: World, phase: Phase) -> None:
    """Send events of others, in batches, until cancelled. A batch that is late is not made up for."""
    started_s = time.monotonic()
    sent = 0
    try:
        while True:
            due_s = time.monotonic() + LOAD_BATCH / LOAD_PER_S
            await client.post_events(world.likes("other", OTHER_USERS, LOAD_BATCH))
            sent += LOAD_BATCH
            await asyncio.sleep(max(due_s - time.monotonic(), 0.0))
    finally:
        phase.load_per_s = sent / (time.monotonic() - started_s)


async def prepare(client: RecommenderClient, watch: Watch, world: World) -> None:
    """Have the trainer learn some history, and wait until everything has it."""
    give_up_s = time.monotonic() + 90.0
    while not (await client.status() or {}).get("trainer"):
        if not watch.services.alive() or time.monotonic() > give_up_s:
            raise TimeoutError("the services were not ready in time")
        await asyncio.sleep(0.1)
    ends: dict[int, int] = {}
    events = world.likes("u", KNOWN_USERS, EVENTS_BEFORE)
    for start in range(0, len(events), 1000):
        for receipt in await client.post_events(events[start : start + 1000]):
            assert receipt is not None
            partition, offset = map(int, receipt.split(":"))
            ends[partition] = max(ends.get(partition, 0), offset + 1)
    while not has_learned(watch.status, ends):
        if time.monotonic() > give_up_s:
            raise TimeoutError("the history was not learned in time")
        await watch.look()
        await asyncio.sleep(0.1)


async def measure(url: str, services: processes.Services, count: int) -> dict[str, Any]:
    """Return the figures of both phases."""
    world = World()
    figures: dict[str, Any] = {"rounds": 0, "stale": 0}
    async with aiohttp.ClientSession(url, timeout=aiohttp.ClientTimeout(total=10.0)) as session:
        client = RecommenderClient(session)
        await prepare(client, Watch(client, services, asyncio.Event()), world)
        for seed, name in enumerate(("idle", "loaded")):
            phase, freshness = Phase(), Freshness(client)
            sending = asyncio.create_task(load(client, world, phase)) if name == "loaded" else None
            try:
                await rounds(client, freshness, name, count // 2, seed, phase)
            finally:
                if sending:
                    sending.cancel()
                    await asyncio.wait([sending])
            figures |= figures_of(name, phase, freshness.learned_s)
            figures["rounds"] += sum(phase.rounds.values())
            figures["stale"] += sum(phase.stale.values())
        figures["answers_5xx"] = client.errors_5xx
    return figures


def figures_of(name: str, phase: Phase, learned_s: Sequence[float]) -> dict[str, Any]:
    """Return one phase's figures by name; ``None`` for a percentile of nothing."""
    figures: dict[str, Any] = {
        f"{kind}_{name}_p{percent}_ms": round(1000 * float(np.percentile(samples, percent)), 2) if samples else None
        for kind, samples in (("own", phase.own_s), ("learned", learned_s))
        for percent in (50, 99)
    }
    return figures | {
        f"rounds_{name}": phase.rounds,
        f"stale_{name}": phase.stale,
        f"refused_{name}": phase.refused,
        f"degraded_{name}": phase.degraded,
        f"learned_{name}_samples": len(learned_s),
        f"load_{name}_per_s": round(phase.load_per_s, 1),
    }


def bars_of(figures: Mapping[str, Any]) -> list[Bar]:
    """Return every bar with what was measured."""
    return [Bar(name, figures[name], at_most=bar) for name, bar in BARS.items()]


def show(figures: Mapping[str, Any]) -> None:
    """Print the table."""
    table = Table("", "idle", "loaded", title=f"{figures['rounds']} rounds of event and list")
    for kind in ("own", "learned"):
        for percent in (50, 99):
            cells = [figures[f"{kind}_{phase}_p{percent}_ms"] for phase in ("idle", "loaded")]
            table.add_row(f"{kind} freshness p{percent}, ms", *map(str, cells))
    for what in ("stale", "rounds", "refused", "degraded", "load"):
        suffix = "_per_s" if what == "load" else ""
        table.add_row(what, *(str(figures[f"{what}_{phase}{suffix}"]) for phase in ("idle", "loaded")))
    Console(width=120).print(table)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit code: 0 also where a bar is missed, 1 where an answer was stale."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.freshness", description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=10_000)
    parser.add_argument("--quick", action="store_true", help="a few hundred rounds")
    parser.add_argument("--stack", choices=STACKS, default="embedded")
    options = parser.parse_args(arguments)
    rounds_asked = 400 if options.quick else options.rounds
    try:
        with running(options.stack) as loop:
            figures = asyncio.run(measure(loop.recommender_url, loop.services, rounds_asked))
    except NoServers:
        return 2
    show(figures)
    settings = {"stack": options.stack, "load_per_s": LOAD_PER_S, "items": ITEMS}
    conclude("freshness", figures, bars_of(figures), settings, ("falcon", "faiss-cpu"))
    return 0 if figures["stale"] == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
