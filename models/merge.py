"""The merge: how much each feature of a candidate counts, learned on line from the hardest candidates, and hedged.

Learned: one damped Newton step of a softmax over the best ranked candidates, for each positive that was among them.
Learning from positives far down the list, or from random candidates, spoils the top of the list.

Hedged: the learned weights compete with themselves without some features, with single features and with the weights
they started from; whichever ranked recent positives clearly better is what is served. So what is served is not worse
than its best part for long, also on a stream that has less structure than the model looks for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.ranking import EMBEDDING, FEATURES, POPULARITY_FAST, TRANSITIONS, TRANSITIONS_LAST

CANDIDATES = 50
HESSIAN_DECAY = 0.999
DAMPING = 0.05
INITIAL_HESSIAN = 50.0
MAX_WEIGHT = 5.0
# Where learning starts: the model as it is trained, with a little of everything else.
INITIAL_WEIGHTS = (1.0, 0.1, 0.1, 0.3, 1.0, 0.1)

CHOICES = ("learned", "without_p", "without_transitions", "context_without_p", "popularity", "transitions", "initial")
LEARNED = 0
# Rivals are compared over about 10,000 scored positives, and win by this many standard errors.
HEDGE_DECAY = 1 - 1 / 10_000
HEDGE_ERRORS = 2.0

Arrays = Mapping[str, NDArray[Any]]


class Merge:
    """Weights of ``ranking.FEATURES``, each between 0 and ``MAX_WEIGHT``."""

    def __init__(self) -> None:
        self.choice = LEARNED
        self._learned: NDArray[np.float64] = np.array(INITIAL_WEIGHTS)
        self._hessian: NDArray[np.float64] = INITIAL_HESSIAN * np.eye(len(FEATURES))
        # Decayed sums over scored positives: 1, then per choice its lead over the learned weights, and that squared.
        self._judged = 0.0
        self._leads = np.zeros((2, len(CHOICES)))

    @property
    def weights(self) -> NDArray[np.float64]:
        """The weights that serve, (6,)."""
        return self.choices()[self.choice]

    def choices(self) -> NDArray[np.float64]:
        """Return the weights of each of ``CHOICES``, (7, 6)."""
        choices = np.tile(self._learned, (len(CHOICES), 1))
        choices[1, EMBEDDING] = 0.0
        choices[2, [TRANSITIONS, TRANSITIONS_LAST]] = 0.0
        choices[3, [EMBEDDING, TRANSITIONS, TRANSITIONS_LAST]] = 0.0
        choices[4] = np.eye(len(FEATURES))[POPULARITY_FAST]
        choices[5] = np.eye(len(FEATURES))[TRANSITIONS]
        choices[6] = INITIAL_WEIGHTS
        return choices

    def learn(self, features: NDArray[np.float64], target: int) -> None:
        """Take one step: ``features`` (n, 6) of the best candidates, ``target`` the position of the positive."""
        logits = features @ self._learned
        shares = np.exp(logits - logits.max())
        shares /= shares.sum()
        mean = shares @ features
        centred = features - mean
        covariance = centred.T @ (shares[:, None] * centred)
        self._hessian = HESSIAN_DECAY * self._hessian + covariance + DAMPING * np.eye(len(FEATURES))
        step = np.linalg.solve(self._hessian, features[target] - mean)
        self._learned = np.clip(self._learned + step, 0.0, MAX_WEIGHT)

    def judge(self, gains: NDArray[np.float64]) -> None:
        """Take note of how well each choice ranked a positive, (7,) gains, and choose what serves from now on."""
        leads = gains - gains[LEARNED]
        self._judged = HEDGE_DECAY * self._judged + 1.0
        self._leads = HEDGE_DECAY * self._leads + np.stack([leads, leads**2])
        mean, square = self._leads / self._judged
        error = np.sqrt(square / self._judged)
        self.choice = int(np.argmax(np.where(mean > HEDGE_ERRORS * error, mean, 0.0)))

    def state(self) -> dict[str, NDArray[Any]]:
        """Return copies of all that is needed to go on."""
        return {
            "learned": self._learned.copy(),
            "hessian": self._hessian.copy(),
            "judged": np.array([self._judged, self.choice]),
            "leads": self._leads.copy(),
        }

    def restore(self, state: Arrays) -> None:
        """Take over a state."""
        self._learned = np.array(state["learned"])
        self._hessian = np.array(state["hessian"])
        self._judged, self.choice = float(state["judged"][0]), int(state["judged"][1])
        self._leads = np.array(state["leads"])
