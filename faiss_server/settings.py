"""The settings of the faiss server, read from the environment by ``app_from_env`` alone."""

from __future__ import annotations

from dataclasses import dataclass

from models.settings import setting


@dataclass(frozen=True)
class FaissServerSettings:
    """How the index searches and what it accepts."""

    approximate_from_items: int = setting(
        "INDEX_APPROXIMATE_FROM",
        20_000,
        doc="From so many items on the index searches inverted lists instead of all rows, where recall allows it.",
        minimum=1,
    )
    max_body_bytes: int = setting(
        "INDEX_MAX_BODY_BYTES", 16 << 20, doc="The largest request body of the faiss server.", minimum=1024
    )
    max_snapshot_bytes: int = setting(
        "INDEX_MAX_SNAPSHOT_BYTES", 1 << 30, doc="The largest whole table that the faiss server accepts.", minimum=1024
    )
