from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from tests.contracts.user_store_contract import UserStoreContract


class TestSqliteUserStore(UserStoreContract):
    @pytest.fixture
    def new_url(self, tmp_path: Path) -> Callable[[], str]:
        number = count()
        return lambda: f"sqlite:///{tmp_path}/users-{next(number)}.db"
