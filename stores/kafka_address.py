"""A Kafka URL: where the brokers are, how to log in, what the topics are called there and how they are made.

    kafka://[user:password@]host:port[,host:port …]/[user_events topic][?parameter=value&…]

The path names the topic of the users' events, which is often there before us; our own topics have the names of
``stores.ports``, behind ``prefix``. Nothing here shows a password: not the messages, not ``repr``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from stores.ports import ITEMS, RECOMMENDATIONS_SERVED, USER_EVENTS

# Dead letters: of every topic, in one topic of their own.
DEAD_LETTERS = "dead_letters"

PARAMETERS = ("prefix", "partitions", "replication", "group", "security", "mechanism", "cafile")
SECURITY = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS = ("SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN")
MOST_PARTITIONS = 1_000

_NAME = re.compile(r"[A-Za-z0-9._-]{1,200}")
_DAY_MS = 86_400_000
# A record, with room for all of the largest request body that the API reads by default.
MAX_RECORD_BYTES = 2 * 1024 * 1024
# The log itself is what the trainer learns from, so arrival is when the log accepted a record.
_ALWAYS = {"message.timestamp.type": "LogAppendTime", "max.message.bytes": str(MAX_RECORD_BYTES)}
_KEPT = {
    # A trainer that was away for longer finds a gap and says so.
    USER_EVENTS: {"cleanup.policy": "delete", "retention.ms": str(30 * _DAY_MS)},
    # The newest record of every item, for ever; that an item was deleted, for longer than a trainer should be away.
    ITEMS: {"cleanup.policy": "compact", "retention.ms": "-1", "delete.retention.ms": str(30 * _DAY_MS)},
    RECOMMENDATIONS_SERVED: {"cleanup.policy": "delete", "retention.ms": str(7 * _DAY_MS)},
    DEAD_LETTERS: {"cleanup.policy": "delete", "retention.ms": str(90 * _DAY_MS)},
}


@dataclass(frozen=True)
class KafkaAddress:
    """A parsed URL. ``security``, ``mechanism`` and the rest are as Kafka's own settings name them."""

    servers: tuple[str, ...]
    events_topic: str
    prefix: str
    partitions: int
    replication: int
    group: str
    security: str
    mechanism: str
    user: str
    password: str = field(repr=False)
    cafile: str

    @classmethod
    def parse(cls, url: str) -> KafkaAddress:
        """Read a URL. Raises ``ValueError``, whose message names the part that is wrong and shows no password."""
        scheme, _, rest = url.partition("://")
        if scheme != "kafka":
            raise ValueError("a Kafka URL begins with kafka://")
        # urlsplit would take several hosts for one.
        login_and_hosts = re.split(r"[/?#]", rest, maxsplit=1)[0]
        login, _, hosts = login_and_hosts.rpartition("@")
        parts = urlsplit("//broker" + rest[len(login_and_hosts) :])
        if parts.fragment:
            raise ValueError("a Kafka URL has no fragment; write # in a password as %23")
        user, _, password = login.partition(":")
        given = _parameters(parts.query)
        security = _one_of(SECURITY, given, "security", "SASL_SSL" if login else "PLAINTEXT")
        if bool(login) != security.startswith("SASL"):
            raise ValueError("user:password@ and security=SASL_SSL (or SASL_PLAINTEXT) belong together")
        if login and not (user and password):
            raise ValueError("before the @ stands user:password, special characters written as %xx")
        return cls(
            servers=tuple(_server(text) for text in hosts.split(",")),
            events_topic=_name("topic in the path", unquote(parts.path.strip("/")) or USER_EVENTS),
            prefix=_name("prefix", given["prefix"]) if given.get("prefix") else "",
            partitions=_count(given, "partitions", 1, MOST_PARTITIONS),
            replication=_count(given, "replication", -1, 100),
            group=_name("group", given.get("group", "incremental-training")),
            security=security,
            mechanism=_one_of(MECHANISMS, given, "mechanism", MECHANISMS[0]),
            user=unquote(user),
            password=unquote(password),
            cafile=given.get("cafile", ""),
        )

    def topic(self, name: str) -> str:
        """Return what the broker calls a topic of ours."""
        return self.events_topic if name == USER_EVENTS else self.prefix + name

    def made_as(self, name: str) -> dict[str, Any]:
        """Return how a topic of ours is made when it is not there: partitions, replicas and settings."""
        configs = {**_ALWAYS, **_KEPT.get(name, {})}
        if self.replication >= 3:
            # What was acknowledged then survives the loss of any one broker.
            configs["min.insync.replicas"] = "2"
        spread = name in (USER_EVENTS, RECOMMENDATIONS_SERVED)
        return {
            "num_partitions": self.partitions if spread else 1,
            "replication_factor": self.replication,
            "configs": configs,
        }

    def login(self) -> dict[str, Any]:
        """Return the settings of every client: servers and login."""
        options: dict[str, Any] = {"bootstrap_servers": list(self.servers), "security_protocol": self.security}
        if self.cafile:
            options["ssl_cafile"] = self.cafile
        if self.user:
            options["sasl_mechanism"] = self.mechanism
            options["sasl_plain_username"] = self.user
            options["sasl_plain_password"] = self.password
        return options


def _parameters(query: str) -> Mapping[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True) if query else []
    except ValueError:
        raise ValueError("what follows the ? reads parameter=value&parameter=value") from None
    given = dict(pairs)
    if unknown := set(given) - set(PARAMETERS):
        raise ValueError(f"unknown: {', '.join(sorted(unknown))}; parameters are {', '.join(PARAMETERS)}")
    if len(given) < len(pairs):
        raise ValueError("a parameter is given twice")
    return given


def _one_of(known: tuple[str, ...], given: Mapping[str, str], name: str, default: str) -> str:
    value = given.get(name, default)
    if value not in known:
        raise ValueError(f"{name} is one of {', '.join(known)}")
    return value


def _count(given: Mapping[str, str], name: str, default: int, most: int) -> int:
    text = given.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= most):
        raise ValueError(f"{name} is a whole number from 1 to {most}")
    return int(text)


def _name(what: str, text: str) -> str:
    if not _NAME.fullmatch(text) or text in (".", ".."):
        raise ValueError(f"the {what} is made of letters, digits, dots, dashes and underscores")
    return text


def _server(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if not (host and colon and port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
        raise ValueError("brokers are given as host:port, several with commas between them")
    return text
