"""A learner as serving sees it when learned vectors arrive late: history and popularity at once, vectors in batches."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.embedding_table import EmbeddingTable
from models.learner import Learner


class PublishedVectors(Learner):
    """Shares the memories of a learner, but shows its vectors as they were at the last ``refresh``.

    Rows that came since are shown as they were when first asked for.
    """

    def __init__(self, learner: Learner) -> None:
        self.__dict__ = learner.__dict__.copy()  # the same tables, memories and vocabularies
        self._copies = [EmbeddingTable(table.dimension, 0) for table in self._tables()]
        self._bias_copy = np.zeros(0, np.float32)
        self._shown = [0, 0, 0]
        self.refresh()

    def refresh(self) -> None:
        """Show everything as it is now."""
        self._shown = [0, 0, 0]
        self._bias_copy = self._bias_copy[:0]
        self._show_new_rows()

    def user_embedding(self, user: int) -> NDArray[np.float32]:
        """Return a user's published embedding."""
        self._show_new_rows()
        return self._copies[0].weights[user].copy()

    def products(self, direction: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return head . (direction * q) of every item as published."""
        self._show_new_rows()
        return self._copies[1].products(self.head * direction, len(self.items))

    def contexts(self, rows: NDArray[np.integer[Any]] | slice) -> NDArray[np.float32]:
        """Return the published context embeddings of these items."""
        self._show_new_rows()
        return self._copies[2].weights[rows].copy()

    def biases(self) -> NDArray[np.float32]:
        """Return the published biases of all items."""
        self._show_new_rows()
        return self._bias_copy

    def _tables(self) -> tuple[EmbeddingTable, EmbeddingTable, EmbeddingTable]:
        return self.user_table, self.item_table, self.context_table

    def _show_new_rows(self) -> None:
        sizes = len(self.users), len(self.items), len(self.items)
        for position, (table, copy, size) in enumerate(zip(self._tables(), self._copies, sizes, strict=True)):
            new = slice(self._shown[position], size)
            copy.grow(size)
            copy.weights[new] = table.weights[new]
            self._shown[position] = size
        self._bias_copy = np.append(self._bias_copy, super().biases()[len(self._bias_copy) :])
