"""Looking into a Kafka log beside whoever reads it: any part of a partition, from wherever it is wanted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kafka import KafkaConsumer, OffsetSpec
from kafka import TopicPartition as KafkaPlace

from stores.kafka_address import KafkaAddress
from stores.kafka_clients import Clients, Kept
from stores.kafka_topics import KafkaTopics
from stores.ports import Clock, Record, StoreUnavailable, TopicPartition

# The header of a record that is not the first attempt.
ATTEMPT = "attempt"


def count_in(headers: Mapping[str, bytes], name: str) -> int:
    """Return the count that a header holds; 1 where there is none, or somebody wrote something else there."""
    text = headers.get(name, b"")
    return int(text[:9]) if text.isdigit() else 1


def record_of(place: TopicPartition, record: Any) -> Record:
    """Return a record as the port has it. A key that is no text is shown as well as can be; a tombstone is empty."""
    return Record(
        topic=place.topic,
        partition=place.partition,
        offset=record.offset,
        key=(record.key or b"").decode(errors="replace"),
        value=record.value or b"",
        arrival_s=record.timestamp / 1000,
        attempt=count_in(dict(record.headers), ATTEMPT) if record.headers else 1,
    )


class KafkaLookup:
    """Reads parts of partitions; for one thread."""

    def __init__(self, address: KafkaAddress, clients: Clients, *, timeout_s: float, clock: Clock) -> None:
        self._address, self._timeout_s, self._clock = address, timeout_s, clock
        self.topics = KafkaTopics(address, clients, timeout_s=timeout_s, clock=clock)
        self._consumer: Kept[KafkaConsumer] = Kept("Kafka", clients.consumer, clock)

    def read(self, place: TopicPartition, offset: int, limit: int) -> list[Record]:
        """Return at most ``limit`` records from ``offset`` on, in order; none at the end, nor where there is no such
        partition. Begins with the first record kept where ``offset`` lies before it. Raises ``StoreUnavailable``.
        """
        return [record_of(place, record) for record in self.read_raw(place, offset, limit)]

    def read_raw(self, place: TopicPartition, offset: int, limit: int) -> list[Any]:
        """As ``read``, with the records as the driver has them."""
        give_up_s = self._clock.monotonic_s() + self._timeout_s
        end = self.topics.offsets(place.topic, OffsetSpec.LATEST).get(place, 0)
        if offset >= end or limit <= 0:
            return []
        start = max(offset, self.topics.offsets(place.topic, OffsetSpec.EARLIEST)[place])
        if start >= end:
            return []

        def read(consumer: KafkaConsumer) -> list[Any]:
            kafka_place = KafkaPlace(self._address.topic(place.topic), place.partition)
            consumer.assign([kafka_place])
            consumer.seek(kafka_place, start)
            records: list[Any] = []
            # The last offsets may be empty ones: the position tells, not the records.
            while len(records) < limit and consumer.position(kafka_place) < end:
                left_s = give_up_s - self._clock.monotonic_s()
                if left_s <= 0:
                    raise StoreUnavailable(f"{place} could not be read in time")
                found = consumer.poll(timeout_ms=left_s * 1000, max_records=limit - len(records))
                records += found.get(kafka_place, [])
            return records

        return self._consumer.use(read)

    def offsets_at(self, topic: str, time_s: float) -> dict[TopicPartition, int]:
        """Return, per partition, the offset of the first record that arrived at ``time_s`` or later, or the end.

        Epoch seconds. Raises ``StoreUnavailable``.
        """
        ends = self.topics.offsets(topic, OffsetSpec.LATEST)
        # Times are whole milliseconds there, in 64 bits.
        milliseconds = int(min(max(time_s, 0.0), 1e15) * 1000)
        found = self.topics.offsets(topic, milliseconds)
        return {place: end if found[place] < 0 else found[place] for place, end in ends.items()}

    def close(self) -> None:
        """Release the connections. Safe to repeat."""
        self._consumer.close()
        self.topics.close()
