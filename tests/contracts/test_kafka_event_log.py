"""The contract of the event log, against the broker of ``EVENTS_URL_TEST``; every test has topics of its own."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable

import pytest

from tests.contracts.event_log_contract import EventLogContract

SERVER = os.environ.get("EVENTS_URL_TEST", "")

pytestmark = pytest.mark.skipif(
    not SERVER.startswith("kafka://"), reason="NO KAFKA: make services-up, then make contracts"
)


class TestKafkaEventLog(EventLogContract):
    @pytest.fixture
    def new_url(self) -> Callable[[], str]:
        def new_url() -> str:
            prefix = f"test-{uuid.uuid4().hex[:12]}-"
            return f"{SERVER.rpartition('/')[0]}/{prefix}user_events?prefix={prefix}"

        return new_url
