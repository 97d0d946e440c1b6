"""Topics of a test module's own on a broker that others use too, and an end to them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

from kafka import KafkaAdminClient


class KafkaSpace:
    """Makes URLs of logs that nobody has heard of."""

    def __init__(self, broker: str) -> None:
        self.prefix = f"test-{uuid.uuid4().hex[:12]}-"
        self._broker, self._number = broker, count()

    def new_url(self, partitions: int = 1) -> str:
        """Return the URL of a fresh, empty log."""
        prefix = f"{self.prefix}{next(self._number)}-"
        return f"kafka://{self._broker}/{prefix}user_events?prefix={prefix}&partitions={partitions}"


@contextmanager
def kafka_space(broker: str) -> Iterator[KafkaSpace]:
    """Lend a space; what was made in it is deleted at the end, for a broker with thousands of topics is slow."""
    space = KafkaSpace(broker)
    yield space
    with KafkaAdminClient(bootstrap_servers=broker, bootstrap_timeout_ms=5_000) as admin:
        if mine := [name for name in admin.list_topics() if name.startswith(space.prefix)]:
            admin.delete_topics(mine)
