import numpy as np
import pytest
from test_models_learner import SETTINGS, bits, feed, stream

from models import prequential as prequential_module
from models.evaluation import PrequentialEvaluator
from models.learner import Learner
from models.prequential import Positive, Prequential, train_passes


def positives(seed):
    return [Positive(user_id, item_id, 1.0, event_id) for user_id, item_id, event_id in stream(seed)]


def test_every_scored_positive_meets_a_learner_that_knows_all_before_it():
    one, other = Learner(SETTINGS), Learner(SETTINGS)
    waiting, at_once = (Prequential(learner, PrequentialEvaluator(learner)) for learner in (one, other))
    for number, positive in enumerate(positives(21)):
        taken = waiting.take(positive, scored=number % 7 == 0)
        expected = at_once.take(positive, scored=number % 7 == 0)
        at_once.learn_waiting()
        assert taken == expected and (taken.outcome is None) == (number % 7 != 0)
    waiting.learn_waiting()
    assert bits(one) == bits(other) and waiting.waiting == 0


def test_a_repeat_is_known_as_one_before_it_is_learned():
    learner = Learner(SETTINGS)
    prequential = Prequential(learner, PrequentialEvaluator(learner))
    assert not prequential.is_repeat("u", "i")
    prequential.take(Positive("u", "i", 1.0, "e"), scored=False)
    assert prequential.is_repeat("u", "i") and not prequential.is_repeat("u", "j")
    for scored in (False, True):
        assert prequential.take(Positive("u", "i", 1.0, "again"), scored=scored) is None
    assert prequential.waiting == 1 and prequential.evaluator.scored == 0


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(prequential_module, "BATCH", 7)


def test_one_pass_is_streaming():
    learner = Learner(SETTINGS)
    history = positives(22)
    learned = train_passes(learner, PrequentialEvaluator(learner), history + history[:9], 1, score_every=10**9)
    assert learned == len(history)
    assert bits(learner) == bits(feed(Learner(SETTINGS), stream(22)))


def test_later_passes_move_embeddings_and_leave_the_memories():
    one, two = Learner(SETTINGS), Learner(SETTINGS)
    for learner, passes in ((one, 1), (two, 3)):
        train_passes(learner, PrequentialEvaluator(learner), positives(23), passes, score_every=5)
    (first, facts), (later, later_facts) = one.state(), two.state()
    assert facts == later_facts
    changed = {name for name in first if not np.array_equal(first[name], later[name])}
    moved = {f"{side}_{what}" for side in ("user", "item", "context") for what in ("embeddings", "accumulators")}
    assert changed == moved | {"item_biases"}


def test_a_rejection_hides_and_is_learned_once():
    learner = Learner(SETTINGS)
    prequential = Prequential(learner, PrequentialEvaluator(learner))
    for positive in positives(24):
        prequential.take(positive, scored=False)
    prequential.learn_waiting()
    learned = learner.events_learned
    rejection = Positive("u0", "i1", 1.0, "r")
    prequential.reject(rejection)
    assert prequential.waiting == 1
    prequential.reject(rejection._replace(event_id="again"))
    assert prequential.waiting == 1
    assert prequential.learn_waiting().strengths.tolist() == [-1.0]
    row = learner.items.row("i1")
    assert learner.hidden(0) == [row] and learner.has_seen(0, row) and learner.events_learned == learned
