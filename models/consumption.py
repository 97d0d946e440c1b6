"""What each user has consumed and rejected, in order, bounded: it must never be recommended to him again."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

SEEN_KEPT = 10_000


class _AtRest:
    """What users consumed, in arrays that never change: ``sizes`` (users,), then pair after pair, in order."""

    def __init__(self, sizes: NDArray[np.int64], items: NDArray[np.int32], learned: NDArray[np.bool_]) -> None:
        self._sizes, self._items, self._learned = sizes, items, learned
        self._ends = np.cumsum(sizes)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by name."""
        return {"sizes": self._sizes, "items": self._items, "learned": self._learned}

    def of(self, user: int) -> dict[int, bool]:
        """Return what a user consumed; nothing for a user who has come since."""
        if user >= len(self._sizes):
            return {}
        end = self._ends[user]
        pairs = slice(end - self._sizes[user], end)
        return dict(zip(self._items[pairs].tolist(), self._learned[pairs].tolist(), strict=True))

    def joined_by(self, awake: Mapping[int, Mapping[int, bool]], size: int) -> _AtRest:
        """Return this with so many users, those ``awake`` as they are now."""
        rows = np.array(sorted(awake), np.int64)
        lengths = np.array([len(awake[row]) for row in rows.tolist()], np.int64)
        sizes = np.zeros(size, np.int64)
        sizes[: len(self._sizes)] = self._sizes
        # Where the pairs of those awake lay, and where they lie among all pairs of those awake.
        ends = np.append(self._ends, np.full(size - len(self._ends), len(self._items)))[rows]
        before = np.stack([ends - sizes[rows], ends], axis=1)
        now = np.stack([np.cumsum(lengths) - lengths, np.cumsum(lengths)], axis=1)
        sizes[rows] = lengths
        came = int(lengths.sum())
        items = np.fromiter(chain.from_iterable(awake[row] for row in rows.tolist()), np.int32, came)
        learned = np.fromiter(chain.from_iterable(awake[row].values() for row in rows.tolist()), np.bool_, came)
        return _AtRest(
            sizes, _replaced(self._items, before, items, now), _replaced(self._learned, before, learned, now)
        )


def _replaced(
    array: NDArray[Any], before: NDArray[np.int64], other: NDArray[Any], now: NDArray[np.int64]
) -> NDArray[Any]:
    """Return an array with the pieces ``before``, (n, 2) bounds in order, replaced by the pieces ``now`` of another."""
    pieces, at = [], 0
    for (start, end), (first, last) in zip(before.tolist(), now.tolist(), strict=True):
        pieces += [array[at:start], other[first:last]]
        at = end
    return np.concatenate([*pieces, array[at:]])


class Consumption:
    """Per user row, the item rows he consumed and those he hid; beyond ``SEEN_KEPT`` the oldest are forgotten.

    Most users of a large site are away. What they consumed lies in arrays, user after user, 5 bytes a pair; only of
    users with an event since the last ``state`` or ``restore`` it is held in dictionaries, at some 100 bytes a pair.
    """

    def __init__(self) -> None:
        self._size = 0
        self._at_rest = _AtRest(np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0, np.bool_))
        # Insertion-ordered, by user row: item row → whether it was learned as a positive.
        self._seen: dict[int, dict[int, bool]] = {}
        self._hidden: dict[int, dict[int, bool]] = {}

    def __len__(self) -> int:
        return self._size

    def add_user(self) -> None:
        """Make room for the next user row."""
        self._size += 1

    def has_seen(self, user: int, item: int) -> bool:
        """Whether the user has consumed the item, as far as is remembered."""
        return item in self._of(user)

    def has_learned(self, user: int, item: int) -> bool:
        """Whether the user consumed the item as a positive, as far as is remembered: a pair is learned once."""
        return self._of(user).get(item, False)

    def mark_seen(self, user: int, item: int, learned: bool) -> None:
        """Remember that the user consumed the item. Safe to repeat."""
        seen = self._of(user)
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
        return list(self._of(user))

    def hidden(self, user: int) -> list[int]:
        """Return the item rows a user has rejected, oldest first."""
        return list(self._hidden.get(user, ()))

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, list[int]]]:
        """Return what was consumed, as arrays user after user that nobody changes, and what was hidden, by user row.

        All users are at rest from then on, in these arrays.
        """
        self._at_rest = self._at_rest.joined_by(self._seen, self._size)
        self._seen = {}
        return self._at_rest.arrays(), {str(user): list(items) for user, items in self._hidden.items()}

    def restore(self, arrays: Mapping[str, NDArray[Any]], hidden: Mapping[str, list[int]]) -> None:
        """Take over a state."""
        self._size = len(arrays["sizes"])
        self._at_rest = _AtRest(arrays["sizes"], arrays["items"], arrays["learned"])
        self._seen = {}
        self._hidden = {int(user): dict.fromkeys(items, True) for user, items in hidden.items()}

    def _of(self, user: int) -> dict[int, bool]:
        seen = self._seen.get(user)
        if seen is None:
            seen = self._seen[user] = self._at_rest.of(user)
        return seen


def _remember(items: dict[int, bool], item: int, learned: bool) -> None:
    items[item] = learned
    if len(items) > SEEN_KEPT:
        del items[next(iter(items))]
