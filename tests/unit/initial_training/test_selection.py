"""The held-out tail decides, training is repeatable, and it pays."""

import numpy as np
import pytest
import torch

from initial_training.curve import CurvePoint, write_curve
from initial_training.loss import NonFiniteLoss
from initial_training.mini_batches import mini_batch_epochs
from initial_training.selection import (
    MINI_BATCHES_WORTH_IT,
    Choice,
    _cheapest_good,
    choose,
    copy_of,
    learn_passes,
    stream,
    train,
)
from models.learner import Learner
from models.model_settings import ModelSettings

CPU = torch.device("cpu")
SETTINGS = ModelSettings(dimension=16, negatives=16)


def test_streaming_after_it_does_at_least_as_well_as_from_nothing(world):
    history, later = world.split(0.5)
    choice, _ = choose(history, SETTINGS, seed=0, device=CPU)
    trained = train(history, SETTINGS, choice, seed=0, device=CPU)
    warm = stream(trained, later).totals()
    cold = stream(Learner(SETTINGS), later).totals()
    for metric in ("recall10", "ndcg10"):
        assert warm[metric]["served"] >= cold[metric]["served"]


def test_no_candidate_is_much_better_than_the_chosen_one(world):
    choice, (popularity, *points) = choose(world, SETTINGS, seed=0, device=CPU)
    chosen = next(point for point in points if _choice_of(point) == choice)
    assert chosen.ndcg10 >= max(point.ndcg10 for point in points) / (1 + MINI_BATCHES_WORTH_IT)
    assert popularity.ndcg10 < chosen.ndcg10 <= chosen.recall10 <= 1


def _choice_of(point: CurvePoint) -> Choice:
    return Choice(point.step) if point.loss is None else Choice(1, point.step - 1)


def test_what_costs_more_must_be_worth_it():
    one, two, five = Choice(1), Choice(2), Choice(5)
    assert _cheapest_good({one: 0.100, two: 0.1005, five: 0.1005}) == one
    assert _cheapest_good({one: 0.100, two: 0.1005, five: 0.102}) == five
    assert _cheapest_good({one: 0.100, two: 0.098}) == one
    assert _cheapest_good({one: 0.100, Choice(1, 1): 0.102}) == one
    assert _cheapest_good({one: 0.100, Choice(1, 1): 0.104}) == Choice(1, 1)
    assert _cheapest_good({}) == one


def test_a_history_too_small_to_tell_is_learned_in_one_pass(world):
    few, _ = world.split(0.03)
    assert choose(few, SETTINGS, seed=0, device=CPU)[0] == Choice(1)
    assert len(train(few, SETTINGS, Choice(1), seed=0, device=CPU).users) > 0


def test_training_again_gives_the_same_bits(world):
    choice = Choice(2, epochs=1)
    first, again = (train(world, SETTINGS, choice, seed=0, device=CPU).state()[0] for _ in range(2))
    assert all((first[name] == again[name]).all() for name in first)


def test_mini_batches_move_embeddings_and_nothing_else(world):
    learner = learn_passes(world, SETTINGS, 1, lambda what, done: None)
    before = copy_of(learner)
    losses = list(mini_batch_epochs(learner, world, 3, seed=0, device=CPU))
    assert losses == sorted(losses, reverse=True)
    moved, kept = learner.state()[0], before.state()[0]
    changed = {name for name in moved if not np.array_equal(moved[name], kept[name])}
    assert changed == {"user_embeddings", "item_embeddings", "context_embeddings", "item_biases"}


@pytest.mark.parametrize("choice", [Choice(1), Choice(1, epochs=1)])
def test_divergence_is_refused(world, choice):
    wild = ModelSettings(dimension=16, negatives=16, learning_rate=1e38)
    with pytest.raises(NonFiniteLoss, match="diverged"):
        train(world.split(0.3)[0], wild, choice, seed=0, device=CPU)


def test_the_curve_is_written_as_numbers_and_as_a_picture(tmp_path):
    points = [CurvePoint("passes", 1, None, 0.2, 0.1), CurvePoint("batches", 2, 3.5, None, None)]
    picture = write_curve(points, "1 pass", tmp_path / "deep" / "curve.csv")
    lines = (tmp_path / "deep" / "curve.csv").read_text().splitlines()
    assert lines == ["candidate,step,loss,recall10,ndcg10", "passes,1,,0.2,0.1", "batches,2,3.5,,"]
    assert picture.read_bytes().startswith(b"\x89PNG")
