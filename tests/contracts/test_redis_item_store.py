import os
from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest
import redis

from tests.contracts.item_store_contract import ItemStoreContract

URL = os.environ.get("ITEMS_URL_TEST", "")


@pytest.mark.skipif(not URL, reason="ITEMS_URL_TEST is not set: `make services-up`, then `make test`")
class TestRedisItemStore(ItemStoreContract):
    @pytest.fixture
    def new_url(self) -> Iterator[Callable[[], str]]:
        """A prefix of its own per store; its keys go when the test has ended."""
        prefixes = []

        def new_url() -> str:
            prefixes.append(f"test-{uuid4().hex}")
            return f"{URL}?prefix={prefixes[-1]}"

        yield new_url
        with redis.Redis.from_url(URL) as client:
            for prefix in prefixes:
                for key in client.scan_iter(f"{prefix}:*", count=1000):
                    client.delete(key)
