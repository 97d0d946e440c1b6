"""What is learned from: positives only, each pair once, in order."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from initial_training.mini_batches import recent_items
from initial_training.pairs import Pairs
from models.events import PositiveRule
from stores.history import History


def history(rows):
    users, items, values = zip(*rows, strict=True)
    return History(
        name="a test",
        user_ids=["ann", "bob"],
        item_ids=["x", "y", "z"],
        type_names=["rating"],
        users=np.array(users, np.int32),
        items=np.array(items, np.int32),
        types=np.zeros(len(rows), np.int32),
        values=np.array(values, np.float32),
        times_s=np.arange(len(rows), dtype=np.float64),
    )


def test_a_pair_counts_where_it_is_first_positive():
    pairs = Pairs.of(history([(0, 0, 2), (1, 1, 5), (0, 0, 4), (0, 0, 5), (1, 1, 5)]), PositiveRule("rating>=4:0.5"))
    assert [(p.user_id, p.item_id, p.strength, p.event_id) for p in pairs] == [
        ("bob", "y", 0.5, "history:1"),
        ("ann", "x", 0.5, "history:2"),
    ]


def test_split_and_shuffle_keep_every_pair_and_its_name(world):
    head, tail = world.split(0.9)
    assert len(head) == round(0.9 * len(world))
    assert [*head, *tail] == list(world)
    assert sorted(world.shuffled(1)) == sorted(world)
    assert list(world.shuffled(1)) == list(world.shuffled(1)) != list(world.shuffled(2))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), min_size=1, max_size=40), st.integers(0, 5))
def test_recent_items_are_what_the_user_had_before_newest_first(events, length):
    users, items = (np.array(column, np.int32) for column in zip(*events, strict=True))
    found = recent_items(users, items, length)
    before: dict[int, list[int]] = {}
    for row, (user, item) in enumerate(events):
        expected = before.setdefault(user, [])[::-1][:length]
        assert found[row].tolist() == expected + [-1] * (length - len(expected))
        before[user].append(item)
