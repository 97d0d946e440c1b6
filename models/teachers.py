"""The items that teach the map from content to vectors: those the stream knows best, as they were at one moment.

Which moments is a function of the positives learned, and so are the teachers: they do not depend on when the catalogue
was read. What the map makes of them depends on the catalogue too; both at rest, it is the same after any crash.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.learner import Learner

# They bound the time and memory of learning the map: a dense system of so many equations is solved.
MOST_TEACHERS = 2_500
# Too few say nothing about any content.
FEWEST_TEACHERS = 10
# The map is learned anew when so many positives have been learned: powers of two from the first number on, then every
# multiple of the second.
FIRST_REFRESH, REFRESH_EVERY = 64, 16_384

Arrays = Mapping[str, NDArray[Any]]


class Teachers(NamedTuple):
    """``rows``: (n,) of the item table. ``vectors``: (n, 2 d + 1) item vector, bias, context. ``positives``: (n,)."""

    rows: NDArray[np.int64]
    vectors: NDArray[np.float32]
    positives: NDArray[np.int64]

    @classmethod
    def of(cls, learner: Learner) -> Teachers:
        """Return the items with most positives as they are now, fewer than ``MOST_TEACHERS``; copies."""
        counts = learner.popularity.counts(len(learner.items))
        rows = np.flatnonzero(counts)
        if len(rows) > MOST_TEACHERS:
            threshold = np.partition(counts[rows], len(rows) - MOST_TEACHERS)[len(rows) - MOST_TEACHERS]
            # Of those who have just as many, the ones that came first.
            rows = np.concatenate([np.flatnonzero(counts > threshold), np.flatnonzero(counts == threshold)])
            rows = rows[:MOST_TEACHERS]
        return cls(rows, content_columns(learner, rows), counts[rows].astype(np.int64))

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that a snapshot keeps."""
        return {f"teachers_{name}": array for name, array in self._asdict().items()}

    @classmethod
    def from_state(cls, arrays: Arrays) -> Teachers | None:
        """Return the teachers that gave this state; ``None`` when none did."""
        if "teachers_rows" not in arrays:
            return None
        return cls(*(arrays[f"teachers_{name}"] for name in cls._fields))


def content_columns(learner: Learner, rows: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
    """Return the numbers that content may say of these items, (n, 2 d + 1): item vector, bias, context embedding."""
    return np.hstack([learner.item_vectors(rows), learner.contexts(rows)])


def is_refresh(positives: int) -> bool:
    """Whether new teachers are chosen after so many learned positives."""
    if positives < REFRESH_EVERY:
        return positives >= FIRST_REFRESH and positives & (positives - 1) == 0
    return positives % REFRESH_EVERY == 0
