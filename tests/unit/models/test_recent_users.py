"""Who consumed an item last."""

from __future__ import annotations

import numpy as np

from models.recent_users import KEPT, RecentUsers


def _remember(recent: RecentUsers, *pairs: tuple[int, int]) -> RecentUsers:
    users, items = zip(*pairs, strict=True)
    recent.remember(np.array(users, np.int32), np.array(items, np.int32))
    return recent


def test_the_newest_come_first_each_once_and_the_oldest_leave():
    recent = _remember(RecentUsers(4), (7, 1), (8, 1), (7, 1), (9, 2))
    assert (recent.of(0), recent.of(1), recent.of(2)) == ([], [7, 8], [9])
    _remember(recent, *((user, 1) for user in range(100, 130)))
    assert recent.of(1) == list(range(129, 129 - KEPT, -1))


def test_going_on_from_a_state_is_the_same():
    pairs = [(n * 7 % 31, n % 3) for n in range(200)]
    whole = _remember(RecentUsers(3), *pairs)
    second = RecentUsers(5)
    second.restore(_remember(RecentUsers(3), *pairs[:90]).state(3))
    _remember(second, *pairs[90:])
    second.grow(1_000)
    assert [second.of(item) for item in range(3)] == [whole.of(item) for item in range(3)]
