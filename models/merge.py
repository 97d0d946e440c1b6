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

from models.compiled import compiled
from models.ranking import EMBEDDING, FEATURES, POPULARITY_FAST, TRANSITIONS, TRANSITIONS_LAST

CANDIDATES = 50
HESSIAN_DECAY = 0.999
DAMPING = 0.05
INITIAL_HESSIAN = 50.0
MAX_WEIGHT = 5.0
# Where learning starts: the model as it is trained, with a little of everything else.
INITIAL_WEIGHTS = (1.0, 0.1, 0.1, 0.3, 1.0, 0.1, 0.1)

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
        self._choices = _choices_of(self._learned)
        self._hessian: NDArray[np.float64] = INITIAL_HESSIAN * np.eye(len(FEATURES))
        # Decayed sums over scored positives: 1, then per choice its lead over the learned weights, and that squared.
        self._judged = 0.0
        self._leads = np.zeros((2, len(CHOICES)))

    @property
    def weights(self) -> NDArray[np.float64]:
        """The weights that serve, (7,)."""
        return self._choices[self.choice]

    def choices(self) -> NDArray[np.float64]:
        """Return the weights of each of ``CHOICES``, (7, 7). Do not change it."""
        return self._choices

    def learn(self, features: NDArray[np.float64], target: int) -> None:
        """Take one step: ``features`` (n, 7) of the best candidates, ``target`` the position of the positive."""
        _newton_step(features, target, self._learned, self._hessian)
        self._choices = _choices_of(self._learned)

    def judge(self, gains: NDArray[np.float64]) -> None:
        """Take note of how well each choice ranked a positive, (7,) gains, and choose what serves from now on."""
        self._judged = HEDGE_DECAY * self._judged + 1.0
        self.choice = _clearly_best(gains, self._judged, self._leads)

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
        self._choices = _choices_of(self._learned)
        self._hessian = np.array(state["hessian"])
        self._judged, self.choice = float(state["judged"][0]), int(state["judged"][1])
        self._leads = np.array(state["leads"])


def _rivals() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what each of ``CHOICES`` multiplies the learned weights by, and what it adds: (7, 7) each."""
    kept, added = np.zeros((2, len(CHOICES), len(FEATURES)))
    kept[:4] = 1.0
    kept[1, EMBEDDING] = 0.0
    kept[2, [TRANSITIONS, TRANSITIONS_LAST]] = 0.0
    kept[3, [EMBEDDING, TRANSITIONS, TRANSITIONS_LAST]] = 0.0
    added[4, POPULARITY_FAST] = 1.0
    added[5, TRANSITIONS] = 1.0
    added[6] = INITIAL_WEIGHTS
    return kept, added


_KEPT, _ADDED = _rivals()


def _choices_of(learned: NDArray[np.float64]) -> NDArray[np.float64]:
    choices: NDArray[np.float64] = _KEPT * learned + _ADDED
    return choices


@compiled
def _newton_step(
    features: NDArray[np.float64], target: int, weights: NDArray[np.float64], hessian: NDArray[np.float64]
) -> None:
    """Move the weights (f,) and their Hessian (f, f), which is symmetric and positive definite, in place.

    Compiled, and with a Cholesky factorisation of its own: for seven weights NumPy needs forty times as long.
    """
    n, f = features.shape
    shares = np.zeros(n)
    for row in range(n):
        for a in range(f):
            shares[row] += features[row, a] * weights[a]
    highest = shares.max()
    total = 0.0
    for row in range(n):
        shares[row] = np.exp(shares[row] - highest)
        total += shares[row]
    mean = np.zeros(f)
    for row in range(n):
        shares[row] /= total
        for a in range(f):
            mean[a] += shares[row] * features[row, a]
    for a in range(f):
        for b in range(a + 1):
            covariance = 0.0
            for row in range(n):
                covariance += shares[row] * (features[row, a] - mean[a]) * (features[row, b] - mean[b])
            hessian[a, b] = HESSIAN_DECAY * hessian[a, b] + covariance
            hessian[b, a] = hessian[a, b]
        hessian[a, a] += DAMPING
    root = np.zeros((f, f))
    step = np.zeros(f)
    for a in range(f):
        for b in range(a + 1):
            rest = hessian[a, b]
            for c in range(b):
                rest -= root[a, c] * root[b, c]
            root[a, b] = np.sqrt(rest) if a == b else rest / root[b, b]
        rest = features[target, a] - mean[a]
        for c in range(a):
            rest -= root[a, c] * step[c]
        step[a] = rest / root[a, a]
    for a in range(f - 1, -1, -1):
        for c in range(a + 1, f):
            step[a] -= root[c, a] * step[c]
        step[a] /= root[a, a]
    for a in range(f):
        weights[a] = min(max(weights[a] + step[a], 0.0), MAX_WEIGHT)


@compiled
def _clearly_best(gains: NDArray[np.float64], judged: float, leads: NDArray[np.float64]) -> int:
    """Add the gains to ``leads`` (2, choices); return the choice with the best mean lead that is clearly one."""
    best, best_mean = LEARNED, 0.0
    for choice in range(len(gains)):
        lead = gains[choice] - gains[LEARNED]
        leads[0, choice] = HEDGE_DECAY * leads[0, choice] + lead
        leads[1, choice] = HEDGE_DECAY * leads[1, choice] + lead * lead
        mean = leads[0, choice] / judged
        if mean > best_mean and mean > HEDGE_ERRORS * np.sqrt(leads[1, choice] / judged / judged):
            best, best_mean = choice, mean
    return best
