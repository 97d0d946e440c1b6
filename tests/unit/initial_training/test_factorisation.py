"""The batch recipe: right algebra, the same bits every time, better than popularity, and no NaN kept."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from initial_training.factorisation import Recipe, _batches, _Side, factorise
from initial_training.loss import NonFiniteLoss
from initial_training.ncf_recipe import sample_negatives, train_ncf

CPU = torch.device("cpu")
SMALL = Recipe(dimension=8, sweeps=3, epochs=4)


def planted(seed=0, users=80, items=60):
    """Four tastes; users consume a third of the items of their own."""
    rng = np.random.default_rng(seed)
    chosen = (np.arange(users)[:, None] % 4 == np.arange(items) % 4) & (rng.random((users, items)) < 0.35)
    rows, columns = np.nonzero(chosen)
    return rows.astype(np.int32), columns.astype(np.int32), (users, items), chosen


@given(st.lists(st.integers(0, 300), min_size=1, max_size=80), st.integers(1, 64))
def test_every_row_with_partners_is_solved_once(counts, dimension):
    counts = np.array(counts, np.int64)
    batches = list(_batches(counts, dimension))
    found = np.concatenate(batches) if batches else np.zeros(0, int)
    assert sorted(found.tolist()) == np.flatnonzero(counts).tolist()
    for batch in batches:
        assert counts[batch].max() <= max(counts[batch].min() * 5 // 4, counts[batch].min() + 4)


def test_a_sweep_solves_the_normal_equations():
    users, items, (m, n), chosen = planted()
    recipe = replace(SMALL, unobserved_weight=0.2, least_squares_l2=0.3)
    y = torch.randn(n, 8, generator=torch.Generator().manual_seed(1))
    x = torch.zeros(m, 8)
    _Side(users, items, m, n, recipe, CPU).solve(x, y)
    Y = y.numpy().astype(np.float64)
    for user in (0, 17, 79):
        own = Y[chosen[user]]
        penalty = 0.3 * np.sqrt(len(own) + 0.2 * n)
        expected = np.linalg.solve(own.T @ own + 0.2 * Y.T @ Y + penalty * np.eye(8), own.sum(0))
        np.testing.assert_allclose(x[user].numpy(), expected, atol=1e-4)


def test_it_finds_the_taste_that_popularity_cannot_see():
    users, items, shape, chosen = planted()
    losses: list[tuple[str, float]] = []
    factors = factorise(
        users, items, shape, SMALL, seed=0, device=CPU, on_progress=lambda one: losses.append((one.step, one.loss))
    )
    scores = factors.scores(np.arange(shape[0]))
    own_taste = np.arange(shape[0])[:, None] % 4 == np.arange(shape[1]) % 4
    unseen = ~chosen
    assert scores[own_taste & unseen].mean() > scores[~own_taste & unseen].mean() + 1
    for step in ("sweep", "epoch"):
        of_step = [loss for name, loss in losses if name == step]
        assert of_step[-1] < of_step[0]


def test_the_result_depends_on_the_arguments_alone():
    users, items, shape, _ = planted()
    first, again, other = (factorise(users, items, shape, SMALL, seed=seed, device=CPU) for seed in (1, 1, 2))
    assert (first.users == again.users).all() and (first.items == again.items).all()
    assert (first.users != other.users).any()


def test_a_large_dimension_is_the_mean_of_smaller_models():
    users, items, shape, _ = planted()
    large = replace(SMALL, dimension=140, sweeps=1, epochs=1)
    assert large.parts == [128, 12]
    done: list[int] = []
    factors = factorise(users, items, shape, large, seed=0, device=CPU, on_progress=lambda one: done.append(one.done))
    parts = [
        factorise(users, items, shape, replace(large, dimension=part), seed=seed, device=CPU)
        for seed, part in enumerate(large.parts)
    ]
    everyone = np.arange(shape[0])
    np.testing.assert_allclose(
        factors.scores(everyone), np.mean([part.scores(everyone) for part in parts], axis=0), atol=1e-4
    )
    assert factors.users.shape == (shape[0], 140) and done == [1, 2, 3, 4]


def test_divergence_is_refused():
    users, items, shape, _ = planted()
    with pytest.raises(NonFiniteLoss, match="epoch"):
        factorise(users, items, shape, replace(SMALL, rate=1e20), seed=0, device=CPU)


def test_the_papers_negatives_were_not_consumed():
    users, items, (m, n), chosen = planted()
    consumed = (torch.from_numpy(users).long() * n + torch.from_numpy(items)).sort().values
    asked = torch.arange(m).repeat(50)
    drawn = sample_negatives(asked, consumed, n, torch.Generator().manual_seed(0))
    assert not chosen[asked.numpy(), drawn.numpy()].any()
    assert np.bincount(drawn.numpy(), minlength=n).min() > 0


def test_the_papers_recipe_learns():
    users, items, shape, _ = planted()
    losses: list[float] = []
    train_ncf(
        users, items, shape, 8, seed=0, device=CPU, epochs=40, on_epoch=lambda epoch, loss, model: losses.append(loss)
    )
    assert losses[-1] < losses[20] < losses[0]
