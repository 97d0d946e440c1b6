"""How often the trainer publishes while it catches up."""

from __future__ import annotations

from pathlib import Path

import pytest

from stores.clock import SystemClock
from tests.chaos import crash_world
from tests.chaos.crash_world import CrashWorld, some_events


class CountedClock(SystemClock):
    """A clock that goes on by being looked at, by which everything in the log has waited for so many seconds."""

    waited_s = 0.0

    def __init__(self) -> None:
        self._monotonic_s = 0.0

    def monotonic_s(self) -> float:
        """Return a little more than before."""
        self._monotonic_s += 0.005
        return self._monotonic_s

    def now_s(self) -> float:
        """Return a time before, or far behind, the arrival of all events."""
        return super().now_s() + self.waited_s

    def sleep(self, seconds: float) -> None:
        """Let that time pass at once."""
        self._monotonic_s += seconds


class Cycles:
    """A failpoint at which nothing fails: the most batches that were learned between two flushes."""

    def __init__(self) -> None:
        self.most = self._since = 0

    def __call__(self, point: str) -> None:
        """Count."""
        if point == "learned":
            self._since += 1
            self.most = max(self.most, self._since)
        elif point == "committed":
            self._since = 0


@pytest.mark.parametrize(("waited_s", "least", "most"), [(-1000.0, 1, 2), (1000.0, 8, 100)])
def test_one_flush_stands_for_many_batches_only_where_events_have_waited_long(
    waited_s: float, least: int, most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CountedClock, "waited_s", waited_s)
    monkeypatch.setattr(crash_world, "FastClock", CountedClock)
    world, cycles = CrashWorld(tmp_path), Cycles()
    world.append(some_events(600, seed=2))
    assert world.run(cycles)  # until every store holds all of it
    assert least <= cycles.most <= most
