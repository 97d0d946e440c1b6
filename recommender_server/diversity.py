"""Lists whose items are not all alike: maximal marginal relevance (Carbonell and Goldstein, 1998)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from recommender_server.answers import Pick
from stores.ports import Vectors


def spread(picks: Sequence[Pick], vectors: Mapping[str, Vectors], k: int, diversity: float) -> list[Pick]:
    """Return k of the picks, one after the other the one with the best

    (1 - diversity) * relevance - diversity * (its largest cosine with one already chosen).

    ``picks``: best first; relevance falls evenly from 1 at the first to 0 behind the last, whatever their scores, which
    several sources may have given. ``vectors``: of unit length; an item without one is like no other. With diversity 0
    the first k are returned.
    """
    if not picks:
        return []
    relevance = 1.0 - np.arange(len(picks)) / len(picks)
    width = max((len(vector) for vector in vectors.values()), default=1)
    rows = np.stack([vectors.get(pick.item_id, np.zeros(width, np.float32)) for pick in picks])
    closest = np.full(len(picks), -1.0)
    is_open = np.ones(len(picks), dtype=bool)
    chosen: list[Pick] = []
    for _ in range(min(k, len(picks))):
        value = (1.0 - diversity) * relevance - diversity * closest
        best = int(np.argmax(np.where(is_open, value, -np.inf)))
        is_open[best] = False
        chosen.append(picks[best])
        np.maximum(closest, rows @ rows[best], out=closest)
    return chosen
