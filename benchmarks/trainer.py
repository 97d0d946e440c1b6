"""How fast does the whole trainer catch up, and does it stay so? Against a consumer that only polls and decodes.

``python -m benchmarks.trainer [--quick] [--stack full] [--events N]``

The log is filled first (``benchmarks.stream_world``: 50,000 users in bursts, 5,000 items by popularity, in forty
categories and with texts; 85 % positive, the rest history and rejections, some repeats). Then a consumer in this
process polls and decodes all of it, which is the limit of anything that reads this log. Then the real processes start
with the shipped defaults, the trainer from nothing, and it is looked at once a second until everything is learned:
every fifth positive ranked first, everything published to the real index and stores, snapshots written.

*Sustained* is the rate over everything after the first tenth of the events, when machine code is loaded and the first
tables have grown; *flat* compares the last fifth with the first one after that. *Memory* compares the trainer's
resident set in the last fifth with its middle, when every user and item has its row: what is left to grow is what
people have consumed, five bytes a pair, which must be remembered.

The user store's own ceiling is measured last, alone: documents that the trainer wrote, read back, are written to a
space of their own in messages of the size that the trainer's had.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.loop import Loop, running
from benchmarks.stream_world import StreamWorld
from benchmarks.verdict import Bar, conclude
from demo.client import RecommenderClient
from demo.run import has_learned
from demo.stack import STACKS, NoServers
from incremental_training.settings import TrainerSettings
from models.settings import load
from stores.adapters import open_event_log, open_user_reader, open_user_writer
from stores.ports import ITEMS, USER_EVENTS, UserDocument, version_of

USERS, CATALOGUE = 50_000, 5_000
EVENTS = {"embedded": 1_500_000, "full": 250_000}
QUICK_EVENTS = {"embedded": 150_000, "full": 60_000}
WARM_UP, FIFTH = 0.1, 0.2
# In events per second, and shares. The ceiling is that of the user store, in documents per second.
LEAST_PER_S = {"embedded": 15_000, "full": 5_000}
LEAST_OF_CEILING, FLAT, MEMORY_FLAT = 0.8, 0.9, 1.1
LOOK_EVERY_S = 1.0
# Without anything learned for so long, something is wrong; a fresh clone compiles before it learns the first event.
START_S, PATIENCE_S = 180.0, 60.0
# The ceiling of the user store is that of the best of so many seconds.
CEILING_S, CEILING_DOCUMENTS = 5.0, 20_000
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Looks:
    """What was seen, look by look: ``[seconds, events seen, trainer's CPU seconds, its resident bytes]``."""

    rows: list[tuple[float, float, float, float]] = field(default_factory=list)
    report: dict[str, Any] = field(default_factory=dict)

    def between(self, start: float, stop: float) -> tuple[float, float]:
        """Return events per second, and per second of the trainer's CPU, between two shares of all events."""
        seen = np.array(self.rows)
        first, last = (int(np.searchsorted(seen[:, 1], share * seen[-1, 1])) for share in (start, stop))
        last = min(last, len(seen) - 1)
        seconds, events, cpu_s, _ = seen[last] - seen[min(first, last - 1)]
        return events / seconds, events / max(cpu_s, 1e-9)

    def resident(self, start: float, stop: float) -> float:
        """Return the mean resident bytes of the trainer between two shares of all events."""
        seen = np.array(self.rows)
        share = seen[:, 1] / seen[-1, 1]
        return float(seen[(share >= start) & (share <= stop), 3].mean())


class Filled:
    """The log filled, and read by a consumer that does nothing else; called before the services start."""

    def __init__(self, world: StreamWorld) -> None:
        self._world = world
        self.ends: dict[int, int] = {}
        self.fill_s = self.consumer_per_s = self.consumer_cpu_per_s = 0.0

    def __call__(self, env: Mapping[str, str]) -> None:
        """Fill and read."""
        settings = load(TrainerSettings, env)
        with closing(open_event_log(settings.events_url, timeout_s=60.0)) as log:
            started_s = time.monotonic()
            log.append(ITEMS, self._world.item_entries())
            for entries in self._world.event_entries():
                log.append(USER_EVENTS, entries)
            self.fill_s = time.monotonic() - started_s
            ends = log.end_offsets(USER_EVENTS)
            self.ends = {place.partition: end for place, end in ends.items()}
            decoder, left = settings.decoder(), sum(ends.values())
            log.seek(dict.fromkeys(ends, 0))
            started_s, started_cpu_s = time.monotonic(), time.process_time()
            while left:
                records = log.poll(settings.batch_events, 1.0)
                for record in records:
                    decoder.decode(record.value, default_event_id=str(record.offset), arrival_s=record.arrival_s)
                left -= len(records)
            self.consumer_per_s = self._world.events / (time.monotonic() - started_s)
            self.consumer_cpu_per_s = self._world.events / (time.process_time() - started_cpu_s)


async def watch(loop: Loop, ends: Mapping[int, int]) -> Looks:
    """Look at the trainer until all is learned and published."""
    looks = Looks()
    async with aiohttp.ClientSession(loop.recommender_url, timeout=aiohttp.ClientTimeout(total=10.0)) as session:
        client = RecommenderClient(session)
        give_up_s = time.monotonic() + START_S
        while True:
            status = await client.status() or {}
            report = (status.get("trainer") or {}).get("report", {})
            if seen := report.get("events_seen"):
                if not looks.rows or seen > looks.rows[-1][1]:
                    looks.rows.append((time.monotonic(), seen, *usage(loop.services.pids()["trainer"])))
                    give_up_s = time.monotonic() + PATIENCE_S
                looks.report = report
                if has_learned(status, ends):
                    return looks
            if time.monotonic() > give_up_s or not loop.services.alive():
                raise TimeoutError("the trainer does not go on")
            await asyncio.sleep(LOOK_EVERY_S)


def usage(pid: int) -> tuple[float, float]:
    """Return the CPU seconds and the resident bytes of a process."""
    times = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return sum(map(int, times)) / _TICKS_PER_S, int(pages) * float(_PAGE_BYTES)


async def written(url: str, most: int) -> list[UserDocument]:
    """Return documents that the trainer wrote."""
    reader = open_user_reader(url, timeout_s=30.0)
    found: list[UserDocument] = []
    try:
        while len(found) < most:
            more = await reader.scan(found[-1].user_id if found else None, 1000)
            if not more:
                break
            found += more
    finally:
        await reader.close()
    return found


def ceiling(url: str, documents: Sequence[UserDocument], at_once: int) -> float:
    """Return how many of these documents the store takes per second, so many at a time: the best second."""
    with closing(open_user_writer(url, timeout_s=30.0)) as writer:
        epoch, nth = writer.acquire_lease("benchmark"), 0
        rates: list[float] = []
        give_up_s = time.monotonic() + CEILING_S
        while time.monotonic() < give_up_s:
            began_s, done = time.monotonic(), 0
            while time.monotonic() - began_s < 1.0:
                start = nth * at_once % max(1, len(documents) - at_once)
                nth += 1
                version = version_of(epoch, nth)
                part = [msgspec.structs.replace(x, version=version) for x in documents[start : start + at_once]]
                writer.upsert(part)
                done += len(part)
            rates.append(done / (time.monotonic() - began_s))
    return max(rates)


def space_beside(url: str) -> str:
    """Return the URL of a user store beside another one's."""
    return url.replace("users.db", "ceiling.db") if url.startswith("sqlite") else f"{url}-ceiling"


def figures_of(filled: Filled, looks: Looks, ceiling_per_s: float) -> dict[str, Any]:
    """Return all figures by name."""
    report, metrics = looks.report, looks.report["metrics"]
    sustained_per_s, sustained_cpu_per_s = looks.between(WARM_UP, 1.0)
    first_per_s, first_cpu_per_s = looks.between(WARM_UP, WARM_UP + FIFTH)
    last_per_s, last_cpu_per_s = looks.between(1.0 - FIFTH, 1.0)
    seconds = looks.rows[-1][0] - looks.rows[0][0]
    return {
        "events": report["events_seen"],
        "learned": report["events_learned"],
        "scored": report["scored"],
        "users": report["users"],
        "items": report["items"],
        "fill_s": round(filled.fill_s, 1),
        "consumer_per_s": round(filled.consumer_per_s),
        "consumer_cpu_per_s": round(filled.consumer_cpu_per_s),
        "sustained_per_s": round(sustained_per_s),
        "sustained_cpu_per_s": round(sustained_cpu_per_s),
        "of_consumer": round(sustained_per_s / filled.consumer_per_s, 3),
        "first_fifth_per_s": round(first_per_s),
        "last_fifth_per_s": round(last_per_s),
        "flat": round(last_per_s / first_per_s, 3),
        "flat_cpu": round(last_cpu_per_s / first_cpu_per_s, 3),
        "resident_middle_mb": round(looks.resident(0.4, 0.6) / 1e6, 1),
        "resident_last_mb": round(looks.resident(1.0 - FIFTH, 1.0) / 1e6, 1),
        "memory_flat": round(looks.resident(1.0 - FIFTH, 1.0) / looks.resident(0.4, 0.6), 3),
        "ceiling_documents_per_s": round(ceiling_per_s),
        "of_ceiling": round(sustained_per_s / ceiling_per_s, 3),
        "documents_per_s": round(metrics["users_published"] / seconds),
        "documents_at_once": round(metrics["users_published"] / metrics["users_write_seconds_count"]),
        "flushes": metrics["flush_seconds_count"],
        "snapshots": metrics.get("snapshot_seconds_count", 0),
        "seconds": {
            name: round(metrics[f"{name}_seconds_sum"], 1)
            for name in ("learn", "flush", "users_write", "index_write", "items_write", "snapshot")
            if f"{name}_seconds_sum" in metrics
        },
    }


def bars_of(figures: Mapping[str, Any], stack: str, long: bool) -> list[Bar]:
    """Return every bar with what was measured; a short run says nothing of the long one."""
    bars = [Bar("sustained_per_s", figures["sustained_per_s"], at_least=LEAST_PER_S[stack])]
    if stack == "full":
        bars.append(Bar("of_ceiling", figures["of_ceiling"], at_least=LEAST_OF_CEILING))
    if long:
        bars += [
            Bar("flat", figures["flat"], at_least=FLAT),
            Bar("memory_flat", figures["memory_flat"], at_most=MEMORY_FLAT),
        ]
    return bars


def show(figures: Mapping[str, Any], stack: str) -> None:
    """Print the table."""
    table = Table("", "events/s", "events/s of CPU", title=f"{figures['events']:,} events, {stack} stack")
    table.add_row("poll and decode", f"{figures['consumer_per_s']:,}", f"{figures['consumer_cpu_per_s']:,}")
    table.add_row("the whole trainer", f"{figures['sustained_per_s']:,}", f"{figures['sustained_cpu_per_s']:,}")
    for part in ("first", "last"):
        table.add_row(f"its {part} fifth", f"{figures[f'{part}_fifth_per_s']:,}", "")
    Console(width=120).print(table)
    print(
        f"memory {figures['resident_middle_mb']} MB in the middle, {figures['resident_last_mb']} MB at the end; "
        f"{figures['documents_per_s']:,} user documents/s in messages of {figures['documents_at_once']}, "
        f"the store alone takes {figures['ceiling_documents_per_s']:,}/s; seconds spent: {figures['seconds']}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit code: 0 also where a bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trainer", description=__doc__.split("\n\n")[0])
    parser.add_argument("--events", type=int, help="how many events; default: as many as a few minutes allow")
    parser.add_argument("--quick", action="store_true", help="few events; says nothing of how flat it stays")
    parser.add_argument("--stack", choices=STACKS, default="embedded")
    options = parser.parse_args(arguments)
    events = options.events or (QUICK_EVENTS if options.quick else EVENTS)[options.stack]
    world = StreamWorld(USERS, CATALOGUE, events)
    filled = Filled(world)
    try:
        with running(options.stack, first=filled) as loop:
            settings = load(TrainerSettings, loop.env)
            looks = asyncio.run(watch(loop, filled.ends))
            documents = asyncio.run(written(settings.users_url, CEILING_DOCUMENTS))
            metrics = looks.report["metrics"]
            at_once = max(1, round(metrics["users_published"] / metrics["users_write_seconds_count"]))
            ceiling_per_s = ceiling(space_beside(settings.users_url), documents, at_once)
    except NoServers:
        return 2
    figures = figures_of(filled, looks, ceiling_per_s)
    show(figures, options.stack)
    shipped = {name: getattr(settings, name) for name in ("evaluate_every", "batch_events", "flush_interval_ms")}
    shipped |= {"snapshot_events": settings.snapshot_events, "snapshot_interval_s": settings.snapshot_interval_s}
    bars = bars_of(figures, options.stack, long=not options.quick and options.stack == "embedded")
    conclude("trainer", figures, bars, {"stack": options.stack} | shipped, ("numpy", "numba", "faiss-cpu"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
