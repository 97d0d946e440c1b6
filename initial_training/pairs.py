"""What initial training learns from: the positives of a history, each pair of user and item once, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models.events import PositiveRule
from models.learner import Learner
from models.prequential import Positive
from stores.history import History


@dataclass(frozen=True)
class Pairs:
    """Positives in columns; ``users`` and ``items`` are (n,) int32 positions in the lists of ids.

    ``numbers``: (n,) place in the whole history, which names the event and so decides its negatives.
    """

    user_ids: Sequence[str]
    item_ids: Sequence[str]
    users: NDArray[np.int32]
    items: NDArray[np.int32]
    strengths: NDArray[np.float32]
    numbers: NDArray[np.int64]

    @classmethod
    def of(cls, history: History, rule: PositiveRule) -> Pairs:
        """Return the positives of a history; a pair counts where it occurs first."""
        strengths = history.strengths(rule)
        positives = np.flatnonzero(strengths)
        keys = history.users[positives].astype(np.int64) * len(history.item_ids) + history.items[positives]
        first = np.sort(np.unique(keys, return_index=True)[1])
        numbers = positives[first]
        return cls(
            history.user_ids,
            history.item_ids,
            history.users[numbers],
            history.items[numbers],
            strengths[numbers],
            numbers.astype(np.int64),
        )

    def __len__(self) -> int:
        return len(self.users)

    def __iter__(self) -> Iterator[Positive]:
        for user, item, strength, number in zip(
            self.users.tolist(), self.items.tolist(), self.strengths.tolist(), self.numbers.tolist(), strict=True
        ):
            yield Positive(self.user_ids[user], self.item_ids[item], strength, f"history:{number}")

    def take(self, which: NDArray[np.integer] | slice) -> Pairs:
        """Return some of the pairs, in the order asked for."""
        return replace(
            self,
            users=self.users[which],
            items=self.items[which],
            strengths=self.strengths[which],
            numbers=self.numbers[which],
        )

    def split(self, share: float) -> tuple[Pairs, Pairs]:
        """Return the first ``share`` (0 to 1) of the pairs and the rest."""
        cut = round(share * len(self))
        return self.take(slice(0, cut)), self.take(slice(cut, None))

    def rows(self, learner: Learner) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Return the learner's rows of users and items, (n,) each; ``TypeError`` for one that it does not know."""
        return (
            _rows_of(self.users, self.user_ids, learner.users.row),
            _rows_of(self.items, self.item_ids, learner.items.row),
        )

    def shuffled(self, seed: int) -> Pairs:
        """Return the pairs in random order."""
        return self.take(np.random.default_rng(seed).permutation(len(self)))


def _rows_of(positions: NDArray[np.int32], ids: Sequence[str], row: Callable[[str], int | None]) -> NDArray[np.int32]:
    found, inverse = np.unique(positions, return_inverse=True)
    return np.array([row(ids[position]) for position in found.tolist()], dtype=np.int32)[inverse]
