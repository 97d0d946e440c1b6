"""Recommend first, then learn: how positives go through evaluator and learner, live and in every benchmark."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from models.evaluation import Outcome, PrequentialEvaluator, is_scored
from models.learner import Learner, event_seed
from models.learning_arrays import Positives

BATCH = 10_000
# A later pass steps half as far: the rows already stand near where they belong.
LATER_PASS_RATE = 0.5

# Called with the number of a pass, from 1, and how many positives it has learned.
Progress = Callable[[int, int], None]


class Positive(NamedTuple):
    """A positive interaction (or a rejection, see ``Prequential.reject``) on its way to be learned."""

    user_id: str
    item_id: str
    strength: float
    event_id: str


class Taken(NamedTuple):
    """A positive that waits to be learned: its rows, and what scoring it gave where it was scored."""

    user: int
    item: int
    outcome: Outcome | None


class Prequential:
    """Takes positives in order; those that wait are learned in one call, as soon as one has to be scored.

    When they are learned decides nothing: the learner's result does not depend on batches, and a scored positive always
    meets a learner that has learned everything before it.
    """

    def __init__(self, learner: Learner, evaluator: PrequentialEvaluator) -> None:
        self.learner = learner
        self.evaluator = evaluator
        self._waiting: list[tuple[int, int, float, int, int]] = []

    @property
    def waiting(self) -> int:
        """Positives taken and not yet learned."""
        return len(self._waiting)

    def is_repeat(self, user_id: str, item_id: str) -> bool:
        """Whether this user has consumed this item as a positive before: a pair is learned once."""
        user, item = self.learner.users.row(user_id), self.learner.items.row(item_id)
        return user is not None and item is not None and self.learner.has_learned(user, item)

    def take(self, positive: Positive, *, scored: bool) -> Taken | None:
        """Score the positive if asked to, then give it rows and let it wait; return ``None`` for a repeat."""
        outcome = None
        if scored:
            if self.is_repeat(positive.user_id, positive.item_id):
                return None
            self.learn_waiting()
            outcome = self.evaluator.score(positive.user_id, positive.item_id)
        user, item = self.learner.add_user(positive.user_id), self.learner.add_item(positive.item_id)
        if not self.learner.mark_seen(user, item, learned=True):
            return None
        self._wait(user, item, positive)
        return Taken(user, item, outcome)

    def reject(self, rejection: Positive) -> None:
        """Hide the item from the user, and let the rejection wait to be learned too, the first time."""
        user, item = self.learner.users.row(rejection.user_id), self.learner.items.row(rejection.item_id)
        if user is None or item is None or not self.learner.has_hidden(user, item):
            user, item = self.learner.add_user(rejection.user_id), self.learner.add_item(rejection.item_id)
            self._wait(user, item, rejection._replace(strength=-rejection.strength))
        self.learner.mark_seen(user, item)
        self.learner.hide(user, item)

    def _wait(self, user: int, item: int, event: Positive) -> None:
        self._waiting.append((user, item, event.strength, event_seed(event.event_id), len(self.learner.items)))

    def learn_waiting(self) -> Positives:
        """Learn what waits, in order, and return it."""
        if not self._waiting:
            return _NONE
        positives = _columns(self._waiting)
        self._waiting = []
        self.learner.learn(*positives)
        return positives


def train_passes(
    learner: Learner,
    evaluator: PrequentialEvaluator,
    history: Iterable[Positive],
    passes: int,
    *,
    score_every: int,
    progress: Progress = lambda number, learned: None,
) -> int:
    """Learn a history in ``passes`` passes of the streaming kernel; return how many positives a pass has.

    The first pass is streaming: one positive in ``score_every`` is scored, which teaches the merge. Later passes
    rebuild each user's history and move embeddings only: popularity, transitions and merge stay those of the first.
    ``history`` is in order of time; repeats are left out. ``progress(pass number, positives learned in it)`` is called
    after every batch.
    """
    positives = _first_pass(learner, evaluator, history, score_every, progress)
    total = len(positives.users)
    for number in range(2, passes + 1):
        learner.forget_histories()
        for start in range(0, total, BATCH):
            part = Positives._make(column[start : start + BATCH] for column in positives)
            learner.learn_again(part, number, LATER_PASS_RATE)
            progress(number, min(start + BATCH, total))
    return total


def _first_pass(
    learner: Learner, evaluator: PrequentialEvaluator, history: Iterable[Positive], score_every: int, progress: Progress
) -> Positives:
    stream = Prequential(learner, evaluator)
    learned: list[Positives] = []
    total = 0
    for positive in history:
        scored = is_scored(positive.event_id, score_every)
        if scored or stream.waiting >= BATCH:
            learned.append(stream.learn_waiting())
            progress(1, total)
        total += stream.take(positive, scored=scored) is not None
    learned.append(stream.learn_waiting())
    progress(1, total)
    return Positives._make(np.concatenate(columns) for columns in zip(*learned, strict=True))


def _columns(waiting: list[tuple[int, int, float, int, int]]) -> Positives:
    users, items, strengths, seeds, known = zip(*waiting, strict=True)
    return Positives(
        np.array(users, np.int32),
        np.array(items, np.int32),
        np.array(strengths, np.float32),
        np.array(seeds, np.uint64),
        np.array(known, np.int64),
    )


_NONE = Positives(
    np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.float32), np.empty(0, np.uint64), np.empty(0, np.int64)
)
