"""A learner as serving sees it when learned vectors arrive late: history and popularity at once, vectors in batches."""

from __future__ import annotations

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
        self._originals = learner.user_table, learner.item_table, learner.context_table
        self._copies = [EmbeddingTable(table.dimension, 0) for table in self._originals]
        self._bias_copy = np.zeros(0, np.float32)
        self.refresh()

    def refresh(self) -> None:
        """Show everything as it is now."""
        self._shown = [0, 0, 0]
        self._bias_copy = self._bias_copy[:0]
        self._show_new_rows()

    # Whoever ranks reads tables and biases; these stand before the attributes of the learner that was copied.

    @property
    def user_table(self) -> EmbeddingTable:
        """User embeddings as published."""
        return self._show_new_rows()[0]

    @property
    def item_table(self) -> EmbeddingTable:
        """Item embeddings as published."""
        return self._show_new_rows()[1]

    @property
    def context_table(self) -> EmbeddingTable:
        """Context embeddings as published."""
        return self._show_new_rows()[2]

    def biases(self) -> NDArray[np.float32]:
        """Return the published biases of all items."""
        self._show_new_rows()
        return self._bias_copy

    def _show_new_rows(self) -> list[EmbeddingTable]:
        sizes = len(self.users), len(self.items), len(self.items)
        for position, (table, copy, size) in enumerate(zip(self._originals, self._copies, sizes, strict=True)):
            new = slice(self._shown[position], size)
            copy.grow(size)
            copy.weights[new] = table.weights[new]
            self._shown[position] = size
        self._bias_copy = np.append(self._bias_copy, super().biases()[len(self._bias_copy) :])
        return self._copies
