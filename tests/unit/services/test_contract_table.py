from collections import Counter

from tests.contracts.__main__ import Row, Table


def test_the_table_says_what_passed_failed_and_was_not_there() -> None:
    table = Table()
    table.counts = {
        Row("UserStore", "sqlite_user_store", "sqlite", ""): Counter(passed=27),
        Row("EventLog", "kafka_event_log", "kafka", "Scram"): Counter(passed=20, failed=1, skipped=2),
        Row("ItemStore", "redis_item_store", "redis", ""): Counter(skipped=54),
    }
    lines = table.lines({"kafka": "Kafka 4", "redis": "redis: down"})
    assert [line.split() for line in lines[1:]] == [
        ["EventLog", "kafka_event_log", "(Scram)", "Kafka", "4", "20", "1", "2", "FAILED"],
        ["ItemStore", "redis_item_store", "redis:", "down", "not", "available"],
        ["UserStore", "sqlite_user_store", "in", "this", "process", "27", "0", "0", "passed"],
    ]
