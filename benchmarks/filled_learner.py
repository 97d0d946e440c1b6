"""A learner as it is after a long stream, without the stream: rows, histories and ids of as many as asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.learner import Learner
from models.learning_arrays import Positives
from models.model_settings import ModelSettings

# Positives that every user has had.
HISTORY = 10
# Edges that every item has: enough that no row's memory is new to the process.
EDGES = 10


def popular_rows(chance: np.random.Generator, size: int, shape: tuple[int, ...]) -> NDArray[np.int32]:
    """Return rows below ``size``, the n-th about as often as 1 / n: a few popular ones, and a long tail."""
    return np.minimum(size ** chance.random(shape, np.float32), size - 1).astype(np.int32)


def filled_learner(users: int, items: int, settings: ModelSettings, seed: int = 0) -> Learner:
    """Return a learner of so many rows, each with random embeddings, each user with ``HISTORY`` popular positives."""
    chance = np.random.default_rng(seed)
    arrays, facts = Learner(settings).state()
    scale = np.float32(settings.initial_scale)

    def embeddings(rows: int) -> NDArray[np.float32]:
        return chance.standard_normal((rows, settings.dimension), np.float32) * scale

    rings = np.zeros((users, arrays["recent_rings"].shape[1]), np.int32)
    rings[:, :HISTORY] = popular_rows(chance, items, (users, HISTORY))
    filled: dict[str, Any] = {
        "user_embeddings": embeddings(users),
        "item_embeddings": embeddings(items),
        "context_embeddings": embeddings(items),
        "recent_rings": rings,
        "recent_totals": np.full(users, HISTORY, np.int64),
        "seen_sizes": np.zeros(users, np.int64),
        "transition_degrees": np.full(items, EDGES, np.int32),
        "transition_visits": np.ones(items),
        "transition_neighbours": popular_rows(chance, items, (items * EDGES,)),
        "transition_weights": np.ones(items * EDGES, np.float32),
    }
    for name, array in arrays.items():
        if len(array) == 0 and name not in filled and not name.startswith("seen_"):
            rows = users if name.startswith("user") else items
            filled[name] = np.zeros((rows, *array.shape[1:]), array.dtype)
    facts |= {
        "user_ids": [f"u{row}" for row in range(users)],
        "item_ids": [f"i{row}" for row in range(items)],
        "user_capacity": users,
        "item_capacity": items,
    }
    return Learner.from_state(settings, arrays | filled, facts)


def some_positives(chance: np.random.Generator, learner: Learner, count: int) -> Positives:
    """Return positives of any users and of popular items, in columns that ``learner.learn`` takes."""
    users, items = len(learner.users), len(learner.items)
    return Positives(
        chance.integers(users, size=count, dtype=np.int32),
        popular_rows(chance, items, (count,)),
        np.ones(count, np.float32),
        chance.integers(2**63, size=count, dtype=np.uint64),
        np.full(count, items, np.int64),
    )
