from __future__ import annotations

import numpy as np
import pytest

from models.consumption import Consumption


def pairs_of(consumption: Consumption) -> list[list[tuple[int, bool]]]:
    return [
        [(item, consumption.has_learned(user, item)) for item in consumption.seen(user).tolist()]
        for user in range(len(consumption))
    ]


@pytest.mark.parametrize("rest_every", [1, 7, 10_000])
def test_it_remembers_the_same_whenever_its_users_are_put_to_rest(rest_every):
    chance = np.random.default_rng(0)
    consumption, right = Consumption(), []
    for step in range(3000):
        if not right or chance.random() < 0.05:
            consumption.add_user()
            right.append({})
        user, item, learned = int(chance.integers(len(right))), int(chance.integers(40)), bool(chance.random() < 0.5)
        if chance.random() < 0.01:
            consumption.forget(user)
            right[user] = {}
        else:
            consumption.mark_seen(user, item, learned)
            right[user][item] = learned or right[user].get(item, False)
        if step % rest_every == 0:
            consumption.state()
    assert pairs_of(consumption) == [list(pairs.items()) for pairs in right]
    arrays, _ = consumption.state()
    assert arrays["sizes"].tolist() == [len(pairs) for pairs in right]
    assert arrays["items"].tolist() == [item for pairs in right for item in pairs]
    restored = Consumption()
    restored.restore(arrays, {})
    assert pairs_of(restored) == pairs_of(consumption)


def test_a_state_stays_as_it_was_when_users_come_and_consume_more():
    consumption = Consumption()
    consumption.add_user()
    consumption.mark_seen(0, 3, True)
    arrays, _ = consumption.state()
    before = {name: array.copy() for name, array in arrays.items()}
    consumption.add_user()
    for user in (0, 1):
        consumption.mark_seen(user, 4, False)
    consumption.state()
    assert all((arrays[name] == before[name]).all() for name in before)
    assert consumption.seen(0).tolist() == [3, 4]


def test_beyond_what_is_kept_the_oldest_go_and_known_ones_keep_their_place(monkeypatch):
    monkeypatch.setattr("models.consumption.SEEN_KEPT", 20)
    chance = np.random.default_rng(1)
    consumption, seen = Consumption(), {}
    consumption.add_user()
    for step in range(2000):
        item, learned = int(chance.integers(40)), bool(chance.random() < 0.5)
        assert consumption.has_seen(0, item) == (item in seen)
        assert consumption.has_learned(0, item) == seen.get(item, False)
        consumption.mark_seen(0, item, learned)
        seen[item] = learned or seen.get(item, False)
        if len(seen) > 20:
            del seen[next(iter(seen))]
        assert consumption.seen(0).tolist() == list(seen)
        if step % 100 == 0:
            consumption.state()
