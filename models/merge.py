"""The merge: how much each feature of a candidate counts, learned on line from the hardest candidates.

One damped Newton step of a softmax over the best ranked candidates, for each positive that was among them. Learning
from positives far down the list, or from random candidates, spoils the top of the list.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.ranking import FEATURES

CANDIDATES = 50
HESSIAN_DECAY = 0.999
DAMPING = 0.05
INITIAL_HESSIAN = 50.0
MAX_WEIGHT = 5.0
# Where learning starts: the model as it is trained, with a little of everything else.
INITIAL_WEIGHTS = (1.0, 0.1, 0.1, 0.3, 1.0, 0.1)


class Merge:
    """Weights of ``ranking.FEATURES``, each between 0 and ``MAX_WEIGHT``, and the Hessian they are learned with."""

    def __init__(self) -> None:
        self.weights: NDArray[np.float64] = np.array(INITIAL_WEIGHTS)
        self.hessian: NDArray[np.float64] = INITIAL_HESSIAN * np.eye(len(FEATURES))

    def learn(self, features: NDArray[np.float64], target: int) -> None:
        """Take one step: ``features`` (n, 6) of the best candidates, ``target`` the position of the positive."""
        logits = features @ self.weights
        shares = np.exp(logits - logits.max())
        shares /= shares.sum()
        mean = shares @ features
        centred = features - mean
        covariance = centred.T @ (shares[:, None] * centred)
        self.hessian = HESSIAN_DECAY * self.hessian + covariance + DAMPING * np.eye(len(FEATURES))
        step = np.linalg.solve(self.hessian, features[target] - mean)
        self.weights = np.clip(self.weights + step, 0.0, MAX_WEIGHT)
