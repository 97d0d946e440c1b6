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
    """3,000 events of 60 users on 120 items in 6 series; who has begun a series goes on with it."""
    rng = np.random.default_rng(7)
    users, items = [], []
    places = {user: (user % 6, 0) for user in range(60)}
    for _ in range(3000):
        user = int(rng.integers(60))
        series, step = places[user]
        if step == 20 or rng.random() < 0.1:
            series, step = int(rng.integers(6)), 0
        users.append(user)
        items.append(20 * series + step)
        places[user] = (series, step + 1)
    keys = np.array(users) * 120 + np.array(items)
    first = np.sort(np.unique(keys, return_index=True)[1])
    return Pairs(
        [f"u{row}" for row in range(60)],
        [f"i{row}" for row in range(120)],
        np.array(users, np.int32)[first],
        np.array(items, np.int32)[first],
        np.ones(len(first), np.float32),
        first.astype(np.int64),
    )
