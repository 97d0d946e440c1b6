"""The settings of the trainer, read from the environment by ``__main__`` alone."""

from __future__ import annotations

from dataclasses import dataclass

from models.event_settings import EventSettings
from models.settings import setting
from stores.store_settings import MetricsSettings, StoreSettings


@dataclass(frozen=True)
class TrainerSettings(EventSettings, MetricsSettings, StoreSettings):
    """How the trainer takes events in, publishes and keeps them."""

    snapshot_dir: str = setting("SNAPSHOT_DIR", "data/snapshots", doc="Where snapshots are kept.")
    evaluate_every: int = setting(
        "EVALUATE_EVERY", 5, doc="One positive in so many is ranked before it is learned.", minimum=1
    )
    batch_events: int = setting("BATCH_EVENTS", 2000, doc="The most events taken from the log at once.", minimum=1)
    flush_interval_ms: float = setting(
        "FLUSH_INTERVAL_MS", 30.0, doc="The least time between two flushes.", minimum=1, maximum=10_000
    )
    snapshot_interval_s: float = setting(
        "SNAPSHOT_INTERVAL_S", 30.0, doc="The longest time between snapshots while events come.", minimum=1
    )
    snapshot_events: int = setting("SNAPSHOT_EVENTS", 100_000, doc="The most events between snapshots.", minimum=1)
    dedup_window: int = setting(
        "DEDUP_WINDOW", 100_000, doc="Newest event_ids remembered to drop duplicates.", minimum=1
    )
    bad_events_window: int = setting(
        "BAD_EVENTS_WINDOW", 1000, doc="Newest events among which bad ones are counted.", minimum=10
    )
    bad_events_share: float = setting(
        "BAD_EVENTS_SHARE", 0.5, doc="A larger share of bad events in it stops the trainer.", minimum=0, maximum=1
    )
    store_timeout_ms: float = setting(
        "STORE_TIMEOUT_MS", 5000.0, doc="The longest wait for a store.", minimum=10, maximum=60_000
    )
