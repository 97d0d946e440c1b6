"""What every event log must do. A subclass supplies ``new_url``: each call returns the URL of a fresh, empty log."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from stores.adapters import open_async_event_log, open_event_log
from stores.ports import (
    ITEMS,
    USER_EVENTS,
    AsyncEventLog,
    DeadLetter,
    Entry,
    EventLog,
    Receipt,
    Record,
    StoreUnavailable,
    TopicPartition,
)

ROOT = Path(__file__).parents[2]

# Appends for ever (or ``count`` times) under ten keys at once, and prints every receipt once it is acknowledged.
APPENDING_PROCESS = """
import asyncio, itertools, sys
from stores.adapters import open_async_event_log
from stores.ports import Entry
url, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])

async def append(log, key):
    for nth in itertools.islice(itertools.count(), count or None):
        value = f"{key}:{nth}"
        [receipt] = await log.append("user_events", [Entry(key, value.encode())])
        print(value, receipt, flush=True)

async def main():
    log = open_async_event_log(url, timeout_s=30.0)
    await asyncio.gather(*(append(log, f"{name}{key}") for key in range(10)))
    await log.close()

asyncio.run(main())
"""


def _appending_process(url: str, name: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", APPENDING_PROCESS, url, name, str(count)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def _entries(*values: str, key: str = "u1") -> list[Entry]:
    return [Entry(key, value.encode()) for value in values]


def _from_begin(log: EventLog, *topics: str) -> None:
    log.seek({place: offset for topic in topics for place, offset in log.begin_offsets(topic).items()})


def _read_all(log: EventLog, topic: str) -> list[Record]:
    """Every record of a topic, from its first to its present end."""
    _from_begin(log, topic)
    expected = sum(log.end_offsets(topic).values()) - sum(log.begin_offsets(topic).values())
    records: list[Record] = []
    deadline_s = time.monotonic() + 20
    while len(records) < expected and time.monotonic() < deadline_s:
        records += log.poll(500, 0.1)
    return records


def _values(records: list[Record]) -> list[str]:
    return [record.value.decode() for record in records]


class EventLogContract:
    @pytest.fixture
    def new_url(self) -> Callable[[], str]:
        raise NotImplementedError

    @pytest.fixture
    def url(self, new_url: Callable[[], str]) -> str:
        return new_url()

    @pytest.fixture
    def log(self, url: str):
        with closing(open_event_log(url)) as log:
            yield log

    def run(self, url: str, scenario: Callable[[AsyncEventLog], object]) -> object:
        """Run an async scenario with a log as serving writes it."""

        async def with_log() -> object:
            log = open_async_event_log(url)
            try:
                return await scenario(log)
            finally:
                await log.close()

        return asyncio.run(with_log())

    def test_an_empty_topic_has_partitions_and_ends_where_it_begins(self, log):
        places = log.partitions(USER_EVENTS)
        assert places
        assert places == sorted(places)
        assert log.begin_offsets(USER_EVENTS) == log.end_offsets(USER_EVENTS) == dict.fromkeys(places, 0)
        _from_begin(log, USER_EVENTS)
        assert log.poll(10, 0.0) == []

    def test_a_record_comes_back_as_it_was_appended(self, log):
        before_s = time.time()
        entry = Entry("ключ 🔑", bytes(range(256)))
        [receipt] = log.append(USER_EVENTS, [entry])
        [record] = _read_all(log, USER_EVENTS)
        assert Entry(record.key, record.value) == entry
        assert (record.topic, Receipt(record.partition, record.offset)) == (USER_EVENTS, receipt)
        assert before_s - 1 <= record.arrival_s <= time.time() + 1
        assert Receipt.parse(str(receipt)) == receipt

    def test_offsets_are_dense_and_in_order_of_appending(self, log):
        receipts = log.append(USER_EVENTS, _entries("a", "b", "c")) + log.append(USER_EVENTS, _entries("d"))
        assert [receipt.offset for receipt in receipts] == [0, 1, 2, 3]
        assert len({receipt.partition for receipt in receipts}) == 1
        place = TopicPartition(USER_EVENTS, receipts[0].partition)
        assert log.end_offsets(USER_EVENTS)[place] == 4
        assert _values(_read_all(log, USER_EVENTS)) == ["a", "b", "c", "d"]

    def test_topics_do_not_mix(self, log):
        log.append(USER_EVENTS, _entries("event"))
        log.append(ITEMS, _entries("item"))
        assert _values(_read_all(log, ITEMS)) == ["item"]
        assert _values(_read_all(log, USER_EVENTS)) == ["event"]

    def test_several_topics_are_read_at_once_and_none_starves(self, log):
        log.append(USER_EVENTS, _entries(*map(str, range(200))))
        log.append(ITEMS, _entries("item"))
        _from_begin(log, USER_EVENTS, ITEMS)
        seen = [record.topic for _ in range(6) for record in log.poll(10, 1.0)]
        assert ITEMS in seen
        assert seen.count(USER_EVENTS) > 10

    def test_appending_nothing_is_nothing(self, log):
        assert log.append(USER_EVENTS, []) == []
        assert set(log.end_offsets(USER_EVENTS).values()) == {0}

    def test_poll_goes_on_where_it_stopped_and_returns_no_more_than_asked_for(self, log):
        log.append(USER_EVENTS, _entries(*"abcde"))
        _from_begin(log, USER_EVENTS)
        polls = [_values(log.poll(2, 1.0)) for _ in range(3)]
        assert all(len(poll) <= 2 for poll in polls)
        assert [value for poll in polls for value in poll] == list("abcde")

    def test_seek_goes_to_exactly_this_offset_as_often_as_wanted(self, log):
        receipts = log.append(USER_EVENTS, _entries(*"abcde"))
        place = TopicPartition(USER_EVENTS, receipts[0].partition)
        for _ in range(2):
            log.seek({place: 3})
            assert _values(log.poll(10, 1.0)) == ["d", "e"]

    def test_seek_to_the_end_waits_for_what_comes(self, log):
        log.append(USER_EVENTS, _entries("old"))
        log.seek(log.end_offsets(USER_EVENTS))
        assert log.poll(10, 0.0) == []
        log.append(USER_EVENTS, _entries("new"))
        assert _values(log.poll(10, 2.0)) == ["new"]

    def test_seek_forgets_the_partitions_it_does_not_name(self, log):
        log.append(USER_EVENTS, _entries("event"))
        log.append(ITEMS, _entries("item"))
        _from_begin(log, USER_EVENTS, ITEMS)
        _from_begin(log, ITEMS)
        assert _values(log.poll(10, 0.5)) + _values(log.poll(10, 0.0)) == ["item"]

    def test_an_empty_poll_waits_for_its_timeout_and_no_longer(self, log):
        _from_begin(log, USER_EVENTS)
        start_s = time.monotonic()
        assert log.poll(10, 0.2) == []
        assert 0.19 <= time.monotonic() - start_s < 5

    def test_a_waiting_poll_wakes_up_for_an_append_from_elsewhere(self, log, url):
        _from_begin(log, USER_EVENTS)
        log.poll(1, 0.0)

        def append_later() -> None:
            time.sleep(0.1)
            with closing(open_event_log(url)) as other:
                other.append(USER_EVENTS, _entries("late"))

        appending = threading.Thread(target=append_later)
        appending.start()
        start_s = time.monotonic()
        records = log.poll(10, 30.0)
        appending.join()
        assert _values(records) == ["late"]
        assert time.monotonic() - start_s < 15

    def test_committing_tells_the_lag_and_moves_no_reader(self, log, url):
        log.append(USER_EVENTS, _entries(*"abc"))
        place = log.partitions(USER_EVENTS)[0]
        assert log.committed_offsets(USER_EVENTS)[place] == 0
        _from_begin(log, USER_EVENTS)
        log.commit({place: 2})
        log.commit({place: 2})
        assert _values(_read_all(log, USER_EVENTS)) == ["a", "b", "c"]
        with closing(open_event_log(url)) as other:
            assert other.committed_offsets(USER_EVENTS)[place] == 2

    def test_a_dead_letter_is_kept_once_per_place(self, log):
        first = DeadLetter(USER_EVENTS, 0, 0, "not_json", "no object", b"\xff{")
        second = DeadLetter(USER_EVENTS, 0, 1, "bad_user_id", "missing", b"{}", attempts=3)
        log.append(USER_EVENTS, _entries("x", "y"))
        log.set_aside([first])
        log.set_aside([first, second])
        log.set_aside([])
        assert log.dead_letters(USER_EVENTS, 10) == [second, first]
        assert log.dead_letters(USER_EVENTS, 1) == [second]
        assert log.dead_letters(ITEMS, 10) == []

    def test_a_record_says_which_attempt_it_is(self, log):
        log.append(USER_EVENTS, [Entry("u1", b"x"), Entry("u1", b"x", attempt=2)])
        _from_begin(log, USER_EVENTS)
        records = _read_all(log, USER_EVENTS)
        assert [record.attempt for record in records] == [1, 2]
        letters = [DeadLetter.of(record, "not_json", "no object") for record in records]
        log.set_aside(letters)
        assert [letter.attempts for letter in log.dead_letters(USER_EVENTS, 2)] == [2, 1]

    def test_serving_finds_what_became_of_a_record(self, log, url):
        letter = DeadLetter(USER_EVENTS, 0, 1, "not_json", "no object", b"y")
        log.append(USER_EVENTS, _entries("x", "y"))
        log.set_aside([letter])

        async def ask(serving: AsyncEventLog) -> list[DeadLetter | None]:
            # Receipts come from outside: they may name what was never there.
            receipts = [Receipt(0, 1), Receipt(0, 0), Receipt(7, 1), Receipt(0, 10**30)]
            return [await serving.dead_letter(USER_EVENTS, receipt) for receipt in receipts]

        assert self.run(url, ask) == [letter, None, None, None]

    def test_any_part_of_a_partition_can_be_read_beside_the_reader(self, log, url):
        receipts = log.append(USER_EVENTS, _entries(*"abcde"))
        place = TopicPartition(USER_EVENTS, receipts[0].partition)
        _from_begin(log, USER_EVENTS)

        async def read(serving: AsyncEventLog) -> list[list[Record]]:
            asked = [(place, 0, 10), (place, 1, 2), (place, 4, 1), (place, 5, 10), (place, 10**30, 1)]
            asked += [(TopicPartition(USER_EVENTS, 77), 0, 10), (TopicPartition(ITEMS, place.partition), 0, 10)]
            return [await serving.read(*part) for part in asked]

        parts = self.run(url, read)
        assert [_values(part) for part in parts] == [list("abcde"), ["b", "c"], ["e"], [], [], [], []]
        assert parts[0] == log.poll(10, 1.0)

    def test_the_place_of_a_time_is_found(self, log, url):
        log.append(USER_EVENTS, _entries("a", "b"))
        time.sleep(0.05)
        between_s = time.time()
        time.sleep(0.05)
        receipts = log.append(USER_EVENTS, _entries("c"))
        place = TopicPartition(USER_EVENTS, receipts[0].partition)

        async def find(serving: AsyncEventLog) -> list[dict[TopicPartition, int]]:
            return [await serving.offsets_at(USER_EVENTS, time_s) for time_s in (0.0, between_s, 1e12, float("inf"))]

        found = self.run(url, find)
        assert [offsets[place] for offsets in found] == [0, 2, 3, 3]
        assert all(set(offsets) == set(log.partitions(USER_EVENTS)) for offsets in found)

    def test_serving_lists_dead_letters_and_drops_them(self, log, url):
        letters = [DeadLetter(USER_EVENTS, 0, n, "not_json", "no object", b"x%d" % n) for n in range(5)]
        log.append(USER_EVENTS, _entries(*"abcde"))
        log.set_aside(letters)

        async def drop(serving: AsyncEventLog) -> list[list[DeadLetter]]:
            listed = [await serving.dead_letters(USER_EVENTS, 3), await serving.dead_letters(ITEMS, 3)]
            for _ in range(2):
                receipts = [Receipt(0, 4), Receipt(0, 1), Receipt(9, 1), Receipt(0, 10**30)]
                await serving.drop_dead_letters(USER_EVENTS, receipts)
            return [*listed, await serving.dead_letters(USER_EVENTS, 10)]

        newest_first = letters[::-1]
        assert self.run(url, drop) == [newest_first[:3], [], [letters[3], letters[2], letters[0]]]
        assert log.dead_letters(USER_EVENTS, 10) == [letters[3], letters[2], letters[0]]

    def test_concurrent_appends_each_get_their_own_places(self, log, url):
        async def append(serving: AsyncEventLog) -> list[list[Receipt]]:
            calls = (serving.append(USER_EVENTS, _entries(f"{n}a", f"{n}b")) for n in range(100))
            return await asyncio.gather(*calls)

        receipts = self.run(url, append)
        records = _read_all(log, USER_EVENTS)
        value_at = {(record.partition, record.offset): record.value.decode() for record in records}
        assert len(records) == len(value_at) == 200
        for n, (a, b) in enumerate(receipts):
            assert value_at[a.partition, a.offset] == f"{n}a"
            assert value_at[b.partition, b.offset] == f"{n}b"
            assert a.offset < b.offset

    def test_an_entry_that_cannot_be_kept_takes_no_neighbour_with_it(self, log, url):
        async def append(serving: AsyncEventLog) -> list[object]:
            bad = serving.append(USER_EVENTS, [Entry("\ud800", b"bad")])
            good = [serving.append(USER_EVENTS, _entries(str(n))) for n in range(5)]
            return await asyncio.gather(*good[:2], bad, *good[2:], return_exceptions=True)

        answers = self.run(url, append)
        assert isinstance(answers[2], UnicodeEncodeError)
        assert not any(isinstance(answer, Exception) for answer in answers[:2] + answers[3:])
        assert sorted(_values(_read_all(log, USER_EVENTS))) == list("01234")

    def test_a_caller_who_gives_up_harms_nobody(self, log, url):
        async def append(serving: AsyncEventLog) -> None:
            calls = [asyncio.create_task(serving.append(USER_EVENTS, _entries(str(n)))) for n in range(10)]
            await asyncio.sleep(0)
            calls[3].cancel()
            answers = await asyncio.gather(*calls, return_exceptions=True)
            assert [n for n, answer in enumerate(answers) if isinstance(answer, BaseException)] == [3]

        self.run(url, append)
        assert set(_values(_read_all(log, USER_EVENTS))) >= set("012456789")

    def test_a_closed_log_says_so(self, url):
        async def close_and_append(serving: AsyncEventLog) -> None:
            await serving.append(USER_EVENTS, _entries("x"))
            await serving.close()
            await serving.close()
            with pytest.raises(StoreUnavailable):
                await serving.append(USER_EVENTS, _entries("y"))

        self.run(url, close_and_append)
        log = open_event_log(url)
        assert _values(_read_all(log, USER_EVENTS)) == ["x"]
        log.close()
        log.close()

    def test_processes_append_at_once_and_nothing_is_lost(self, log, url):
        with _appending_process(url, "A", 30) as one, _appending_process(url, "B", 30) as other:
            printed = one.communicate(timeout=60)[0] + other.communicate(timeout=60)[0]
            assert (one.returncode, other.returncode) == (0, 0)
        records = _read_all(log, USER_EVENTS)
        self.check_dense(records)
        acknowledged = dict(line.split() for line in printed.splitlines())
        assert len(acknowledged) == len(records) == 600
        for record in records:
            assert acknowledged[record.value.decode()] == f"{record.partition}:{record.offset}"
        for key in {record.key for record in records}:
            assert [x.value.decode() for x in records if x.key == key] == [f"{key}:{nth}" for nth in range(30)]

    def test_what_was_acknowledged_outlives_a_killed_writer(self, log, url):
        with _appending_process(url, "A", 0) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(100)]
            process.kill()
            lines += process.stdout.readlines()
        whole = [line.split() for line in lines if line.endswith("\n")]
        assert len(whole) >= 100
        records = _read_all(log, USER_EVENTS)
        self.check_dense(records)
        kept = {record.value.decode(): f"{record.partition}:{record.offset}" for record in records}
        assert {value: kept.get(value) for value, _ in whole} == dict(whole)
        [receipt] = log.append(USER_EVENTS, _entries("after"))
        assert _values(_read_all(log, USER_EVENTS))[-1] == "after" or receipt.partition != records[-1].partition

    def check_dense(self, records: list[Record]) -> None:
        for partition in {record.partition for record in records}:
            offsets = [record.offset for record in records if record.partition == partition]
            assert offsets == list(range(len(offsets)))
