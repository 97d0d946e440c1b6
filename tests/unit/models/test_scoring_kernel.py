"""The compiled parts of the evaluation, each against what it stands for in a line or two of NumPy."""

import numpy as np

from models.scoring_kernel import (
    NOTHING,
    best_in,
    edge_weights,
    logarithms,
    mean_distance,
    rank_all,
    rank_among,
    ranks_in,
    score_all,
)


def test_scores_are_the_weighted_features_and_what_is_not_allowed_is_below_all():
    chance = np.random.default_rng(1)
    weights, features = chance.normal(size=(7, 7)).astype(np.float32), chance.normal(size=(7, 99)).astype(np.float32)
    allowed, scores = chance.random(99) < 0.8, np.empty((7, 99), np.float32)
    assert score_all(weights, features, allowed, scores)
    np.testing.assert_allclose(scores[:, allowed], (weights @ features)[:, allowed], rtol=1e-4, atol=1e-5)
    assert np.isneginf(scores[:, ~allowed]).all()


def test_a_score_that_is_not_finite_is_noticed_wherever_it_is():
    weights, allowed, scores = np.ones((7, 7), np.float32), np.ones(9, bool), np.empty((7, 9), np.float32)
    for bad in (np.nan, np.inf, -np.inf):
        features = np.ones((7, 9), np.float32)
        features[3, 8] = bad
        assert not score_all(weights, features, allowed, scores)


def test_ties_lose():
    scores = np.array([[3.0, 1.0, 3.0, -np.inf], [0.0, 1.0, 2.0, -np.inf]], np.float32)
    ranks = np.empty(2, np.int64)
    ranks_in(scores, 0, ranks)
    assert ranks.tolist() == [2, 3]
    assert rank_among(np.array([5, 5, 9]), np.array([True, True, False]), 0) == 2


def test_the_best_come_first_and_equal_ones_in_order_of_place():
    chance = np.random.default_rng(2)
    for size in (1, 5, 30, 200):
        scores = chance.integers(20, size=size).astype(np.float32)
        scores[chance.random(size) < 0.3] = -np.inf
        places = np.empty(10, np.int64)
        found = best_in(scores, places)
        expected = [place for place in np.argsort(-scores, kind="stable") if scores[place] > -np.inf][:10]
        assert places[:found].tolist() == expected


def test_the_mean_distance_is_that_of_all_pairs():
    chance = np.random.default_rng(3)
    items, head = chance.normal(size=(20, 8)).astype(np.float32), chance.random(8).astype(np.float32)
    biases, rows = chance.normal(size=20).astype(np.float32), np.array([3, 0, 19, 7])
    vectors = np.hstack([items[rows] * head, biases[rows, None]])
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    expected = np.mean([1 - unit[a] @ unit[b] for a in range(4) for b in range(4) if a != b])
    assert abs(mean_distance(items, head, biases, rows) - expected) < 1e-6
    assert mean_distance(items, head, biases, rows[:1]) == 0.0


def test_powers_of_visits_follow_the_visits():
    targets, counts = np.array([1, 2], np.int32), np.array([3.0, 4.0, 9.0], np.float32)
    visits, powers, out = np.array([2.0, 5.0, 7.0]), np.zeros((3, 2)), np.empty(2, np.float32)
    for _ in range(3):
        edge_weights(0, targets, counts, visits, powers, out)
        np.testing.assert_allclose(out, counts[:2] / (visits[0] ** 0.7 * visits[targets] ** 0.3), rtol=1e-6)
        visits[[0, 2]] += 1.5


def test_logarithms_are_those_of_the_library():
    chance = np.random.default_rng(4)
    values = np.exp(chance.uniform(-80, 80, 9_999)).astype(np.float32)
    values[:1000] = chance.uniform(0.5, 2.0, 1000)
    found = np.append(values, np.float32(1.0))
    logarithms(found)
    assert found[-1] == 0.0
    np.testing.assert_allclose(found[:-1], np.log(values.astype(np.float64)), rtol=3e-7, atol=1e-7)


def test_one_call_ranks_as_its_parts_do():
    chance = np.random.default_rng(5)
    weights, features = chance.random((7, 7)).astype(np.float32), chance.normal(size=(7, 99)).astype(np.float32)
    biases, counts, allowed = chance.random(99).astype(np.float32), chance.integers(9, size=99), chance.random(99) < 0.8
    item, scores = int(np.flatnonzero(allowed)[3]), np.empty((7, 99), np.float32)
    score_all(weights, features, allowed, scores)
    expected, best, listed = np.empty(7, np.int64), np.empty(50, np.int64), np.empty(10, np.int64)
    ranks_in(scores, item, expected)
    for served in (0, 4):
        ranks, hardest, shown = np.zeros(9, np.int64), np.empty(50, np.int64), np.empty(10, np.int64)
        args = (weights, served, features, features[4], biases, counts, allowed)
        assert rank_all(*args, item, ranks, hardest, shown) == (
            best_in(scores[0], best),
            best_in(scores[served], listed),
        )
        others = [rank_among(features[4] + biases, allowed, item), rank_among(counts, allowed, item)]
        assert ranks.tolist() == expected.tolist() + others
        assert hardest.tolist() == best.tolist() and shown.tolist() == listed.tolist()
        ranks[:] = 0
        assert rank_all(*args, NOTHING, ranks, hardest, shown) == (50, 10) and not ranks.any()
    features[2, 7] = np.nan
    assert rank_all(*args, item, ranks, hardest, shown) == (-1, -1)
