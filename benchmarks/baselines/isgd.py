"""ISGD: matrix factorisation from positive-only feedback, one step per event (Vinagre, Jorge, Gama: UMAP 2014).

As published: every positive has the target 1, there are no negatives, and items are ranked by how close their
prediction comes to 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.compiled import compiled

RATE = 0.05
L2 = 0.01
SCALE = 0.1


class Isgd:
    """Factors of users and items, (rows, dimension) float32, known in number beforehand."""

    def __init__(self, users: int, items: int, dimension: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self._users = rng.normal(0, SCALE, (users, dimension)).astype(np.float32)
        self._items = rng.normal(0, SCALE, (items, dimension)).astype(np.float32)

    def learn(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> None:
        """Learn positives one after another."""
        _learn(self._users, self._items, users, items)

    def scores(self, user: int, recent: NDArray[np.int32], size: int) -> NDArray[Any]:
        """Return minus the distance of each prediction from 1."""
        predictions = torch.mv(torch.from_numpy(self._items[:size]), torch.from_numpy(self._users[user]))
        return -np.abs(1.0 - predictions.numpy())


@compiled
def _learn(P: NDArray[np.float32], Q: NDArray[np.float32], users: NDArray[np.int32], items: NDArray[np.int32]) -> None:
    rate, l2 = np.float32(RATE), np.float32(L2)
    for event in range(len(users)):
        u, i = users[event], items[event]
        error = np.float32(1.0)
        for f in range(P.shape[1]):
            error -= P[u, f] * Q[i, f]
        for f in range(P.shape[1]):
            p, q = P[u, f], Q[i, f]
            P[u, f] += rate * (error * q - l2 * p)
            Q[i, f] += rate * (error * p - l2 * q)
