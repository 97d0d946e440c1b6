"""The clock of a running system; tests bring one that they step themselves."""

from __future__ import annotations

import time


class SystemClock:
    """The machine's own time."""

    def now_s(self) -> float:
        """Return the wall clock, epoch seconds."""
        return time.time()

    def monotonic_s(self) -> float:
        """Return a clock that never goes back, in seconds."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait; blocks the calling thread."""
        time.sleep(seconds)
