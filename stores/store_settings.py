"""The settings that say where the stores are, and where metrics go; the same in every room."""

from __future__ import annotations

from dataclasses import dataclass

from models.settings import setting
from stores.adapters import (
    check_events_url,
    check_index_url,
    check_items_url,
    check_metrics_url,
    check_users_url,
)


@dataclass(frozen=True)
class StoreSettings:
    """The URL of every store; its scheme chooses the adapter (``stores.adapters``)."""

    events_url: str = setting("EVENTS_URL", "sqlite:///data/events.db", doc="The event log.", check=check_events_url)
    users_url: str = setting("USERS_URL", "sqlite:///data/users.db", doc="The user store.", check=check_users_url)
    items_url: str = setting("ITEMS_URL", "sqlite:///data/items.db", doc="The item store.", check=check_items_url)
    index_url: str = setting("INDEX_URL", "http://127.0.0.1:8001", doc="The faiss server.", check=check_index_url)


@dataclass(frozen=True)
class MetricsSettings:
    """Where metrics go beside ``/metrics``."""

    metrics_url: str = setting(
        "METRICS_URL",
        "",
        doc="Where metrics are sent: `statsd://host:8125/prefix`. Empty: nowhere; `/metrics` has them in any case.",
        check=check_metrics_url,
    )
