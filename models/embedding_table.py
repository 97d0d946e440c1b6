"""Tables of embeddings: growable PyTorch tensors, with the accumulators of row-wise Adagrad beside them."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray

from models.growable_array import GrowableArray


class EmbeddingTable:
    """Embeddings of one side, float32 (capacity, dimension), and one accumulator per row.

    ``weights`` and ``accumulators`` share memory with ``tensor()``: what the kernel writes, PyTorch sees, and the other
    way round. Rows never move and growing changes none of them.
    """

    def __init__(self, dimension: int, capacity: int) -> None:
        self.dimension = dimension
        self._weights = GrowableArray(capacity, (dimension,), np.float32)
        self._accumulators = GrowableArray(capacity, (), np.float32)

    @property
    def weights(self) -> NDArray[np.float32]:
        """(capacity, dimension) float32; rows beyond the size are zero."""
        return self._weights.rows

    @property
    def accumulators(self) -> NDArray[np.float32]:
        """(capacity,) float32, sum of mean squared gradients of each row."""
        return self._accumulators.rows

    @property
    def capacity(self) -> int:
        """Rows allocated."""
        return self._weights.capacity

    def tensor(self) -> torch.Tensor:
        """Return the weights as a tensor on the same memory; take it again after growing to see the new rows."""
        return torch.from_numpy(self.weights)

    def grow(self, capacity: int) -> None:
        """Raise the capacity. Safe to repeat."""
        self._weights.grow(capacity)
        self._accumulators.grow(capacity)


def initial_row(seed: int, side: str, item_id: str, dimension: int, scale: float) -> NDArray[np.float32]:
    """Return the embedding that a new id starts from, (dimension,) float32, normal with this standard deviation.

    It depends on these arguments only, so learning again after a crash meets the same rows in any order.
    """
    key = hashlib.blake2b(f"{seed}\0{side}\0{item_id}".encode(), digest_size=16).digest()
    generator = np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))
    return generator.standard_normal(dimension, dtype=np.float32) * np.float32(scale)
