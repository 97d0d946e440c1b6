from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from tests.contracts.event_log_contract import EventLogContract


class TestSqliteEventLog(EventLogContract):
    @pytest.fixture
    def new_url(self, tmp_path: Path) -> Callable[[], str]:
        number = count()
        return lambda: f"sqlite:///{tmp_path}/events-{next(number)}.db"
