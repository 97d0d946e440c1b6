"""Appending to Kafka: a producer whose records are acknowledged by every replica or not acknowledged at all."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from kafka import KafkaProducer
from kafka.errors import KafkaError

from stores.grouping import Grouping
from stores.kafka_address import MAX_RECORD_BYTES, KafkaAddress
from stores.kafka_clients import Clients, Kept
from stores.kafka_lookup import ATTEMPT
from stores.kafka_topics import KafkaTopics
from stores.ports import ITEMS, RECOMMENDATIONS_SERVED, USER_EVENTS, Clock, Entry, Receipt, StoreUnavailable

# What is left of a record for key and value: a batch of one record has a head, and a record may have headers.
MAX_ENTRY_BYTES = MAX_RECORD_BYTES - 8 * 1024
# What serving appends to.
APPENDED = (USER_EVENTS, ITEMS, RECOMMENDATIONS_SERVED)


class Message(NamedTuple):
    """A record as the producer takes it."""

    key: bytes
    value: bytes | None
    headers: list[tuple[str, bytes]]


# A topic and what is appended to it in one go; what becomes of that.
Call = tuple[str, Sequence[Message]]
Outcome = list[Receipt] | StoreUnavailable


def message_of(entry: Entry) -> Message:
    """Return the record of an entry; no bytes at all are a tombstone, which a compacted topic forgets in time.

    Raises ``ValueError``: it cannot be kept.
    """
    key = entry.key.encode()
    if len(key) + len(entry.value) > MAX_ENTRY_BYTES:
        raise ValueError(f"a record may have {MAX_ENTRY_BYTES} bytes, key and value")
    headers = [(ATTEMPT, str(entry.attempt).encode())] if entry.attempt > 1 else []
    return Message(key, entry.value or None, headers)


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

    def append(self, calls: Sequence[Call]) -> list[Outcome]:
        """Append the messages of every call, in order; return for each its receipts, or why it has none.

        What has receipts is durable. Of what has none some may be in the log. NOT safe to repeat.
        """
        faults: dict[str, StoreUnavailable] = {}
        for topic in dict.fromkeys(topic for topic, _ in calls):
            try:
                self._topics.ensure(topic)
            except StoreUnavailable as error:
                faults[topic] = error
        possible = [call for call in calls if call[0] not in faults]
        try:
            outcomes = iter(self._producer.use(lambda producer: self._send(producer, possible)) if possible else [])
        except StoreUnavailable as error:
            outcomes = iter([error] * len(possible))
        return [faults[topic] if topic in faults else next(outcomes) for topic, _ in calls]

    def prepare(self, topics: Sequence[str]) -> None:
        """Connect, and make the topics if need be. Raises ``StoreUnavailable``. Safe to repeat."""
        for topic in topics:
            self._topics.ensure(topic)
        self._producer.use(lambda producer: [producer.partitions_for(self._address.topic(topic)) for topic in topics])

    def close(self) -> None:
        """Release the connections. Safe to repeat."""
        self._producer.close()

    def _send(self, producer: KafkaProducer, calls: Sequence[Call]) -> list[Outcome]:
        give_up_s = self._clock.monotonic_s() + self._timeout_s
        sent = [
            [producer.send(self._address.topic(topic), m.value, m.key, list(m.headers)) for m in messages]
            for topic, messages in calls
        ]
        outcomes = [self._outcome(futures, give_up_s) for futures in sent]
        failed = [outcome for outcome in outcomes if isinstance(outcome, StoreUnavailable)]
        if len(failed) == len(outcomes):
            raise failed[0]
        if failed:
            self._producer.close()
        return outcomes

    def _outcome(self, futures: Sequence[Any], give_up_s: float) -> Outcome:
        try:
            return [self._receipt(future, give_up_s) for future in futures]
        except KafkaError as error:
            return StoreUnavailable(f"Kafka: {type(error).__name__}: {error}")

    def _receipt(self, future: Any, give_up_s: float) -> Receipt:
        kept = future.get(timeout=max(0.0, give_up_s - self._clock.monotonic_s()))
        if kept.offset < 0:
            # The broker knows the batch from an earlier attempt and no longer where it put it.
            raise KafkaError("acknowledged without a place")
        return Receipt(kept.partition, kept.offset)


class GroupAppend(Grouping[Call]):
    """Appends of one event loop, batched: while one batch is on its way, the next one gathers."""

    def __init__(self, appender: Appender, topics: KafkaTopics, *, timeout_s: float) -> None:
        super().__init__(timeout_s=timeout_s)
        self._appender, self._topics = appender, topics

    def _prepare(self) -> None:
        with suppress(StoreUnavailable):  # whoever appends will be told
            self._appender.prepare(APPENDED)

    def _do(self, group: Sequence[Call]) -> list[Any]:
        return list(self._appender.append(group))

    def _release(self) -> None:
        self._appender.close()
        self._topics.close()
