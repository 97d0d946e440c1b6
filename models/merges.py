"""A merge for users with short histories, and one for those with long ones.

Measured on news, where most have read little, that is worth half a percent of all hits (docs/quality.md): of a short
history the user embedding and what is popular say more, on ratings they do not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.merge import Merge
from models.ranking import HISTORIES, history

# The merge of a history learns from every positive until it has learned from so many of its own.
OWN_ENOUGH = 200


class Merges:
    """A merge for each of ``ranking.HISTORIES``."""

    def __init__(self) -> None:
        self._merges = [Merge() for _ in HISTORIES]
        self._own = np.zeros(len(HISTORIES), np.int64)

    @property
    def weights(self) -> NDArray[np.float64]:
        """The weights that serve, by history, (3, 7)."""
        return np.stack([merge.weights for merge in self._merges])

    def of(self, positives: int) -> Merge:
        """Return the merge for a user with so many positives."""
        return self._merges[history(positives)]

    def learn(self, positives: int, features: NDArray[np.float64], target: int) -> None:
        """Take one step from a positive of a user with so many others; see ``Merge.learn``."""
        own = history(positives)
        for position, merge in enumerate(self._merges):
            if position == own or self._own[position] < OWN_ENOUGH:
                merge.learn(features, target)
        self._own[own] += 1

    def state(self) -> dict[str, NDArray[Any]]:
        """Return copies of all that is needed to go on, each array (3, ...)."""
        states = [merge.state() for merge in self._merges]
        return {name: np.stack([state[name] for state in states]) for name in states[0]} | {"own": self._own.copy()}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over a state."""
        self._own = np.array(state["own"])
        for position, merge in enumerate(self._merges):
            merge.restore({name: array[position] for name, array in state.items()})
