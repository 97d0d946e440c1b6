"""The ranking of all items for one user, as the evaluation needs it; serving reaches the same order by the index.

Which is exact, and why, is said in ``models.ranking``; a test compares the two.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import ranking
from models.learner import Learner
from models.scoring_kernel import all_features, rank_among


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
    """Return ``ranking.FEATURES`` of every known item, (7, size) float32; ``None`` is someone never seen before."""
    settings, size = learner.settings, len(learner.items)
    features = np.zeros((len(ranking.FEATURES), size), dtype=np.float32)
    if not size:
        return features
    if user is None:
        embedding, recent = np.zeros(settings.dimension, np.float32), np.zeros(0, np.int32)
    else:
        embedding = learner.user_table.weights[user]
        recent = learner.recent(user)
    all_features(
        (learner.head, learner.context_table.weights, learner.item_table.weights, learner.biases()),
        embedding,
        recent[: ranking.folded(settings.context_length)],
        settings.context_length,
        settings.context_decay,
        learner.popularity.shares(),
        learner.transitions.memory(),
        recent[: ranking.TRANSITION_LENGTH],
        ranking.TRANSITION_DECAY,
        ranking.TRANSITION_SCALE,
        tuple(features),
    )
    return features
