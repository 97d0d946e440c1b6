"""The settings of initial training, read from the environment by ``__main__`` alone."""

from __future__ import annotations

from dataclasses import dataclass

from models.event_settings import EventSettings
from models.settings import setting
from stores.store_settings import MetricsSettings, StoreSettings


@dataclass(frozen=True)
class InitialTrainingSettings(EventSettings, MetricsSettings, StoreSettings):
    """Which events count, where the model goes, and how much is spent on choosing it."""

    snapshot_dir: str = setting("SNAPSHOT_DIR", "data/snapshots", doc="Where snapshots are kept.")
    store_timeout_ms: float = setting(
        "STORE_TIMEOUT_MS", 5000.0, doc="The longest wait for a store.", minimum=10, maximum=60_000
    )
