import pytest

# The contracts are imported by the test files, not collected: have their assertions explained all the same.
for port in ("event_log", "user_store", "item_store", "item_index", "metrics"):
    pytest.register_assert_rewrite(f"tests.contracts.{port}_contract")
