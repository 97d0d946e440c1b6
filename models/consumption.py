"""What each user has consumed and rejected, in order, bounded: it must never be recommended to him again."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

SEEN_KEPT = 10_000


class Consumption:
    """Per user row, the item rows he consumed and those he hid; beyond ``SEEN_KEPT`` the oldest are forgotten."""

    def __init__(self) -> None:
        # Insertion-ordered, one per user row: item row → whether it was learned as a positive.
        self._seen: list[dict[int, bool]] = []
        self._hidden: dict[int, dict[int, bool]] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def add_user(self) -> None:
        """Make room for the next user row."""
        self._seen.append({})

    def has_seen(self, user: int, item: int) -> bool:
        """Whether the user has consumed the item, as far as is remembered."""
        return item in self._seen[user]

    def has_learned(self, user: int, item: int) -> bool:
        """Whether the user consumed the item as a positive, as far as is remembered: a pair is learned once."""
        return self._seen[user].get(item, False)

    def mark_seen(self, user: int, item: int, learned: bool) -> None:
        """Remember that the user consumed the item. Safe to repeat."""
        seen = self._seen[user]
        _remember(seen, item, learned or seen.get(item, False))

    def hide(self, user: int, item: int) -> None:
        """Remember that the user rejected the item. Safe to repeat."""
        _remember(self._hidden.setdefault(user, {}), item, True)

    def has_hidden(self, user: int, item: int) -> bool:
        """Whether the user rejected the item, as far as is remembered."""
        return item in self._hidden.get(user, ())

    def forget(self, user: int) -> None:
        """Forget everything of a user. Safe to repeat."""
        self._seen[user] = {}
        self._hidden.pop(user, None)

    def seen(self, user: int) -> list[int]:
        """Return the item rows a user has consumed, oldest first."""
        return list(self._seen[user])

    def hidden(self, user: int) -> list[int]:
        """Return the item rows a user has rejected, oldest first."""
        return list(self._hidden.get(user, ()))

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, list[int]]]:
        """Return copies of what was consumed, as arrays user after user, and of what was hidden, by user row."""
        sizes = np.fromiter(map(len, self._seen), np.int64, len(self._seen))
        total = int(sizes.sum())
        arrays: dict[str, NDArray[Any]] = {
            "sizes": sizes,
            "items": np.fromiter(chain.from_iterable(self._seen), np.int32, total),
            "learned": np.fromiter(chain.from_iterable(seen.values() for seen in self._seen), np.bool_, total),
        }
        return arrays, {str(user): list(items) for user, items in self._hidden.items()}

    def restore(self, arrays: Mapping[str, NDArray[Any]], hidden: Mapping[str, list[int]]) -> None:
        """Take over a state."""
        ends = np.cumsum(arrays["sizes"]).tolist()
        seen = list(zip(arrays["items"].tolist(), arrays["learned"].tolist(), strict=True))
        self._seen = [dict(seen[start:end]) for start, end in zip([0, *ends], ends, strict=False)]
        self._hidden = {int(user): dict.fromkeys(items, True) for user, items in hidden.items()}


def _remember(items: dict[int, bool], item: int, learned: bool) -> None:
    items[item] = learned
    if len(items) > SEEN_KEPT:
        del items[next(iter(items))]
