"""Metrics over UDP keep the contract: against a socket that adds up as StatsD does, and against StatsD and Graphite."""

from __future__ import annotations

import json
import os
import re
import socket
import time
import urllib.parse
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest

from stores.adapters import open_metrics
from stores.metric_catalogue import CATALOGUE, STATSD_PREFIX, graphite_alias_path, graphite_path, statsd_name
from stores.statsd_metrics import StatsdMetrics, parse_url
from tests.contracts.metrics_contract import MetricsContract

METRICS_URL = os.environ.get("METRICS_URL_TEST", "")
GRAPHITE_URL = os.environ.get("GRAPHITE_URL_TEST", "")
ARRIVES_S = 15.0

Read = Callable[..., float | None]


class TestOverASocket(MetricsContract):
    @pytest.fixture
    def daemon(self) -> Iterator[socket.socket]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as daemon:
            daemon.bind(("127.0.0.1", 0))
            daemon.setblocking(False)
            yield daemon

    @pytest.fixture
    def metrics(self, daemon: socket.socket) -> Iterator[StatsdMetrics]:
        metrics = StatsdMetrics("127.0.0.1", daemon.getsockname()[1])
        yield metrics
        metrics.close()

    @pytest.fixture
    def read(self, metrics: StatsdMetrics, daemon: socket.socket) -> Read:
        told: dict[str, float] = defaultdict(float)

        def read(name: str, **labels: str) -> float | None:
            metrics.flush()
            try:
                while True:
                    for line in daemon.recv(65536).decode().split("\n"):
                        sent_as, number, kind = re.fullmatch(r"([^:]+):([-0-9.e+]+)\|(c|g|ms)", line).groups()
                        told[sent_as] = float(number) + (0.0 if kind == "g" else told[sent_as])
            except BlockingIOError:
                pass
            return told.get(statsd_name(name, [labels[label] for label in CATALOGUE[name].labels]))

        return read


@pytest.mark.skipif(
    not (METRICS_URL and GRAPHITE_URL), reason="METRICS_URL_TEST, GRAPHITE_URL_TEST are not set: `make services-up`"
)
class TestThroughGraphite(MetricsContract):
    @pytest.fixture
    def prefix(self) -> str:
        return f"test-{uuid4().hex}"

    @pytest.fixture
    def metrics(self, prefix: str) -> Iterator[StatsdMetrics]:
        metrics = open_metrics(f"{METRICS_URL}/{prefix}")
        yield metrics
        metrics.close()
        host, port, _ = parse_url(METRICS_URL)
        # The daemon would tell Graphite for ever of what no longer comes.
        with socket.create_connection((host, port), timeout=2.0) as administration:
            for kind in ("counters", "gauges", "timers"):
                administration.sendall(f"del{kind} {prefix}.*".encode())
                administration.recv(65536)

    @pytest.fixture
    def read(self, metrics: StatsdMetrics, prefix: str) -> Read:
        def read(name: str, **labels: str) -> float | None:
            metrics.flush()
            _wait_until_told(prefix)
            kind = CATALOGUE[name].kind
            told = _points(graphite_path(name, labels, "sum" if kind == "timing" else "", prefix=prefix))
            return told[-1] if kind == "gauge" else sum(told)

        return read

    def test_an_alias_stands_beside_the_name_a_timing_in_milliseconds(self, metrics, read):
        metrics.gauge("recall_at_10", 0.125, order="served", window="recent")
        metrics.gauge("recall_at_10", 0.5, order="popularity", window="recent")
        metrics.timing("learn_seconds", 0.25)
        assert read("recall_at_10", order="served", window="recent") == 0.125
        assert _points(graphite_alias_path("recall_at_10"))[-1] == 0.125
        assert _points(graphite_alias_path("learn_seconds", "upper"))[-1] == 250

    def test_the_quantiles_that_panels_ask_for_are_made(self, metrics, read, prefix):
        for n in range(100):
            metrics.timing("learn_seconds", (n + 1) / 100)
        assert read("learn_seconds") == pytest.approx(50.5)
        for stat, seconds in (("upper_50", 0.5), ("upper_90", 0.9), ("upper_99", 0.99), ("upper", 1.0), ("count", 100)):
            assert max(_points(graphite_path("learn_seconds", stat=stat, prefix=prefix))) == pytest.approx(seconds)


def _wait_until_told(prefix: str) -> None:
    """Wait until what StatsD was sent before now is with carbon: datagrams keep their order on the loopback."""
    host, port, _ = parse_url(METRICS_URL)
    name = f"{prefix}.mark-{uuid4().hex}"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(f"{name}:1|g".encode(), (host, port))
    _points(f"stats.gauges.{name}")


def _points(path: str) -> list[float]:
    """Return the points of a series of the last minute; it is not found before carbon has made its file."""
    query = urllib.parse.urlencode({"target": path, "from": "-60s", "format": "json", "noCache": "1"})
    give_up_s = time.monotonic() + ARRIVES_S
    while True:
        with urllib.request.urlopen(f"{GRAPHITE_URL}/render?{query}", timeout=5.0) as answer:
            points = [value for series in json.load(answer) for value, _ in series["datapoints"] if value is not None]
        if points:
            return points
        assert time.monotonic() < give_up_s, f"{path} has not come to Graphite"
        time.sleep(0.05)


def test_a_url_without_a_prefix_has_the_one_of_the_catalogue():
    assert parse_url("statsd://host") == ("host", 8125, STATSD_PREFIX)
    assert parse_url("statsd://[::1]:9125/shop.one") == ("::1", 9125, "shop.one")
    for bad in (
        "statsd://",
        "udp://host",
        "statsd://host:port",
        "statsd://host/a..b",
        "statsd://host/a b",
        "statsd://h?x=1",
    ):
        with pytest.raises(ValueError):
            parse_url(bad)
