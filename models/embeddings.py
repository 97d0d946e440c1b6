"""The learned numbers: embeddings of users and items, context embeddings, item biases, and the frozen head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.embedding_table import EmbeddingTable, initial_row
from models.growable_array import GrowableArray
from models.learning_arrays import TableArrays


class Embeddings:
    """Three tables p, q, c with item biases, growing by sides; a row that nobody started is zero."""

    def __init__(self, dimension: int, user_capacity: int, item_capacity: int) -> None:
        self.head: NDArray[np.float32] = np.ones(dimension, dtype=np.float32)
        self.users = EmbeddingTable(dimension, user_capacity)
        self.items = EmbeddingTable(dimension, item_capacity)
        self.contexts = EmbeddingTable(dimension, item_capacity)
        self._biases = GrowableArray(item_capacity, (), np.float32)
        self._arrays = self._rows()

    def grow_users(self, capacity: int) -> None:
        """Raise the capacity for users. Safe to repeat."""
        self.users.grow(capacity)
        self._arrays = self._rows()

    def grow_items(self, capacity: int) -> None:
        """Raise the capacity for items. Safe to repeat."""
        for grows in (self.items, self.contexts, self._biases):
            grows.grow(capacity)
        self._arrays = self._rows()

    def start_item(self, row: int, item_id: str, seed: int, scale: float) -> None:
        """Give an item the embeddings it starts from, functions of its id. Safe to repeat before it is learned."""
        d = self.items.dimension
        self.items.weights[row] = initial_row(seed, "item", item_id, d, scale)
        self.contexts.weights[row] = initial_row(seed, "context", item_id, d, scale)

    def forget_user(self, row: int) -> None:
        """Let a user's row be as nobody's. Safe to repeat."""
        self.users.weights[row] = 0.0
        self.users.accumulators[row] = 0.0

    def arrays(self) -> TableArrays:
        """Return what the kernel works on; take it again after growing."""
        return self._arrays

    def _rows(self) -> TableArrays:
        return TableArrays(
            self.users.weights,
            self.items.weights,
            self.contexts.weights,
            self._biases.rows,
            self.head,
            self.users.accumulators,
            self.items.accumulators,
            self.contexts.accumulators,
        )

    def biases(self, size: int) -> NDArray[np.float32]:
        """Return the biases of the first ``size`` items; a view."""
        return self._biases.rows[:size]

    def item_vectors(self, rows: NDArray[np.integer[Any]] | slice) -> NDArray[np.float32]:
        """Return what the index holds for these items, (n, d + 1): head * embedding, then bias."""
        return np.hstack([self.items.weights[rows] * self.head, self._biases.rows[rows, None]])

    def state(self, users: int, items: int) -> dict[str, NDArray[Any]]:
        """Return copies of all that is needed to go on."""
        return {
            "head": self.head.copy(),
            "user_embeddings": self.users.weights[:users].copy(),
            "user_accumulators": self.users.accumulators[:users].copy(),
            "item_embeddings": self.items.weights[:items].copy(),
            "item_accumulators": self.items.accumulators[:items].copy(),
            "context_embeddings": self.contexts.weights[:items].copy(),
            "context_accumulators": self.contexts.accumulators[:items].copy(),
            "item_biases": self.biases(items).copy(),
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over a state; the capacity must suffice."""
        self.head[:] = arrays["head"]
        for table, name in ((self.users, "user"), (self.items, "item"), (self.contexts, "context")):
            size = len(arrays[f"{name}_embeddings"])
            table.weights[:size] = arrays[f"{name}_embeddings"]
            table.accumulators[:size] = arrays[f"{name}_accumulators"]
        self._biases.rows[: len(arrays["item_biases"])] = arrays["item_biases"]
