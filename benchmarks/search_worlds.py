"""What is searched in ``benchmarks.search``: learned item vectors with the queries that belong to them, and noise.

Vectors are learned by the product's own learner, as the trainer learns them, from a simulated world or a real log, and
the queries are those that its users would send. Larger sets are copies of every item, each with noise of its own: a
shop has many similar items, never the same one twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models import ranking
from models.evaluation import PrequentialEvaluator
from models.learner import Learner
from models.model_settings import ModelSettings
from models.prequential import Positive, train_passes
from recommender_server.candidates import STRONGEST
from stores.history import ColumnMap, load_history
from stores.ports import ItemRows, Query, Vectors

SCORE_EVERY = 50
# Of a simulated world: groups of items, what tastes are made of, and the positives of a session.
GROUPS, TASTES, SESSION = 60, 16, 10
# Noise of copies, in standard deviations of each column over all items.
JITTER = 0.3


@dataclass(frozen=True)
class Learned:
    """What a learner knows: rows as the index gets them; and per query what its user would ask, at most as many."""

    rows: ItemRows
    queries: list[Query]


def simulated(items: int, sessions: int, sessions_per_user: int = 5, seed: int = 0) -> Iterator[Positive]:
    """Yield positives of users who follow a mood of their taste, item by item, by popularity (Zipf) and fit."""
    chance = np.random.default_rng(seed)
    centres = chance.normal(size=(GROUPS, TASTES))
    places = (centres[chance.integers(GROUPS, size=items)] + 0.4 * chance.normal(size=(items, TASTES))).astype("f4")
    popularity = (-0.8 * np.log(1.0 + chance.permutation(items))).astype("f4")
    users = max(1, sessions // sessions_per_user)
    tastes = chance.normal(size=(users, TASTES)).astype("f4")
    for start in range(0, sessions, 500):
        whose = chance.integers(users, size=min(500, sessions - start))
        moods = places[chance.integers(items, size=len(whose))]
        utility = popularity + (0.5 * tastes[whose] + 0.7 * moods) @ places.T
        # The largest of utility plus Gumbel noise are draws by softmax, none twice.
        utility += chance.gumbel(size=utility.shape).astype("f4")
        chosen = np.argpartition(-utility, SESSION, axis=1)[:, :SESSION]
        for session, (user, taken) in enumerate(zip(whose.tolist(), chosen.tolist(), strict=True), start=start):
            for place, item in enumerate(taken):
                yield Positive(f"u{user}", f"i{item}", 1.0, f"{session}:{place}")


def logged(path: Path, columns: ColumnMap, most: int) -> Iterator[Positive]:
    """Yield at most so many events of a real log, the newest, each as a positive. Raises ``HistoryError``."""
    history = load_history(path, columns)
    for row in range(max(0, len(history) - most), len(history)):
        user_id, item_id = history.user_ids[history.users[row]], history.item_ids[history.items[row]]
        yield Positive(user_id, item_id, 1.0, str(row))


def learn(positives: Iterator[Positive], queries: int, k: int) -> Learned:
    """Learn them in one pass, and return every item and the queries of so many random users."""
    learner = Learner(ModelSettings())
    train_passes(learner, PrequentialEvaluator(learner), positives, 1, score_every=SCORE_EVERY)
    everything = slice(0, len(learner.items))
    rows = ItemRows(
        list(learner.items.ids),
        learner.item_vectors(everything),
        learner.contexts(everything),
        learner.popularity_columns(),
    )
    chance = np.random.default_rng(1)
    users = chance.permutation(len(learner.users))[:queries].tolist()
    return Learned(rows, [_query(learner, user, k) for user in users])


def _query(learner: Learner, user: int, k: int) -> Query:
    """Return what serving asks for a user: recent items folded in, their neighbours with the largest lifts named."""
    settings, item_id = learner.settings, learner.items.id
    weights = learner.merges.of(learner.positives_of(user)).weights.tolist()
    recent = learner.recent(user).tolist()
    edges = {item: list(zip(*(part.tolist() for part in learner.neighbours(item)), strict=True)) for item in recent}
    found = ranking.transitions(recent, edges)
    t = np.array(list(found.values()), dtype=np.float64).reshape(-1, 2)
    lifts = ranking.lifts(*map(ranking.transition_feature, t.T), weights)
    largest = ranking.top(list(found), lifts, STRONGEST)
    folded = recent[: ranking.folded(settings.context_length)]
    return Query(
        vector=ranking.query_vector(learner.user_embedding(user), weights, settings.dimension),
        k=k,
        recent=[item_id(item) for item in folded],
        recent_weights=ranking.recent_weights(len(folded), weights, settings.context_length, settings.context_decay),
        lifted=[item_id(item) for item, _ in largest],
        lifts=[lift for _, lift in largest],
    )


def replicated(rows: ItemRows, count: int, seed: int = 0) -> ItemRows:
    """Return so many items: these first, then copies of them with noise, popularity columns included."""
    chance = np.random.default_rng(seed)
    n = len(rows.item_ids)
    source = np.arange(count) % n

    def copies(table: Vectors) -> Vectors:
        made = table[source]
        for start in range(n, count, 65_536):
            part = made[start : start + 65_536]
            part += JITTER * table.std(axis=0) * chance.standard_normal(part.shape, dtype=np.float32)
        return made

    item_ids = rows.item_ids + [f"{rows.item_ids[place]}-{copy}" for copy, place in _copies(n, count)]
    return ItemRows(item_ids, copies(rows.vectors), copies(rows.contexts), copies(rows.popularity))


def _copies(n: int, count: int) -> Iterator[tuple[int, int]]:
    return (divmod(position, n) for position in range(n, count))


def noise(count: int, dimension: int, queries: int, k: int, seed: int = 0) -> tuple[ItemRows, list[Query]]:
    """Return items that are noise in every column, and queries that are."""
    chance = np.random.default_rng(seed)

    def normal(*shape: int) -> NDArray[np.float32]:
        return chance.standard_normal(shape, dtype=np.float32)

    item_ids = [f"i{row}" for row in range(count)]
    rows = ItemRows(item_ids, normal(count, dimension + 1), normal(count, dimension), normal(count, 2))
    return rows, [Query(vector=vector, k=k) for vector in normal(queries, dimension + 3)]
