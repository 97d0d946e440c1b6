from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from tests.contracts.item_store_contract import ItemStoreContract


class TestSqliteItemStore(ItemStoreContract):
    @pytest.fixture
    def new_url(self, tmp_path: Path) -> Callable[[], str]:
        number = count()
        return lambda: f"sqlite:///{tmp_path}/items-{next(number)}.db"
