"""When a snapshot is due, and writing it in the background."""

from __future__ import annotations

import threading
from collections.abc import Callable

from models.snapshot import SnapshotState, SnapshotStore
from stores.ports import Clock

# The longest time until a snapshot without a user who is forgotten is begun.
FORGET_WITHIN_S = 1.0


class SnapshotWriting:
    """Writes one snapshot after another, each in a thread; what goes wrong there is raised in the trainer's own.

    ``interval_s`` and ``most_events``: the longest time, while events come, and the most events between two of them.
    ``written`` is told how many seconds each took.
    """

    def __init__(
        self,
        snapshots: SnapshotStore,
        *,
        interval_s: float,
        most_events: int,
        written: Callable[[float], None],
        clock: Clock,
        failpoint: Callable[[str], None],
    ) -> None:
        self._snapshots, self._written = snapshots, written
        self._interval_s, self._most_events = interval_s, most_events
        self._clock, self._failpoint = clock, failpoint
        self._began_s = clock.monotonic_s()
        self._events = 0
        self._forgot = False
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def note(self, events: int, *, forgot: bool) -> None:
        """Note that so many events were learned, and whether they forget anybody."""
        self._events += events
        self._forgot |= forgot

    @property
    def due(self) -> bool:
        """Whether it is time for the next one, and none is being written."""
        if self._thread is not None and self._thread.is_alive():
            return False
        # A restart from a snapshot that still knows a forgotten user would show him until it has read that far again.
        interval_s = FORGET_WITHIN_S if self._forgot else self._interval_s
        waited_s = self._clock.monotonic_s() - self._began_s
        return (self._events > 0 and waited_s >= interval_s) or self._events >= self._most_events

    def begin(self, state: Callable[[], SnapshotState]) -> None:
        """Copy the state now and write it in the background; waits for a snapshot that is still being written."""
        self.wait()
        copied = state()
        self._failpoint("snapshot_copied")
        self._events = 0
        self._forgot = False
        self._began_s = self._clock.monotonic_s()
        self._thread = threading.Thread(target=self._write, args=(copied,), name="snapshot", daemon=True)
        self._thread.start()

    def _write(self, state: SnapshotState) -> None:
        started_s = self._clock.monotonic_s()
        try:
            self._snapshots.write(state)
            self._failpoint("snapshot_written")
        except BaseException as error:  # handed to the trainer's own thread, which raises it
            self._error = error
            return
        self._written(self._clock.monotonic_s() - started_s)

    def look(self) -> None:
        """Raise what writing raised, without waiting. Safe to repeat."""
        if self._thread is None or not self._thread.is_alive():
            self.wait()

    def wait(self) -> None:
        """Wait until no snapshot is being written; raise what writing one raised. Safe to repeat."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error
