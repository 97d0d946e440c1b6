import numpy as np
import pytest

from models.merge import (
    CHOICES,
    DAMPING,
    HEDGE_DECAY,
    HESSIAN_DECAY,
    INITIAL_HESSIAN,
    INITIAL_WEIGHTS,
    LEARNED,
    MAX_WEIGHT,
    Merge,
)
from models.merges import OWN_ENOUGH, Merges
from models.ranking import EMBEDDING, POPULARITY_FAST, TRANSITIONS, TRANSITIONS_LAST


def hits(rng, rates):
    """Return one gain per choice, 1 at its rate: the same throw for all, so that a higher rate is never behind."""
    return (rng.random() < np.array(rates)).astype(float)


def test_a_feature_that_points_at_the_positive_gains_weight_and_one_that_points_away_loses_it():
    rng = np.random.default_rng(1)
    merge = Merge()
    for _ in range(300):
        features = rng.normal(size=(20, 7))
        target = int(np.argmax(2 * features[:, 0] - 2 * features[:, 4]))
        merge.learn(features, target)
    assert merge.weights[0] > 1.2 and merge.weights[4] < 0.3
    assert merge.weights.min() >= 0 and merge.weights.max() <= MAX_WEIGHT


def test_it_serves_what_it_learned_while_no_rival_is_clearly_better():
    rng = np.random.default_rng(2)
    merge = Merge()
    for _ in range(1000):
        merge.judge(hits(rng, [0.3] * len(CHOICES)))
        assert merge.choice == LEARNED
    assert merge.weights.tolist() == list(INITIAL_WEIGHTS)


@pytest.mark.parametrize("better", range(1, len(CHOICES)))
def test_it_serves_the_rival_that_ranked_recent_positives_better_and_returns_when_it_no_longer_does(better):
    rng = np.random.default_rng(3)
    merge = Merge()
    rates = [0.1] * len(CHOICES)
    rates[better] = 0.13
    for _ in range(3000):
        merge.judge(hits(rng, rates))
    assert merge.choice == better
    assert merge.weights.tolist() == merge.choices()[better].tolist()
    rates[better] = 0.05
    for _ in range(int(2 / (1 - HEDGE_DECAY))):
        merge.judge(hits(rng, rates))
    assert merge.choice == LEARNED


def test_rivals_are_what_was_learned_without_some_features():
    merge = Merge()
    merge.learn(np.random.default_rng(4).normal(size=(9, 7)), 3)
    learned = merge.choices()[LEARNED]
    of = dict(zip(CHOICES, merge.choices(), strict=True))
    assert np.flatnonzero(of["without_p"] != learned).tolist() == [EMBEDDING]
    assert np.flatnonzero(of["without_transitions"] != learned).tolist() == [TRANSITIONS, TRANSITIONS_LAST]
    assert np.flatnonzero(of["popularity"]).tolist() == [POPULARITY_FAST]


def teach(rng, merges, positives, feature):
    features = rng.normal(size=(20, 7))
    merges.learn(positives, features, int(np.argmax(features[:, feature])))


def test_users_with_short_histories_have_weights_of_their_own():
    rng = np.random.default_rng(6)
    merges = Merges()
    assert merges.of(0) is merges.of(1) and merges.of(2) is merges.of(5) and merges.of(6) is merges.of(1000)
    for _ in range(3 * OWN_ENOUGH):
        teach(rng, merges, 1, 0)  # here the context counts alone, there popularity
        teach(rng, merges, 6, 1)
    short, _, longer = merges.weights
    assert short[0] > 2 * short[1] and longer[1] > 2 * longer[0]


def test_weights_of_histories_that_are_rare_are_learned_from_the_rest():
    rng = np.random.default_rng(7)
    merges = Merges()
    for _ in range(300):
        teach(rng, merges, 9, 1)
    assert np.array_equal(merges.weights[0], merges.weights[2]) and merges.weights[0][1] > 1.2
    for _ in range(OWN_ENOUGH):
        teach(rng, merges, 0, 0)
    before = merges.weights
    teach(rng, merges, 9, 1)
    assert np.array_equal(merges.weights[0], before[0]) and not np.array_equal(merges.weights[1], before[1])


def test_a_restored_merge_goes_on_alike():
    rng = np.random.default_rng(5)
    one, other = Merges(), Merges()
    one.learn(3, rng.normal(size=(9, 7)), 3)
    one.of(9).judge(rng.random(len(CHOICES)))
    other.restore(one.state())
    features, gains = rng.normal(size=(9, 7)), rng.random(len(CHOICES))
    for merges in (one, other):
        merges.learn(9, features, 1)
        merges.of(9).judge(gains)
    assert all(np.array_equal(a, b) for a, b in zip(one.state().values(), other.state().values(), strict=True))


def test_a_step_is_the_damped_newton_step_of_the_softmax():
    rng = np.random.default_rng(6)
    merge, hessian, learned = Merge(), INITIAL_HESSIAN * np.eye(len(INITIAL_WEIGHTS)), np.array(INITIAL_WEIGHTS)
    for _ in range(20):
        features = rng.normal(size=(50, 7))
        target = int(rng.integers(50))
        shares = np.exp(features @ learned)
        shares /= shares.sum()
        mean = shares @ features
        covariance = (features - mean).T @ (shares[:, None] * (features - mean))
        hessian = HESSIAN_DECAY * hessian + covariance + DAMPING * np.eye(len(INITIAL_WEIGHTS))
        learned = np.clip(learned + np.linalg.solve(hessian, features[target] - mean), 0.0, MAX_WEIGHT)
        merge.learn(features, target)
        np.testing.assert_allclose(merge.choices()[LEARNED], learned, rtol=1e-9)
