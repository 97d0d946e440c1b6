"""Reading the log on, commits included, and bearing that it is away."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from incremental_training.log_positions import LogPositions, TopicReplaced
from stores.ports import Clock, DeadLetter, EventLog, Metrics, PositionLost, Record, StoreUnavailable, TopicPartition

# Between two looks whether the log is still the same one and has no more partitions than before.
LOG_CHECK_S = 10.0
# A log that is away is complained about so often, and asked again after so long.
COMPLAIN_EVERY_S, PAUSE_S = 10.0, 0.1

_log = logging.getLogger(__name__)


class LogReading:
    """The log as the trainer reads it on; it may be away for as long as it likes.

    ``read``: where it is read on from while this trainer lives. ``positions``: from where after a restart; they are the
    trainer's, and changed here only where the log no longer has what they point at, or has more partitions.
    """

    def __init__(
        self,
        log: EventLog,
        log_positions: LogPositions,
        positions: dict[TopicPartition, int],
        *,
        batch_events: int,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._log, self._log_positions, self._positions = log, log_positions, positions
        self._batch_events, self._clock, self._metrics = batch_events, clock, metrics
        self.read = dict(positions)
        self._checked_at_s = clock.monotonic_s()
        self._complain_at_s = float("-inf")

    def begin(self) -> None:
        """Read on from ``read``."""
        self._log.seek(self.read)

    def poll(self, wait_s: float) -> list[Record]:
        """Return the next records, none when none came within ``wait_s`` or the log is away.

        Raises ``RetentionGap``, ``TopicReplaced``.
        """
        try:
            return self._log.poll(self._batch_events, wait_s)
        except PositionLost as error:
            _log.warning("the log does not hold what comes next: %s", error)
            self._check()
        except StoreUnavailable as error:
            self._failed(error)
        # Whatever reads the log now begins where this trainer stands; and nothing is asked again at once.
        self._log.seek(self.read)
        self._clock.sleep(PAUSE_S)
        return []

    def passed(self, records: Sequence[Record]) -> None:
        """Note that these records were taken. Safe to repeat."""
        for record in records:
            self.read[TopicPartition(record.topic, record.partition)] = record.offset + 1

    def check_when_due(self) -> None:
        """Take partitions that were added; stop, or skip, where events were lost. See ``LogPositions``.

        Only while no dead letter waits: positions change. Raises ``RetentionGap``, ``TopicReplaced``.
        """
        if self._clock.monotonic_s() - self._checked_at_s >= LOG_CHECK_S:
            self._check()

    def _check(self) -> None:
        self._checked_at_s = self._clock.monotonic_s()
        try:
            found = self._log_positions.find(self.read)
        except StoreUnavailable as error:
            self._failed(error)
            return
        if found.replaced:
            raise TopicReplaced("the topic of the events was replaced while it was read: start again")
        moved = {place: offset for place, offset in found.positions.items() if self.read.get(place) != offset}
        if moved:
            _log.info("the log is read on at %s", moved)
            self.read.update(moved)
            self._positions.update(moved)
            self._log.seek(self.read)

    def set_aside(self, letters: Sequence[DeadLetter]) -> bool:
        """Keep dead letters; return whether they are kept. Safe to repeat."""
        try:
            self._log.set_aside(letters)
        except StoreUnavailable as error:
            self._failed(error)
            return False
        for letter in letters:
            self._metrics.count("dead_letters", reason=letter.reason)
        return True

    def commit(self) -> None:
        """Tell the log how far the trainer has learned, as far as the log can be told. Safe to repeat."""
        try:
            self._log.commit(self._positions)
        except StoreUnavailable as error:
            self._failed(error)

    def _failed(self, error: StoreUnavailable) -> None:
        self._metrics.count("store_failures", store="log")
        now_s = self._clock.monotonic_s()
        if now_s >= self._complain_at_s:
            self._complain_at_s = now_s + COMPLAIN_EVERY_S
            _log.warning("the log does not answer, going on without it: %s", error)
