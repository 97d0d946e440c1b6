"""Kafka clients that are made when first used, closed on any fault, and made again after a pause that grows.

What stays the same of a client that failed is not known, so none is used again: that is cheaper than to find out.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar

import google_crc32c
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.errors import KafkaError
from kafka.net.compat import KafkaNetClient
from kafka.record import default_records

from stores.kafka_address import MAX_RECORD_BYTES, KafkaAddress
from stores.ports import Clock, PositionLost, StoreUnavailable

# After a fault no client is made for a while, longer each time.
PAUSES_S = (0.1, 0.2, 0.5, 1.0)
# A client finds the brokers within this time, or within the time-out of a call if shorter; a login takes longer.
BOOTSTRAP_S, LOGIN_S = 2.0, 6.0
# A broker that is back is found this soon; topics that got more partitions likewise.
RECONNECT_MS, METADATA_AGE_MS = 500, 10_000
# The driver sleeps so long wherever it waits for something of its own, the first fetch and the first append included.
RETRY_MS = 20

# kafka-python computes checksums in Python, 6 ms for 16 KB, unless it finds a package under the LGPL; this one computes
# the same in C, in microseconds.
default_records.calc_crc32c = lambda view: google_crc32c.value(view.tobytes())

Client = TypeVar("Client")
Result = TypeVar("Result")

_log = logging.getLogger(__name__)


class Clients:
    """Makes clients of one cluster; every call of theirs is bounded by ``timeout_s``."""

    def __init__(self, address: KafkaAddress, timeout_s: float) -> None:
        self._timeout_ms = int(timeout_s * 1000)
        bootstrap_s = BOOTSTRAP_S if address.security == "PLAINTEXT" else LOGIN_S
        self._common: dict[str, Any] = {
            **address.login(),
            "bootstrap_timeout_ms": min(self._timeout_ms, int(bootstrap_s * 1000)),
            "request_timeout_ms": self._timeout_ms,
            "reconnect_backoff_max_ms": RECONNECT_MS,
            "retry_backoff_ms": RETRY_MS,
            "metadata_max_age_ms": METADATA_AGE_MS,
        }

    def consumer(self) -> KafkaConsumer:
        """Make one that reads bytes, from where it is told to and from nowhere else. Raises ``KafkaError``."""
        return _make(
            KafkaConsumer,
            **self._common,
            fetch_max_wait_ms=min(500, self._timeout_ms // 2),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            allow_auto_create_topics=False,
            # What a transaction of somebody else wrote and then took back was never an event.
            isolation_level="read_committed",
            metrics_enabled=False,
        )

    def producer(self) -> KafkaProducer:
        """Make one that repeats nothing and is content with nothing less than every replica. Raises ``KafkaError``."""
        return _make(
            KafkaProducer,
            **self._common,
            acks="all",
            enable_idempotence=True,
            delivery_timeout_ms=self._timeout_ms,
            max_block_ms=self._timeout_ms,
            max_request_size=MAX_RECORD_BYTES,
            metrics_enabled=False,
        )

    def admin(self) -> KafkaAdminClient:
        """Make one that asks about topics and makes them. Raises ``KafkaError``."""
        return _make(KafkaAdminClient, **self._common)


class Kept(Generic[Client]):
    """One client, for one thread at a time."""

    def __init__(self, what: str, make: Callable[[], Client], clock: Clock) -> None:
        self._what, self._make, self._clock = what, make, clock
        self._client: Client | None = None
        self._faults = 0
        self._last_fault = ""
        self._retry_at_s = float("-inf")

    @property
    def pause_s(self) -> float:
        """Seconds until a client may be made again."""
        return max(0.0, self._retry_at_s - self._clock.monotonic_s())

    @property
    def made(self) -> bool:
        """Whether there is a client now."""
        return self._client is not None

    def use(self, ask: Callable[[Client], Result]) -> Result:
        """Return what ``ask`` returns. Raises ``StoreUnavailable`` for whatever it raises, and during a pause.

        ``PositionLost`` passes through; the client is closed all the same.
        """
        if self.pause_s > 0:
            raise StoreUnavailable(f"{self._what}: left alone for {self.pause_s:.1f} s after: {self._last_fault}")
        try:
            if self._client is None:
                self._client = self._make()
            result = ask(self._client)
        except Exception as error:
            # Any exception: kafka-python lets what a record or a broker does to it through as whatever it was.
            self.close()
            if isinstance(error, PositionLost):
                raise
            self._last_fault = f"{type(error).__name__}: {error}"
            if not isinstance(error, KafkaError | StoreUnavailable):
                _log.warning("%s failed in a way of its own", self._what, exc_info=error)
            self._retry_at_s = self._clock.monotonic_s() + PAUSES_S[min(self._faults, len(PAUSES_S) - 1)]
            self._faults += 1
            raise StoreUnavailable(f"{self._what}: {self._last_fault}") from error
        self._faults = 0
        return result

    def close(self) -> None:
        """Close the client, waiting for nothing. Safe to repeat."""
        client, self._client = self._client, None
        if client is None:
            return
        with suppress(Exception):
            if isinstance(client, KafkaConsumer):
                client.close(autocommit=False, timeout_ms=0)
            elif isinstance(client, KafkaProducer):
                # close() would flush first and give up at the first batch that is not acknowledged.
                client._sender.force_close()
                client.close(timeout=0)
            elif isinstance(client, KafkaAdminClient):
                client.close()


def _make(kind: Callable[..., Client], **options: Any) -> Client:
    quiet = logging.getLogger("kafka")
    if quiet.level == logging.NOTSET:
        # It tells every attempt to connect, and at DEBUG the password; what matters reaches us as exceptions.
        quiet.setLevel(logging.CRITICAL)
    made: list[KafkaNetClient] = []

    def net_client(**configs: Any) -> KafkaNetClient:
        made.append(KafkaNetClient(**configs))
        return made[-1]

    try:
        return kind(**options, kafka_client=net_client)
    except BaseException:
        # A constructor that finds no broker leaves its thread and its sockets behind.
        for client in made:
            with suppress(Exception):
                client.close()
        raise
