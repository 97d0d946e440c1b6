"""Start and restart: the newest snapshot, adopted under a new epoch, and a trainer that goes on from it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from incremental_training.content_learning import ContentLearning, read_catalogue
from incremental_training.intake import Intake
from incremental_training.log_positions import LogPositions
from incremental_training.new_items import new_items
from incremental_training.report import Reporter
from incremental_training.settings import TrainerSettings
from incremental_training.trainer import Trainer
from models.catalogue import Catalogue
from models.evaluation import PrequentialEvaluator
from models.item_content import ItemContent
from models.learner import Learner
from models.model_settings import ModelSettings
from models.snapshot import SnapshotState, SnapshotStore, part_of, positions_of
from stores.outbox import Outbox
from stores.ports import (
    ITEMS,
    NEW,
    Clock,
    EventLog,
    ItemIndexWriter,
    ItemWriter,
    Metrics,
    StoreUnavailable,
    TopicPartition,
    UserWriter,
)
from stores.publication import Publisher

# Between two attempts to reach the log, longer each time.
PAUSES_S = (0.2, 0.5, 1.0, 2.0)

Answer = TypeVar("Answer")

_log = logging.getLogger(__name__)


class NothingToStartFrom(Exception):
    """There is no snapshot, and starting from nothing was not asked for."""


@dataclass(frozen=True)
class Stores:
    """Everything outside that the trainer writes to or reads from."""

    log: EventLog
    users: UserWriter
    items: ItemWriter
    index: ItemIndexWriter


def start_trainer(
    stores: Stores,
    snapshots: SnapshotStore,
    *,
    settings: TrainerSettings,
    model: ModelSettings,
    owner: str,
    from_nothing: bool,
    republish: bool = False,
    skip_gaps: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
    clock: Clock,
    metrics: Metrics,
    measured: Callable[[], Mapping[str, float]] = dict,
    failpoint: Callable[[str], None],
) -> Trainer:
    """Take the lease, load the newest snapshot, adopt it BEFORE anything is published, and return the trainer.

    Its outbox holds what the snapshot's held; everything replayed from the log joins it. With ``republish`` it holds
    everything and topic ``items`` is read from its beginning: that rebuilds stores that were lost. A log that does not
    answer is waited for, until ``should_stop``. With ``skip_gaps`` it goes on where events were lost.
    Raises ``LeaseHeld``, ``NothingToStartFrom``, ``FingerprintMismatch``, ``RetentionGap``, ``TopicReplaced``,
    ``StoreUnavailable``.
    """
    epoch = stores.users.acquire_lease(owner)
    failpoint("epoch_taken")
    fingerprint = model.fingerprint()
    snapshot = snapshots.load_newest(fingerprint)
    if snapshot is None:
        if not from_nothing:
            raise NothingToStartFrom(
                f"no snapshot in {snapshots.directory}: run python -m initial_training first, "
                "or start with --from-nothing to learn from the log alone"
            )
        snapshot = SnapshotState(0, 0, fingerprint, {}, {}, {})
    # A user store that was emptied forgets its epochs; snapshots do not.
    epoch = max(epoch, snapshot.epoch + 1)
    failpoint("snapshot_loaded")
    snapshots.adopt(epoch)
    failpoint("snapshot_adopted")
    log_positions = LogPositions(stores.log, snapshot.records.get("topic_ids", {}), skip=skip_gaps, metrics=metrics)
    # Left out, topic ``items`` is read from its beginning.
    known = {
        TopicPartition(*place): offset
        for place, offset in positions_of(snapshot.offsets).items()
        if not (republish and place[0] == ITEMS)
    }
    found = _patiently(lambda: log_positions.find(known), clock, should_stop)
    positions = found.positions
    _log.info("epoch %d goes on from snapshot (%d, %d) at %s", epoch, snapshot.epoch, snapshot.seq, positions)

    learner, intake = _restore(snapshot, settings, model)
    if found.replaced:
        intake.forget_offsets()
        republish = True
    catalogue = Catalogue(snapshot.records.get("deleted_items", ()))
    _patiently(lambda: read_catalogue(stores.log, catalogue), clock, should_stop)
    content = ContentLearning(ItemContent(catalogue), learner, clock=clock, metrics=metrics)
    publisher = Publisher(
        learner,
        content.content,
        Outbox.of_everything(learner) if republish else Outbox.from_record(snapshot.records.get("outbox", {})),
        users=stores.users,
        items=stores.items,
        index=stores.index,
        epoch=epoch,
        seq=snapshot.seq,
        as_of=intake.as_of,
        lists=lambda: intake.lists() | {NEW: new_items(learner, catalogue)},
        clock=clock,
        metrics=metrics,
        failpoint=failpoint,
    )
    return Trainer(
        log=stores.log,
        intake=intake,
        content=content,
        publisher=publisher,
        items=stores.items,
        index=stores.index,
        snapshots=snapshots,
        reporter=Reporter(intake, publisher, catalogue, stores.log, clock=clock, metrics=metrics, measured=measured),
        positions=positions,
        log_positions=log_positions,
        settings=settings,
        fingerprint=fingerprint,
        clock=clock,
        metrics=metrics,
        failpoint=failpoint,
    )


def _restore(snapshot: SnapshotState, settings: TrainerSettings, model: ModelSettings) -> tuple[Learner, Intake]:
    tensors, records = snapshot.tensors, snapshot.records
    learner = (
        Learner.from_state(model, part_of(tensors, "learner"), records["learner"])
        if "learner" in records
        else Learner(model)
    )
    evaluator = (
        PrequentialEvaluator.from_state(learner, part_of(tensors, "evaluator"), records["evaluator"])
        if "evaluator" in records
        else PrequentialEvaluator(learner)
    )
    intake = Intake(
        learner,
        evaluator,
        settings.decoder(),
        evaluate_every=settings.evaluate_every,
        dedup_window=settings.dedup_window,
        bad_window=settings.bad_events_window,
        bad_share=settings.bad_events_share,
    )
    intake.restore(part_of(tensors, "intake"), records.get("intake", {}))
    return learner, intake


def _patiently(ask: Callable[[], Answer], clock: Clock, should_stop: Callable[[], bool]) -> Answer:
    """Return what the log answers, waiting until it does; an error of its own ends the waiting."""
    failures = 0
    while True:
        try:
            return ask()
        except StoreUnavailable as error:
            if should_stop():
                raise
            _log.warning("waiting for the log: %s", error)
        clock.sleep(PAUSES_S[min(failures, len(PAUSES_S) - 1)])
        failures += 1
