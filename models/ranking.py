"""The one ranking: what serving answers with and what the prequential evaluation measures.

A candidate's score is linear in seven features, their weights learned on line, for users with short and with long
histories apart (``models.merge``)::

    score = w0 (context . q + bias) + w6 (context_long . q) + w4 (p . q)
          + w1 log popularity_fast + w2 log popularity_slow                    one inner product
          + w3 log(1 + t_all / .01) + w5 log(1 + t_last / .01)                 re-rank

The context is made of the newest positives, the older ones decayed; the long context is the mean of those beyond it.
All but the last line is one inner product, which the index searches; the last is zero for every item that is no
neighbour of a recent item. Weights and transitions are never negative, so an item that is no neighbour and is beaten by
k others on the inner product is beaten by them on both. Hence the best k of

    (the best k by inner product)  united with  (all neighbours of the recent items)

are EXACTLY the best k of all items: the index adds the second line (``Query.lifts``) for those that serving names.

Ids may be ``str`` (serving) or int rows (the trainer). Recent items are always given NEWEST FIRST here.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

FEATURES = (
    "context",
    "popularity_fast",
    "popularity_slow",
    "transitions",
    "embedding",
    "transitions_last",
    "context_long",
)
CONTEXT, POPULARITY_FAST, POPULARITY_SLOW, TRANSITIONS, EMBEDDING, TRANSITIONS_LAST, CONTEXT_LONG = range(7)

# Users with so many positives at most are ranked for by weights of their own: of a short history each positive says
# more, and popularity too. The rest have the last weights.
SHORT_HISTORIES = (1, 5)
HISTORIES = ("to_1", "to_5", "longer")

# So many recent items are folded into a query, those beyond the context as the long context.
FOLDED = 50

# Only so many recent items lead to neighbours; the k-th of them (newest first) counts TRANSITION_DECAY ** k.
TRANSITION_LENGTH = 20
TRANSITION_DECAY = 0.9
# Transitions this strong count as much as the difference between one and none: log(1 + t / scale).
TRANSITION_SCALE = 0.01

Floats = NDArray[np.floating[Any]]


class _Id(Hashable, Protocol):
    def __lt__(self, other: Any, /) -> bool: ...


Id = TypeVar("Id", bound=_Id)


def history(positives: int) -> int:
    """Return the position in ``HISTORIES`` of a user with so many positives."""
    return bisect_left(SHORT_HISTORIES, positives)


def query_vector(
    embedding: NDArray[np.float32] | None, merge_weights: Sequence[float], dimension: int
) -> NDArray[np.float32]:
    """Return what the index searches with, before it folds recent items in.

    ``embedding``: (dimension,) float32, or ``None`` for a user without one. Returns (dimension + 3,) float32: the
    embedding at its weight, then the weights of bias, fast and slow popularity.
    """
    query = np.zeros(dimension + 3, dtype=np.float32)
    if embedding is not None:
        query[:dimension] = np.float32(merge_weights[EMBEDDING]) * embedding
    query[dimension] = merge_weights[CONTEXT]
    query[dimension + 1] = merge_weights[POPULARITY_FAST]
    query[dimension + 2] = merge_weights[POPULARITY_SLOW]
    return query


def context_weights(count: int, context_decay: float) -> list[float]:
    """Return what each of ``count`` recent items, newest first, counts in the context."""
    return [context_decay**k for k in range(count)]


def folded(context_length: int) -> int:
    """Return how many recent items are folded into a query: none where the model has no context."""
    return FOLDED if context_length else 0


def recent_weights(
    count: int, merge_weights: Sequence[float], context_length: int, context_decay: float
) -> list[float]:
    """Return the weights at which ``count`` recent items, newest first, at most ``FOLDED``, are folded into a query."""
    beyond = max(0, count - context_length)
    near = [float(merge_weights[CONTEXT]) * weight for weight in context_weights(count - beyond, context_decay)]
    return near + beyond * [float(merge_weights[CONTEXT_LONG]) / max(1, beyond)]


def transitions(recent: Sequence[Id], edges: Mapping[Id, Sequence[tuple[Id, float]]]) -> dict[Id, tuple[float, float]]:
    """Return (t_all, t_last) of every neighbour of the recent items.

    ``recent``: newest first; those beyond ``TRANSITION_LENGTH`` do not count. ``edges``: neighbours and weights by
    item; items without edges may be missing. t_all sums weights over recent items, decayed; t_last is the newest's.
    """
    found: dict[Id, tuple[float, float]] = {}
    decay = 1.0
    for position, item in enumerate(recent[:TRANSITION_LENGTH]):
        for neighbour, weight in edges.get(item, ()):
            t_all, t_last = found.get(neighbour, (0.0, 0.0))
            found[neighbour] = (t_all + decay * weight, weight if position == 0 else t_last)
        decay *= TRANSITION_DECAY
    return found


def transition_feature(t: Floats) -> Floats:
    """Return log(1 + t / scale), elementwise."""
    return np.log1p(t / TRANSITION_SCALE)


def lifts(of_all: Floats, of_last: Floats, merge_weights: Sequence[float]) -> Floats:
    """Return what each candidate's transitions add to its score, (n,), from its two transition features, all (n,)."""
    return merge_weights[TRANSITIONS] * of_all + merge_weights[TRANSITIONS_LAST] * of_last


def top(ids: Sequence[Id], scores: Floats, k: int) -> list[tuple[Id, float]]:
    """Return the best k candidates with their scores, best first; equal scores in order of id."""
    values = np.asarray(scores)
    if k <= 0 or len(ids) == 0:
        return []
    if len(ids) > k:
        threshold = np.partition(values, len(ids) - k)[len(ids) - k]
        kept = np.flatnonzero(values >= threshold).tolist()
    else:
        kept = list(range(len(ids)))
    ordered = sorted((-float(values[position]), ids[position]) for position in kept)
    return [(item, -negative) for negative, item in ordered[:k]]
