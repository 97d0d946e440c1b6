"""A small world with structure: users of one taste at a time, who consume items in the order of a series."""

import numpy as np
import pytest
import torch

from initial_training.pairs import Pairs


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def world() -> Pairs:
    """1,500 events of 40 users on 80 items in 4 series; who has begun a series goes on with it."""
    rng = np.random.default_rng(7)
    users, items = [], []
    places = {user: (user % 4, 0) for user in range(40)}
    for _ in range(1500):
        user = int(rng.integers(40))
        series, step = places[user]
        if step == 20 or rng.random() < 0.1:
            series, step = int(rng.integers(4)), 0
        users.append(user)
        items.append(20 * series + step)
        places[user] = (series, step + 1)
    keys = np.array(users) * 80 + np.array(items)
    first = np.sort(np.unique(keys, return_index=True)[1])
    return Pairs(
        [f"u{row}" for row in range(40)],
        [f"i{row}" for row in range(80)],
        np.array(users, np.int32)[first],
        np.array(items, np.int32)[first],
        np.ones(len(first), np.float32),
        first.astype(np.int64),
    )
