"""Metrics sent to a StatsD daemon over UDP, under the names that ``stores.metric_catalogue`` gives them.

Recording only adds to what is kept here; a thread of its own sends it a few times a second. So looking up the daemon's
name, which may take seconds, holds up nobody, and a daemon that is not there, or moves, is nobody's trouble.
"""

from __future__ import annotations

import logging
import math
import re
import threading
import time
import weakref
from collections import deque
from contextlib import suppress
from urllib.parse import urlsplit

from statsd import StatsClient
from statsd.client.base import PipelineBase

from stores.metric_catalogue import CATALOGUE, STATSD_PREFIX, Kind, label_values, statsd_name

DEFAULT_PORT = 8125
SEND_EVERY_S = 0.25
# The daemon's name is looked up anew this often, so that it may move; all gauges are then sent again, so that a daemon
# that started anew knows them too. After a failure it is tried again sooner.
LOOK_UP_EVERY_S, LOOK_UP_AGAIN_S = 30.0, 2.0
# What is kept while nothing can be sent: every counter and gauge, and the newest of the timings.
MAX_TIMINGS = 20_000
# Fits into one Ethernet frame.
MAX_PACKET_BYTES = 1400

_log = logging.getLogger(__name__)


class StatsdMetrics:
    """Metrics for a StatsD daemon. Threads may share it. Looks up and opens nothing before something is recorded.

    A name, kind or label that the catalogue does not declare raises ``KeyError``; nothing else ever does. Numbers that
    are none (NaN, infinity) are left out, StatsD knows no word for them.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        prefix: str = STATSD_PREFIX,
        timeout_s: float = 1.0,
        send_every_s: float = SEND_EVERY_S,
        look_up_every_s: float = LOOK_UP_EVERY_S,
    ) -> None:
        self._prefix = prefix
        self._names: dict[tuple[str, tuple[str, ...]], tuple[str, str | None]] = {}
        self._sender = _Sender(host, port, send_every_s, look_up_every_s)
        # Also when the program ends: a training program that ran for a minute has its figures sent.
        self._end = weakref.finalize(self, self._sender.stop, timeout_s)

    @classmethod
    def from_url(cls, url: str, timeout_s: float) -> StatsdMetrics:
        """Take ``statsd://host[:port][/prefix]``; ``timeout_s``: how long closing may take. Raises ``ValueError``."""
        host, port, prefix = parse_url(url)
        return cls(host, port, prefix=prefix, timeout_s=timeout_s)

    def count(self, name: str, by: int = 1, **labels: str) -> None:
        """Add to a counter."""
        sent_as, _ = self._named(name, "counter", labels)
        self._sender.count(sent_as, by)

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge, and under its alias the same number."""
        sent_as, alias = self._named(name, "gauge", labels)
        if math.isfinite(value):
            self._sender.gauge(sent_as, float(value))
            if alias:
                self._sender.gauge(alias, float(value))

    def timing(self, name: str, seconds: float, **labels: str) -> None:
        """Record a duration in seconds; under its alias in milliseconds."""
        sent_as, alias = self._named(name, "timing", labels)
        if math.isfinite(seconds):
            # StatsD refuses what is below zero; a clock that was set back makes such durations.
            self._sender.timing(sent_as, max(0.0, seconds))
            if alias:
                self._sender.timing(alias, max(0.0, seconds * 1000))

    def flush(self) -> None:
        """Send now what was recorded; what cannot be sent is kept."""
        self._sender.send()

    def close(self) -> None:
        """Send what was recorded and stop, within the time-out. Safe to repeat."""
        self._end()

    def _named(self, name: str, kind: Kind, labels: dict[str, str]) -> tuple[str, str | None]:
        values = label_values(name, kind, labels)
        known = self._names.get((name, values))
        if known is None:
            metric = CATALOGUE[name]
            meant = all(labels[label] == value for label, value in metric.alias_labels.items())
            known = self._names[name, values] = (
                statsd_name(name, values, self._prefix),
                metric.alias if meant else None,
            )
        return known


class _Sender:
    """What is to be sent, by the daemon's names, and the thread that sends it."""

    def __init__(self, host: str, port: int, send_every_s: float, look_up_every_s: float) -> None:
        self._host, self._port = host, port
        self._send_every_s, self._look_up_every_s = send_every_s, look_up_every_s
        self._kept = threading.Lock()
        self._counts: dict[str, int] = {}
        self._gauges: dict[str, float] = {}
        self._changed: set[str] = set()
        self._timings: deque[tuple[str, float]] = deque(maxlen=MAX_TIMINGS)
        self._one_sends = threading.Lock()
        self._client: StatsClient | None = None
        self._look_up_at_s = -math.inf
        self._reachable = True
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()

    def count(self, name: str, by: int) -> None:
        with self._kept:
            self._counts[name] = self._counts.get(name, 0) + by
            self._start()

    def gauge(self, name: str, value: float) -> None:
        with self._kept:
            self._gauges[name] = value
            self._changed.add(name)
            self._start()

    def timing(self, name: str, value: float) -> None:
        with self._kept:
            self._timings.append((name, value))
            self._start()

    def send(self) -> None:
        with self._one_sends:
            self._look_up()
            if self._client is None:
                return
            with self._kept:
                counts, self._counts = self._counts, {}
                gauges = [(name, self._gauges[name]) for name in self._changed]
                self._changed = set()
                timings, self._timings = self._timings, deque(maxlen=MAX_TIMINGS)
            with self._client.pipeline() as pipeline:
                _fill(pipeline, counts, gauges, timings)

    def stop(self, timeout_s: float) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout_s)
        # The thread may still wait for a name server; it ends with the process.
        if self._one_sends.acquire(timeout=0):
            if self._client is not None:
                self._client.close()
                self._client = None
            self._one_sends.release()

    def _start(self) -> None:
        if self._thread is None and not self._stopping.is_set():
            self._thread = threading.Thread(target=self._run, name="statsd", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while not self._stopping.wait(self._send_every_s):
            self.send()
        self.send()

    def _look_up(self) -> None:
        if time.monotonic() < self._look_up_at_s:
            return
        found = None
        for ipv6 in (False, True):
            with suppress(OSError):
                found = StatsClient(self._host, self._port, maxudpsize=MAX_PACKET_BYTES, ipv6=ipv6)
                break
        if bool(found) != self._reachable:
            self._reachable = not self._reachable
            _log.warning("statsd: %s is %s", self._host, "known again" if found else "unknown; metrics are kept")
        self._look_up_at_s = time.monotonic() + (self._look_up_every_s if found else LOOK_UP_AGAIN_S)
        if found is None:
            # An address that was good a moment ago is better than none.
            return
        if self._client is not None:
            self._client.close()
        self._client = found
        with self._kept:
            self._changed = set(self._gauges)


def _fill(
    pipeline: PipelineBase, counts: dict[str, int], gauges: list[tuple[str, float]], timings: deque[tuple[str, float]]
) -> None:
    for name, by in counts.items():
        pipeline.incr(name, by)
    for name, value in gauges:
        pipeline.gauge(name, value)
    for name, value in timings:
        # A number as it is, whatever its unit: to StatsD "ms" only means that it makes mean and quantiles of it.
        pipeline.timing(name, value)


def parse_url(url: str) -> tuple[str, int, str]:
    """Return host, port and prefix of ``statsd://host[:port][/prefix]``. Raises ``ValueError``."""
    parts = urlsplit(url)
    prefix = parts.path.strip("/")
    if parts.scheme != "statsd" or not parts.hostname or parts.query:
        raise ValueError(f"{url!r} does not read statsd://host:port/prefix")
    if not re.fullmatch(r"([A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*)?", prefix):
        raise ValueError(f"{url!r}: a prefix has letters, digits, _, - and dots between them")
    return parts.hostname, parts.port or DEFAULT_PORT, prefix or STATSD_PREFIX
