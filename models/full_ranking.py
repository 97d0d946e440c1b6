"""The ranking of all items for one user, as the evaluation needs it; serving reaches the same order by the index.

Which is exact, and why, is said in ``models.ranking``; a test compares the two.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import ranking
from models.learner import Learner


def candidates(learner: Learner, user: int | None) -> NDArray[np.bool_]:
    """Return which known items may be recommended, (size,): those he has neither consumed nor hidden."""
    allowed = np.ones(len(learner.items), dtype=bool)
    if user is not None:
        allowed[learner.seen(user)] = False
        allowed[learner.hidden(user)] = False
    return allowed


def rank_of(item: int, scores: NDArray[Any], allowed: NDArray[np.bool_]) -> int:
    """Return the rank of an allowed item among the allowed ones, 1 the best; ties lose."""
    return int(np.count_nonzero((scores >= scores[item]) & allowed))


def candidate_features(learner: Learner, user: int | None) -> NDArray[np.float32]:
    """Return ``ranking.FEATURES`` of every known item, (6, size) float32; ``None`` is someone never seen before."""
    settings, size = learner.settings, len(learner.items)
    features = np.zeros((len(ranking.FEATURES), size), dtype=np.float32)
    features[ranking.CONTEXT] = learner.biases()
    features[[ranking.POPULARITY_FAST, ranking.POPULARITY_SLOW]] = learner.popularity_columns().T
    if user is None:
        return features
    recent = learner.recent(user, max(settings.context_length, ranking.TRANSITION_LENGTH))
    in_context = recent[: settings.context_length]
    if len(in_context):
        decays = np.array(ranking.context_weights(len(in_context), settings.context_decay), dtype=np.float32)
        context = (decays[:, None] * learner.contexts(in_context)).sum(axis=0)
        features[ranking.CONTEXT] += learner.products(context)
    features[ranking.EMBEDDING] = learner.products(learner.user_embedding(user))
    t_all, t_last = learner.transitions.features(recent, size)
    # Only neighbours of recent items have transitions above zero: few logarithms are needed.
    neighbours = np.flatnonzero(t_all)
    features[ranking.TRANSITIONS, neighbours] = ranking.transition_feature(t_all[neighbours])
    features[ranking.TRANSITIONS_LAST, neighbours] = ranking.transition_feature(t_last[neighbours])
    return features


def best_rows(scores: NDArray[np.float32], allowed: NDArray[np.bool_], count: int) -> NDArray[np.intp]:
    """Return the positions of the best allowed scores, best first; equal ones in order of position."""
    rows = np.flatnonzero(allowed)
    values = scores[rows]
    if len(rows) > count:
        threshold = np.partition(values, len(rows) - count)[len(rows) - count]
        rows, values = rows[values >= threshold], values[values >= threshold]
    return rows[np.argsort(-values, kind="stable")][:count]
