"""The adapter of a port, chosen by the scheme of its URL.

The module of an adapter, and with it its driver, is imported when its scheme is asked for: a room runs without the
drivers that it does not use. A new adapter is one line here and a class with ``from_url(url, timeout_s)``.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

from stores.kafka_address import KafkaAddress
from stores.ports import (
    AsyncEventLog,
    EventLog,
    ItemIndexReader,
    ItemIndexWriter,
    ItemReader,
    ItemWriter,
    Metrics,
    UserReader,
    UserWriter,
)

# What serving may wait for; it degrades rather than wait longer.
READER_TIMEOUT_S = 1.0
# What the trainer may wait for; it keeps its outbox and tries again.
WRITER_TIMEOUT_S = 10.0

_EVENT_LOGS = {
    "sqlite": "stores.sqlite_event_log:SqliteEventLog",
    "kafka": "stores.kafka_event_log:KafkaEventLog",
}
_ASYNC_EVENT_LOGS = {
    "sqlite": "stores.sqlite_event_log:SqliteAsyncEventLog",
    "kafka": "stores.kafka_event_log:KafkaAsyncEventLog",
}
_USER_READERS = {
    "sqlite": "stores.sqlite_user_store:SqliteUserReader",
    **dict.fromkeys(("mongodb", "mongodb+srv"), "stores.mongo_user_store:MongoUserReader"),
}
_USER_WRITERS = {
    "sqlite": "stores.sqlite_user_store:SqliteUserWriter",
    **dict.fromkeys(("mongodb", "mongodb+srv"), "stores.mongo_user_store:MongoUserWriter"),
}
_ITEM_READERS = {
    "sqlite": "stores.sqlite_item_store:SqliteItemReader",
    **dict.fromkeys(("redis", "rediss", "unix"), "stores.redis_item_store:RedisItemReader"),
}
_ITEM_WRITERS = {
    "sqlite": "stores.sqlite_item_store:SqliteItemWriter",
    **dict.fromkeys(("redis", "rediss", "unix"), "stores.redis_item_store:RedisItemWriter"),
}
_INDEX_READERS = {"http": "stores.http_item_index:HttpItemIndexReader"}
_INDEX_WRITERS = {"http": "stores.http_item_index:HttpItemIndexWriter"}
_METRICS = {"statsd": "stores.statsd_metrics:StatsdMetrics"}


def open_event_log(url: str, *, timeout_s: float = WRITER_TIMEOUT_S) -> EventLog:
    """Open the log as the trainer reads it. Raises ``ValueError`` for a URL that no adapter reads."""
    return _open(_EVENT_LOGS, url, timeout_s)


def open_async_event_log(url: str, *, timeout_s: float = READER_TIMEOUT_S) -> AsyncEventLog:
    """Open the log as serving writes it. Raises ``ValueError``."""
    return _open(_ASYNC_EVENT_LOGS, url, timeout_s)


def open_user_reader(url: str, *, timeout_s: float = READER_TIMEOUT_S) -> UserReader:
    """Open the users as serving sees them. Raises ``ValueError``."""
    return _open(_USER_READERS, url, timeout_s)


def open_user_writer(url: str, *, timeout_s: float = WRITER_TIMEOUT_S) -> UserWriter:
    """Open the users as the trainer writes them. Raises ``ValueError``."""
    return _open(_USER_WRITERS, url, timeout_s)


def open_item_reader(url: str, *, timeout_s: float = READER_TIMEOUT_S) -> ItemReader:
    """Open the items as serving sees them. Raises ``ValueError``."""
    return _open(_ITEM_READERS, url, timeout_s)


def open_item_writer(url: str, *, timeout_s: float = WRITER_TIMEOUT_S) -> ItemWriter:
    """Open the items as the trainer writes them. Raises ``ValueError``."""
    return _open(_ITEM_WRITERS, url, timeout_s)


def open_index_reader(url: str, *, timeout_s: float = READER_TIMEOUT_S) -> ItemIndexReader:
    """Open the index as serving reads it. Raises ``ValueError``."""
    return _open(_INDEX_READERS, url, timeout_s)


def open_index_writer(url: str, *, timeout_s: float = WRITER_TIMEOUT_S) -> ItemIndexWriter:
    """Open the index as the trainer writes it. Raises ``ValueError``."""
    return _open(_INDEX_WRITERS, url, timeout_s)


def open_metrics(url: str, *, timeout_s: float = READER_TIMEOUT_S) -> Metrics | None:
    """Open where metrics are sent; ``None`` for an empty URL. Raises ``ValueError``."""
    return _open(_METRICS, url, timeout_s) if url else None


def check_events_url(url: str) -> None:
    """Raise ``ValueError`` unless both sides of the log can be opened by this URL; opens nothing."""
    _module_and_class(_EVENT_LOGS, url)
    _module_and_class(_ASYNC_EVENT_LOGS, url)
    if urlsplit(url).scheme == "kafka":
        KafkaAddress.parse(url)


def check_users_url(url: str) -> None:
    """As ``check_events_url``, for the user store."""
    _module_and_class(_USER_READERS, url)
    _module_and_class(_USER_WRITERS, url)


def check_items_url(url: str) -> None:
    """As ``check_events_url``, for the item store."""
    _module_and_class(_ITEM_READERS, url)
    _module_and_class(_ITEM_WRITERS, url)


def check_index_url(url: str) -> None:
    """As ``check_events_url``, for the index."""
    _module_and_class(_INDEX_READERS, url)
    _module_and_class(_INDEX_WRITERS, url)


def check_metrics_url(url: str) -> None:
    """As ``check_events_url``, for where metrics are sent; empty is nowhere."""
    if url:
        _module_and_class(_METRICS, url)


def _open(known: dict[str, str], url: str, timeout_s: float) -> Any:
    module_name, class_name = _module_and_class(known, url)
    return getattr(import_module(module_name), class_name).from_url(url, timeout_s)


def _module_and_class(known: dict[str, str], url: str) -> tuple[str, str]:
    scheme = urlsplit(url).scheme
    if scheme not in known:
        # Not the URL itself: a password may stand in it.
        raise ValueError(f"no adapter for scheme {scheme!r}; known are {', '.join(sorted(known))}")
    module_name, _, class_name = known[scheme].partition(":")
    return module_name, class_name
