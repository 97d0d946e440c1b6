import json

import numpy as np
import pytest
from test_models_learner import SETTINGS, feed, stream

from models import ranking
from models.evaluation import METHODS, MISS, PrequentialEvaluator, is_scored, metrics_of, segments_of
from models.learner import Learner


def served_rank(learner, user, item):
    """Rank an item the way serving does it: one search of the index, the neighbours also scored, then the re-rank."""
    weights = learner.merges.of(learner.positives_of(user)).weights.tolist()
    d, size = SETTINGS.dimension, len(learner.items)
    recent = learner.recent(user).tolist()
    query = ranking.query_vector(learner.user_embedding(user), weights, d)
    length, decay = SETTINGS.context_length, SETTINGS.context_decay
    folded = recent[: ranking.folded(length)]
    assert len(folded) > length
    for row, weight in zip(folded, ranking.recent_weights(len(folded), weights, length, decay), strict=True):
        query[:d] += np.float32(weight) * learner.contexts(np.array([row]))[0]
    index = np.hstack([learner.item_vectors(slice(0, size)), learner.popularity_columns()])
    edges = {row: list(zip(*(a.tolist() for a in learner.neighbours(row)), strict=True)) for row in recent}
    found = ranking.transitions(recent, edges)
    allowed = sorted(set(range(size)) - set(learner.seen(user).tolist()) - set(learner.hidden(user)))
    inner = index[allowed] @ query
    t = np.array([found.get(row, (0.0, 0.0)) for row in allowed])
    scores = inner + ranking.lifts(*map(ranking.transition_feature, t.T), weights)
    return [row for row, _ in ranking.top(allowed, scores, size)].index(item) + 1


def test_the_rank_it_finds_is_the_rank_that_serving_gives():
    learner = feed(Learner(SETTINGS), stream(11))
    learner.head[:] = np.linspace(0.5, 1.5, 8)
    user = learner.users.row("u1")
    learner.hide(user, 3)
    unseen = [row for row in range(len(learner.items)) if not learner.has_seen(user, row) and row != 3]
    for item in unseen:
        expected = served_rank(learner, user, item)
        outcome = PrequentialEvaluator(learner).score("u1", learner.items.id(item))
        assert outcome.ranks["served"] == expected
        assert len(outcome.best) == min(10, len(unseen)) and 3 not in outcome.best


def test_what_is_unknown_hidden_or_first_of_all_is_a_miss():
    empty = PrequentialEvaluator(Learner(SETTINGS))
    assert set(empty.score("u", "i").ranks.values()) == {MISS}
    learner = feed(Learner(SETTINGS), stream(12))
    evaluator = PrequentialEvaluator(learner)
    assert evaluator.score("u1", "never seen").ranks["served"] == MISS
    learner.hide(learner.users.row("u1"), 0)
    assert evaluator.score("u1", "i0").ranks["served"] == MISS
    assert evaluator.totals()["mrr"]["served"] == 0.0 and evaluator.scored == 2


def test_a_stranger_is_given_what_is_popular():
    learner = feed(Learner(SETTINGS), stream(13))
    best = int(np.argmax(learner.popularity.counts(len(learner.items))))
    outcome = PrequentialEvaluator(learner).score("stranger", learner.items.id(best))
    assert outcome.ranks["popularity"] == 1 and outcome.ranks["served"] < 5 and outcome.user_positives == 0


def test_scoring_allocates_no_row():
    learner = feed(Learner(SETTINGS), stream(14))
    sizes = len(learner.users), len(learner.items)
    PrequentialEvaluator(learner).score("stranger", "strange")
    assert (len(learner.users), len(learner.items)) == sizes


def test_the_merge_learns_only_from_positives_near_the_top():
    learner = feed(Learner(SETTINGS), stream(15))
    before = learner.merges.weights.copy()
    evaluator = PrequentialEvaluator(learner)
    evaluator.score("u1", "never seen")
    assert np.array_equal(learner.merges.weights, before)
    unseen = next(row for row in range(len(learner.items)) if not learner.has_seen(1, row))
    evaluator.score(learner.users.id(1), learner.items.id(unseen))
    assert not np.array_equal(learner.merges.weights, before)


def test_metrics_of_ranks():
    assert metrics_of(np.array([1, 3, 11, MISS])).tolist() == [
        [1, 1, 1, 1, 1.0, 1.0],
        [0, 1, 1, 1, 0.5, 1 / 3],
        [0, 0, 0, 1, 0.0, 1 / 11],
        [0, 0, 0, 0, 0.0, 0.0],
    ]


def run(evaluator, learner, events):
    for user_id, item_id, event_id in events:
        evaluator.score(user_id, item_id)
        feed(learner, [(user_id, item_id, event_id)])


def test_a_restored_evaluator_goes_on_to_the_same_figures():
    events = stream(16)
    learner = Learner(SETTINGS)
    evaluator = PrequentialEvaluator(learner, window=40)
    run(evaluator, learner, events[:60])
    arrays, facts = learner.state()
    again = Learner.from_state(SETTINGS, arrays, facts)
    arrays, facts = evaluator.state()
    restored = PrequentialEvaluator.from_state(again, arrays, json.loads(json.dumps(facts)))
    run(evaluator, learner, events[60:])
    run(restored, again, events[60:])
    for figures in ("totals", "window", "segments", "coverage10", "diversity10", "alarm", "scored"):
        one, other = getattr(evaluator, figures), getattr(restored, figures)
        assert (one() if callable(one) else one) == (other() if callable(other) else other)
    assert evaluator.window() != evaluator.totals()


def test_the_alarm_rings_when_what_is_served_is_no_better_than_popularity():
    learner = feed(Learner(SETTINGS), stream(17))
    evaluator = PrequentialEvaluator(learner, window=600)
    # Both rank it first: served is not above popularity.
    item = learner.items.id(int(np.argmax(learner.popularity_columns()[:, 0])))
    for _ in range(499):
        evaluator.score("stranger", item)
    assert not evaluator.alarm()
    evaluator.score("stranger", item)
    assert evaluator.alarm()


def test_a_score_that_is_not_finite_is_an_error():
    learner = feed(Learner(SETTINGS), stream(18))
    learner.item_table.weights[2, 0] = np.nan
    with pytest.raises(FloatingPointError):
        PrequentialEvaluator(learner).score("u1", "i1")


def test_which_events_are_scored_is_decided_by_their_ids():
    chosen = [is_scored(str(number), 10) for number in range(5000)]
    assert chosen == [is_scored(str(number), 10) for number in range(5000)]
    assert 400 < sum(chosen) < 600 and all(is_scored(str(number), 1) for number in range(10))


def test_segments():
    assert segments_of(1, 0) == ["new_user/new_item", "event_2"]
    assert segments_of(8, 8) == ["known_user/known_item", "event_9-16"]
    assert segments_of(16, 100)[1] == "event_17-32"


def test_every_method_is_ranked():
    learner = feed(Learner(SETTINGS), stream(19))
    assert tuple(PrequentialEvaluator(learner).score("u1", "i1").ranks) == METHODS
