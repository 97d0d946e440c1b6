"""One pass over a stream: everything is recommended, scored and learned as the live trainer would, beside baselines."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.baselines.bpr import Bpr
from benchmarks.baselines.isgd import Isgd
from benchmarks.baselines.item_item import LAST, ItemItem
from benchmarks.published_vectors import PublishedVectors
from benchmarks.stream import Stream
from initial_training.pairs import Pairs
from initial_training.selection import Choice, choose, train
from models import ranking
from models.evaluation import METHODS, MISS, PrequentialEvaluator
from models.full_ranking import candidates, rank_of
from models.learner import Learner, event_seed
from models.model_settings import ModelSettings
from models.prequential import Positive, Prequential

BASELINES = ("isgd", "bpr", "item_item")
ALL_METHODS = (*METHODS, *BASELINES)
SHOWN = ("served", "context", "popularity_decayed")
PROGRESS_S = 10.0
LEARN_BATCH = 1000

Tell = Callable[[str], None]


@dataclass
class Run:
    """What one seed gave.

    ``ranks``: (scored, methods) int32. ``user_positives``, ``item_positives``: (scored,) positives of the user and the
    item before the event. ``random_logits``: mean logit of random users and items at each tenth of what is streamed; it
    stays where it is when learning is stable. ``initial_training``: the way that was chosen.
    """

    ranks: NDArray[np.int32]
    user_positives: NDArray[np.int64]
    item_positives: NDArray[np.int64]
    coverage10: float
    diversity10: float
    merge_weights: list[list[float]]
    random_logits: list[float]
    initial_training: str | None

    def rank(self, method: str) -> NDArray[np.int32]:
        """Return the ranks of one method, (scored,)."""
        return self.ranks[:, ALL_METHODS.index(method)]


class _Baselines:
    """The baselines, always as far as the stream has come."""

    def __init__(self, stream: Stream, settings: ModelSettings) -> None:
        users, items = len(stream.user_ids), len(stream.item_ids)
        self._stream = stream
        self._learned = 0
        self._methods = (
            Isgd(users, items, settings.dimension, settings.seed),
            Bpr(users, items, settings.dimension, settings.seed),
            ItemItem(users, items),
        )

    def learn_up_to(self, position: int) -> None:
        part = slice(self._learned, position)
        for method in self._methods:
            method.learn(self._stream.users[part], self._stream.items[part])
        self._learned = position

    def ranks(self, learner: Learner, positive: Positive) -> list[int]:
        user, item = learner.users.row(positive.user_id), learner.items.row(positive.item_id)
        if user is None or item is None:
            return [MISS] * len(self._methods)
        allowed = candidates(learner, user)
        recent = learner.recent(user, LAST)
        return [rank_of(item, method.scores(user, recent, len(allowed)), allowed) for method in self._methods]


def run(stream: Stream, scored: NDArray[np.int64], settings: ModelSettings, warm: float, lag: int, tell: Tell) -> Run:
    """Learn the first ``warm`` share by initial training, stream the rest, and score the positions ``scored``.

    What is learned serves at once, or after every ``lag`` positives when that is not 0.
    """
    start = round(warm * len(stream))
    learner, choice = _initial_training(stream, settings, start, tell) if start else (Learner(settings), None)
    published = PublishedVectors(learner) if lag else None
    evaluator = PrequentialEvaluator(published or learner)
    prequential = Prequential(learner, evaluator)
    baselines = _Baselines(stream, settings)
    ranks = np.full((len(scored), len(ALL_METHODS)), MISS, np.int32)
    known = np.zeros((2, len(scored)), np.int64)
    row_of = {position: row for row, position in enumerate(scored.tolist())}
    random_logits: list[float] = []
    began = told = time.monotonic()
    for position, positive in enumerate(stream.positives(settings.seed, start, len(stream)), start=start):
        if published and position % lag == 0:
            prequential.learn_waiting()
            published.refresh()
        if (position - start + 1) * 10 // (len(stream) - start) > len(random_logits):
            prequential.learn_waiting()
            random_logits.append(_random_logit(learner))
        row = row_of.get(position)
        if row is None:
            prequential.take(positive, scored=False)
            if prequential.waiting >= LEARN_BATCH:
                prequential.learn_waiting()
            continue
        prequential.learn_waiting()
        baselines.learn_up_to(position)
        baseline_ranks = baselines.ranks(learner, positive)
        taken = prequential.take(positive, scored=True)
        assert taken is not None and taken.outcome is not None
        outcome = taken.outcome
        ranks[row] = [outcome.ranks[name] for name in METHODS] + baseline_ranks
        known[:, row] = outcome.user_positives, outcome.item_positives
        if time.monotonic() > told + PROGRESS_S:
            told = time.monotonic()
            recall = (ranks[: row + 1] <= 10).mean(axis=0)
            figures = ", ".join(f"{name} {recall[ALL_METHODS.index(name)]:.4f}" for name in SHOWN)
            tell(f"{position:,} of {len(stream):,} in {told - began:.0f} s, recall@10: {figures}")
    return Run(
        ranks=ranks,
        user_positives=known[0],
        item_positives=known[1],
        coverage10=evaluator.coverage10(),
        diversity10=evaluator.diversity10(),
        merge_weights=learner.merges.weights.tolist(),
        random_logits=random_logits,
        initial_training=str(choice) if choice else None,
    )


def _random_logit(learner: Learner, draws: int = 200) -> float:
    """Return the mean of head . (x * q) + b over random users and items; 0 before there are any."""
    if not len(learner.items):
        return 0.0
    rng = np.random.default_rng(0)
    settings = learner.settings
    items = rng.integers(0, len(learner.items), draws)
    x = np.zeros((draws, settings.dimension), np.float32)
    for place, user in enumerate(rng.integers(0, len(learner.users), draws).tolist()):
        recent = learner.recent(user, settings.context_length)
        decays = np.array(ranking.context_weights(len(recent), settings.context_decay), np.float32)
        x[place] = learner.user_embedding(user) + decays @ learner.contexts(recent)
    return float((x @ (learner.head * learner.item_table.weights[items]).T + learner.biases()[items]).mean())


def learning_rate(stream: Stream, settings: ModelSettings) -> float:
    """Return positives learned per second of one core, learning alone, in calls of ``LEARN_BATCH``."""
    learner = Learner(settings)
    seconds = 0.0
    for start in range(0, len(stream), LEARN_BATCH):
        batch = []
        for positive in stream.positives(settings.seed, start, min(start + LEARN_BATCH, len(stream))):
            rows = learner.add_user(positive.user_id), learner.add_item(positive.item_id)
            batch.append((*rows, positive.strength, event_seed(positive.event_id), len(learner.items)))
        columns = [np.array(column) for column in zip(*batch, strict=True)]
        began = time.process_time()
        learner.learn(*columns)
        seconds += time.process_time() - began
    return len(stream) / seconds


def _initial_training(stream: Stream, settings: ModelSettings, end: int, tell: Tell) -> tuple[Learner, Choice]:
    pairs = Pairs(
        stream.user_ids,
        stream.item_ids,
        stream.users[:end],
        stream.items[:end],
        np.ones(end, np.float32),
        stream.rows[:end],
    )
    device = torch.device("cpu")
    choice, curve = choose(pairs, settings, seed=settings.seed, device=device)
    tried = ", ".join(f"{point.candidate} {point.step}: {point.ndcg10 or 0:.4f}" for point in curve)
    tell(f"initial training: NDCG@10 of a held-out tail {tried}; chosen: {choice}")
    return train(pairs, settings, choice, seed=settings.seed, device=device), choice
