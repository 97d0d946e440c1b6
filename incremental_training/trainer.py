"""The cycle of DESIGN §6: poll, learn, flush, commit, and now and then a snapshot."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

from incremental_training.content_learning import ContentLearning
from incremental_training.intake import Intake
from incremental_training.item_records import ItemRecords
from incremental_training.log_positions import LogPositions
from incremental_training.log_reading import LogReading
from incremental_training.report import Reporter
from incremental_training.settings import TrainerSettings
from incremental_training.snapshot_writing import SnapshotWriting
from models.snapshot import SnapshotState, SnapshotStore, flatten, offsets_of
from stores.ports import (
    ITEMS,
    RECOMMENDATIONS_SERVED,
    USER_EVENTS,
    Clock,
    DeadLetter,
    EventLog,
    ItemIndexWriter,
    ItemWriter,
    Metrics,
    Record,
    TopicPartition,
)
from stores.publication import Publisher, nothing_fails

# Catching up, an event that waited in the log for t seconds is published within another tenth of t, and this: one flush
# then stands for many, of a user with many events his document is written once.
BACKLOG_SHARE, LONGEST_FLUSH_S = 0.1, 5.0
# Time between flushes while only rows wait that need not go out at once, and while nothing waits at all.
CALM_S = 0.1
REPORT_S = 1.0
# Time between two looks through the real index.
INDEX_CHECK_S = 10.0

_log = logging.getLogger(__name__)


class Trainer:
    """One trainer under one epoch: the only writer of embeddings.

    ``positions`` are where the log is read on from after a restart; they advance with what is learned
    (``user_events``) and with what the item store has taken (``items``), never past a dead letter that is not kept yet,
    and they are what a snapshot stores. The log may be away for as long as it likes: the trainer waits and goes on.
    """

    def __init__(
        self,
        *,
        log: EventLog,
        intake: Intake,
        content: ContentLearning,
        publisher: Publisher,
        items: ItemWriter,
        index: ItemIndexWriter,
        snapshots: SnapshotStore,
        reporter: Reporter,
        positions: dict[TopicPartition, int],
        log_positions: LogPositions,
        settings: TrainerSettings,
        fingerprint: str,
        clock: Clock,
        metrics: Metrics,
        failpoint: Callable[[str], None] = nothing_fails,
    ) -> None:
        self.positions = positions
        self._log_positions = log_positions
        self._index = index
        self._reading = LogReading(
            log, log_positions, positions, batch_events=settings.batch_events, clock=clock, metrics=metrics
        )
        self._intake, self._content, self._publisher, self._reporter = intake, content, publisher, reporter
        self._fingerprint = fingerprint
        self._clock, self._metrics, self._failpoint = clock, metrics, failpoint
        self._flush_interval_s = settings.flush_interval_ms / 1000
        self._flushed_at_s = self._index_checked_at_s = clock.monotonic_s()
        self._item_records = ItemRecords(content, items, intake.windows.put_category, clock=clock, metrics=metrics)
        self._snapshot_writing = SnapshotWriting(
            snapshots,
            interval_s=settings.snapshot_interval_s,
            most_events=settings.snapshot_events,
            written=reporter.snapshot_written,
            clock=clock,
            failpoint=failpoint,
        )
        # So long the newest event learned had waited in the log; nothing once the log has nothing more.
        self._backlog_s = 0.0
        # Of the events learned and not yet in every store.
        self._oldest_arrival_s: float | None = None
        # Of the item records read and not yet in the index.
        self._oldest_item_s: float | None = None
        self._letters: list[DeadLetter] = []

    def run(self, should_stop: Callable[[], bool]) -> None:
        """Go on until told to stop; then publish what is left, as far as the stores answer, and write a snapshot.

        Raises ``StaleEpoch`` (another trainer lives: nothing more is written), ``TooManyBadEvents``, ``RetentionGap``
        and ``TopicReplaced``; the state on disk is then that of the newest snapshot, which is always a safe place to
        start from.
        """
        self._reading.begin()
        while not should_stop():
            self.cycle()
        self._flush(idle=False, users_within_s=math.inf)
        if self._letters:
            _log.warning("no last snapshot: dead letters wait for the log; the newest events will be learned again")
        else:
            self.write_snapshot()
        self.wait_for_snapshot()

    @property
    def settled(self) -> bool:
        """Whether every store holds exactly what was learned and predicted, and no item record or dead letter waits."""
        return self._publisher.settled and self._content.settled and self._item_records.settled and not self._letters

    def cycle(self) -> None:
        """One turn: poll, learn, flush when due, snapshot when due."""
        records = self._poll()
        self._failpoint("polled")
        if records:
            self._learn(records)
        elif self._letters:
            self._keep_letters()
        self._publish_item_records()
        self._item_records.delete(published=self._publisher.settled)
        self._content.step(self._intake.teachers)
        if self._flush_due():
            # At most half of its time the user store is asked to write: serving, which asks it too, has its share.
            since_s = self._clock.monotonic_s() - self._flushed_at_s
            self._flush(idle=not records, users_within_s=max(self._flush_interval_s, since_s / 2))
        self._snapshot_writing.look()
        if self._snapshot_writing.due and not self._letters:  # a restart must read those again
            self.write_snapshot()
        if not self._letters:  # positions stay where they are
            self._reading.check_when_due()

    # --- taking in --------------------------------------------------------------------------------------------------

    def _poll(self) -> list[Record]:
        if self._letters or self._item_records.full:
            self._clock.sleep(CALM_S)
            return []
        wait_s = max(0.0, self._flushed_at_s + self._flush_every_s() - self._clock.monotonic_s())
        if self._backlog_s > 0:  # what is learned waits for the next events no longer than it would without a backlog
            wait_s = min(wait_s, self._flush_interval_s)
        records = self._reading.poll(wait_s)
        if not records:
            self._backlog_s = 0.0
        return records

    def _learn(self, records: list[Record]) -> None:
        started_s = self._clock.monotonic_s()
        events = [record for record in records if record.topic == USER_EVENTS]
        self._letters += self._intake.take(events)
        self._take_item_records([record for record in records if record.topic == ITEMS])
        self._intake.outcomes.take_served([record for record in records if record.topic == RECOMMENDATIONS_SERVED])
        self._reading.passed(records)
        self._keep_letters()
        if events:
            self._backlog_s = max(0.0, self._clock.now_s() - events[-1].arrival_s)
            if self._oldest_arrival_s is None:
                self._oldest_arrival_s = events[0].arrival_s
        forgotten = self._intake.take_forgotten_users()
        self._publisher.collect(self._intake.take_changed_users(), forgotten)
        self._snapshot_writing.note(len(events), forgot=bool(forgotten))
        self._metrics.timing("learn_seconds", self._clock.monotonic_s() - started_s)
        self._failpoint("learned")

    def _keep_letters(self) -> None:
        """Keep the dead letters that wait; only then may positions pass what was read. Raises ``TooManyBadEvents``."""
        if self._letters:
            if not self._reading.set_aside(self._letters):
                return
            self._letters = []
            self._failpoint("dead_letters_kept")
        self._intake.refuse_too_many_bad()
        self._advance(items=False)

    def _take_item_records(self, records: list[Record]) -> None:
        changed, letters = self._item_records.take(records)
        self._letters += letters
        if changed:
            self._publisher.items_changed(changed)
            if self._oldest_item_s is None:
                self._oldest_item_s = records[0].arrival_s

    def _publish_item_records(self) -> None:
        if not self._item_records.write():
            self._clock.sleep(self._flush_interval_s)
        elif not self._letters:
            self._advance(items=True)

    def _advance(self, *, items: bool) -> None:
        """Move positions to what was read of topic ``items``, or of the others."""
        read = self._reading.read.items()
        self.positions.update({place: offset for place, offset in read if (place.topic == ITEMS) == items})

    # --- giving out -------------------------------------------------------------------------------------------------

    def _flush_every_s(self) -> float:
        """Seconds between flushes, by what waits."""
        if self._publisher.urgent:
            return max(self._flush_interval_s, min(BACKLOG_SHARE * self._backlog_s, LONGEST_FLUSH_S))
        # Nothing waits: the report, and a look whether the index is still there.
        return REPORT_S if self._publisher.settled else CALM_S

    def _flush_due(self) -> bool:
        return self._clock.monotonic_s() - self._flushed_at_s >= self._flush_every_s()

    def _flush(self, *, idle: bool, users_within_s: float) -> None:
        learned = {place.partition: offset for place, offset in self.positions.items() if place.topic == USER_EVENTS}
        self._publisher.flush(
            learned,
            lambda: self._reporter.report(self.positions),
            idle=idle,
            hold_index=self._content.holds_index,
            users_within_s=users_within_s,
        )
        self._flushed_at_s = self._clock.monotonic_s()
        if self._oldest_item_s is not None and not self._publisher.records_wait:
            self._metrics.timing("item_freshness_seconds", self._clock.now_s() - self._oldest_item_s)
            self._oldest_item_s = None
        if self._oldest_arrival_s is not None and self._publisher.indexed == learned:
            self._metrics.timing("learned_freshness_seconds", self._clock.now_s() - self._oldest_arrival_s)
            self._oldest_arrival_s = None
        self._reading.commit()
        self._failpoint("committed")
        if self._flushed_at_s - self._index_checked_at_s >= INDEX_CHECK_S and self._intake.scored_users:
            self._index_checked_at_s = self._flushed_at_s
            self._reporter.check_index(self._index)

    # --- snapshots --------------------------------------------------------------------------------------------------

    def write_snapshot(self) -> None:
        """Copy the state now and write it in the background; waits for a snapshot that is still being written."""
        self._snapshot_writing.begin(self._state)

    def wait_for_snapshot(self) -> None:
        """Wait until no snapshot is being written; raise what writing one raised. Safe to repeat."""
        self._snapshot_writing.wait()

    def _state(self) -> SnapshotState:
        parts = {
            "learner": self._intake.learner.state(),
            "intake": self._intake.state(),
            "evaluator": self._intake.evaluator.state(),
        }
        return SnapshotState(
            epoch=self._publisher.epoch,
            seq=self._publisher.seq,
            fingerprint=self._fingerprint,
            offsets=offsets_of(self.positions.items()),
            tensors=flatten({part: arrays for part, (arrays, _) in parts.items()}),
            records={part: facts for part, (_, facts) in parts.items()}
            | {
                "outbox": self._publisher.outbox.record(),
                "deleted_items": self._content.content.catalogue.deleted,
                "topic_ids": dict(self._log_positions.ids),
            },
        )
