"""The trainer while its log is away, has lost events, was made anew or got more partitions."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from incremental_training.log_positions import Found, LogPositions, RetentionGap, TopicReplaced
from stores.adapters import open_event_log
from stores.ports import (
    ITEMS,
    RECOMMENDATIONS_SERVED,
    USER_EVENTS,
    DeadLetter,
    EventLog,
    PositionLost,
    Record,
    StoreUnavailable,
    TopicPartition,
)
from stores.publication import nothing_fails
from stores.recording_metrics import RecordingMetrics
from tests.chaos import crash_world
from tests.chaos.crash_world import CrashAfter, CrashWorld, some_events

ROOT = Path(__file__).parents[3]
EVENTS = TopicPartition(USER_EVENTS, 0)


class UnsteadyLog(crash_world.FastLog):
    """A log that is away for twelve calls and there for fifteen, again and again; a failing poll loses what it read."""

    def __init__(self, log: EventLog) -> None:
        super().__init__(log)
        self._calls = 0

    def poll(self, max_records: int, timeout_s: float) -> list[Record]:
        """Read, and perhaps fail all the same."""
        records = super().poll(max_records, timeout_s)
        self._fail_or_not("poll")
        return records

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._log, name)
        if name in ("seek", "close", "dead_letters"):
            return call

        def unsteady(*arguments: Any) -> Any:
            self._fail_or_not(name)
            return call(*arguments)

        return unsteady

    def _fail_or_not(self, name: str) -> None:
        self._calls += 1
        if self._calls % 27 < 12:
            raise StoreUnavailable(f"{name}: the log is away")


def _world(folder: Path) -> CrashWorld:
    folder.mkdir()
    world = CrashWorld(folder)
    world.append(some_events(200, seed=5), items=10)
    return world


def test_a_log_that_comes_and_goes_loses_nothing_and_repeats_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steady = _world(tmp_path / "steady")
    assert steady.run(nothing_fails)
    unsteady = _world(tmp_path / "unsteady")
    monkeypatch.setattr(crash_world, "FastLog", UnsteadyLog)
    monkeypatch.setattr(unsteady, "_done", lambda trainer: _settled(trainer, 200))
    assert unsteady.run(nothing_fails)
    expected, got = steady.contents(), unsteady.contents()
    assert expected["letters"]
    for part in expected:
        assert got[part] == expected[part], part


def _settled(trainer: Any, end: int) -> bool:
    return trainer.settled and trainer.positions[EVENTS] == end


class NoLettersLog(crash_world.FastLog):
    """A log that takes no dead letters."""

    def set_aside(self, letters: list[DeadLetter]) -> None:
        """Fail."""
        raise StoreUnavailable("no dead letters now")


def test_a_dead_letter_that_cannot_be_kept_holds_positions_and_snapshots_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = _world(tmp_path / "expected")
    assert expected.run(nothing_fails)
    world = _world(tmp_path / "world")
    [letter, *_] = expected.contents()["letters"]
    with monkeypatch.context() as patch:
        patch.setattr(crash_world, "FastLog", NoLettersLog)
        trainer = world.start(nothing_fails)
        turns = iter(range(40))
        trainer.run(lambda: next(turns, None) is None)
        assert trainer.positions[EVENTS] <= letter.offset
        assert not trainer.settled
        for writer in world._writers:
            writer.close()
    # What was learned and not in a snapshot is learned again, and the letters are kept now.
    assert world.run(nothing_fails)
    assert world.contents()["letters"] == expected.contents()["letters"]
    assert world.contents()["tensors"] == expected.contents()["tensors"]


def test_a_trainer_told_to_stop_does_not_wait_for_a_log_that_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(log: Any, topic: str) -> dict[Any, int]:
        raise StoreUnavailable("away")

    world = _world(tmp_path / "world")
    monkeypatch.setattr(crash_world.FastLog, "begin_offsets", away, raising=False)
    start = crash_world.start_trainer
    looks = iter([False, False, True])
    monkeypatch.setattr(
        crash_world, "start_trainer", lambda *stores, **named: start(*stores, **named, should_stop=lambda: next(looks))
    )
    with pytest.raises(StoreUnavailable, match="away"):
        world.run(nothing_fails)
    assert next(looks, None) is None


class FakeLog:
    """Partitions with a first and a next offset, and the ids of topics."""

    def __init__(self, **partitions: tuple[int, int]) -> None:
        self.partitions = {
            TopicPartition(name.rpartition("_")[0], int(name.rpartition("_")[2])): kept
            for name, kept in partitions.items()
        }
        self.ids: dict[str, str] = {}

    def begin_offsets(self, topic: str) -> dict[TopicPartition, int]:
        """First offsets."""
        return {place: kept[0] for place, kept in self.partitions.items() if place.topic == topic}

    def end_offsets(self, topic: str) -> dict[TopicPartition, int]:
        """Next offsets."""
        return {place: kept[1] for place, kept in self.partitions.items() if place.topic == topic}

    def topic_id(self, topic: str) -> str:
        """The id, where there is one."""
        return self.ids.get(topic, "")


def _find(
    log: FakeLog,
    known: Mapping[TopicPartition, int],
    *,
    skip: bool,
    metrics: RecordingMetrics | None = None,
    **ids: str,
) -> Found:
    positions = LogPositions(log, ids, skip=skip, metrics=metrics or RecordingMetrics())  # type: ignore[arg-type]
    return positions.find(known)


def test_a_partition_that_was_added_is_read_from_its_beginning() -> None:
    log = FakeLog(user_events_0=(0, 9), user_events_1=(0, 4))
    assert _find(log, {EVENTS: 7}, skip=False).positions == {EVENTS: 7, TopicPartition(USER_EVENTS, 1): 0}


def test_a_gap_stops_with_its_size_or_is_skipped_and_counted() -> None:
    log = FakeLog(user_events_0=(20, 90), items_0=(5, 9), recommendations_served_0=(50, 60))
    known = {EVENTS: 7, TopicPartition(ITEMS, 0): 1, TopicPartition(RECOMMENDATIONS_SERVED, 0): 3}
    with pytest.raises(RetentionGap, match=r"13 events are gone.*--on-gap=skip"):
        _find(log, known, skip=False)
    metrics = RecordingMetrics()
    found = _find(log, known, skip=True, metrics=metrics)
    assert found == Found({place: begin for topic in (USER_EVENTS, ITEMS, RECOMMENDATIONS_SERVED)
                           for place, begin in log.begin_offsets(topic).items()}, replaced=False)  # fmt: skip
    assert "events_lost_total 13" in metrics.prometheus_text()


@pytest.mark.parametrize(
    ("log", "ids", "now", "position"),
    [
        (FakeLog(user_events_0=(0, 9)), {"user_events": "a"}, "b", 0),
        (FakeLog(user_events_0=(2, 5)), {}, "", 2),
        (FakeLog(user_events_0=(0, 5)), {"user_events": "a"}, "a", 5),
    ],
    ids=["made anew", "shorter than what was read", "the same one, cut off"],
)
def test_a_topic_that_is_not_as_it_was_stops_the_trainer_or_is_gone_on_with(
    log: FakeLog, ids: dict[str, str], now: str, position: int
) -> None:
    log.ids = {USER_EVENTS: now}
    with pytest.raises(TopicReplaced, match="--on-gap=skip"):
        _find(log, {EVENTS: 7}, skip=False, **ids)
    assert _find(log, {EVENTS: 7}, skip=True, **ids) == Found({EVENTS: position}, replaced=True)


def test_a_topic_with_fewer_partitions_is_another_one() -> None:
    with pytest.raises(TopicReplaced, match="partition 1"):
        _find(FakeLog(user_events_0=(0, 9)), {EVENTS: 7, TopicPartition(USER_EVENTS, 1): 3}, skip=False)


def test_other_topics_made_anew_are_read_again_and_stop_nobody() -> None:
    log = FakeLog(user_events_0=(0, 9), items_0=(0, 3))
    log.ids = {ITEMS: "b"}
    found = _find(log, {EVENTS: 7, TopicPartition(ITEMS, 0): 2}, skip=False, items="a")
    assert found == Found({EVENTS: 7, TopicPartition(ITEMS, 0): 0}, replaced=False)


def test_a_log_that_was_made_anew_is_learned_once_the_operator_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = _world(tmp_path / "world")
    assert world.run(nothing_fails)
    for file in (tmp_path / "world").glob("events.db*"):
        file.unlink()
    # As many as before would look like the same log; without ids of its own this one is told by its length alone.
    world.append(some_events(50, seed=6), items=3)
    with pytest.raises(TopicReplaced, match="was read up to 200"):
        world.run(nothing_fails)
    start = crash_world.start_trainer
    monkeypatch.setattr(crash_world, "start_trainer", lambda *stores, **named: start(*stores, **named, skip_gaps=True))
    assert world.run(nothing_fails)
    counters = world.contents()["records"]["intake"]["counters"]
    assert counters["events_seen"] == 250
    # Events without an id of their own are named by their place, which others had before: they are no duplicates.
    assert counters["duplicates"] < 30
    assert world.contents()["learned"] == {0: 50}


class LosingLog(crash_world.FastLog):
    """A log whose reader falls out of it once, while all that it holds is in order."""

    lost = False

    def poll(self, max_records: int, timeout_s: float) -> list[Record]:
        """Fail the second time."""
        if self.lost:
            return super().poll(max_records, timeout_s)
        LosingLog.lost = True
        raise PositionLost("offset out of range")


def test_a_position_that_was_lost_for_a_moment_only_is_read_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = _world(tmp_path / "world")
    monkeypatch.setattr(crash_world, "FastLog", LosingLog)
    assert world.run(nothing_fails)
    assert world.contents()["records"]["intake"]["counters"]["events_seen"] == 200


def test_a_position_that_is_lost_for_good_stops_the_trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = _world(tmp_path / "world")
    assert world.run(CrashAfter("polled", 4)) is False
    log = open_event_log(world.settings.events_url)
    seen = [False]

    def begins(self: Any, topic: str) -> dict[Any, int]:
        begin = log.begin_offsets(topic)
        return dict.fromkeys(begin, 190) if topic == USER_EVENTS and seen[0] else begin

    def lost(self: Any, max_records: int, timeout_s: float) -> list[Record]:
        seen[0] = True
        raise PositionLost("offset out of range")

    monkeypatch.setattr(crash_world.FastLog, "begin_offsets", begins, raising=False)
    monkeypatch.setattr(crash_world.FastLog, "poll", lost)
    with pytest.raises(RetentionGap, match="events are gone"):
        world.run(nothing_fails)
    log.close()


def test_a_call_of_the_log_that_never_returns_ends_the_process_with_its_stack() -> None:
    program = """
import time
from incremental_training.watchdog import WatchedLog

class Log:
    def end_offsets(self, topic):
        return {}
    def poll(self, max_records, timeout_s):
        while True:  # as a driver that spins
            pass

log = WatchedLog(Log(), 0.3)
assert log.end_offsets("user_events") == {}
time.sleep(0.5)  # nothing is watched between calls
print("polling", flush=True)
log.poll(1, 0.0)
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    assert (ended.returncode, ended.stdout) == (1, "polling\n")
    assert "in poll" in ended.stderr
