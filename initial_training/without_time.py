"""Batch training of data without times: user and item embeddings and biases, no context.

Nobody knows which of two events came first, so there is no tail to stream and no context to learn. A random tenth is
held out; it decides whether the descent is worth it after the sweeps, and teaches the merge.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from initial_training.curve import CurvePoint
from initial_training.factorisation import Factors, Progress, Recipe, factorise
from initial_training.pairs import Pairs
from initial_training.selection import (
    HELD_OUT,
    LEAST_SCORED,
    MOST_SCORED,
    Report,
    copy_of,
    learn_passes,
    popularity_point,
)
from models.evaluation import PrequentialEvaluator
from models.learner import Learner
from models.merges import Merges
from models.model_settings import ModelSettings


def choose_recipe(
    pairs: Pairs, settings: ModelSettings, *, seed: int, device: torch.device, report: Report = lambda what, done: None
) -> tuple[Recipe, Merges, list[CurvePoint]]:
    """Return the recipe that serves a held-out tenth best, the merge learned there, and the curve.

    Raises ``NonFiniteLoss``.
    """
    full = Recipe(settings.dimension)
    head, tail = pairs.shuffled(seed).split(1 - HELD_OUT)
    remembering = learn_passes(head, settings, 1, report, merge_scored=1)
    points: list[CurvePoint] = []
    measured: list[tuple[float, int, Merges]] = []

    def on_progress(progress: Progress) -> None:
        report("held-out run", progress.done / progress.total)
        recall = ndcg = None
        if progress.done in (full.sweeps, progress.total):
            learner = copy_of(remembering)
            adopt(learner, progress.factors)
            evaluator = _score(learner, tail)
            recall, ndcg = (evaluator.totals()[metric]["served"] for metric in ("recall10", "ndcg10"))
            if not measured:
                points.insert(0, popularity_point(evaluator))
            if evaluator.scored >= LEAST_SCORED:
                measured.append((ndcg, full.epochs if progress.step == "epoch" else 0, learner.merges))
        name = "least squares" if progress.step == "sweep" else "descent"
        points.append(CurvePoint(name, progress.done, progress.loss, recall, ndcg))

    _factors(remembering, head, full, seed, device, on_progress)
    if not measured:
        return replace(full, epochs=0), remembering.merges, points
    _, epochs, merges = max(measured, key=lambda one: one[0])
    return replace(full, epochs=epochs), merges, points


def train_recipe(
    pairs: Pairs,
    settings: ModelSettings,
    recipe: Recipe,
    merges: Merges,
    *,
    seed: int,
    device: torch.device,
    report: Report = lambda what, done: None,
) -> Learner:
    """Train a fresh learner on all pairs. Raises ``NonFiniteLoss``."""
    shuffled = pairs.shuffled(seed)
    # One pass of the streaming kernel in random order fills the memories: popularity, seen, and transitions, which
    # then mean no more than "consumed by the same users".
    learner = learn_passes(shuffled, settings, 1, report, merge_scored=1)
    adopt(
        learner,
        _factors(learner, shuffled, recipe, seed, device, lambda one: report("factorisation", one.done / one.total)),
    )
    learner.merges = merges
    return learner


def adopt(learner: Learner, factors: Factors) -> None:
    """Replace the learner's embeddings and biases by these factors; contexts become zero. Safe to repeat."""
    m, n = len(learner.users), len(learner.items)
    learner.user_table.weights[:m] = factors.users
    learner.item_table.weights[:n] = factors.items / learner.head
    learner.context_table.weights[:n] = 0.0
    learner.biases()[:] = factors.biases


def _factors(
    learner: Learner,
    pairs: Pairs,
    recipe: Recipe,
    seed: int,
    device: torch.device,
    on_progress: Callable[[Progress], None],
) -> Factors:
    users, items = pairs.rows(learner)
    shape = len(learner.users), len(learner.items)
    return factorise(users, items, shape, recipe, seed=seed, device=device, on_progress=on_progress)


def _score(learner: Learner, pairs: Pairs) -> PrequentialEvaluator:
    """Score held-out pairs of known users, ``MOST_SCORED`` at most, learning the merge alone from them."""
    evaluator = PrequentialEvaluator(learner)
    for positive in pairs.take(slice(0, MOST_SCORED)):
        if positive.user_id in learner.users:
            evaluator.score(positive.user_id, positive.item_id)
    return evaluator
