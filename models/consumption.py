"""What each user has consumed and rejected, in order, bounded: it must never be recommended to him again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.compiled import compiled

SEEN_KEPT = 10_000


class _Awake:
    """What one user consumed, oldest first, where it can be added to: int32, 2 * item row + whether it was learned."""

    __slots__ = ("_pairs", "_size")

    def __init__(self, pairs: NDArray[np.int32]) -> None:
        self._pairs, self._size = pairs, len(pairs)

    def pairs(self) -> NDArray[np.int32]:
        """Return all of it, a view."""
        return self._pairs[: self._size]

    def has(self, item: int) -> bool:
        """Whether it holds the item."""
        return _find(self._pairs, self._size, item) >= 0

    def has_learned(self, item: int) -> bool:
        """Whether it holds the item as a positive."""
        place = _find(self._pairs, self._size, item)
        return place >= 0 and bool(self._pairs[place] & 1)

    def mark(self, item: int, learned: bool) -> bool:
        """Add the item, or note that it was learned; it keeps its place. Return whether any of it is new."""
        place = _find(self._pairs, self._size, item)
        if place >= 0:
            pair = self._pairs[place]
            self._pairs[place] = pair | learned
            return bool(learned > pair & 1)
        if self._size == SEEN_KEPT:
            self._pairs[: SEEN_KEPT - 1] = self._pairs[1:SEEN_KEPT]
            self._size -= 1
        elif self._size == len(self._pairs):
            room = np.zeros(min(max(2 * self._size, 4), SEEN_KEPT), np.int32)
            room[: self._size] = self._pairs
            self._pairs = room
        self._pairs[self._size] = 2 * item + learned
        self._size += 1
        return True


@compiled
def _find(pairs: NDArray[np.int32], size: int, item: int) -> int:
    """Return the place of an item among the first ``size``, or -1; looks from the newest on."""
    for place in range(size - 1, -1, -1):
        if pairs[place] >> 1 == item:
            return place
    return -1


class _AtRest:
    """What users consumed, in arrays that never change: ``sizes`` (users,), then pair after pair, in order."""

    def __init__(self, sizes: NDArray[np.int64], items: NDArray[np.int32], learned: NDArray[np.bool_]) -> None:
        self._sizes, self._items, self._learned = sizes, items, learned
        self._ends = np.cumsum(sizes)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by name."""
        return {"sizes": self._sizes, "items": self._items, "learned": self._learned}

    def of(self, user: int) -> _Awake:
        """Return what a user consumed; nothing for a user who has come since."""
        if user >= len(self._sizes):
            return _Awake(np.empty(0, np.int32))
        end = self._ends[user]
        pairs = slice(end - self._sizes[user], end)
        return _Awake(2 * self._items[pairs] + self._learned[pairs])

    def joined_by(self, awake: Mapping[int, _Awake], size: int) -> _AtRest:
        """Return this with so many users, those ``awake`` as they are now."""
        rows = np.array(sorted(awake), np.int64)
        pairs = [awake[row].pairs() for row in rows.tolist()]
        lengths = np.fromiter(map(len, pairs), np.int64, len(pairs))
        sizes = np.zeros(size, np.int64)
        sizes[: len(self._sizes)] = self._sizes
        # Where the pairs of those awake lay, and where they lie among all pairs of those awake.
        ends = np.append(self._ends, np.full(size - len(self._ends), len(self._items)))[rows]
        before = np.stack([ends - sizes[rows], ends], axis=1)
        now = np.stack([np.cumsum(lengths) - lengths, np.cumsum(lengths)], axis=1)
        sizes[rows] = lengths
        came = np.concatenate([np.empty(0, np.int32), *pairs])
        return _AtRest(
            sizes,
            _replaced(self._items, before, came >> 1, now),
            _replaced(self._learned, before, (came & 1).astype(np.bool_), now),
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
    users with an event since the last ``state`` or ``restore`` each has an array of his own, with room for more.
    """

    def __init__(self) -> None:
        self._size = 0
        self._at_rest = _AtRest(np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0, np.bool_))
        self._seen: dict[int, _Awake] = {}
        # Insertion-ordered, by user row.
        self._hidden: dict[int, dict[int, None]] = {}

    def __len__(self) -> int:
        return self._size

    def add_user(self) -> None:
        """Make room for the next user row."""
        self._size += 1

    def has_seen(self, user: int, item: int) -> bool:
        """Whether the user has consumed the item, as far as is remembered."""
        return self._of(user).has(item)

    def has_learned(self, user: int, item: int) -> bool:
        """Whether the user consumed the item as a positive, as far as is remembered: a pair is learned once."""
        return self._of(user).has_learned(item)

    def mark_seen(self, user: int, item: int, learned: bool) -> bool:
        """Remember that the user consumed the item; return whether that is new. Safe to repeat."""
        return self._of(user).mark(item, learned)

    def hide(self, user: int, item: int) -> None:
        """Remember that the user rejected the item. Safe to repeat."""
        hidden = self._hidden.setdefault(user, {})
        hidden[item] = None
        if len(hidden) > SEEN_KEPT:
            del hidden[next(iter(hidden))]

    def has_hidden(self, user: int, item: int) -> bool:
        """Whether the user rejected the item, as far as is remembered."""
        return item in self._hidden.get(user, ())

    def forget(self, user: int) -> None:
        """Forget everything of a user. Safe to repeat."""
        self._seen[user] = _Awake(np.empty(0, np.int32))
        self._hidden.pop(user, None)

    def seen(self, user: int) -> NDArray[np.int32]:
        """Return the item rows a user has consumed, (n,), oldest first."""
        return self._of(user).pairs() >> 1

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
        self._hidden = {int(user): dict.fromkeys(items) for user, items in hidden.items()}

    def _of(self, user: int) -> _Awake:
        seen = self._seen.get(user)
        if seen is None:
            seen = self._seen[user] = self._at_rest.of(user)
        return seen
