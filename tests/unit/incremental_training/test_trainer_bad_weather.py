"""The trainer when something outside is wrong: bad events, another trainer, a store that is down, a log with a gap."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from faiss_server.item_index import ItemIndex
from incremental_training.intake import TooManyBadEvents
from incremental_training.log_positions import RetentionGap
from incremental_training.recovery import NothingToStartFrom
from models.snapshot import FingerprintMismatch
from stores.adapters import open_event_log, open_user_writer
from stores.ports import (
    ITEMS,
    USER_EVENTS,
    Entry,
    IndexStatus,
    ItemRows,
    LeaseHeld,
    StaleEpoch,
    Stamp,
    StoreUnavailable,
)
from stores.publication import nothing_fails
from tests.chaos import crash_world
from tests.chaos.crash_world import CrashWorld, some_events


class FailingItemIndex(ItemIndex):
    """An index whose next ``fail_writes`` upserts fail; ``took_effect`` says whether they were done all the same."""

    def __init__(self) -> None:
        super().__init__()
        self.fail_writes = 0
        self.took_effect = False

    def upsert(self, rows: ItemRows, stamp: Stamp) -> IndexStatus:
        """Write, or fail."""
        if self.fail_writes:
            self.fail_writes -= 1
            if self.took_effect:
                super().upsert(rows, stamp)
            raise StoreUnavailable("the index does not answer")
        return super().upsert(rows, stamp)


def _world(folder: Path, events: int = 200) -> CrashWorld:
    world = CrashWorld(folder)
    world.append(some_events(events, seed=5), items=10)
    return world


def _contents(folder: Path, **changes: Any) -> dict[str, Any]:
    folder.mkdir()
    world = _world(folder)
    for name, value in changes.items():
        setattr(world, name, value)
    assert world.run(nothing_fails)
    return world.contents()


@pytest.mark.parametrize("took_effect", [False, True])
def test_an_index_that_fails_for_a_while_ends_up_exact(tmp_path: Path, took_effect: bool) -> None:
    index = FailingItemIndex()
    index.fail_writes, index.took_effect = 2, took_effect
    failed = _contents(tmp_path / "failed", index=index)
    assert index.fail_writes == 0
    untroubled = _contents(tmp_path / "untroubled")
    for part in untroubled:
        assert failed[part] == untroubled[part], part


def test_too_many_bad_events_stop_the_trainer_and_are_kept_as_dead_letters(tmp_path: Path) -> None:
    world = CrashWorld(tmp_path)
    world.settings = dataclasses.replace(world.settings, bad_events_window=20, bad_events_share=0.5)
    world.append([*some_events(30, seed=1), *(Entry("k", b"rubbish") for _ in range(40))])
    with pytest.raises(TooManyBadEvents, match="look at the dead letters"):
        world.run(nothing_fails)
    log = open_event_log(world.settings.events_url)
    assert len(log.dead_letters(USER_EVENTS, 100)) >= 11
    log.close()
    # Started again it stops again, rather than emptying the topic.
    with pytest.raises(TooManyBadEvents):
        world.run(nothing_fails)


def test_an_item_record_that_is_none_becomes_a_dead_letter(tmp_path: Path) -> None:
    world = _world(tmp_path)
    log = open_event_log(world.settings.events_url)
    log.append(ITEMS, [Entry("x", b'{"item_id": ""}')])
    assert world.run(nothing_fails)
    [letter] = log.dead_letters(ITEMS, 10)
    log.close()
    assert (letter.reason, letter.value) == ("bad_item", b'{"item_id": ""}')


def test_a_second_trainer_is_refused_while_the_first_lives(tmp_path: Path) -> None:
    world = _world(tmp_path)
    users = open_user_writer(world.settings.users_url)
    users.acquire_lease("the first")
    with pytest.raises(LeaseHeld, match="the first"):
        world.run(nothing_fails)
    users.close()
    assert world.run(nothing_fails)


def test_a_trainer_that_meets_a_newer_epoch_stops(tmp_path: Path) -> None:
    world = _world(tmp_path)
    assert world.run(nothing_fails)
    table = world.index.table
    rows = ItemRows([], table.columns[:0, :9], table.contexts[:0], table.columns[:0, 9:])
    world.index.replace(rows, Stamp(99, 0, 1))
    with pytest.raises(StaleEpoch):
        world.run(nothing_fails)
    assert world.index.status().epoch == 99


def test_a_log_that_lost_events_stops_the_trainer_with_their_number(tmp_path: Path, monkeypatch: Any) -> None:
    world = _world(tmp_path)

    def lost(log: Any, topic: str) -> dict[Any, int]:
        begins = log._log.begin_offsets(topic)
        return dict.fromkeys(begins, 17) if topic == USER_EVENTS else begins

    monkeypatch.setattr(crash_world.FastLog, "begin_offsets", lost, raising=False)
    with pytest.raises(RetentionGap, match="17 events are gone"):
        world.run(nothing_fails)


def test_other_model_settings_than_the_snapshots_are_refused(tmp_path: Path, monkeypatch: Any) -> None:
    world = _world(tmp_path)
    assert world.run(nothing_fails)
    monkeypatch.setattr(crash_world, "MODEL", dataclasses.replace(crash_world.MODEL, learning_rate=0.3))
    with pytest.raises(FingerprintMismatch, match="restore the settings"):
        world.run(nothing_fails)


def test_without_a_snapshot_it_starts_only_when_told_to(tmp_path: Path, monkeypatch: Any) -> None:
    world = _world(tmp_path)
    start = crash_world.start_trainer
    monkeypatch.setattr(
        crash_world, "start_trainer", lambda *stores, **named: start(*stores, **(named | {"from_nothing": False}))
    )
    with pytest.raises(NothingToStartFrom, match="initial_training"):
        world.run(nothing_fails)
