"""The event log in Kafka: bytes in and out, read by ``assign`` and ``seek`` alone, committed for information only.

An append is acknowledged by every in-sync replica. Whether that outlives the loss of a machine is up to the topic:
with one replica it outlives the end of the broker's process, with three the loss of any broker.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from kafka import KafkaConsumer, OffsetSpec
from kafka import TopicPartition as KafkaPlace
from kafka.errors import LogTruncationError, OffsetOutOfRangeError

from stores.clock import SystemClock
from stores.kafka_address import DEAD_LETTERS, KafkaAddress
from stores.kafka_append import Appender, GroupAppend, Message, message_of
from stores.kafka_clients import Clients, Kept
from stores.kafka_dead_letters import LetterBox, messages_of
from stores.kafka_lookup import KafkaLookup, record_of
from stores.kafka_topics import KafkaTopics
from stores.ports import Clock, DeadLetter, Entry, PositionLost, Receipt, Record, StoreUnavailable, TopicPartition

# Commits only tell the lag: one in so many seconds is enough, and what is left is committed at the end.
COMMIT_EVERY_S = 1.0
# So many records are taken at once from what the driver has fetched, and wait here for their turn.
FETCH_RECORDS = 5_000
# So much is appended before it is waited for.
APPEND_RECORDS = 5_000

Result = TypeVar("Result")


class KafkaEventLog:
    """The log as the trainer reads it; for one thread."""

    def __init__(self, address: KafkaAddress, *, timeout_s: float, clock: Clock | None = None) -> None:
        self._address = address
        self._clock = clock or SystemClock()
        clients = Clients(address, timeout_s)
        self._topics = KafkaTopics(address, clients, timeout_s=timeout_s, clock=self._clock)
        self._appender = Appender(address, clients, self._topics, timeout_s=timeout_s, clock=self._clock)
        self._lookup = KafkaLookup(address, clients, timeout_s=timeout_s, clock=self._clock)
        self._letters = LetterBox(self._lookup)
        self._consumer: Kept[KafkaConsumer] = Kept("Kafka", clients.consumer, self._clock)
        # Where the driver is to read on; what it has read and nobody has polled yet waits by partition.
        self._next: dict[TopicPartition, int] = {}
        self._seek_wanted = False
        self._waiting: dict[TopicPartition, deque[Record]] = {}
        self._first = 0
        self._uncommitted: dict[TopicPartition, int] = {}
        self._committed: dict[TopicPartition, int] = {}
        self._committed_at_s = float("-inf")

    @classmethod
    def from_url(cls, url: str, timeout_s: float) -> KafkaEventLog:
        """Open ``kafka://host:port/topic``; connects when first asked for something. Raises ``ValueError``."""
        return cls(KafkaAddress.parse(url), timeout_s=timeout_s)

    def partitions(self, topic: str) -> list[TopicPartition]:
        """Return the partitions as they are now; the topic is made if it is not there."""
        return self._topics.describe(topic)[1]

    def topic_id(self, topic: str) -> str:
        """Return the id that Kafka gave the topic when it was made."""
        return self._topics.describe(topic)[0]

    def begin_offsets(self, topic: str) -> dict[TopicPartition, int]:
        """Return the first offset still kept, per partition."""
        return self._topics.offsets(topic, OffsetSpec.EARLIEST)

    def end_offsets(self, topic: str) -> dict[TopicPartition, int]:
        """Return the offset that the next appended record will get, per partition."""
        return self._topics.offsets(topic, OffsetSpec.LATEST)

    # --- reading ----------------------------------------------------------------------------------------------------

    def seek(self, positions: Mapping[TopicPartition, int]) -> None:
        """Read on from exactly these positions, and from no other partition."""
        self._next = dict(positions)
        self._waiting = {place: deque() for place in positions}
        self._seek_wanted = True

    def poll(self, max_records: int, timeout_s: float) -> list[Record]:
        """Return the next records, in order within each partition; empty when none came within ``timeout_s``.

        Raises ``PositionLost``, and ``StoreUnavailable`` when the driver failed in whatever way: its client is closed,
        and the next poll makes another one that reads on after what was last returned. A broker that merely does not
        answer looks like one that has nothing new.
        """
        if sum(map(len, self._waiting.values())) < max_records:
            wait_s = 0.0 if any(self._waiting.values()) else timeout_s
            if (pause_s := self._consumer.pause_s) > 0:
                self._clock.sleep(min(pause_s, wait_s))
            self._consumer.use(lambda consumer: self._fetch(consumer, wait_s))
        return self._take(max_records)

    def _fetch(self, consumer: KafkaConsumer, wait_s: float) -> None:
        if self._seek_wanted or not consumer.assignment():
            consumer.assign([self._kafka_place(place) for place in self._next])
            for place, offset in self._next.items():
                consumer.seek(self._kafka_place(place), offset)
            self._seek_wanted = False
        places = {self._kafka_place(place): place for place in self._next}
        try:
            found = consumer.poll(timeout_ms=wait_s * 1000, max_records=FETCH_RECORDS)
        except (OffsetOutOfRangeError, LogTruncationError) as error:
            raise PositionLost(str(error)) from error
        for kafka_place, records in found.items():
            place = places[kafka_place]
            self._waiting[place].extend(record_of(place, record) for record in records)
            self._next[place] = records[-1].offset + 1

    def _take(self, max_records: int) -> list[Record]:
        places = list(self._waiting)
        # Each poll begins with another partition, so that a busy one never starves the rest.
        self._first += 1
        records: list[Record] = []
        for nth in range(len(places)):
            queue = self._waiting[places[(self._first + nth) % len(places)]]
            records += [queue.popleft() for _ in range(min(len(queue), max_records - len(records)))]
        return records

    def _kafka_place(self, place: TopicPartition) -> KafkaPlace:
        return KafkaPlace(self._address.topic(place.topic), place.partition)

    # --- committing -------------------------------------------------------------------------------------------------

    def commit(self, positions: Mapping[TopicPartition, int]) -> None:
        """Tell the log how far the trainer has learned, at most once a second. Safe to repeat."""
        self._uncommitted = dict(positions)
        now_s = self._clock.monotonic_s()
        if self._uncommitted != self._committed and now_s - self._committed_at_s >= COMMIT_EVERY_S:
            self._committed_at_s = now_s
            self._commit()

    def _commit(self) -> None:
        self._topics.commit(self._uncommitted)
        self._committed = self._uncommitted

    def committed_offsets(self, topic: str) -> dict[TopicPartition, int]:
        """Return what was committed last, 0 before the first time; end offsets minus this is the lag."""
        return self._topics.committed(topic)

    # --- writing ----------------------------------------------------------------------------------------------------

    def append(self, topic: str, entries: Sequence[Entry]) -> list[Receipt]:
        """Append in order; acknowledged by every in-sync replica on return. NOT safe to repeat."""
        messages = [message_of(entry) for entry in entries]
        receipts: list[Receipt] = []
        for start in range(0, len(messages), APPEND_RECORDS):
            receipts += self._append(topic, messages[start : start + APPEND_RECORDS])
        return receipts

    def set_aside(self, letters: Sequence[DeadLetter]) -> None:
        """Keep dead letters, acknowledged on return. Safe to repeat: readers take the first of a place."""
        if letters:
            self._append(DEAD_LETTERS, messages_of(letters))

    def _append(self, topic: str, messages: Sequence[Message]) -> list[Receipt]:
        [outcome] = self._appender.append([(topic, messages)])
        if isinstance(outcome, StoreUnavailable):
            raise outcome
        return outcome

    def dead_letters(self, topic: str, limit: int) -> list[DeadLetter]:
        """Return the newest dead letters of a topic, newest first, of the newest ``MOST_LETTERS`` of all topics."""
        return self._letters.newest(topic, limit)

    def close(self) -> None:
        """Commit what is left and release what is held. Safe to repeat."""
        if self._uncommitted != self._committed:
            with suppress(StoreUnavailable):
                self._commit()
            self._uncommitted = self._committed
        for held in (self._consumer, self._appender, self._lookup, self._topics):
            held.close()


class KafkaAsyncEventLog:
    """The log as serving writes it; concurrent appends share batches."""

    def __init__(self, address: KafkaAddress, *, timeout_s: float, clock: Clock | None = None) -> None:
        clock = clock or SystemClock()
        clients = Clients(address, timeout_s)
        topics = KafkaTopics(address, clients, timeout_s=timeout_s, clock=clock)
        appender = Appender(address, clients, topics, timeout_s=timeout_s, clock=clock)
        self._timeout_s = timeout_s
        self._writer = GroupAppend(appender, topics, timeout_s=timeout_s)
        # Connections and a thread of their own, so that looking things up never waits for an append.
        self._lookup = KafkaLookup(address, clients, timeout_s=timeout_s, clock=clock)
        self._letters = LetterBox(self._lookup)
        self._looking_up = ThreadPoolExecutor(max_workers=1, thread_name_prefix="kafka-lookup")

    @classmethod
    def from_url(cls, url: str, timeout_s: float) -> KafkaAsyncEventLog:
        """Open ``kafka://host:port/topic`` and begin to connect, in the background. Raises ``ValueError``."""
        log = cls(KafkaAddress.parse(url), timeout_s=timeout_s)
        log._writer.start()
        return log

    async def append(self, topic: str, entries: Sequence[Entry]) -> list[Receipt]:
        """Append in order; acknowledged by every in-sync replica on return. NOT safe to repeat.

        Raises ``StoreUnavailable``: not acknowledged in time; what was not sent by then never will be. Raises
        ``ValueError`` for an entry that no record can hold.
        """
        if not entries:
            return []
        receipts: list[Receipt] = await self._writer.ask((topic, [message_of(entry) for entry in entries]))
        return receipts

    async def read(self, place: TopicPartition, offset: int, limit: int) -> list[Record]:
        """Return records from ``offset`` on, in order, at most ``limit``; empty at the end."""
        return await self._look_up(lambda: self._lookup.read(place, offset, limit))

    async def offsets_at(self, topic: str, time_s: float) -> dict[TopicPartition, int]:
        """Return the offset of the first record kept that arrived at ``time_s`` or later; the end where none did."""
        return await self._look_up(lambda: self._lookup.offsets_at(topic, time_s))

    async def dead_letter(self, topic: str, receipt: Receipt) -> DeadLetter | None:
        """Return the dead letter that a record became, if it is among the newest ``MOST_LETTERS``, or ``None``."""
        return await self._look_up(lambda: self._letters.find(topic, receipt.partition, receipt.offset))

    async def dead_letters(self, topic: str, limit: int) -> list[DeadLetter]:
        """Return the newest dead letters of a topic that were not dropped, newest first, of the ``MOST_LETTERS``."""
        return await self._look_up(lambda: self._letters.newest(topic, limit))

    async def drop_dead_letters(self, topic: str, receipts: Sequence[Receipt]) -> None:
        """Take dead letters out of ``dead_letters``; the topic keeps them. Safe to repeat."""
        drops = await self._look_up(lambda: self._letters.drops(topic, receipts))
        if drops:
            await self._writer.ask((DEAD_LETTERS, drops))

    async def close(self) -> None:
        """Finish what was asked for and release what is held. Safe to repeat."""
        await self._writer.close()
        await asyncio.to_thread(self._looking_up.shutdown, cancel_futures=True)
        self._lookup.close()

    async def _look_up(self, look: Callable[[], Result]) -> Result:
        """Run ``look`` on the thread of lookups. Raises ``StoreUnavailable``, also when others before it take long."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await asyncio.get_running_loop().run_in_executor(self._looking_up, look)
        except TimeoutError:
            raise StoreUnavailable(f"not found out within {self._timeout_s} s") from None
        except RuntimeError:
            raise StoreUnavailable("closed") from None
