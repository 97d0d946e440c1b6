"""What every keeper of metrics must do.

A subclass supplies ``metrics`` and ``read``: what reached the other side as one number, by name and labels; of a timing
the sum of its seconds.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

import pytest


class MetricsContract:
    @pytest.fixture
    def metrics(self):
        raise NotImplementedError

    @pytest.fixture
    def read(self, metrics) -> Callable[..., float | None]:
        raise NotImplementedError

    def test_a_counter_adds_up(self, metrics, read):
        metrics.count("events_learned")
        metrics.count("events_learned", 4)
        assert read("events_learned") == 5

    def test_a_gauge_is_what_it_was_set_to_last(self, metrics, read):
        metrics.gauge("lag_events", 7)
        metrics.gauge("lag_events", 2.5)
        assert read("lag_events") == 2.5

    def test_a_timing_sums_its_seconds(self, metrics, read):
        metrics.timing("flush_seconds", 0.25)
        metrics.timing("flush_seconds", 0.5)
        assert read("flush_seconds") == pytest.approx(0.75)

    def test_labels_keep_series_apart(self, metrics, read):
        metrics.count("requests", 2, route="popular", status="200")
        metrics.count("requests", 3, status="503", route="popular")
        assert read("requests", route="popular", status="200") == 2
        assert read("requests", route="popular", status="503") == 3

    def test_an_undeclared_name_is_refused(self, metrics):
        for record in (metrics.count, metrics.gauge, metrics.timing):
            with pytest.raises(KeyError):
                record("no_such_metric", 1)

    def test_a_name_of_another_kind_is_refused(self, metrics):
        with pytest.raises(KeyError):
            metrics.gauge("events_learned", 1)
        with pytest.raises(KeyError):
            metrics.count("lag_events")
        with pytest.raises(KeyError):
            metrics.timing("lag_events", 1.0)

    def test_missing_and_unknown_labels_are_refused(self, metrics):
        with pytest.raises(KeyError):
            metrics.count("requests", route="popular")
        with pytest.raises(KeyError):
            metrics.count("requests", route="popular", code="200")
        with pytest.raises(KeyError):
            metrics.count("events_learned", room="x")

    def test_measuring_never_fails_for_a_value(self, metrics):
        for value in (0.0, -1.0, 1e300, math.inf, math.nan):
            metrics.gauge("lag_events", value)
            metrics.timing("flush_seconds", value)
        metrics.count("recommendations", source='odd "name"\n\\ € | : #')

    def test_threads_lose_nothing(self, metrics, read):
        def count() -> None:
            for _ in range(500):
                metrics.count("events_learned")

        threads = [threading.Thread(target=count) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert read("events_learned") == 2_000
