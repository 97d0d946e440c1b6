import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import ranking

WEIGHTS = [0.9, 0.3, 0.2, 0.5, 1.1, 0.4, 0.6]


def test_a_query_holds_the_embedding_and_the_weights():
    query = ranking.query_vector(np.array([1.0, -2.0], dtype=np.float32), WEIGHTS, 2)
    assert query.dtype == np.float32
    np.testing.assert_allclose(query, [1.1, -2.2, 0.9, 0.3, 0.2], rtol=1e-6)


def test_a_user_without_embedding_is_a_query_of_zeros_and_weights():
    np.testing.assert_allclose(ranking.query_vector(None, WEIGHTS, 2), [0, 0, 0.9, 0.3, 0.2], rtol=1e-6)


def test_recent_items_weigh_less_the_older_they_are_and_those_beyond_the_context_alike():
    assert ranking.recent_weights(3, WEIGHTS, 3, 0.5) == [0.9, 0.45, 0.225]
    assert ranking.recent_weights(5, WEIGHTS, 3, 0.5) == [0.9, 0.45, 0.225, 0.3, 0.3]
    assert ranking.recent_weights(0, WEIGHTS, 3, 0.5) == []
    assert ranking.folded(3) == ranking.FOLDED and ranking.folded(0) == 0


def test_transitions_sum_over_recent_items_and_keep_the_newest_apart():
    edges = {"new": [("a", 0.5)], "old": [("a", 0.25), ("b", 1.0)]}
    found = ranking.transitions(["new", "old", "unknown"], edges)
    assert found["a"] == pytest.approx((0.5 + 0.9 * 0.25, 0.5))
    assert found["b"] == pytest.approx((0.9, 0.0))


def test_only_so_many_recent_items_lead_to_neighbours():
    recent = [str(k) for k in range(22)]
    assert ranking.transitions(recent, {"19": [("a", 1.0)], "20": [("b", 1.0)]}).keys() == {"a"}


def test_equal_scores_come_in_order_of_id():
    assert ranking.top(["c", "a", "b", "d"], np.array([1.0, 1.0, 2.0, 0.5]), 3) == [("b", 2.0), ("a", 1.0), ("c", 1.0)]
    assert ranking.top([3, 1, 2], np.array([1.0, 1.0, 1.0]), 2) == [(1, 1.0), (2, 1.0)]
    assert ranking.top([], np.array([]), 3) == []
    assert ranking.top(["a"], np.array([1.0]), 0) == []


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), k=st.integers(1, 12), neighbours=st.integers(0, 8))
def test_the_best_by_inner_product_and_all_neighbours_hold_the_full_ranking(seed, k, neighbours):
    rng = np.random.default_rng(seed)
    items = list(range(40))
    inner = rng.normal(size=40)
    recent = rng.choice(40, size=3, replace=False).tolist()
    edges = {
        j: [(int(i), float(rng.exponential(0.05))) for i in rng.choice(40, neighbours, replace=False)] for j in recent
    }
    weights = rng.uniform(0, 5, size=7).tolist()
    t = ranking.transitions(recent, edges)
    t_all = np.array([t.get(i, (0.0, 0.0))[0] for i in items])
    t_last = np.array([t.get(i, (0.0, 0.0))[1] for i in items])

    scores = inner + ranking.lifts(ranking.transition_feature(t_all), ranking.transition_feature(t_last), weights)

    full = ranking.top(items, scores, k)

    best = {i for i, _ in ranking.top(items, inner, k)}
    candidates = sorted(best | t.keys())
    served = ranking.top(candidates, scores[candidates], k)
    assert served == full


def test_serving_can_import_it_without_torch_numba_and_faiss():
    check = "import sys, models.ranking; assert not {'torch', 'numba', 'faiss'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True, timeout=30)
