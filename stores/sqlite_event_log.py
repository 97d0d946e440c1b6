"""The event log in one SQLite file: every topic has one partition, 0, with dense offsets from 0.

Events and items never expire; of what was served the newest ``SERVED_KEPT`` are kept. ``begin_offsets`` is what the
file holds. An acknowledged append survives power loss.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

from stores.clock import SystemClock
from stores.ports import RECOMMENDATIONS_SERVED, Clock, DeadLetter, Entry, Receipt, Record, TopicPartition
from stores.sqlite_file import SqliteFile, path_of
from stores.sqlite_group_commit import GroupCommit

# How often a poll that found nothing looks again; a look costs about 10 microseconds.
POLL_PAUSE_S = 0.005
# Records of topic recommendations_served that are kept: a day of one answer per second, some 100 MB at most.
SERVED_KEPT = 100_000

_SCHEMA = (
    """CREATE TABLE records (topic TEXT NOT NULL, partition INTEGER NOT NULL, offset INTEGER NOT NULL,
           key TEXT NOT NULL, value BLOB NOT NULL, arrival_s REAL NOT NULL, attempt INTEGER NOT NULL,
           PRIMARY KEY (topic, partition, offset)) WITHOUT ROWID""",
    # next_offset stands beside the records so that an emptied topic would still count on.
    """CREATE TABLE positions (topic TEXT NOT NULL, partition INTEGER NOT NULL, next_offset INTEGER NOT NULL,
           PRIMARY KEY (topic, partition)) WITHOUT ROWID""",
    """CREATE TABLE committed (topic TEXT NOT NULL, partition INTEGER NOT NULL, offset INTEGER NOT NULL,
           PRIMARY KEY (topic, partition)) WITHOUT ROWID""",
    """CREATE TABLE dead_letters (nth INTEGER PRIMARY KEY, topic TEXT NOT NULL, partition INTEGER NOT NULL,
           offset INTEGER NOT NULL, reason TEXT NOT NULL, message TEXT NOT NULL, value BLOB NOT NULL,
           attempts INTEGER NOT NULL, dropped INTEGER NOT NULL DEFAULT 0, UNIQUE (topic, partition, offset))""",
)
# Above every offset.
MOST = (1 << 63) - 1
_LETTER = "SELECT topic, partition, offset, reason, message, value, attempts FROM dead_letters WHERE topic = ?"
_NEWEST_LETTERS = f"{_LETTER} AND NOT dropped ORDER BY nth DESC LIMIT ?"
_RECORDS = """SELECT topic, partition, offset, key, value, arrival_s, attempt FROM records
    WHERE topic = ? AND partition = ? AND offset >= ? ORDER BY offset LIMIT ?"""


class SqliteEventLog:
    """The log as the trainer reads it."""

    def __init__(self, path: Path, *, timeout_s: float, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._durable = SqliteFile(path, _SCHEMA, durable=True, timeout_s=timeout_s)
        # Reading, and committing offsets, which is informational and need not wait for the disk.
        self._quick = SqliteFile(path, _SCHEMA, durable=False, timeout_s=timeout_s)
        self._positions: dict[TopicPartition, int] = {}
        self._first = 0

    @classmethod
    def from_url(cls, url: str, timeout_s: float) -> SqliteEventLog:
        """Open ``sqlite:///path``."""
        return cls(path_of(url), timeout_s=timeout_s)

    def partitions(self, topic: str) -> list[TopicPartition]:
        """Return the one partition."""
        return [TopicPartition(topic, 0)]

    def topic_id(self, topic: str) -> str:
        """Return nothing: a topic lives and dies with the file."""
        return ""

    def seek(self, positions: Mapping[TopicPartition, int]) -> None:
        """Read on from exactly these positions. Raises ``ValueError`` for a partition that cannot be here."""
        for place, offset in positions.items():
            if place.partition != 0 or offset < 0:
                raise ValueError(f"this log has no {place} at offset {offset}: only partition 0, from offset 0")
        self._positions = dict(positions)

    def poll(self, max_records: int, timeout_s: float) -> list[Record]:
        """Return the next records, in order within each topic; empty when none came within ``timeout_s``."""
        deadline_s = self._clock.monotonic_s() + timeout_s
        while True:
            records = self._read(max_records)
            left_s = deadline_s - self._clock.monotonic_s()
            if records or left_s <= 0:
                return records
            self._clock.sleep(min(POLL_PAUSE_S, left_s))

    def _read(self, max_records: int) -> list[Record]:
        places = list(self._positions)
        # Each poll begins with another partition, so that a busy one never starves the rest.
        self._first += 1
        records: list[Record] = []
        for nth in range(len(places)):
            place = places[(self._first + nth) % len(places)]
            rows = self._quick.read(_RECORDS, (*place, self._positions[place], max_records - len(records)))
            if rows:
                records += [Record(*row) for row in rows]
                self._positions[place] = records[-1].offset + 1
        return records

    def begin_offsets(self, topic: str) -> dict[TopicPartition, int]:
        """Return the first offset still kept."""
        rows = self._quick.read("SELECT min(offset) FROM records WHERE topic = ? AND partition = 0", (topic,))
        kept = rows[0][0]
        return self.end_offsets(topic) if kept is None else {TopicPartition(topic, 0): kept}

    def end_offsets(self, topic: str) -> dict[TopicPartition, int]:
        """Return the offset that the next appended record will get."""
        rows = self._quick.read("SELECT next_offset FROM positions WHERE topic = ? AND partition = 0", (topic,))
        return {TopicPartition(topic, 0): rows[0][0] if rows else 0}

    def commit(self, positions: Mapping[TopicPartition, int]) -> None:
        """Tell the log how far the trainer has learned. Safe to repeat."""
        with self._quick.write() as connection:
            rows = [(*place, offset) for place, offset in positions.items()]
            connection.executemany("INSERT OR REPLACE INTO committed VALUES (?, ?, ?)", rows)

    def committed_offsets(self, topic: str) -> dict[TopicPartition, int]:
        """Return what was committed last, 0 before the first time; end offsets minus this is the lag."""
        rows = self._quick.read("SELECT offset FROM committed WHERE topic = ? AND partition = 0", (topic,))
        return {TopicPartition(topic, 0): rows[0][0] if rows else 0}

    def append(self, topic: str, entries: Sequence[Entry]) -> list[Receipt]:
        """Append in order; durable on return. NOT safe to repeat."""
        if not entries:
            return []
        with self._durable.write() as connection:
            return _append(connection, topic, entries, self._clock.now_s())

    def set_aside(self, letters: Sequence[DeadLetter]) -> None:
        """Keep dead letters, durable on return. Safe to repeat: the first letter of a place stays."""
        if not letters:
            return
        with self._durable.write() as connection:
            connection.executemany(
                "INSERT INTO dead_letters (topic, partition, offset, reason, message, value, attempts)"
                " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                [(x.topic, x.partition, x.offset, x.reason, x.message, x.value, x.attempts) for x in letters],
            )

    def dead_letters(self, topic: str, limit: int) -> list[DeadLetter]:
        """Return the dead letters of a topic that were set aside last, newest first."""
        return [DeadLetter(*row) for row in self._quick.read(_NEWEST_LETTERS, (topic, limit))]

    def close(self) -> None:
        """Close the file. Safe to repeat."""
        self._durable.close()
        self._quick.close()


class SqliteAsyncEventLog:
    """The log as serving writes it; concurrent appends share one commit."""

    def __init__(self, path: Path, *, timeout_s: float, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._writer = GroupCommit(
            SqliteFile(path, _SCHEMA, durable=True, timeout_s=timeout_s),
            timeout_s=timeout_s,
        )
        self._reading = SqliteFile(path, _SCHEMA, durable=False, timeout_s=timeout_s)

    @classmethod
    def from_url(cls, url: str, timeout_s: float) -> SqliteAsyncEventLog:
        """Open ``sqlite:///path``."""
        return cls(path_of(url), timeout_s=timeout_s)

    async def append(self, topic: str, entries: Sequence[Entry]) -> list[Receipt]:
        """Append in order; durable on return. NOT safe to repeat."""
        if not entries:
            return []
        return await self._writer.run(lambda connection: _append(connection, topic, entries, self._clock.now_s()))

    async def read(self, place: TopicPartition, offset: int, limit: int) -> list[Record]:
        """Return records from ``offset`` on, in order, at most ``limit``; empty at the end."""
        if place.partition != 0 or offset > MOST:
            return []
        return [Record(*row) for row in self._reading.read(_RECORDS, (*place, offset, limit))]

    async def offsets_at(self, topic: str, time_s: float) -> dict[TopicPartition, int]:
        """Return the offset of the first record kept that arrived at ``time_s`` or later; the end where none did.

        Found by halving: records lie in order of arrival, but for what a clock that was set back did.
        """
        end = self._reading.read("SELECT next_offset FROM positions WHERE topic = ? AND partition = 0", (topic,))
        low = self._reading.read("SELECT min(offset) FROM records WHERE topic = ? AND partition = 0", (topic,))[0][0]
        high = end[0][0] if end else 0
        low = high if low is None else low
        while low < high:
            middle = (low + high) // 2
            rows = self._reading.read(_RECORDS, (topic, 0, middle, 1))
            if rows and Record(*rows[0]).arrival_s < time_s:
                low = middle + 1
            else:
                high = middle
        return {TopicPartition(topic, 0): low}

    async def dead_letter(self, topic: str, receipt: Receipt) -> DeadLetter | None:
        """Return the dead letter that a record became, or ``None``."""
        if receipt.partition != 0 or receipt.offset > MOST:  # a receipt comes from outside and may be invented
            return None
        place = (topic, receipt.partition, receipt.offset)
        rows = self._reading.read(f"{_LETTER} AND partition = ? AND offset = ?", place)
        return DeadLetter(*rows[0]) if rows else None

    async def dead_letters(self, topic: str, limit: int) -> list[DeadLetter]:
        """Return the newest dead letters of a topic, newest first, without those that were dropped."""
        return [DeadLetter(*row) for row in self._reading.read(_NEWEST_LETTERS, (topic, limit))]

    async def drop_dead_letters(self, topic: str, receipts: Sequence[Receipt]) -> None:
        """Take dead letters out of ``dead_letters``. Safe to repeat. Setting one aside again does not bring it back."""
        places = [(topic, x.partition, x.offset) for x in receipts if x.offset <= MOST]
        if places:
            drop = "UPDATE dead_letters SET dropped = 1 WHERE topic = ? AND partition = ? AND offset = ?"
            await self._writer.run(lambda connection: connection.executemany(drop, places).rowcount)

    async def close(self) -> None:
        """Finish what was asked for and close the file. Safe to repeat."""
        await self._writer.close()
        self._reading.close()


def _append(connection: sqlite3.Connection, topic: str, entries: Sequence[Entry], arrival_s: float) -> list[Receipt]:
    # Inside a BEGIN IMMEDIATE: no other process can take an offset between the two statements.
    (next_offset,) = connection.execute(
        "INSERT INTO positions VALUES (?, 0, ?)"
        " ON CONFLICT DO UPDATE SET next_offset = next_offset + excluded.next_offset RETURNING next_offset",
        (topic, len(entries)),
    ).fetchone()
    first = next_offset - len(entries)
    connection.executemany(
        "INSERT INTO records VALUES (?, 0, ?, ?, ?, ?, ?)",
        [(topic, first + nth, entry.key, entry.value, arrival_s, entry.attempt) for nth, entry in enumerate(entries)],
    )
    if topic == RECOMMENDATIONS_SERVED:
        connection.execute(
            "DELETE FROM records WHERE topic = ? AND partition = 0 AND offset < ?", (topic, next_offset - SERVED_KEPT)
        )
    return [Receipt(0, first + nth) for nth in range(len(entries))]
