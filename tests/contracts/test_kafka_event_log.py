"""The contract of the event log, against the broker of ``EVENTS_URL_TEST``; every test has topics of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from tests.contracts.event_log_contract import EventLogContract
from tests.contracts.kafka_space import KafkaSpace, kafka_space

SERVER = os.environ.get("EVENTS_URL_TEST", "")
BROKER = SERVER.removeprefix("kafka://").partition("/")[0]

pytestmark = pytest.mark.skipif(
    not SERVER.startswith("kafka://"), reason="NO KAFKA: make services-up, then make contracts"
)


@pytest.fixture(scope="module")
def space() -> Iterator[KafkaSpace]:
    with kafka_space(BROKER) as space:
        yield space


class TestKafkaEventLog(EventLogContract):
    @pytest.fixture
    def new_url(self, space: KafkaSpace) -> Callable[[], str]:
        return space.new_url
