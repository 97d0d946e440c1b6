"""A server goes away under load and comes back, by SIGTERM and by SIGKILL: nothing is lost, nothing counts twice.

For each of them in turn, all the others being up. ``--outage-s 60`` makes the outages as long as one likes.
"""

from __future__ import annotations

import json
import os
import socket
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from services.graphite import Carbon, GraphiteWeb
from services.kafka import Kafka
from services.local_process import LocalProcess
from services.mongo import Mongo
from services.redis import RedisServer
from services.server import HOST, CannotInstall, Server, cache_folder
from services.statsd import Statsd
from stores.metric_catalogue import graphite_path
from tests.conftest import NOT_UP, say_at_the_end
from tests.services.outage_world import PARTS, Answers, Load, OutageWorld, event_id_of

# What goes away together, by the name of what its users would say is down.
OUTAGES = {
    "kafka": ("kafka",),
    "mongo": ("mongo",),
    "redis": ("redis",),
    "graphite": ("statsd", "graphite", "carbon"),
}
_BEFORE_S, _BACK_S = 3.0, 60.0
_SPAN = 4
# From another place in every process, so that two runs at once do not take each other's.
_FIRST_PORTS = iter(range(21_000 + os.getpid() % 80 * 100, 30_000, 10))


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, LocalProcess]]:
    """Servers of our own on free ports, for each that ``make services-up`` has up: whoever uses those is left alone."""
    state = tmp_path_factory.mktemp("servers")
    started: dict[str, LocalProcess] = {}
    try:
        for server in _own_servers():
            if f"{server.variable}_TEST" in os.environ:
                started[server.name] = LocalProcess(server, cache=cache_folder(os.environ), state=state)
                started[server.name].start()
        for process in started.values():
            process.wait_healthy()
        yield started
    except CannotInstall as error:
        pytest.skip(f"{error} ({NOT_UP} runs containers here, which this test cannot stop)")
    finally:
        for process in reversed(started.values()):
            process.stop()


@pytest.fixture
def outage_s(request: pytest.FixtureRequest) -> float:
    return float(request.config.getoption("--outage-s"))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", OUTAGES)
def test_a_server_goes_away_and_comes_back(
    name: str, servers: dict[str, LocalProcess], outage_s: float, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if missing := set(OUTAGES[name]) - set(servers):
        pytest.skip(f"{', '.join(sorted(missing))}: {NOT_UP}")
    for process in servers.values():
        # Whatever another test left behind.
        process.start()
        process.wait_healthy()
    gone = [servers[part] for part in OUTAGES[name]]

    def away(end: Callable[[LocalProcess], None]) -> None:
        for process in gone:
            end(process)
        time.sleep(outage_s)
        for process in reversed(gone):
            process.start()
        for process in gone:
            process.wait_healthy()

    def back(since_s: float) -> bool:
        return name != "graphite" or _draws(servers["graphite"].server.url, since_s)

    world = OutageWorld(tmp_path, _urls(servers, tmp_path))
    outages = [lambda: away(LocalProcess.stop), lambda: away(LocalProcess.kill)]
    say_at_the_end(request.config, _through_outages(name, world, outage_s, outages, back))


@pytest.mark.timeout(900)
def test_the_faiss_server_goes_away_and_comes_back(
    servers: dict[str, LocalProcess], outage_s: float, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    world = OutageWorld(tmp_path, _urls(servers, tmp_path))

    def away(end: Callable[[str], object]) -> None:
        end("faiss_server")
        time.sleep(outage_s)
        world.loop.start("faiss_server")

    outages = [lambda: away(world.loop.stop), lambda: away(world.loop.kill)]
    say_at_the_end(request.config, _through_outages("faiss", world, outage_s, outages, lambda since_s: True))


def _through_outages(
    name: str,
    world: OutageWorld,
    outage_s: float,
    outages: list[Callable[[], None]],
    back: Callable[[float], bool],
) -> str:
    """Run the loop through the outages; return the line of the ledger.

    ``back(since)``: whether the server itself does its work again since then, in epoch seconds.
    """
    back_after_s = []
    try:
        world.start()
        with Load(world.loop, seed=11) as load:
            time.sleep(_BEFORE_S)
            for outage in outages:
                outage()
                since_s = time.time()
                world.loop.wait(
                    lambda since_s=since_s: world.accepts() and world.whole() and back(since_s), name, _BACK_S
                )
                back_after_s.append(time.time() - since_s)
                time.sleep(_BEFORE_S / 2)
        report = world.wait_until_learned()
        records = world.log_records()
        ids = Counter(event_id for record in records if (event_id := event_id_of(record)))
        counted = {part: report[part] for part in PARTS}
        lost = load.accepted - set(ids)
        assert not lost, f"accepted and not in the log: {sorted(lost)[:20]}"
        assert report["events_seen"] == ids.total() == sum(counted.values()), (report, ids.total())
        assert counted["duplicates"] == ids.total() - len(ids)
        assert set(load.answers.statuses) == {200}, load.answers
        contents = world.finish()
    finally:
        world.loop.stop()
    undisturbed = world.undisturbed(records)
    different = list(_differences(contents, undisturbed, ""))
    assert not different, f"not as if nothing had happened: {different}"
    return _ledger(name, outage_s, back_after_s, len(load.accepted), ids, counted, load.answers)


def _differences(found: Any, expected: Any, path: str) -> Iterator[str]:
    """Yield where two contents differ, and how, shortened."""
    if isinstance(found, dict) and isinstance(expected, dict):
        for key in found.keys() | expected.keys():
            yield from _differences(found.get(key), expected.get(key), f"{path}/{key}")
    elif found != expected:
        yield f"{path}: {str(found)[:200]} instead of {str(expected)[:200]}"


def _ledger(
    name: str,
    outage_s: float,
    back_after_s: list[float],
    accepted: int,
    ids: Counter[str],
    counted: dict[str, int],
    answers: Answers,
) -> str:
    became = " + ".join(f"{count} {part}" for part, count in counted.items())
    back = " and ".join(f"{seconds:.1f}" for seconds in back_after_s)
    return (
        f"{name}: away 2 x {outage_s:g} s (SIGTERM, SIGKILL), whole again after {back} s; {accepted} events accepted, "
        f"{ids.total()} records of {len(ids)} events in the log = {became}; lost 0, twice 0, every store as if nothing "
        f"had happened; {answers.statuses[200]} answers, all 200, {answers.degraded} degraded, slowest "
        f"{answers.slowest_s:.2f} s; {answers.refused} events refused and sent again"
    )


def _urls(servers: dict[str, LocalProcess], folder: Path) -> dict[str, str]:
    """Return URLs with topics, a database and prefixes of this test alone; embedded stores for what is not up."""
    # A module's servers outlive a test.
    return {process.server.variable: process.server.url_of(folder.name) for process in servers.values()}


def _draws(graphite: str, since_s: float) -> bool:
    """Whether Graphite has a point of what was learned since then."""
    target = f"{graphite}/render?target={graphite_path('events_learned')}&from=-2min&format=json"
    with urllib.request.urlopen(target, timeout=10) as response:
        series = json.loads(response.read())
    return any(value and moment > since_s for line in series for value, moment in line["datapoints"])


def _own_servers() -> list[Server]:
    carbon = Carbon(_free_port())
    return [
        Kafka(_free_port()),
        Mongo(_free_port()),
        RedisServer(_free_port()),
        carbon,
        GraphiteWeb(_free_port(), carbon),
        Statsd(_free_port(), carbon),
    ]


def _free_port() -> int:
    """Return another port than before that is free together with its neighbours, which some servers take too."""
    for first in _FIRST_PORTS:
        held = []
        try:
            for port in range(first - 1, first + _SPAN):
                held.append(socket.create_server((HOST, port)))
            return first
        except OSError:
            continue
        finally:
            for server in held:
                server.close()
    raise AssertionError("no free ports")
