"""The settings of the faiss server, read from the environment by ``app_from_env`` and ``__main__`` alone."""

from __future__ import annotations

from dataclasses import dataclass

from models.settings import setting


@dataclass(frozen=True)
class FaissServerSettings:
    """How much the faiss server takes in at once."""

    index_max_body_bytes: int = setting(
        "INDEX_MAX_BODY_BYTES", 16 * 1024**2, doc="The largest request body, a whole table excepted.", minimum=1024
    )
    index_max_table_bytes: int = setting(
        "INDEX_MAX_TABLE_BYTES", 2 * 1024**3, doc="The largest body that loads a whole table.", minimum=1024
    )
