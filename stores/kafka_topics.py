"""What the log asks a Kafka cluster about topics: partitions, ids, offsets, what is committed; and making them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kafka import IsolationLevel, KafkaAdminClient, OffsetAndMetadata, OffsetSpec
from kafka import TopicPartition as KafkaPlace
from kafka.errors import (
    CoordinatorNotAvailableError,
    KafkaError,
    NoError,
    RetriableError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
    for_code,
)

from stores.kafka_address import KafkaAddress
from stores.kafka_clients import Clients, Kept
from stores.ports import Clock, StoreUnavailable, TopicPartition

# Between two looks whether a topic is ready, or a coordinator there.
PAUSE_S = 0.05


class KafkaTopics:
    """Topics by our names. A topic that is not there when first asked for is made; one that vanishes later is not."""

    def __init__(self, address: KafkaAddress, clients: Clients, *, timeout_s: float, clock: Clock) -> None:
        self._address, self._timeout_s, self._clock = address, timeout_s, clock
        self._admin: Kept[KafkaAdminClient] = Kept("Kafka", clients.admin, clock)
        self._seen: set[str] = set()

    def ensure(self, topic: str) -> None:
        """Make the topic if need be, once. Raises ``StoreUnavailable``. Safe to repeat, from several processes."""
        if topic not in self._seen:
            self.describe(topic)

    def describe(self, topic: str) -> tuple[str, list[TopicPartition]]:
        """Return the topic's id and its partitions, in order. Raises ``StoreUnavailable``."""
        found = self._ask(lambda admin: self._find(admin, topic))
        places = sorted(TopicPartition(topic, partition["partition_index"]) for partition in found["partitions"])
        self._seen.add(topic)
        return str(found["topic_id"]), places

    def offsets(self, topic: str, which: OffsetSpec | int) -> dict[TopicPartition, int]:
        """Return the first or the next offset of every partition, or the first at a time and later, -1 where none is.

        ``which``: EARLIEST, LATEST, or epoch milliseconds. Raises ``StoreUnavailable``.
        """
        _, places = self.describe(topic)
        name = self._address.topic(topic)
        wanted = {KafkaPlace(name, place.partition): which for place in places}
        found = self._ask(
            lambda admin: admin.list_partition_offsets(wanted, IsolationLevel.READ_COMMITTED, self._timeout_s * 1000)
        )
        return {place: found[KafkaPlace(name, place.partition)].offset for place in places}

    def commit(self, positions: Mapping[TopicPartition, int]) -> None:
        """Note positions under the group. Raises ``StoreUnavailable``."""
        offsets = {
            KafkaPlace(self._address.topic(place.topic), place.partition): OffsetAndMetadata(offset, "", None)
            for place, offset in positions.items()
        }

        def commit(admin: KafkaAdminClient) -> None:
            _raise_first(admin.alter_group_offsets(self._address.group, offsets).values())

        self._ask(commit)

    def committed(self, topic: str) -> dict[TopicPartition, int]:
        """Return what was noted last, 0 before the first time. Raises ``StoreUnavailable``."""
        _, places = self.describe(topic)
        name, group = self._address.topic(topic), self._address.group
        wanted = [KafkaPlace(name, place.partition) for place in places]
        found = self._ask(lambda admin: admin.list_group_offsets({group: wanted}))[group]
        return {place: max(0, found[KafkaPlace(name, place.partition)].offset) for place in places}

    def close(self) -> None:
        """Release the connection. Safe to repeat."""
        self._admin.close()

    def _find(self, admin: KafkaAdminClient, topic: str) -> dict[str, Any]:
        name = self._address.topic(topic)
        [found] = admin.describe_topics([name])
        fault = for_code(found["error_code"])
        if fault is UnknownTopicOrPartitionError:
            if topic in self._seen:
                raise StoreUnavailable(f"topic {name} is not there any more")
            made = admin.create_topics({name: self._address.made_as(topic)}, raise_errors=False)
            fault = for_code(made["topics"][0]["error_code"])
            if fault not in (NoError, TopicAlreadyExistsError):
                raise fault(f"topic {name} is not there and cannot be made: {made['topics'][0]['error_message']}")
            # It takes a moment until the brokers have heard of it.
            raise UnknownTopicOrPartitionError(name)
        _raise_first([fault, *(for_code(partition["error_code"]) for partition in found["partitions"])])
        return dict(found)

    def _ask(self, ask: Callable[[KafkaAdminClient], Any]) -> Any:
        """Ask, and again within the time-out while the answer is that of a cluster that is not ready yet."""
        give_up_s = self._clock.monotonic_s() + self._timeout_s

        def patiently(admin: KafkaAdminClient) -> Any:
            while True:
                try:
                    return ask(admin)
                except (RetriableError, CoordinatorNotAvailableError, UnknownTopicOrPartitionError):
                    if self._clock.monotonic_s() + PAUSE_S > give_up_s:
                        raise
                    self._clock.sleep(PAUSE_S)

        return self._admin.use(patiently)


def _raise_first(faults: Iterable[type[KafkaError]]) -> None:
    for fault in faults:
        if fault is not NoError:
            raise fault(fault.__name__)
