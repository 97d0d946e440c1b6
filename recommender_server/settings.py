"""The settings of the recommender, read from the environment by ``app_from_env`` alone."""

from __future__ import annotations

from dataclasses import dataclass

from models.event_settings import EventSettings
from models.settings import setting
from recommender_server.access import Key, keys_of
from stores.store_settings import MetricsSettings, StoreSettings


@dataclass(frozen=True)
class RecommenderSettings(EventSettings, MetricsSettings, StoreSettings):
    """What the recommender can be told. Times are budgets: nothing waits longer than they say."""

    default_k: int = setting("DEFAULT_K", 10, doc="Items in an answer when the request names no k.", minimum=1)
    max_k: int = setting("MAX_K", 200, doc="The most items one request may ask for.", minimum=1, maximum=1000)
    max_body_bytes: int = setting(
        "MAX_BODY_BYTES", 1_048_576, doc="The largest request body that is read.", minimum=1024
    )
    max_batch: int = setting("MAX_BATCH", 1000, doc="The most events or items in one request.", minimum=1)
    max_in_flight: int = setting(
        "MAX_IN_FLIGHT", 512, doc="Requests served at once per process; more are answered 503.", minimum=1
    )
    deadline_ms: float = setting(
        "DEADLINE_MS", 1000.0, doc="Every request is answered within this time, whatever is down.", minimum=10
    )
    user_budget_ms: float = setting("USER_BUDGET_MS", 100.0, doc="The longest wait for the user store.", minimum=1)
    item_budget_ms: float = setting("ITEM_BUDGET_MS", 100.0, doc="The longest wait for the item store.", minimum=1)
    index_budget_ms: float = setting("INDEX_BUDGET_MS", 200.0, doc="The longest wait for the faiss server.", minimum=1)
    log_budget_ms: float = setting("LOG_BUDGET_MS", 800.0, doc="The longest wait for the event log.", minimum=1)
    breaker_failures: int = setting(
        "BREAKER_FAILURES", 5, doc="So many failures in a row and a dependency is left alone for a while.", minimum=1
    )
    breaker_open_ms: float = setting(
        "BREAKER_OPEN_MS",
        2000.0,
        doc="How long a failing dependency is left alone before one call tries it.",
        minimum=1,
    )
    served_sample_rate: float = setting(
        "SERVED_SAMPLE_RATE",
        1.0,
        doc="The share of answers logged to topic recommendations_served.",
        minimum=0,
        maximum=1,
    )
    exploration_share: float = setting(
        "EXPLORATION_SHARE",
        0.01,
        doc="The share of places given to new items; at .01 every tenth list of ten ends with one.",
        minimum=0,
        maximum=1,
    )
    api_keys: str = setting(
        "API_KEYS",
        "",
        doc="Keys as name:scope+scope:sha256, separated by commas; none: anybody on this machine. "
        "`python -m recommender_server.access NAME SCOPE...` makes one.",
        check=keys_of,  # type: ignore[arg-type]
        secret=True,
    )
    rate_limit_per_s: float = setting(
        "RATE_LIMIT_PER_S", 1000.0, doc="Requests a second that one key may send to one process.", minimum=0.1
    )

    def keys(self) -> list[Key]:
        """Return the keys. Raises ``ValueError``."""
        return keys_of(self.api_keys)
