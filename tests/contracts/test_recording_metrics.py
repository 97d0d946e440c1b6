import re
from collections.abc import Callable

import pytest

from stores.recording_metrics import RecordingMetrics
from tests.contracts.metrics_contract import MetricsContract


class TestRecordingMetrics(MetricsContract):
    @pytest.fixture
    def metrics(self) -> RecordingMetrics:
        return RecordingMetrics()

    @pytest.fixture
    def read(self, metrics: RecordingMetrics) -> Callable[..., float | None]:
        """Read from the text that Prometheus would scrape."""

        def read(name: str, **labels: str) -> float | None:
            for shown, braces, number in re.findall(r"^(\w+)(?:{(.*)})? (\S+)$", metrics.prometheus_text(), re.M):
                pairs = dict(re.findall(r'(\w+)="([^"]*)"', braces))
                if shown in (name, f"{name}_total", f"{name}_sum") and pairs == labels:
                    return float(number)
            return None

        return read
