import numpy as np
import pytest
import torch

from models.learner import Learner
from models.learning_arrays import Positives
from models.learning_kernel import FRESH_PULL, softmax_gradient
from models.model_settings import ModelSettings
from models.popularity import FRESH_LEFT, FRESH_POSITIVES


def test_the_gradient_is_that_of_autograd():
    rng = np.random.default_rng(3)
    items = rng.normal(size=(20, 8)).astype(np.float32)
    biases = rng.normal(size=20).astype(np.float32)
    x = rng.normal(size=8).astype(np.float32)
    candidates = np.array([4, 7, 7, 1, 19], dtype=np.int32)  # a negative may be drawn twice
    products, squares, slopes, gradient = (np.zeros(n, np.float32) for n in (5, 5, 5, 8))
    softmax_gradient(x, items, biases, candidates, products, squares, slopes, gradient)

    t_x, t_items, t_biases = (torch.tensor(a, requires_grad=True) for a in (x, items, biases))
    logits = t_items[candidates] @ t_x + t_biases[candidates]
    torch.nn.functional.cross_entropy(logits[None], torch.tensor([0])).backward()

    assert np.allclose(gradient, t_x.grad.numpy(), atol=1e-5)
    q_gradient, b_gradient = np.zeros_like(items), np.zeros_like(biases)
    np.add.at(q_gradient, candidates, slopes[:, None] * x)
    np.add.at(b_gradient, candidates, slopes)
    assert np.allclose(q_gradient, t_items.grad.numpy(), atol=1e-5)
    assert np.allclose(b_gradient, t_biases.grad.numpy(), atol=1e-5)


@pytest.mark.parametrize("context_length", [0, 3])
def test_one_learned_positive_is_one_adagrad_step_along_autograds_gradient(context_length):
    # A pool of one and a single negative: the negative of each event is the positive of the event before.
    settings = ModelSettings(dimension=8, context_length=context_length, negatives=1, recent_pool=1)
    learner = Learner(settings, user_capacity=4, item_capacity=8)
    rng = np.random.default_rng(5)
    learner.head[:] = rng.normal(size=8)
    for name in "uv":
        learner.add_user(name)
    for name in "abc":
        learner.add_item(name)
    learner.learn([0, 1], [2, 0], [1.0, 1.0], [1, 2], [3, 3])  # c is the history of u; a is in the pool
    learner.user_table.weights[0] = rng.normal(size=8)
    tables = {"p": learner.user_table, "q": learner.item_table, "c": learner.context_table}
    before = {name: torch.tensor(table.weights[:3].copy(), requires_grad=True) for name, table in tables.items()}
    accumulators = {name: table.accumulators[:3].copy() for name, table in tables.items()}
    biases = torch.tensor(learner.biases().copy(), requires_grad=True)

    learner.learn([0], [1], [0.5], [3], [3])

    x = before["p"][0] + (before["c"][2] if context_length else 0)
    logits = before["q"][:2] @ (torch.tensor(learner.head) * x) + biases[:2]
    torch.nn.functional.cross_entropy(logits[None], torch.tensor([1])).backward()
    for name, row in [("p", 0), ("q", 0), ("q", 1)] + [("c", 2)] * (context_length > 0):
        old = before[name][row].detach().numpy()
        gradient = before[name].grad[row].numpy() + settings.l2 * old
        accumulated = accumulators[name][row] + (gradient**2).mean()
        step = 0.5 * settings.learning_rate / (settings.step_offset + np.sqrt(accumulated))
        assert np.allclose(tables[name].weights[row], old - step * gradient, atol=1e-5), (name, row)
        assert tables[name].accumulators[row] == pytest.approx(accumulated, abs=1e-5)
        assert np.abs(gradient - settings.l2 * old).max() > 1e-3
    expected = biases.detach().numpy() - 0.5 * settings.bias_rate * biases.grad.numpy()
    assert np.allclose(learner.biases(), expected, atol=1e-5)
    untouched = [("p", 1), ("q", 2), ("c", 0), ("c", 1)] + [("c", 2)] * (context_length == 0)
    for name, row in untouched:
        assert np.array_equal(tables[name].weights[row], before[name][row].detach().numpy())


def _logit(learner, user, item):
    context = learner.contexts(learner.recent(user, 1)).sum(axis=0)
    direction = learner.user_embedding(user) + context
    return learner.item_table.weights[item] @ (learner.head * direction) + learner.biases()[item]


def test_a_rejection_lowers_the_item_and_leaves_every_memory_but_the_embeddings():
    learner = Learner(ModelSettings(dimension=8, context_length=1, negatives=6), user_capacity=4, item_capacity=8)
    learner.add_user("u")
    for name in "abc":
        learner.add_item(name)
    learner.learn([0], [0], [1.0], [1], [3])
    for seed in range(2, 12):  # b is what he is expected to take
        learner.learn_again(_one(0, 1, seed), 2, 1.0)
    before, (memories, facts) = _logit(learner, 0, 1), learner.state()
    learner.take_touched()
    learner.learn([0], [1], [-1.0], [99], [3])
    assert _logit(learner, 0, 1) < before
    after, later_facts = learner.state()
    moved = {name for name in after if not np.array_equal(after[name], memories[name])}
    tables = {f"{side}_{what}" for side in ("user", "item", "context") for what in ("embeddings", "accumulators")}
    assert moved <= tables | {"item_biases"} and later_facts == facts
    touched = learner.take_touched()
    assert 1 in touched.positives and 0 in touched.users


def test_many_rejections_push_an_item_only_so_far():
    learner = Learner(ModelSettings(dimension=8, negatives=6), user_capacity=4, item_capacity=8)
    learner.add_user("u")
    for name in "abc":
        learner.add_item(name)
    learner.learn([0], [0], [1.0], [1], [3])
    learner.learn([0] * 20_000, [1] * 20_000, [-1.0] * 20_000, range(2, 20_002), [3] * 20_000)
    # Steps that did not shrink with the item's share would have led to about -100.
    assert -2.0 < learner.biases()[1] < 0.0
    assert np.abs(learner.item_vectors(slice(0, 3))).max() < 5.0


def _with_positives(count, left=1.0):
    """Return a learner whose item 1 had so many positives, ``left`` of the fast count, and is otherwise the same."""
    settings = ModelSettings(dimension=8, negatives=6)
    learner = Learner(settings, user_capacity=8, item_capacity=8)
    for name in "uvwx":
        learner.add_user(name)
    for name in "abc":
        learner.add_item(name)
    learner.learn([0, 1, 2], [0, 1, 2], [1.0] * 3, [1, 2, 3], [3] * 3)
    arrays, facts = learner.state()
    arrays["popularity_counts"][1] = count
    arrays["popularity_decayed"][1, 0] = left * arrays["popularity_units"][0]
    return Learner.from_state(settings, arrays, facts)


def _step(count, strength, left=1.0):
    learner = _with_positives(count, left)
    old = learner.item_table.weights[1].copy()
    learner.learn([0], [1], [strength], [4], [3])
    return learner.item_table.weights[1] - old


def test_the_first_positives_of_an_item_pull_it_further_while_they_come_fast_and_no_rejection_does():
    last_young, grown = FRESH_POSITIVES - 1, FRESH_POSITIVES
    np.testing.assert_allclose(_step(last_young, 1.0), FRESH_PULL * _step(grown, 1.0), rtol=1e-3, atol=1e-6)
    assert np.array_equal(_step(1, 1.0), _step(last_young, 1.0))
    assert np.array_equal(_step(1, 1.0, 0.9 * FRESH_LEFT), _step(grown, 1.0))
    assert np.array_equal(_step(grown, 1.0), _step(10 * grown, 1.0))
    assert np.array_equal(_step(0, -1.0), _step(grown, -1.0)) and _step(0, -1.0).any()


def test_how_far_an_item_is_pulled_does_not_depend_on_how_the_stream_is_cut():
    # The second of these is a rejection; the first and third are the last of a fresh item and the first of a grown one.
    users, strengths, seeds = [0, 2, 3], [1.0, -1.0, 1.0], [4, 5, 6]
    whole, cut = _with_positives(FRESH_POSITIVES - 1), _with_positives(FRESH_POSITIVES - 1)
    whole.learn(users, [1] * 3, strengths, seeds, [3] * 3)
    for user, strength, seed in zip(users, strengths, seeds, strict=True):
        cut.learn([user], [1], [strength], [seed], [3])
    arrays, others = whole.state()[0], cut.state()[0]
    assert all(np.array_equal(arrays[name], others[name]) for name in arrays)


def _one(user, item, seed):
    return Positives(
        np.array([user], np.int32),
        np.array([item], np.int32),
        np.array([1.0], np.float32),
        np.array([seed], np.uint64),
        np.array([3], np.int64),
    )
