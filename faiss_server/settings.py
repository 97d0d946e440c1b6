"""The settings of the faiss server, read from the environment by ``app_from_env`` alone."""

from __future__ import annotations

from dataclasses import dataclass

from models.settings import setting
from stores.store_settings import MetricsSettings


@dataclass(frozen=True)
class FaissServerSettings(MetricsSettings):
    """How the index searches and what it accepts."""

    approximate_from_items: int = setting(
        "INDEX_APPROXIMATE_FROM",
        20_000,
        doc="From so many items on the index searches inverted lists instead of all rows, where recall allows it.",
        minimum=1,
    )
    index_max_body_bytes: int = setting(
        "INDEX_MAX_BODY_BYTES", 16 * 1024**2, doc="The largest request body, a whole table excepted.", minimum=1024
    )
    index_max_table_bytes: int = setting(
        "INDEX_MAX_TABLE_BYTES", 2 * 1024**3, doc="The largest body that loads a whole table.", minimum=1024
    )
