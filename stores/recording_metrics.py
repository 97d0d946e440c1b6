"""Metrics kept in the process: read by its own code, and by Prometheus as text."""

from __future__ import annotations

import math
import threading
from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import accumulate

from stores.metric_catalogue import CATALOGUE, Metric, label_values
from stores.ports import Metrics

# Upper bounds of the histogram of every timing, in seconds: from half a millisecond to a minute.
BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


@dataclass
class _Durations:
    """Durations by bucket; the last bucket has no upper bound."""

    by_bucket: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))
    sum_s: float = 0.0


class RecordingMetrics:
    """Counters, gauges and timings of this process, since it started. Threads may share it.

    A name, kind or label that the catalogue does not declare raises ``KeyError``. ``also``: who is told everything too.
    """

    def __init__(self, also: Metrics | None = None) -> None:
        self._also = also
        self._lock = threading.Lock()
        # By (name, label values in the order of the catalogue).
        self._numbers: dict[tuple[str, tuple[str, ...]], float] = {}
        self._durations: dict[tuple[str, tuple[str, ...]], _Durations] = {}

    def count(self, name: str, by: int = 1, **labels: str) -> None:
        """Add to a counter."""
        key = name, label_values(name, "counter", labels)
        with self._lock:
            self._numbers[key] = self._numbers.get(key, 0) + by
        if self._also is not None:
            self._also.count(name, by, **labels)

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        key = name, label_values(name, "gauge", labels)
        with self._lock:
            self._numbers[key] = value
        if self._also is not None:
            self._also.gauge(name, value, **labels)

    def timing(self, name: str, seconds: float, **labels: str) -> None:
        """Record a duration in seconds."""
        key = name, label_values(name, "timing", labels)
        bucket = bisect_left(BUCKETS_S, seconds)
        with self._lock:
            durations = self._durations.get(key)
            if durations is None:
                durations = self._durations[key] = _Durations()
            durations.by_bucket[bucket] += 1
            durations.sum_s += seconds
        if self._also is not None:
            self._also.timing(name, seconds, **labels)

    def value(self, name: str, **labels: str) -> float | None:
        """Return a counter or gauge, or ``None`` when it was never recorded."""
        return self._numbers.get((name, label_values(name, CATALOGUE[name].kind, labels)))

    def report(self) -> dict[str, float]:
        """Return all counters and gauges, by name or ``name{label="value"}``: what the trainer tells serving.

        A timing is told by two numbers, ``name_count`` and ``name_sum`` (seconds).
        """
        with self._lock:
            told = {name + _braces(CATALOGUE[name], values): value for (name, values), value in self._numbers.items()}
            for (name, values), durations in self._durations.items():
                labels = _braces(CATALOGUE[name], values)
                told[f"{name}_count{labels}"] = sum(durations.by_bucket)
                told[f"{name}_sum{labels}"] = durations.sum_s
        return dict(sorted(told.items()))

    def prometheus_text(self) -> str:
        """Return all that was recorded in Prometheus' text format, version 0.0.4."""
        with self._lock:
            numbers = sorted(self._numbers.items())
            durations = sorted((key, list(x.by_bucket), x.sum_s) for key, x in self._durations.items())
        lines: list[str] = []
        told: set[str] = set()
        for (name, values), number in numbers:
            metric = CATALOGUE[name]
            shown = f"{name}_total" if metric.kind == "counter" else name
            _tell(lines, told, metric, shown, metric.kind)
            lines.append(f"{shown}{_braces(metric, values)} {_number(number)}")
        for (name, values), by_bucket, sum_s in durations:
            metric = CATALOGUE[name]
            _tell(lines, told, metric, name, "histogram")
            for bound, below in zip((*map(str, BUCKETS_S), "+Inf"), accumulate(by_bucket), strict=True):
                lines.append(f"{name}_bucket{_braces(metric, values, bound)} {below}")
            lines.append(f"{name}_sum{_braces(metric, values)} {_number(sum_s)}")
            lines.append(f"{name}_count{_braces(metric, values)} {sum(by_bucket)}")
        return "".join(f"{line}\n" for line in lines)


def _tell(lines: list[str], told: set[str], metric: Metric, shown: str, kind: str) -> None:
    if shown not in told:
        told.add(shown)
        lines += [f"# HELP {shown} {metric.doc}", f"# TYPE {shown} {kind}"]


def _braces(metric: Metric, values: tuple[str, ...], bound: str | None = None) -> str:
    pairs = [f'{label}="{_escaped(value)}"' for label, value in zip(metric.labels, values, strict=True)]
    if bound is not None:
        pairs.append(f'le="{bound}"')
    return f"{{{','.join(pairs)}}}" if pairs else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return "NaN" if math.isnan(value) else repr(value)
