"""What the learning kernel works on: the memory of the tables, positives as columns, and what decides a step."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.model_settings import ModelSettings


class TableArrays(NamedTuple):
    """Embeddings p, q, c (capacity, d), item biases (capacity,), the head (d,), and accumulators (capacity,)."""

    users: NDArray[np.float32]
    items: NDArray[np.float32]
    contexts: NDArray[np.float32]
    biases: NDArray[np.float32]
    head: NDArray[np.float32]
    user_accumulators: NDArray[np.float32]
    item_accumulators: NDArray[np.float32]
    context_accumulators: NDArray[np.float32]


class PoolArrays(NamedTuple):
    """The newest positives of all users: rings (length,) int32 of item and user, and their total (1,) int64."""

    items: NDArray[np.int32]
    users: NDArray[np.int32]
    total: NDArray[np.int64]

    @classmethod
    def empty(cls, length: int) -> PoolArrays:
        """Return a pool that will keep so many."""
        return cls(np.zeros(length, np.int32), np.zeros(length, np.int32), np.zeros(1, np.int64))


class TouchedArrays(NamedTuple):
    """Rows changed since last asked: a mark per row, the marked rows in order, how many (users, items) there are."""

    user_marks: NDArray[np.uint8]
    item_marks: NDArray[np.uint8]
    users: NDArray[np.int32]
    items: NDArray[np.int32]
    sizes: NDArray[np.int64]


class Steps(NamedTuple):
    """What decides a step."""

    context_length: int
    context_decay: float
    negatives: int
    rate: float
    offset: float
    bias_rate: float
    l2: float

    @classmethod
    def of(cls, settings: ModelSettings) -> Steps:
        """Return the steps that these settings ask for."""
        return cls(
            context_length=settings.context_length,
            context_decay=settings.context_decay,
            negatives=settings.negatives,
            rate=settings.learning_rate,
            offset=settings.step_offset,
            bias_rate=settings.bias_rate,
            l2=settings.l2,
        )


class Positives(NamedTuple):
    """Positives, and rejections among them, in order of arrival, all (n,).

    ``strengths`` scale the step; a negative one marks a rejection. ``seeds`` uint64 decide the negatives;
    ``known_items`` int64: item rows there were when each arrived, its own included.
    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    strengths: NDArray[np.float32]
    seeds: NDArray[np.uint64]
    known_items: NDArray[np.int64]

    def only(self, which: NDArray[np.bool_]) -> Positives:
        """Return some of them, in order."""
        return Positives._make(column[which] for column in self)
