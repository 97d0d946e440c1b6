"""A look through the real index: do searches there score as the trainer does?

A sample of the users scored last is searched for in one batched call. The largest difference between a score of the
index and what the trainer would publish is gauged: rows learned since the last flush differ a little; a number that
stays large says that the index does not hold what was published. Beside it stands how far what is published, blended
with what content predicts, lies from the learned vectors alone, which are what the prequential evaluation ranks by.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from models.learner import Learner
from models.ranking import folded, query_vector, recent_weights
from stores.ports import ItemIndexWriter, ItemRows, Query, Vectors

HITS = 10


class Differences(NamedTuple):
    """Largest absolute differences of a score of the index: from what is published now, and from what is learned."""

    published: float
    learned: float


def largest_differences(
    learner: Learner,
    index: ItemIndexWriter,
    users: Iterable[int],
    published: Callable[[Sequence[str]], ItemRows],
) -> Differences | None:
    """Return the largest differences over the first ten hits of each of these user rows.

    ``published`` tells what the index is given of items. Returns ``None`` when nothing was found. Raises
    ``StoreUnavailable``, and ``ValueError`` when the index refuses the queries.
    """
    queries = [_query(learner, user) for user in users]
    differences = []
    for query, candidates in zip(queries, index.search(queries), strict=True):
        hits = candidates.item_ids
        if not hits:
            continue
        rows = published(hits)
        blended = np.hstack([rows.vectors, rows.popularity]) @ _folded(query, published(query.recent).contexts)
        known = [place for place, item_id in enumerate(hits) if item_id in learner.items]
        own = np.array([learner.items.row(hits[place]) for place in known], np.int64)
        recent = np.array([learner.items.row(item_id) for item_id in query.recent], np.int64)
        columns = np.hstack([learner.item_vectors(own), learner.popularity_columns()[own]])
        learned = columns @ _folded(query, learner.contexts(recent))
        differences.append(
            Differences(
                float(np.abs(blended - candidates.scores).max()),
                float(np.abs(learned - candidates.scores[known]).max(initial=0.0)),
            )
        )
    return Differences(*map(max, zip(*differences, strict=True))) if differences else None


def _folded(query: Query, contexts: Vectors) -> Vectors:
    vector = query.vector.copy()
    vector[: contexts.shape[1]] += np.array(query.recent_weights, np.float32) @ contexts
    return vector


def _query(learner: Learner, user: int) -> Query:
    settings = learner.settings
    merge_weights = learner.merges.of(learner.positives_of(user)).weights.tolist()
    recent = learner.recent(user, folded(settings.context_length)).tolist()
    return Query(
        vector=query_vector(learner.user_embedding(user), merge_weights, settings.dimension),
        k=HITS,
        recent=[learner.items.id(row) for row in recent],
        recent_weights=recent_weights(len(recent), merge_weights, settings.context_length, settings.context_decay),
    )
