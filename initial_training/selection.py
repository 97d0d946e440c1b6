"""Which way of training a history prefers: every candidate streams the newest tenth of it, scored, and the best wins.

What is compared is what will be served: the tail is recommended, then learned, by the very code that does so live.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from initial_training.curve import CurvePoint
from initial_training.loss import NonFiniteLoss, refuse_non_finite
from initial_training.mini_batches import mini_batch_epochs
from initial_training.pairs import Pairs
from models.evaluation import PrequentialEvaluator
from models.learner import Learner
from models.model_settings import ModelSettings
from models.prequential import Prequential, train_passes

HELD_OUT = 0.1
PASSES = (1, 2, 3, 5)
MINI_BATCH_EPOCHS = 3
# Fewer scored positives cannot tell candidates apart; more do not pay for their time.
LEAST_SCORED, MOST_SCORED = 50, 5_000
# So many positives of the first pass teach the merge, at most.
MERGE_SCORED = 4_000
# What goes through the history more often must be better by this share: less is within the noise of one tail.
WORTH_IT = 0.01
# Mini-batches must be much better: of what they gain on the tail, the stream that follows keeps less than of passes.
MINI_BATCHES_WORTH_IT = 0.03


@dataclass(frozen=True)
class Choice:
    """A way of training: ``passes`` of the streaming kernel, then ``epochs`` of mini-batches."""

    passes: int
    epochs: int = 0

    def __str__(self) -> str:
        passes = f"{self.passes} pass" + ("es" if self.passes > 1 else "")
        epochs = f" + {self.epochs} mini-batch epoch" + ("s" if self.epochs > 1 else "")
        return passes + epochs if self.epochs else passes


Report = Callable[[str, float], None]


def choose(
    pairs: Pairs,
    settings: ModelSettings,
    *,
    seed: int,
    device: torch.device,
    report: Report = lambda what, done: None,
) -> tuple[Choice, list[CurvePoint]]:
    """Train every candidate on all but the newest tenth; return the one to take, and the curve.

    The best is taken, unless a cheaper one is about as good. A history too small to tell is learned in one pass.
    ``report(what, share done)`` is called now and then. Raises ``NonFiniteLoss``.
    """
    head, tail = pairs.split(1 - HELD_OUT)
    points: list[CurvePoint] = []
    found: dict[Choice, float] = {}

    def measure(choice: Choice, learner: Learner, loss: float | None) -> None:
        evaluator = stream(copy_of(learner), tail)
        totals = evaluator.totals()
        if evaluator.scored >= LEAST_SCORED:
            found[choice] = totals["ndcg10"]["served"]
        name = "a pass, then mini-batches" if choice.epochs else "passes of the kernel"
        step = choice.passes + choice.epochs
        if not points:
            points.append(popularity_point(evaluator))
        points.append(CurvePoint(name, step, loss, totals["recall10"]["served"], totals["ndcg10"]["served"]))

    after_first: list[Learner] = []

    def after_pass(number: int, learner: Learner) -> None:
        if number == 1:
            after_first.append(copy_of(learner))
        figures = list(found.values())
        if number in PASSES and figures == sorted(figures):  # once it falls, more passes only overfit
            measure(Choice(number), learner, None)

    learn_passes(head, settings, max(PASSES), report, after_pass)
    refined = after_first.pop()
    for epoch, loss in enumerate(mini_batch_epochs(refined, head, MINI_BATCH_EPOCHS, seed=seed, device=device), 1):
        measure(Choice(1, epoch), refined, loss)
        report("mini-batches", epoch / MINI_BATCH_EPOCHS)
        if found.get(Choice(1, epoch), 0.0) < found.get(Choice(1, epoch - 1), 0.0):
            report("mini-batches", 1.0)
            break  # from here on it only overfits
    return _cheapest_good(found), points


def _cheapest_good(found: dict[Choice, float]) -> Choice:
    """Return the candidate that none before it comes close to; ``found`` in order of cost."""
    best = Choice(1)
    for choice, figure in found.items():
        if figure > (1 + (MINI_BATCHES_WORTH_IT if choice.epochs else WORTH_IT)) * found[best]:
            best = choice
    return best


def train(
    pairs: Pairs,
    settings: ModelSettings,
    choice: Choice,
    *,
    seed: int,
    device: torch.device,
    report: Report = lambda what, done: None,
) -> Learner:
    """Train a fresh learner in the chosen way. Raises ``NonFiniteLoss``."""
    learner = learn_passes(pairs, settings, choice.passes, report)
    for epoch, _ in enumerate(mini_batch_epochs(learner, pairs, choice.epochs, seed=seed, device=device), 1):
        report("mini-batches", epoch / choice.epochs)
    return learner


def stream(learner: Learner, pairs: Pairs) -> PrequentialEvaluator:
    """Stream pairs into the learner, recommending before learning; return the evaluator that scored them.

    Scored: positives of users who had one before, ``MOST_SCORED`` at most, evenly spaced.
    """
    evaluator = PrequentialEvaluator(learner)
    prequential = Prequential(learner, evaluator)
    every = max(1, len(pairs) // MOST_SCORED)
    for number, positive in enumerate(pairs):
        known = learner.users.row(positive.user_id) is not None
        prequential.take(positive, scored=known and number % every == 0)
    prequential.learn_waiting()
    return evaluator


def popularity_point(evaluator: PrequentialEvaluator) -> CurvePoint:
    """Return what ranking by popularity reached on the same positives: what any model has to beat."""
    totals = evaluator.totals()
    return CurvePoint("popularity", 1, None, totals["recall10"]["popularity"], totals["ndcg10"]["popularity"])


def copy_of(learner: Learner) -> Learner:
    """Return a learner with the same state and no memory in common."""
    return Learner.from_state(learner.settings, *learner.state())


def learn_passes(
    pairs: Pairs,
    settings: ModelSettings,
    passes: int,
    report: Report,
    after_pass: Callable[[int, Learner], None] = lambda number, learner: None,
    *,
    merge_scored: int = MERGE_SCORED,
) -> Learner:
    """Return a learner that has learned the pairs in passes of the streaming kernel.

    About ``merge_scored`` positives of the first pass teach the merge. Raises ``NonFiniteLoss``.
    """
    learner = Learner(settings)

    def progress(number: int, learned: int) -> None:
        report(f"pass {number}", learned / len(pairs))
        if learned == len(pairs):
            _refuse_non_finite_tables(number, learner)
            after_pass(number, learner)

    try:
        # Overflow needs no warning: whatever is not finite is refused by name.
        with np.errstate(over="ignore", invalid="ignore"):
            train_passes(
                learner,
                PrequentialEvaluator(learner),
                pairs,
                passes,
                score_every=max(1, len(pairs) // merge_scored),
                progress=progress,
            )
    except FloatingPointError as error:
        raise NonFiniteLoss(f"training diverged and nothing was written: {error}") from None
    return learner


def _refuse_non_finite_tables(number: int, learner: Learner) -> None:
    for table in (learner.user_table, learner.item_table, learner.context_table):
        # Finite when all numbers are. An accumulator that is not means a row that can never move again.
        squares = float(np.square(table.weights, dtype=np.float64).sum())
        refuse_non_finite(f"pass {number}", squares + float(table.accumulators.sum(dtype=np.float64)))
