"""What is sent, and the bad weather of UDP: a daemon that is absent or moves, a name server that says nothing."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import stores.statsd_metrics
from stores.recording_metrics import RecordingMetrics
from stores.statsd_metrics import MAX_PACKET_BYTES, MAX_TIMINGS, StatsdMetrics

ROOT = Path(__file__).parents[3]
# Only ``flush`` sends: the thread would be too late for every test here.
NEVER_S = 3600.0
# What an addition to a dictionary may take on a machine that does other things too.
AT_ONCE_S = 0.2

Open = Callable[..., StatsdMetrics]


@pytest.fixture
def daemon() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as daemon:
        daemon.bind(("127.0.0.1", 0))
        daemon.settimeout(5.0)
        yield daemon


@pytest.fixture
def open_metrics() -> Iterator[Open]:
    opened = []

    def open_metrics(host: str, port: int, **options: object) -> StatsdMetrics:
        opened.append(StatsdMetrics(host, port, **{"send_every_s": NEVER_S, "timeout_s": 0.2, **options}))
        return opened[-1]

    yield open_metrics
    for metrics in opened:
        metrics.close()


def _port(daemon: socket.socket) -> int:
    return daemon.getsockname()[1]


def _lines(daemon: socket.socket) -> list[str]:
    return daemon.recv(65536).decode().split("\n")


def test_counters_are_added_up_gauges_are_the_last_timings_are_all(daemon, open_metrics):
    metrics = open_metrics("127.0.0.1", _port(daemon), prefix="shop")
    for _ in range(3):
        metrics.count("requests", 2, route="popular", status="200")
        metrics.gauge("lag_events", 7)
        metrics.timing("flush_seconds", 0.0625)
    metrics.gauge("lag_events", 2.5)
    metrics.flush()
    assert _lines(daemon) == [
        "shop.requests.popular.200:6|c",
        "shop.lag_events:2.5|g",
        *["shop.flush_seconds:0.062500|ms"] * 3,
    ]
    metrics.count("requests", route="popular", status="200")
    metrics.flush()
    assert _lines(daemon) == ["shop.requests.popular.200:1|c"]


def test_a_gauge_below_zero_is_set_and_not_subtracted(daemon, open_metrics):
    metrics = open_metrics("127.0.0.1", _port(daemon))
    metrics.gauge("lag_events", -1.5)
    metrics.flush()
    assert _lines(daemon) == ["recommender.lag_events:0|g", "recommender.lag_events:-1.5|g"]


def test_an_alias_is_sent_for_its_labels_without_prefix_a_timing_in_milliseconds(daemon, open_metrics):
    metrics = open_metrics("127.0.0.1", _port(daemon))
    metrics.gauge("recall_at_10", 0.25, order="served", window="recent")
    metrics.gauge("recall_at_10", 0.75, order="served", window="total")
    metrics.timing("learn_seconds", 0.25)
    metrics.flush()
    assert sorted(_lines(daemon)) == [
        "recall@10:0.25|g",
        "recommender.learn_seconds:0.250000|ms",
        "recommender.recall_at_10.served.recent:0.25|g",
        "recommender.recall_at_10.served.total:0.75|g",
        "training_time:250.000000|ms",
    ]


def test_what_is_no_number_is_left_out_and_time_never_runs_backwards(daemon, open_metrics):
    metrics = open_metrics("127.0.0.1", _port(daemon))
    for value in (float("nan"), float("inf"), -float("inf")):
        metrics.gauge("lag_events", value)
        metrics.timing("flush_seconds", value)
    metrics.timing("flush_seconds", -3.0)
    metrics.flush()
    assert _lines(daemon) == ["recommender.flush_seconds:0.000000|ms"]


def test_much_goes_in_packets_that_the_network_takes_whole(daemon, open_metrics):
    metrics = open_metrics("127.0.0.1", _port(daemon))
    for n in range(200):
        metrics.count("dead_letters", reason=f"reason {n}")
    metrics.flush()
    lines: list[str] = []
    while len(lines) < 200:
        packet = daemon.recv(65536)
        assert len(packet) <= MAX_PACKET_BYTES
        lines += packet.decode().split("\n")
    assert set(lines) == {f"recommender.dead_letters.reason_{n}:1|c" for n in range(200)}


def test_the_thread_sends_without_being_told(daemon, open_metrics):
    metrics = open_metrics("127.0.0.1", _port(daemon), send_every_s=0.01)
    metrics.count("events_learned", 3)
    assert _lines(daemon) == ["recommender.events_learned:3|c"]


def test_the_last_figures_are_sent_when_the_program_ends(daemon):
    program = (
        "from stores.adapters import open_metrics\n"
        f"open_metrics('statsd://127.0.0.1:{_port(daemon)}').count('events_learned', 3)\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=60)
    assert _lines(daemon) == ["recommender.events_learned:3|c"]


def test_nobody_listening_is_nobodys_trouble(daemon, open_metrics):
    port = _port(daemon)
    daemon.close()
    metrics = open_metrics("127.0.0.1", port)
    for _ in range(3):
        metrics.count("events_learned")
        metrics.flush()


class Names:
    """A name server: ``address`` is where the daemon is, ``None`` nowhere; ``answers`` says whether it answers."""

    def __init__(self) -> None:
        self.port: int | None = None
        self.answers = threading.Event()
        self.answers.set()

    def getaddrinfo(self, host: str, port: int, *_: object) -> list[tuple[object, ...]]:
        assert self.answers.wait(10)
        if self.port is None:
            raise socket.gaierror(f"{host} is unknown")
        return [(socket.AF_INET, socket.SOCK_DGRAM, 17, "", ("127.0.0.1", self.port))]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    names = Names()
    monkeypatch.setattr(socket, "getaddrinfo", names.getaddrinfo)
    return names


def test_an_unknown_host_costs_nothing_and_all_is_sent_once_it_is_known(daemon, names, open_metrics, monkeypatch):
    monkeypatch.setattr(stores.statsd_metrics, "LOOK_UP_AGAIN_S", 0.0)
    metrics = open_metrics("statsd", 8125)
    for n in range(MAX_TIMINGS + 10):
        metrics.timing("flush_seconds", n)
    for n in range(3):
        metrics.count("events_learned")
        metrics.gauge("lag_events", n)
        metrics.flush()
    names.port = _port(daemon)
    metrics.flush()
    assert _lines(daemon)[:3] == [
        "recommender.events_learned:3|c",
        "recommender.lag_events:2.0|g",
        # The oldest ones went, memory is bounded.
        "recommender.flush_seconds:10.000000|ms",
    ]


def test_a_daemon_that_moves_is_followed_and_told_all_gauges_anew(daemon, names, open_metrics):
    names.port = _port(daemon)
    metrics = open_metrics("statsd", 8125, look_up_every_s=0.0)
    metrics.gauge("lag_events", 7)
    metrics.flush()
    assert _lines(daemon) == ["recommender.lag_events:7.0|g"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as elsewhere:
        elsewhere.bind(("127.0.0.1", 0))
        elsewhere.settimeout(5.0)
        names.port = _port(elsewhere)
        metrics.count("events_learned")
        metrics.flush()
        assert _lines(elsewhere) == ["recommender.events_learned:1|c", "recommender.lag_events:7.0|g"]
        # The name server forgets it: the last address stays good.
        names.port = None
        metrics.count("events_learned")
        metrics.flush()
        assert _lines(elsewhere) == ["recommender.events_learned:1|c"]


def test_a_name_server_that_says_nothing_holds_up_nobody(names, open_metrics):
    names.answers.clear()
    started_s = time.monotonic()
    metrics = open_metrics("statsd", 8125, send_every_s=0.0)
    for _ in range(100):
        metrics.count("events_learned")
        metrics.gauge("lag_events", 1)
        metrics.timing("flush_seconds", 0.1)
    assert time.monotonic() - started_s < AT_ONCE_S
    metrics.close()
    # The time-out of closing.
    assert time.monotonic() - started_s < AT_ONCE_S + 0.2 + AT_ONCE_S
    names.answers.set()


def test_prometheus_and_statsd_are_told_the_same(daemon, open_metrics):
    statsd = open_metrics("127.0.0.1", _port(daemon))
    metrics = RecordingMetrics(statsd)
    metrics.count("events_learned", 2)
    metrics.gauge("table_size", 7, side="users")
    metrics.timing("flush_seconds", 0.5)
    statsd.flush()
    assert _lines(daemon) == [
        "recommender.events_learned:2|c",
        "recommender.table_size.users:7.0|g",
        "recommender.flush_seconds:0.500000|ms",
    ]
    assert metrics.report() == {
        "events_learned": 2,
        "flush_seconds_count": 1,
        "flush_seconds_sum": 0.5,
        'table_size{side="users"}': 7,
    }
    with pytest.raises(KeyError):
        metrics.count("no_such_metric")
