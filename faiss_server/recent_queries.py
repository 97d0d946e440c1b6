"""The last real queries: what the approximate index is measured with."""

from __future__ import annotations

from collections import deque

import numpy as np

from stores.ports import Vectors

KEPT_QUERIES = 256


class RecentQueries:
    """A ring of the last query vectors, recent items folded in."""

    def __init__(self) -> None:
        self._kept: deque[Vectors] = deque(maxlen=KEPT_QUERIES)

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, vectors: Vectors) -> None:
        """Keep (n, columns) float32."""
        self._kept.extend(vectors)

    def newest(self, count: int) -> Vectors:
        """Return at most ``count`` of them, newest first: (n, columns) float32."""
        return np.array(list(self._kept)[::-1][:count], dtype=np.float32)
