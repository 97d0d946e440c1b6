"""How many recommendations a second, at what CPU time each? Beside a bare hello, and beside the usual design.

``python -m benchmarks.serve [--quick] [--stack full]``

wrk keeps 64 connections busy with ``GET /v1/recommendations?user_id=…&k=10``, over all users of a world that was
learned first: the whole path with the shipped defaults, real processes, the trainer running. Beside it, in turns:

- *hello*: a bare Falcon hello on the same server, one worker (``benchmarks.hello``); it answers nothing from anywhere;
- *usual*: two synchronous apps on gunicorn (``benchmarks.usual_design``) over the same number of items and users, in a
  MongoDB-wire server and Redis: the user's vector from one, a search by ``requests.post``, ten single GETs of metadata.

CPU time is that of all processes that answer: the apps, the index, and the servers of the stores, not the trainer.
With ``--stack full`` the same loop on Kafka, MongoDB and Redis is measured beside. Prints a table and, last, one JSON
object; ends with 1 when an answer was no personal, undegraded list of ten.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.loop import Loop, free_ports, running
from benchmarks.process_time import cpu_s, sessions_listening
from benchmarks.usual_design import filling
from benchmarks.verdict import ROOT, Bar, conclude
from demo.client import RecommenderClient
from demo.run import has_learned
from demo.stack import STACKS, NoServers, stores_of
from models.items import Item

CONNECTIONS, K = 64, 10
# Workers of the usual design, its recommender and its faiss app: what two cores profit from.
USUAL_WORKERS, USUAL_FAISS_WORKERS = 2, 1
# A user's next item is one of his taste's, and mostly one of the next few in its order.
TASTES, STEP, STRAY = 50, 20, 0.1
LUA = Path(__file__).with_suffix(".lua")
START_TIMEOUT_S, LEARN_TIMEOUT_S = 60.0, 240.0
BARS = {"of_hello": (0.10, None), "times_usual": (10.0, None), "cpu_of_usual": (None, 0.125)}


@dataclass(frozen=True)
class Size:
    """How much is measured. ``seconds``: of each turn."""

    items: int
    users: int
    events_per_user: int
    turns: int
    seconds: int


WHOLE, QUICK = Size(5000, 5000, 20, 5, 6), Size(1000, 500, 20, 1, 3)


@dataclass
class Measured:
    """What the turns of one contestant showed. ``cpu_ms``: per answer, of all its processes."""

    per_s: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    requests: int = 0
    bad: int = 0


@dataclass(frozen=True)
class Contestant:
    """Who is measured: his paths, in a file, and the ports that his processes listen on."""

    url: str
    paths: Path
    ports: tuple[int, ...]


# --- the world ------------------------------------------------------------------------------------------------------


def items_of(size: Size) -> list[Item]:
    """Return the catalogue: every item with the metadata that a shop shows."""
    return [
        Item(
            f"item-{n}",
            title=f"The {n}th thing of its kind",
            category=f"taste {n % TASTES}",
            price=5.0 + n % 90,
            text=f"What a shop says of thing {n}, in a sentence or two: how it looks, what it is for.",
            attributes={"colour": ("red", "green", "blue")[n % 3], "year": 1990 + n % 35},
        )
        for n in range(size.items)
    ]


def events_of(size: Size, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Yield likes, all users in turn: each follows his taste's items in small steps, and strays now and then."""
    chance = np.random.default_rng(seed)
    per_taste = size.items // TASTES
    tastes = chance.integers(TASTES, size=size.users)
    places = (per_taste * chance.beta(1.0, 2.0, size=size.users)).astype(int)
    for _ in range(size.events_per_user):
        places = (places + chance.integers(1, STEP, size=size.users)) % per_taste
        stray = chance.random(size.users) < STRAY
        of = np.where(stray, chance.integers(TASTES, size=size.users), tastes)
        for user, (place, taste) in enumerate(zip(places.tolist(), of.tolist(), strict=True)):
            yield {"user_id": f"user-{user}", "item_id": f"item-{place * TASTES + taste}", "type": "like"}


async def teach(loop: Loop, size: Size) -> None:
    """Give the loop the catalogue and the history, and wait until everything is learned. Raises ``TimeoutError``."""
    give_up_s = time.monotonic() + LEARN_TIMEOUT_S
    async with aiohttp.ClientSession(loop.recommender_url, timeout=aiohttp.ClientTimeout(total=10.0)) as session:
        client = RecommenderClient(session)
        while not (await client.status() or {}).get("trainer"):
            _refuse_late(give_up_s, loop)
            await asyncio.sleep(0.1)
        items, events = items_of(size), list(events_of(size))
        for start in range(0, len(items), 500):
            await client.put_items(items[start : start + 500])
        ends: dict[int, int] = {}
        for start in range(0, len(events), 1000):
            for receipt in await client.post_events(events[start : start + 1000]):
                assert receipt is not None
                partition, offset = map(int, receipt.split(":"))
                ends[partition] = max(ends.get(partition, 0), offset + 1)
        while not has_learned(await client.status() or {}, ends):
            _refuse_late(give_up_s, loop)
            await asyncio.sleep(0.2)


def _refuse_late(give_up_s: float, loop: Loop) -> None:
    if time.monotonic() > give_up_s or not loop.services.alive():
        raise TimeoutError("the services did not learn the world in time")


# --- the contestants ------------------------------------------------------------------------------------------------


def ours(loop: Loop, size: Size, servers: tuple[int, ...] = ()) -> Contestant:
    """Return the loop. ``servers``: the ports of its stores, where these are servers."""
    paths = loop.state / "paths"
    paths.write_text("".join(f"/v1/recommendations?user_id=user-{n}&k={K}\n" for n in range(size.users)))
    return Contestant(loop.recommender_url, paths, (_port(loop.recommender_url), _port(loop.index_url), *servers))


@contextmanager
def hello(folder: Path) -> Iterator[Contestant]:
    """Run the bare hello."""
    (port,) = free_ports(1)
    paths = folder / "hello"
    paths.write_text("/\n")
    command = ["benchmarks.hello:app()", "-k", "uvicorn_worker.UvicornWorker", "--workers", "1"]
    with _gunicorn(command, port, {}):
        yield Contestant(f"http://127.0.0.1:{port}", paths, (port,))


@contextmanager
def usual(folder: Path, size: Size, stores: Mapping[str, str]) -> Iterator[Contestant]:
    """Run the usual design on these stores, filled with as many users and items."""
    recommender, index = free_ports(2)
    paths = folder / "usual"
    paths.write_text("".join(f"/recommendations?user_id=user-{n}&k={K}\n" for n in range(size.users)))
    with filling.filled(stores["USERS_URL"], stores["ITEMS_URL"], folder, items_of(size), size.users) as env:
        env |= {"SEARCH_URL": f"http://127.0.0.1:{index}/search"}
        apps = "benchmarks.usual_design"
        with (
            _gunicorn([f"{apps}.faiss_app:app_from_env()", "--workers", str(USUAL_FAISS_WORKERS)], index, env),
            _gunicorn([f"{apps}.recommender_app:app_from_env()", "--workers", str(USUAL_WORKERS)], recommender, env),
        ):
            servers = (_port(stores["USERS_URL"]), _port(stores["ITEMS_URL"]))
            yield Contestant(f"http://127.0.0.1:{recommender}", paths, (recommender, index, *servers))


@contextmanager
def _gunicorn(arguments: Sequence[str], port: int, env: Mapping[str, str]) -> Iterator[None]:
    command = [sys.executable, "-m", "gunicorn", *arguments, "--bind", f"127.0.0.1:{port}", "--no-control-socket"]
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*command, "--log-level", "warning"], cwd=ROOT, env={**os.environ, **one_thread, **env}, start_new_session=True
    )
    try:
        give_up_s = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                sessions_listening([port])
                break
            except LookupError:
                if process.poll() is not None or time.monotonic() > give_up_s:
                    raise
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait()


def _port(url: str) -> int:
    return urlsplit(url).port or 0


# --- measuring ------------------------------------------------------------------------------------------------------


def load(contestant: Contestant, seconds: float) -> dict[str, float]:
    """Keep a contestant busy; return what wrk says and the CPU time per answer."""
    sessions = sessions_listening(contestant.ports)
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(LUA), contestant.url]
    before_s = cpu_s(sessions)
    output = subprocess.run(
        command, env=os.environ | {"PATHS": str(contestant.paths)}, capture_output=True, text=True, check=True
    ).stdout
    used_s = cpu_s(sessions) - before_s
    told: dict[str, float] = json.loads(output.splitlines()[-1])
    return told | {"cpu_ms": 1000 * used_s / max(told["requests"], 1)}


def measure(contestants: Mapping[str, Contestant], size: Size) -> dict[str, Measured]:
    """Load all of them in turns, each once before that, and return what each showed."""
    measured = {name: Measured() for name in contestants}
    for contestant in contestants.values():
        load(contestant, 1)
    for _ in range(size.turns):
        for name, contestant in contestants.items():
            told, result = load(contestant, size.seconds), measured[name]
            result.per_s.append(told["requests"] / told["seconds"])
            result.cpu_ms.append(told["cpu_ms"])
            result.p50_ms.append(told["p50_ms"])
            result.p99_ms.append(told["p99_ms"])
            result.requests += int(told["requests"])
            result.bad += int(told["not_200"] + told["broken"])
    return measured


async def sources(url: str) -> dict[str, float]:
    """Return how many lists were served by source, and how many were degraded, since the process started."""
    async with aiohttp.ClientSession() as session, session.get(f"{url}/metrics") as response:
        text = await response.text()
    found = {
        source: float(count)
        for source, count in re.findall(r'^recommendations_total\{source="(\w+)"\} (.+)$', text, re.M)
    }
    return found | {"degraded": sum(map(float, re.findall(r"^degraded_total\{.*\} (.+)$", text, re.M)))}


async def wrong_lists(url: str, paths: Sequence[str]) -> int:
    """Return how many of these answers are no personal, undegraded list of k items with their titles."""
    wrong = 0
    async with aiohttp.ClientSession(url) as session:
        for path in paths:
            async with session.get(path) as response:
                answer = msgspec.json.decode(await response.read())
            titles = [item["title"] for item in answer["items"]]
            right = response.status == 200 and answer["source"] == "personal" and not answer["degraded"]
            wrong += not (right and len(titles) == K and all(titles))
    return wrong


# --- telling --------------------------------------------------------------------------------------------------------


def figures_of(measured: Mapping[str, Measured]) -> dict[str, Any]:
    """Return all figures by name, the ratios of the embedded stack among them."""
    figures: dict[str, Any] = {}
    for name, result in measured.items():
        figures[name] = {
            "per_s": round(statistics.median(result.per_s), 1),
            "cpu_ms": round(statistics.median(result.cpu_ms), 4),
            "p50_ms": round(statistics.median(result.p50_ms), 2),
            "p99_ms": round(statistics.median(result.p99_ms), 2),
            "requests": result.requests,
            "bad": result.bad,
        }
    for name in measured.keys() - {"hello", "usual"}:
        mine = figures[name]
        figures[name] |= {
            "of_hello": round(mine["per_s"] / figures["hello"]["per_s"], 4),
            "times_usual": round(mine["per_s"] / figures["usual"]["per_s"], 2),
            "cpu_of_usual": round(mine["cpu_ms"] / figures["usual"]["cpu_ms"], 4),
        }
    return figures


def bars_of(figures: Mapping[str, Any]) -> list[Bar]:
    """Return every bar with what was measured."""
    mine = figures["embedded"]
    return [Bar(name, mine[name], at_least=least, at_most=most) for name, (least, most) in BARS.items()]


def show(figures: Mapping[str, Any]) -> None:
    """Print the table."""
    table = Table("", *figures, title=f"{CONNECTIONS} connections, {K} items an answer")
    rows = ("per_s", "of_hello", "times_usual", "cpu_ms", "cpu_of_usual", "p50_ms", "p99_ms", "requests", "bad")
    for row in (*rows, "wrong_lists", "not_personal", "degraded"):
        table.add_row(row, *(str(figures[name].get(row, "")) for name in figures))
    Console(width=120).print(table)


def run(stacks: Sequence[str], size: Size) -> dict[str, Any]:
    """Start everybody, teach, measure, check. Raises ``NoServers``."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stores = stores_of("full", folder)
        loops = {name: stack.enter_context(running(name)) for name in stacks}
        for loop in loops.values():
            asyncio.run(teach(loop, size))
        contestants = {
            "hello": stack.enter_context(hello(folder)),
            "usual": stack.enter_context(usual(folder, size, stores)),
        }
        for name, loop in loops.items():
            servers = tuple(_port(loop.env[f"{port}_URL"]) for port in ("EVENTS", "USERS", "ITEMS") if name == "full")
            contestants[name] = ours(loop, size, servers)
        before = {name: asyncio.run(sources(loop.recommender_url)) for name, loop in loops.items()}
        figures = figures_of(measure(contestants, size))
        for name, loop in loops.items():
            after = asyncio.run(sources(loop.recommender_url))
            grown = {source: count - before[name].get(source, 0.0) for source, count in after.items()}
            paths = contestants[name].paths.read_text().split()
            figures[name] |= {
                "degraded": int(grown.pop("degraded")),
                "not_personal": int(sum(grown.values()) - grown.get("personal", 0.0)),
                "wrong_lists": asyncio.run(wrong_lists(loop.recommender_url, paths[:: len(paths) // 200])),
            }
    return figures


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; return the exit code: 0 also where a bar is missed, 1 where an answer was not what it should be."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serve", description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="a small world, seconds per turn")
    parser.add_argument("--stack", choices=STACKS, default="embedded", help="full: that stack beside the embedded one")
    options = parser.parse_args(arguments)
    if shutil.which("wrk") is None:
        print("wrk is missing: apt-get install wrk, or https://github.com/wg/wrk", file=sys.stderr)
        return 2
    size = QUICK if options.quick else WHOLE
    try:
        figures = run(STACKS if options.stack == "full" else ("embedded",), size)
    except NoServers:
        return 2
    show(figures)
    settings = dict(vars(size))
    settings |= {"connections": CONNECTIONS, "k": K, "usual_workers": [USUAL_WORKERS, USUAL_FAISS_WORKERS]}
    conclude("serve", figures, bars_of(figures), settings, ("falcon", "uvicorn", "gunicorn", "faiss-cpu"))
    wrong = [
        mine[what]
        for mine in figures.values()
        for what in ("bad", "wrong_lists", "not_personal", "degraded")
        if what in mine
    ]
    return 1 if any(wrong) else 0


if __name__ == "__main__":
    sys.exit(main())
