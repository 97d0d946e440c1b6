"""The ranking of all items for one user, as the evaluation needs it; serving reaches the same order by the index.

Which is exact, and why, is said in ``models.ranking``; a test compares the two.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import ranking
from models.learner import Learner
from models.scoring_kernel import model_features, rank_among, transition_features


def candidates(learner: Learner, user: int | None) -> NDArray[np.bool_]:
    """Return which known items may be recommended, (size,): those he has neither consumed nor hidden."""
    allowed = np.ones(len(learner.items), dtype=bool)
    if user is not None:
        allowed[learner.seen(user)] = False
        if hidden := learner.hidden(user):
            allowed[hidden] = False
    return allowed


def rank_of(item: int, scores: NDArray[Any], allowed: NDArray[np.bool_]) -> int:
    """Return the rank of an allowed item among the allowed ones, 1 the best; ties lose."""
    return rank_among(scores, allowed, item)


def candidate_features(learner: Learner, user: int | None) -> NDArray[np.float32]:
    """Return ``ranking.FEATURES`` of every known item, (6, size) float32; ``None`` is someone never seen before."""
    settings, size = learner.settings, len(learner.items)
    features = np.zeros((len(ranking.FEATURES), size), dtype=np.float32)
    features[ranking.CONTEXT] = learner.biases()
    learner.popularity.columns_into(features[ranking.POPULARITY_FAST : ranking.POPULARITY_SLOW + 1])
    if user is None:
        return features
    recent = learner.recent(user, max(settings.context_length, ranking.TRANSITION_LENGTH))
    model_features(
        learner.user_table.weights[user],
        recent[: settings.context_length],
        settings.context_decay,
        learner.head,
        learner.context_table.weights,
        learner.item_table.weights,
        features[ranking.CONTEXT],
        features[ranking.EMBEDDING],
    )
    of_all, of_last = features[ranking.TRANSITIONS], features[ranking.TRANSITIONS_LAST]
    learner.transitions.add_weights(recent[: ranking.TRANSITION_LENGTH], of_all, of_last)
    transition_features(of_all, ranking.TRANSITION_SCALE)
    transition_features(of_last, ranking.TRANSITION_SCALE)
    return features
