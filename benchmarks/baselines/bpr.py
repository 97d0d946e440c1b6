"""BPR: pairwise matrix factorisation with an item bias (Rendle and others: UAI 2009), taken as a stream.

Each positive is learned against one item drawn uniformly from those known, as in the paper's sampling.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.compiled import compiled

RATE = 0.05
L2 = 0.0025
SCALE = 0.1


class Bpr:
    """Factors of users and items, (rows, dimension) float32, and item biases, known in number beforehand."""

    def __init__(self, users: int, items: int, dimension: int, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._users = self._rng.normal(0, SCALE, (users, dimension)).astype(np.float32)
        self._items = self._rng.normal(0, SCALE, (items, dimension)).astype(np.float32)
        self._biases = np.zeros(items, np.float32)
        self._known = 0

    def learn(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> None:
        """Learn positives one after another."""
        if not len(items):
            return
        known = np.maximum.accumulate(np.maximum(items.astype(np.int64) + 1, self._known))
        self._known = int(known[-1])
        _learn(self._users, self._items, self._biases, users, items, self._rng.integers(0, known))

    def scores(self, user: int, recent: NDArray[np.int32], size: int) -> NDArray[Any]:
        """Return each item's prediction."""
        products = torch.mv(torch.from_numpy(self._items[:size]), torch.from_numpy(self._users[user]))
        return products.numpy() + self._biases[:size]


@compiled
def _learn(
    P: NDArray[np.float32],
    Q: NDArray[np.float32],
    biases: NDArray[np.float32],
    users: NDArray[np.int32],
    items: NDArray[np.int32],
    negatives: NDArray[np.int64],
) -> None:
    rate, l2 = np.float32(RATE), np.float32(L2)
    for event in range(len(users)):
        u, i, j = users[event], items[event], negatives[event]
        if i == j:
            continue
        margin = biases[i] - biases[j]
        for f in range(P.shape[1]):
            margin += P[u, f] * (Q[i, f] - Q[j, f])
        slope = np.float32(1.0) / (np.float32(1.0) + np.exp(margin))
        biases[i] += rate * (slope - l2 * biases[i])
        biases[j] -= rate * (slope + l2 * biases[j])
        for f in range(P.shape[1]):
            p, qi, qj = P[u, f], Q[i, f], Q[j, f]
            P[u, f] += rate * (slope * (qi - qj) - l2 * p)
            Q[i, f] += rate * (slope * p - l2 * qi)
            Q[j, f] -= rate * (slope * p + l2 * qj)
