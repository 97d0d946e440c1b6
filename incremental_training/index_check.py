"""A look through the real index: do searches there score as the trainer does?

A sample of the users scored last is searched for in one batched call; the largest difference between a score of the
index and the trainer's own is gauged. Rows learned since the last flush differ a little; a number that stays large says
that the index does not hold what was published.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from models.learner import Learner
from models.ranking import query_vector, recent_weights
from stores.ports import ItemIndexWriter, Query

HITS = 10


def largest_difference(learner: Learner, index: ItemIndexWriter, users: Iterable[int]) -> float | None:
    """Return the largest absolute difference of a score over the first ten hits of each of these user rows.

    ``None`` when nothing was found. Raises ``StoreUnavailable``, and ``ValueError`` when the index refuses the queries.
    """
    queries = [_query(learner, user) for user in users]
    found = index.search(queries)
    popularity = learner.popularity_columns()
    differences = []
    for query, candidates in zip(queries, found, strict=True):
        rows = [learner.items.row(item_id) for item_id in candidates.item_ids]
        known = np.array([row for row in rows if row is not None], dtype=np.int64)
        if len(known) == 0 or len(known) < len(rows):
            continue
        vector = query.vector.copy()
        recent = np.array([learner.items.row(item_id) for item_id in query.recent], dtype=np.int64)
        vector[: learner.settings.dimension] += np.array(query.recent_weights, np.float32) @ learner.contexts(recent)
        own = np.hstack([learner.item_vectors(known), popularity[known]]) @ vector
        differences.append(float(np.abs(own - candidates.scores).max()))
    return max(differences, default=None)


def _query(learner: Learner, user: int) -> Query:
    settings, merge_weights = learner.settings, learner.merge.weights.tolist()
    recent = learner.recent(user, settings.context_length).tolist()
    return Query(
        vector=query_vector(learner.user_embedding(user), merge_weights, settings.dimension),
        k=HITS,
        recent=[learner.items.id(row) for row in recent],
        recent_weights=recent_weights(len(recent), merge_weights, settings.context_decay),
    )
