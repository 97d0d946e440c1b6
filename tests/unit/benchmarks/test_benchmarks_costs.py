"""The pure parts of ``benchmarks.learn``, ``benchmarks.scale`` and ``benchmarks.train_batch``."""

import numpy as np
import pytest

from benchmarks.filled_learner import HISTORY, filled_learner, some_positives
from benchmarks.learn import bars_of, figures_of
from benchmarks.scale import edges_of, loaded_index, request, slope
from benchmarks.train_batch import synthetic
from models.full_ranking import candidate_features, candidates
from models.model_settings import ModelSettings
from recommender_server.item_graph import ItemGraph

SETTINGS = ModelSettings(dimension=8, negatives=4)


def test_a_filled_learner_has_rows_and_histories_and_learns_on():
    learner = filled_learner(30, 40, SETTINGS)
    assert (len(learner.users), len(learner.items), learner.add_user("u29")) == (30, 40, 29)
    assert len(learner.recent(3)) == HISTORY and learner.positives_of(3) == HISTORY
    assert learner.item_table.weights.any(1).all() and len(learner.neighbours(7)[0]) > 0
    learner.learn(*some_positives(np.random.default_rng(0), learner, 50))
    assert learner.events_learned == 50
    assert learner.add_item("new") == 40


def test_a_request_finds_what_ranking_all_items_finds():
    learner = filled_learner(20, 60, SETTINGS)
    learner.learn(*some_positives(np.random.default_rng(0), learner, 200))
    index, graph = loaded_index(learner), ItemGraph()
    for user in range(5):
        allowed = candidates(learner, user)
        allowed[learner.recent(user)] = False
        weights = learner.merges.of(learner.positives_of(user)).weights
        scores = np.asarray(weights, np.float32) @ candidate_features(learner, user)
        best = np.argsort(np.where(allowed, -scores, np.inf))[:10]
        expected = [learner.items.id(row) for row in best.tolist()]
        assert [item_id for item_id, _ in request(learner, index, graph, user, edges_of(learner, user))] == expected


def test_a_slope_is_the_power_by_which_a_cost_grows():
    assert slope([10, 100, 1000], [7, 70, 700]) == pytest.approx(1.0)
    assert slope([10, 100, 1000], [5, 5, 5]) == pytest.approx(0.0)


def test_the_bars_of_learning_take_the_worst_size_and_the_rise_of_the_floor():
    by_rows = {
        10: {"shipped": 2.0, "autograd": 200.0, "funk": 8.0, "floor": 1.0},
        1000: {"shipped": 10.0, "autograd": 450.0, "funk": 9.0, "floor": 4.0},
    }
    figures = figures_of(by_rows)
    assert (figures["times_autograd"], figures["times_funk"]) == (45.0, 0.9)
    assert (figures["rise"], figures["floor_rise"]) == (5.0, 4.0)
    assert not any(bar.met for bar in bars_of(figures))


def test_synthetic_pairs_hold_out_one_item_that_is_in_neither_half_again():
    data = synthetic(2_000, (50, 300))
    assert 1_900 <= len(data.users) <= 2_000
    assert data.candidates.shape == (50, 100)
    had = set(zip(data.users.tolist(), data.items.tolist(), strict=True))
    for user, row in zip(data.test_users.tolist(), data.candidates.tolist(), strict=True):
        assert len(set(row)) == 100
        assert not had & {(user, item) for item in row}
