"""How sure a difference is when one user's events resemble each other: everything here resamples whole users."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000


def intervals(values: NDArray[np.float64], users: NDArray[np.int32], seed: int = 0) -> list[tuple[float, float]]:
    """Return the 95 % percentile interval of the mean of each column of ``values`` (n, m), bootstrapped over users.

    Each user counts Poisson(1) times, which approaches drawing users with replacement as their number grows.
    """
    _, blocks = np.unique(users, return_inverse=True)
    sums = np.stack([np.bincount(blocks, weights=column) for column in values.T], axis=1)
    counts = np.bincount(blocks)
    rng = np.random.default_rng(seed)
    means = np.empty((RESAMPLES, values.shape[1]))
    for sample in range(RESAMPLES):
        times = rng.poisson(1.0, len(sums))
        means[sample] = times @ sums / max(int(times @ counts), 1)
    return [(float(low), float(high)) for low, high in np.percentile(means, [2.5, 97.5], axis=0).T]


def paired_p_value(differences: NDArray[np.float64], users: NDArray[np.int32], seed: int = 0) -> float:
    """Return the two-sided p-value of "no difference".

    Were there none, each user's sum of differences might as well have the other sign: signs are flipped at random.
    """
    _, blocks = np.unique(users, return_inverse=True)
    sums = np.bincount(blocks, weights=differences)
    sums = sums[sums != 0]
    rng = np.random.default_rng(seed)
    flipped = np.array([sums @ (2.0 * rng.integers(0, 2, len(sums)) - 1.0) for _ in range(RESAMPLES)])
    return float((1 + np.count_nonzero(np.abs(flipped) >= abs(sums.sum()))) / (1 + RESAMPLES))
