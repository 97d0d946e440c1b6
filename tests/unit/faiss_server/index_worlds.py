"""Tables to search in tests: one with the structure that learning gives, one without any."""

from __future__ import annotations

import numpy as np

from stores.ports import ItemRows, Query, Vectors

D = 16


def learned_rows(count: int, seed: int = 0) -> ItemRows:
    """Items in fifty groups, with a bias and popularity as real ones have."""
    chance = np.random.default_rng(seed)
    centres = np.random.default_rng(1).normal(size=(50, D))
    items = centres[chance.integers(0, 50, count)] + chance.normal(0, 0.3, (count, D))
    popularity = np.column_stack([chance.normal(-9, 1, count)] * 2)
    return _rows(np.column_stack([items, chance.normal(0, 0.3, count)]), popularity)


def structureless_rows(count: int, seed: int = 0) -> ItemRows:
    """Items that are noise in every column."""
    chance = np.random.default_rng(seed)
    return _rows(chance.normal(size=(count, D + 1)), chance.normal(size=(count, 2)))


def user_queries(count: int, seed: int = 0) -> Vectors:
    """Queries of users who like one group each."""
    chance = np.random.default_rng(seed)
    centres = np.random.default_rng(1).normal(size=(50, D))
    users = centres[chance.integers(0, 50, count)] + chance.normal(0, 0.5, (count, D))
    return np.column_stack([users, np.ones(count), np.full((count, 2), 0.3)]).astype(np.float32)


def subset(rows: ItemRows, chosen: np.ndarray) -> ItemRows:
    """Some of these rows."""
    item_ids = [rows.item_ids[row] for row in chosen]
    return ItemRows(item_ids, rows.vectors[chosen], rows.contexts[chosen], rows.popularity[chosen])


def plain(vector: Vectors, k: int = 10) -> Query:
    """A query for the best k."""
    return Query(vector=vector, k=k)


def _rows(vectors: np.ndarray, popularity: np.ndarray) -> ItemRows:
    contexts = np.random.default_rng(2).normal(size=(len(vectors), D))
    item_ids = [f"i{row}" for row in range(len(vectors))]
    return ItemRows(item_ids, *(table.astype(np.float32) for table in (vectors, contexts, popularity)))
