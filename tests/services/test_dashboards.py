"""Every query of every board and rule is answered with data by a real Graphite, fed by the loop."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from docker.grafana.check import questions, unanswered
from services.graphite import Carbon, GraphiteWeb
from services.local_process import LocalProcess
from services.server import CannotInstall, cache_folder
from services.statsd import Statsd
from tests.conftest import NOT_UP
from tests.services.outage_world import Load, OutageWorld

# The index is compared with the trainer every ten seconds; carbon and StatsD tell every second.
_ANSWERED_S = 60.0


@pytest.fixture(scope="module")
def graphite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Yield the URLs of a StatsD and of the Graphite behind it, which nobody else uses."""
    if f"{Statsd.variable}_TEST" not in os.environ:
        pytest.skip(f"StatsD and Graphite are not up: {NOT_UP}")
    state = tmp_path_factory.mktemp("graphite")
    carbon = Carbon(31_004)
    web, statsd = GraphiteWeb(31_005, carbon), Statsd(31_006, carbon)
    started = [LocalProcess(server, cache=cache_folder(os.environ), state=state) for server in (carbon, web, statsd)]
    try:
        for process in started:
            process.start()
        for process in started:
            process.wait_healthy()
        yield statsd.url, web.url
    except CannotInstall as error:
        pytest.skip(f"{error} ({NOT_UP} runs containers here, which this test does without)")
    finally:
        for process in reversed(started):
            process.stop()


@pytest.mark.timeout(300)
def test_every_query_has_data(graphite: tuple[str, str], tmp_path: Path) -> None:
    statsd, web = graphite
    world = OutageWorld(tmp_path, {"METRICS_URL": statsd})
    world.start()
    try:
        with Load(world.loop, seed=4):
            assert world.loop.get("/v1/items/i1/similar?k=3")[0] == 200
            give_up_s = time.monotonic() + _ANSWERED_S
            while (missing := unanswered(web, 10)) and time.monotonic() < give_up_s:
                time.sleep(1.0)
    finally:
        world.finish()
    assert not missing, "\n".join(missing)
    assert len(list(questions())) > 50
