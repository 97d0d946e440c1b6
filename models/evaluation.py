"""Prequential evaluation: recommend, look where the positive stood in the list, only then learn it.

The list is the one that serving would give (``models.ranking``): every known item that the user has neither consumed
nor hidden. Beside it stand its own parts and the live baselines, which learn every event and are scored on the same
ones: popularity of all time, decayed popularity, transitions. An item never seen before is a miss; ties lose.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from operator import add
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models import ranking
from models.full_ranking import candidate_features, candidates
from models.learner import Learner
from models.merge import CANDIDATES, CHOICES
from models.scoring_kernel import MISS, NOTHING, mean_distance, metrics, rank_all

METHODS = (
    "served",
    "context",
    "context_without_p",
    "gmf",
    "popularity",
    "popularity_decayed",
    "transitions",
)
# Methods that are choices of the merge, and their places among those.
PARTS = {
    "context": CHOICES.index("without_transitions"),
    "context_without_p": CHOICES.index("context_without_p"),
    "popularity_decayed": CHOICES.index("popularity"),
    "transitions": CHOICES.index("transitions"),
}
METRICS = ("recall1", "recall5", "recall10", "recall20", "ndcg10", "mrr")
NDCG10 = METRICS.index("ndcg10")
LIST_LENGTH = 10
# A user is new up to his 6th positive, an item up to its 8th: before that no method knows much about it.
NEW_USER_POSITIVES = 6
NEW_ITEM_POSITIVES = 8
# Fewer scored positives than this say nothing about which ranking is better.
ALARM_NEEDS = 500

Arrays = dict[str, NDArray[Any]]


def is_scored(event_id: str, every: int) -> bool:
    """Whether a live event is among the one in ``every`` that are scored: decided by its id alone, so replays agree."""
    digest = hashlib.blake2b(event_id.encode(), digest_size=8, person=b"is_scored").digest()
    return int.from_bytes(digest, "little") % every == 0


def metrics_of(ranks: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """Return ``METRICS`` of each rank (1 is best), shape (..., 6)."""
    all_ranks: NDArray[np.int64] = np.asarray(ranks, np.int64)
    found = np.empty((all_ranks.size, len(METRICS)))
    metrics(all_ranks.ravel(), found)
    return found.reshape(*all_ranks.shape, len(METRICS))


class Outcome(NamedTuple):
    """One scored positive: its rank in the order of each of ``METHODS``, and how much was known before it came."""

    ranks: dict[str, int]
    best: list[int]
    diversity: float
    user_positives: int
    item_positives: int


class PrequentialEvaluator:
    """Scores positives that are about to be learned, and learns the merge from them.

    Call ``score`` after everything before the event was learned and BEFORE its ids are added to the learner. Which
    events are scored is the caller's choice. One call costs about one pass over the item table
    (``models.scoring_kernel``).
    """

    def __init__(self, learner: Learner, *, window: int = 5000) -> None:
        self._learner = learner
        self.scored = 0
        self._totals = np.zeros((len(METHODS), len(METRICS)))
        self._diversity_total = 0.0
        self._recommended: set[int] = set()
        self._segments: dict[str, list[float]] = {}
        self._window_ranks = np.zeros((window, len(METHODS)), np.int32)
        self._window_lists = np.full((window, LIST_LENGTH), -1, np.int32)

    def score(self, user_id: str, item_id: str) -> Outcome:
        """Rank the item for the user, count it, and take a step of the merge when it stood near the top.

        NOT safe to repeat: it counts again. Raises ``FloatingPointError`` when a score is not finite.
        """
        learner = self._learner
        user, item, size = learner.users.row(user_id), learner.items.row(item_id), len(learner.items)
        outcome = Outcome(
            ranks=dict.fromkeys(METHODS, MISS),
            best=[],
            diversity=0.0,
            user_positives=0 if user is None else learner.positives_of(user),
            item_positives=0 if item is None else int(learner.popularity.counts(size)[item]),
        )
        if size:
            outcome = self._rank(user, item, outcome)
        self._count(outcome)
        return outcome

    def _rank(self, user: int | None, item: int | None, outcome: Outcome) -> Outcome:
        learner, merge = self._learner, self._learner.merges.of(outcome.user_positives)
        features, allowed = candidate_features(learner, user), candidates(learner, user)
        target = item if item is not None and allowed[item] else NOTHING
        all_ranks = np.empty(len(CHOICES) + 2, np.int64)
        best, listed = np.empty(CANDIDATES, np.int64), np.empty(LIST_LENGTH, np.int64)
        count, shown_count = rank_all(
            merge.choices().astype(np.float32),
            merge.choice,
            features,
            features[ranking.EMBEDDING],
            learner.biases(),
            learner.popularity.counts(len(allowed)),
            allowed,
            target,
            all_ranks,
            best,
            listed,
        )
        if count < 0:
            raise FloatingPointError("a score is not finite: every ranking would be meaningless")
        hardest, shown = best[:count], listed[:shown_count]
        ranks = outcome.ranks
        if target != NOTHING:
            *choice_ranks, ranks["gmf"], ranks["popularity"] = all_ranks.tolist()
            ranks["served"] = choice_ranks[merge.choice]
            for name, choice in PARTS.items():
                ranks[name] = choice_ranks[choice]
            places = hardest.tolist()
            if target in places:
                hard = features[:, hardest].T.astype(np.float64)
                learner.merges.learn(outcome.user_positives, hard, places.index(target))
            merge.judge(metrics_of(all_ranks[: len(CHOICES)])[:, NDCG10])
        diversity = mean_distance(learner.item_table.weights, learner.head, learner.biases(), shown)
        return outcome._replace(ranks=ranks, best=shown.tolist(), diversity=diversity)

    def _count(self, outcome: Outcome) -> None:
        ranks = np.array([outcome.ranks[name] for name in METHODS], np.int64)
        figures = metrics_of(ranks)
        self._totals += figures
        slot = self.scored % len(self._window_ranks)
        self._window_ranks[slot] = ranks
        self._window_lists[slot] = -1
        self._window_lists[slot, : len(outcome.best)] = outcome.best
        self._recommended.update(outcome.best)
        self._diversity_total += outcome.diversity
        of_served = [1.0, *figures[0].tolist()]
        for name in segments_of(outcome.user_positives, outcome.item_positives):
            sums = self._segments.get(name, (0.0,) * (1 + len(METRICS)))
            self._segments[name] = list(map(add, sums, of_served))
        self.scored += 1

    # --- figures ----------------------------------------------------------------------------------------------------

    def totals(self) -> dict[str, dict[str, float]]:
        """Return each metric of each method over everything scored: ``totals()["recall10"]["served"]``."""
        return _by_metric(self._totals / max(self.scored, 1))

    def window(self) -> dict[str, dict[str, float]]:
        """Return the same over the newest scored positives only."""
        ranks = self._window_ranks[: self.scored]
        return _by_metric(metrics_of(ranks).mean(axis=0) if len(ranks) else np.zeros_like(self._totals))

    def precision10(self) -> float:
        """Return precision@10 of what is served, over everything scored; one positive is sought, so recall / 10."""
        return self.totals()["recall10"]["served"] / LIST_LENGTH

    def coverage10(self, *, window: bool = False) -> float:
        """Return the share of known items that stood in some list."""
        lists = self._window_lists[: self.scored]
        shown = len(np.unique(lists[lists >= 0])) if window else len(self._recommended)
        return shown / max(len(self._learner.items), 1)

    def diversity10(self) -> float:
        """Return the mean cosine distance between the items of a list."""
        return self._diversity_total / max(self.scored, 1)

    def segments(self) -> dict[str, dict[str, float]]:
        """Return count and metrics of what is served per segment, by name."""
        return {
            name: {"scored": sums[0]}
            | {metric: value / sums[0] for metric, value in zip(METRICS, sums[1:], strict=True)}
            for name, sums in sorted(self._segments.items())
        }

    def alarm(self) -> bool:
        """Whether what is served is no better than decayed popularity in the window: something is wrong."""
        if self.scored < ALARM_NEEDS:
            return False
        recall = self.window()["recall10"]
        return recall["served"] <= recall["popularity_decayed"]

    # --- state ------------------------------------------------------------------------------------------------------

    def state(self) -> tuple[Arrays, dict[str, Any]]:
        """Return (arrays, facts): copies of everything needed to go on; facts are JSON-able."""
        arrays: Arrays = {
            "totals": self._totals.copy(),
            "window_ranks": self._window_ranks.copy(),
            "window_lists": self._window_lists.copy(),
            "recommended": np.array(sorted(self._recommended), dtype=np.int32),
        }
        facts = {
            "scored": self.scored,
            "diversity_total": self._diversity_total,
            "segments": {name: list(sums) for name, sums in self._segments.items()},
        }
        return arrays, facts

    @classmethod
    def from_state(
        cls, learner: Learner, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]
    ) -> PrequentialEvaluator:
        """Return an evaluator that goes on from a state."""
        evaluator = cls(learner, window=len(arrays["window_ranks"]))
        evaluator.scored = facts["scored"]
        evaluator._diversity_total = facts["diversity_total"]
        evaluator._segments = {name: list(sums) for name, sums in facts["segments"].items()}
        evaluator._totals = np.array(arrays["totals"])
        evaluator._window_ranks = np.array(arrays["window_ranks"])
        evaluator._window_lists = np.array(arrays["window_lists"])
        evaluator._recommended = set(arrays["recommended"].tolist())
        return evaluator


def segments_of(user_positives: int, item_positives: int) -> list[str]:
    """Return the segments of a positive: new or known user and item, and the how manieth positive of the user it is."""
    user = "new" if user_positives < NEW_USER_POSITIVES else "known"
    item = "new" if item_positives < NEW_ITEM_POSITIVES else "known"
    nth = user_positives + 1
    # Beyond 8, segments double: 9-16, 17-32, ...
    band = str(nth) if nth <= 8 else f"{2 ** (math.ceil(math.log2(nth)) - 1) + 1}-{2 ** math.ceil(math.log2(nth))}"
    return [f"{user}_user/{item}_item", f"event_{band}"]


def _by_metric(figures: NDArray[np.float64]) -> dict[str, dict[str, float]]:
    return {
        metric: {method: float(figures[row, column]) for row, method in enumerate(METHODS)}
        for column, metric in enumerate(METRICS)
    }
