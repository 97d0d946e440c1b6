"""Kafka URLs: what they say, what is refused, and that no password is ever shown."""

from __future__ import annotations

import pytest

from stores.kafka_address import DEAD_LETTERS, KafkaAddress
from stores.ports import ITEMS, RECOMMENDATIONS_SERVED, USER_EVENTS


def test_the_path_names_the_topic_of_events_and_the_prefix_stands_before_the_others() -> None:
    address = KafkaAddress.parse("kafka://b1:9092,b2:9093/clicks?prefix=shop.&partitions=6&replication=3")
    assert address.servers == ("b1:9092", "b2:9093")
    assert [address.topic(name) for name in (USER_EVENTS, ITEMS, DEAD_LETTERS)] == [
        "clicks",
        "shop.items",
        "shop.dead_letters",
    ]
    assert address.made_as(USER_EVENTS)["num_partitions"] == 6
    assert address.made_as(ITEMS)["num_partitions"] == 1
    assert address.made_as(ITEMS)["configs"]["min.insync.replicas"] == "2"


@pytest.mark.parametrize("url", ["kafka://b:9092", "kafka://b:9092/", "kafka://b:9092/user_events"])
def test_everything_has_its_default(url: str) -> None:
    address = KafkaAddress.parse(url)
    assert [address.topic(name) for name in (USER_EVENTS, ITEMS)] == ["user_events", "items"]
    assert address.login() == {"bootstrap_servers": ["b:9092"], "security_protocol": "PLAINTEXT"}
    assert address.made_as(USER_EVENTS)["num_partitions"] == 1
    assert address.made_as(USER_EVENTS)["replication_factor"] == -1


def test_items_are_compacted_and_never_expire_and_all_else_does() -> None:
    address = KafkaAddress.parse("kafka://b:9092")
    items = address.made_as(ITEMS)["configs"]
    assert (items["cleanup.policy"], items["retention.ms"]) == ("compact", "-1")
    for name in (USER_EVENTS, RECOMMENDATIONS_SERVED, DEAD_LETTERS):
        assert int(address.made_as(name)["configs"]["retention.ms"]) > 0


def test_a_login_is_encrypted_unless_said_otherwise() -> None:
    login = KafkaAddress.parse("kafka://me:s%40crët%2F%23@b:9092/user_events?cafile=/etc/ca.pem").login()
    assert login == {
        "bootstrap_servers": ["b:9092"],
        "security_protocol": "SASL_SSL",
        "ssl_cafile": "/etc/ca.pem",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "me",
        "sasl_plain_password": "s@crët/#",
    }
    plain = KafkaAddress.parse("kafka://me:secret@b:9092?security=SASL_PLAINTEXT&mechanism=PLAIN").login()
    assert (plain["security_protocol"], plain["sasl_mechanism"]) == ("SASL_PLAINTEXT", "PLAIN")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://b:9092", "kafka://"),
        ("kafka://", "host:port"),
        ("kafka://b", "host:port"),
        ("kafka://b:0", "host:port"),
        ("kafka://b:9092,", "host:port"),
        ("kafka://b:9092/a/b", "topic in the path"),
        ("kafka://b:9092/a b", "topic in the path"),
        ("kafka://b:9092/..", "topic in the path"),
        ("kafka://b:9092?partition=3", "unknown: partition"),
        ("kafka://b:9092?partitions=0", "partitions"),
        ("kafka://b:9092?partitions=x", "partitions"),
        ("kafka://b:9092?partitions=1&partitions=2", "twice"),
        ("kafka://b:9092?partitions", "parameter=value"),
        ("kafka://b:9092?prefix=a/b", "prefix"),
        ("kafka://b:9092?group=", "group"),
        ("kafka://b:9092?security=TLS", "security is one of"),
        ("kafka://b:9092?security=SASL_SSL", "belong together"),
        ("kafka://me:secret@b:9092?security=SSL", "belong together"),
        ("kafka://me:secret@b:9092?mechanism=MD5", "mechanism is one of"),
        ("kafka://me@b:9092", "user:password"),
        ("kafka://:secret@b:9092", "user:password"),
        ("kafka://me:secret@b", "host:port"),
        ("kafka://me:sec#ret@b:9092", "fragment"),
    ],
)
def test_what_cannot_be_read_is_named_and_the_password_is_not(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as refused:
        KafkaAddress.parse(url)
    assert "secret" not in str(refused.value)


def test_no_password_in_the_repr() -> None:
    assert "secret" not in repr(KafkaAddress.parse("kafka://me:secret@b:9092"))
