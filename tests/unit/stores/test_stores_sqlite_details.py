"""What only the SQLite adapters promise, beyond the contract of their port."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from stores.ports import (
    RECOMMENDATIONS_SERVED,
    USER_EVENTS,
    DeadLetter,
    Entry,
    PendingEvent,
    Receipt,
    Record,
    StoreUnavailable,
    TopicPartition,
    UserDocument,
    version_of,
)
from stores.sqlite_event_log import SqliteAsyncEventLog, SqliteEventLog
from stores.sqlite_user_store import SqliteUserReader, SqliteUserWriter

PLACE = TopicPartition(USER_EVENTS, 0)


class SteppedClock:
    """A clock that moves only when somebody sleeps."""

    def __init__(self) -> None:
        self.time_s = 1_000.0

    def now_s(self) -> float:
        return self.time_s

    def monotonic_s(self) -> float:
        return self.time_s

    def sleep(self, seconds: float) -> None:
        self.time_s += seconds


def test_an_empty_poll_looks_again_every_few_milliseconds(tmp_path: Path):
    clock = SteppedClock()
    with closing(SqliteEventLog(tmp_path / "events.db", timeout_s=5.0, clock=clock)) as log:
        log.seek({PLACE: 0})
        assert log.poll(10, 0.012) == []
        assert clock.time_s == pytest.approx(1_000.012)
        log.append(USER_EVENTS, [Entry("u1", b"x")])
        assert log.poll(10, 9.0) == [Record(USER_EVENTS, 0, 0, "u1", b"x", clock.time_s)]
        assert clock.time_s == pytest.approx(1_000.012)


@pytest.mark.parametrize("place", [TopicPartition(USER_EVENTS, 1), TopicPartition(USER_EVENTS, -1)])
def test_a_snapshot_of_another_log_is_not_read_from(tmp_path: Path, place: TopicPartition):
    with closing(SqliteEventLog(tmp_path / "events.db", timeout_s=5.0)) as log:
        with pytest.raises(ValueError, match="partition 0"):
            log.seek({place: 0})
        with pytest.raises(ValueError, match="offset -1"):
            log.seek({PLACE: -1})


def test_offsets_go_on_after_old_records_were_removed(tmp_path: Path):
    path = tmp_path / "events.db"
    with closing(SqliteEventLog(path, timeout_s=5.0)) as log:
        log.append(USER_EVENTS, [Entry("u1", b"x")] * 5)
        for kept_from, begin in ((3, 3), (5, 5)):
            with closing(sqlite3.connect(path, isolation_level=None)) as connection:
                connection.execute("DELETE FROM records WHERE offset < ?", (kept_from,))
            assert log.begin_offsets(USER_EVENTS) == {PLACE: begin}
        assert log.append(USER_EVENTS, [Entry("u1", b"y")])[0].offset == 5
        assert log.begin_offsets(USER_EVENTS) == {PLACE: 5}


def test_of_what_was_served_only_the_newest_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("stores.sqlite_event_log.SERVED_KEPT", 3)
    with closing(SqliteEventLog(tmp_path / "events.db", timeout_s=5.0)) as log:
        for topic in (RECOMMENDATIONS_SERVED, USER_EVENTS):
            log.append(topic, [Entry("u1", b"x")] * 2)
            log.append(topic, [Entry("u1", b"y")] * 2)
        served = TopicPartition(RECOMMENDATIONS_SERVED, 0)
        assert log.begin_offsets(RECOMMENDATIONS_SERVED) == {served: 1}
        log.seek({served: 0})
        assert [record.offset for record in log.poll(10, 0.0)] == [1, 2, 3]
        assert log.begin_offsets(USER_EVENTS) == {PLACE: 0}


def test_a_dropped_letter_stays_dropped_when_it_is_set_aside_again(tmp_path: Path):
    path = tmp_path / "events.db"
    letter = DeadLetter(USER_EVENTS, 0, 0, "not_json", "no object", b"x")

    async def drop() -> None:
        serving = SqliteAsyncEventLog(path, timeout_s=5.0)
        await serving.drop_dead_letters(USER_EVENTS, [Receipt(0, 0)])
        await serving.close()

    with closing(SqliteEventLog(path, timeout_s=5.0)) as log:
        log.set_aside([letter])
        asyncio.run(drop())
        log.set_aside([letter])
        assert log.dead_letters(USER_EVENTS, 10) == []


def test_a_held_log_is_unavailable_in_time(tmp_path: Path):
    path = tmp_path / "events.db"
    with closing(SqliteEventLog(path, timeout_s=0.1)) as log, closing(sqlite3.connect(path)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable):
            log.append(USER_EVENTS, [Entry("u1", b"x")])
        assert log.end_offsets(USER_EVENTS) == {PLACE: 0}


def _document(user_id: str, version: int) -> UserDocument:
    return UserDocument(user_id, np.ones(4, np.float32), [], [], [], {}, version)


def test_accepting_an_event_never_waits_for_the_trainer(tmp_path: Path):
    path = tmp_path / "users.db"
    with closing(SqliteUserWriter(path, timeout_s=1.0)), closing(sqlite3.connect(path)) as trainer:
        trainer.execute("BEGIN IMMEDIATE")  # a flush that takes its time

        async def accept() -> list[PendingEvent]:
            reader = SqliteUserReader(path, timeout_s=0.5)
            await reader.add_pending({"u1": [PendingEvent("e1", "i1", "positive", 1.0, 0.0, 0, 1)]})
            state = (await reader.get_many(["u1"]))["u1"]
            await reader.close()
            return state.pending

        assert [event.event_id for event in asyncio.run(accept())] == ["e1"]


def test_what_remains_of_a_deleted_user_goes_with_the_next_epoch(tmp_path: Path):
    path = tmp_path / "users.db"
    with closing(SqliteUserWriter(path, timeout_s=1.0)) as writer, closing(sqlite3.connect(path)) as looking:
        writer.upsert([_document("u1", version_of(1, 1)), _document("u2", version_of(1, 1))])
        writer.delete(["u1"], version_of(1, 2))
        assert looking.execute("SELECT user_id FROM users ORDER BY user_id").fetchall() == [("u1",), ("u2",)]
        writer.acquire_lease("next")
        assert looking.execute("SELECT user_id FROM users").fetchall() == [("u2",)]
