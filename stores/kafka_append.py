"""Appending to Kafka: a producer whose records are acknowledged by every replica or not acknowledged at all."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from kafka import KafkaProducer
from kafka.errors import KafkaError

from stores.grouping import Grouping
from stores.kafka_address import KafkaAddress
from stores.kafka_clients import MAX_REQUEST_BYTES, Clients, Kept
from stores.kafka_topics import KafkaTopics
from stores.ports import ITEMS, RECOMMENDATIONS_SERVED, USER_EVENTS, Clock, Entry, Receipt, StoreUnavailable

# Room for what a batch adds to the one record in it.
MAX_RECORD_BYTES = MAX_REQUEST_BYTES - 1024
# What serving appends to.
APPENDED = (USER_EVENTS, ITEMS, RECOMMENDATIONS_SERVED)


class Message(NamedTuple):
    """A record as the producer takes it."""

    key: bytes
    value: bytes | None
    headers: list[tuple[str, bytes]]


def message_of(entry: Entry) -> Message:
    """Return the record of an entry; no bytes at all are a tombstone, which a compacted topic forgets in time.

    Raises ``ValueError``: it cannot be kept.
    """
    key = entry.key.encode()
    if len(key) + len(entry.value) > MAX_RECORD_BYTES:
        raise ValueError(f"a record may have {MAX_RECORD_BYTES} bytes, key and value")
    return Message(key, entry.value or None, [])


class Appender:
    """Appends from one thread at a time.

    Records of one key go to one partition and stay in order there. After a failure the producer is closed, so that
    nothing is sent later of which the caller was told that it failed.
    """

    def __init__(
        self, address: KafkaAddress, clients: Clients, topics: KafkaTopics, *, timeout_s: float, clock: Clock
    ) -> None:
        self._address, self._topics = address, topics
        self._timeout_s, self._clock = timeout_s, clock
        self._producer: Kept[KafkaProducer] = Kept("Kafka", clients.producer, clock)

    def append(self, calls: Sequence[tuple[str, Sequence[Message]]]) -> list[list[Receipt]]:
        """Append the messages of every call (topic, messages), in order; durable on return. NOT safe to repeat.

        Raises ``StoreUnavailable``; some of it may then be in the log.
        """
        for topic, _ in calls:
            self._topics.ensure(topic)
        return self._producer.use(lambda producer: self._send(producer, calls))

    def prepare(self, topics: Sequence[str]) -> None:
        """Connect, and make the topics if need be. Raises ``StoreUnavailable``. Safe to repeat."""
        for topic in topics:
            self._topics.ensure(topic)
        self._producer.use(lambda producer: [producer.partitions_for(self._address.topic(topic)) for topic in topics])

    def close(self) -> None:
        """Release the connections. Safe to repeat."""
        self._producer.close()

    def _send(self, producer: KafkaProducer, calls: Sequence[tuple[str, Sequence[Message]]]) -> list[list[Receipt]]:
        give_up_s = self._clock.monotonic_s() + self._timeout_s
        sent = [
            [producer.send(self._address.topic(topic), m.value, m.key, list(m.headers)) for m in messages]
            for topic, messages in calls
        ]
        return [[self._receipt(future, give_up_s) for future in futures] for futures in sent]

    def _receipt(self, future: Any, give_up_s: float) -> Receipt:
        kept = future.get(timeout=max(0.0, give_up_s - self._clock.monotonic_s()))
        if kept.offset < 0:
            # The broker knows the batch from an earlier attempt and no longer where it put it.
            raise KafkaError("acknowledged without a place")
        return Receipt(kept.partition, kept.offset)


class GroupAppend(Grouping[tuple[str, list[Message]]]):
    """Appends of one event loop, batched: while one batch is on its way, the next one gathers."""

    def __init__(self, appender: Appender, topics: KafkaTopics, *, timeout_s: float) -> None:
        super().__init__(timeout_s=timeout_s)
        self._appender, self._topics = appender, topics

    def _prepare(self) -> None:
        with suppress(StoreUnavailable):  # whoever appends will be told
            self._appender.prepare(APPENDED)

    def _do(self, group: Sequence[tuple[str, list[Message]]]) -> list[Any]:
        try:
            return list(self._appender.append(group))
        except StoreUnavailable as error:
            # Which of them arrived is not worth finding out: all are told the same, and may come again.
            return [error] * len(group)

    def _release(self) -> None:
        self._appender.close()
        self._topics.close()
