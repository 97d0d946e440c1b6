"""The learner: everything that changes with a positive, and nothing that talks to the outside.

The live trainer, initial training and the benchmarks all learn through it, so they learn the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.consumption import Consumption
from models.embeddings import Embeddings
from models.growable_array import grown_capacity
from models.histories import RECENT_KEPT, Histories, Recent
from models.learning_arrays import PoolArrays, Positives, Steps
from models.learning_kernel import learn_positives
from models.merges import Merges
from models.model_settings import ModelSettings
from models.popularity import Popularity
from models.recent_users import RecentUsers
from models.touched_rows import Touched, TouchedRows
from models.transitions import FOLLOWED, Transitions
from models.vocabulary import Vocabulary

INITIAL_CAPACITY = 1024

Arrays = dict[str, NDArray[Any]]


def event_seed(event_id: str) -> int:
    """Return the seed of all random choices of an event, 64 bits: a hash that no process or platform changes."""
    return int.from_bytes(hashlib.blake2b(event_id.encode(), digest_size=8).digest(), "little")


class Learner:
    """The model and its memories, growing by one row at a time.

    Rows of users and items are given by ``add_user`` and ``add_item``; positives are learned by ``learn``. Whatever is
    learned depends only on the settings, the ids and the order of events: not on capacities, nor on how events are
    batched.
    """

    def __init__(
        self, settings: ModelSettings, *, user_capacity: int = INITIAL_CAPACITY, item_capacity: int = INITIAL_CAPACITY
    ) -> None:
        self.settings = settings
        self.users = Vocabulary()
        self.items = Vocabulary()
        self.user_growths = 0
        self.item_growths = 0
        self.events_learned = 0
        self.merges = Merges()
        self._embeddings = Embeddings(settings.dimension, user_capacity, item_capacity)
        self.head = self._embeddings.head
        self.user_table = self._embeddings.users
        self.item_table = self._embeddings.items
        self.context_table = self._embeddings.contexts
        self.popularity = Popularity(settings.fast_decay, settings.slow_decay, item_capacity)
        self.transitions = Transitions(settings.edges, item_capacity)
        self.recent_users = RecentUsers(item_capacity)
        self._histories = Histories(user_capacity)
        self._pool = PoolArrays.empty(settings.recent_pool)
        self._touched = TouchedRows(user_capacity, item_capacity)
        self._consumption = Consumption()
        self._steps = Steps.of(settings)

    # --- rows -------------------------------------------------------------------------------------------------------

    @property
    def user_capacity(self) -> int:
        """User rows allocated."""
        return self.user_table.capacity

    @property
    def item_capacity(self) -> int:
        """Item rows allocated."""
        return self.item_table.capacity

    def add_user(self, user_id: str) -> int:
        """Return the row of a user, giving him the next one, all zero, on first sight. Safe to repeat."""
        row = self.users.add(user_id)
        if row == len(self._consumption):
            self._consumption.add_user()
            if row == self.user_capacity:
                self.grow_users(grown_capacity(row, row + 1))
        return row

    def add_item(self, item_id: str) -> int:
        """Return the row of an item, giving it the next one on first sight. Safe to repeat."""
        row = self.items.row(item_id)
        if row is None:
            row = self.items.add(item_id)
            if row == self.item_capacity:
                self.grow_items(grown_capacity(row, row + 1))
            self._embeddings.start_item(row, item_id, self.settings.seed, self.settings.initial_scale)
        return row

    def grow_users(self, capacity: int) -> None:
        """Raise the capacity for users; rows that exist keep their bits and their place."""
        self.user_growths += 1
        self._embeddings.grow_users(capacity)
        self._histories.grow(capacity)
        self._touched.grow_users(capacity)

    def grow_items(self, capacity: int) -> None:
        """Raise the capacity for items; rows that exist keep their bits and their place."""
        self.item_growths += 1
        self._embeddings.grow_items(capacity)
        for grows in (self.popularity, self.transitions, self.recent_users):
            grows.grow(capacity)
        self._touched.grow_items(capacity)

    # --- what a user has consumed -----------------------------------------------------------------------------------

    def has_seen(self, user: int, item: int) -> bool:
        """Whether the user has consumed the item, as far as is remembered."""
        return self._consumption.has_seen(user, item)

    def has_learned(self, user: int, item: int) -> bool:
        """Whether the user consumed the item as a positive, as far as is remembered: a pair is learned once."""
        return self._consumption.has_learned(user, item)

    def mark_seen(self, user: int, item: int, *, learned: bool = False) -> bool:
        """Remember that the user consumed the item, as a positive or otherwise. Safe to repeat.

        Returns whether it is new: a pair that was learned once is nothing new, whatever comes.
        """
        return self._consumption.mark_seen(user, item, learned)

    def hide(self, user: int, item: int) -> None:
        """Remember that the user rejected the item. Safe to repeat."""
        self._consumption.hide(user, item)

    def has_hidden(self, user: int, item: int) -> bool:
        """Whether the user rejected the item, as far as is remembered."""
        return self._consumption.has_hidden(user, item)

    def forget_user(self, user: int) -> None:
        """Forget a user, who must have nothing waiting to be learned; his row means nobody from then on.

        What his positives taught about items stays. Safe to repeat.
        """
        self.users.forget(user)
        self._embeddings.forget_user(user)
        self._histories.forget(user)
        self._consumption.forget(user)

    def seen(self, user: int) -> NDArray[np.int32]:
        """Return the item rows a user has consumed, (n,), oldest first."""
        return self._consumption.seen(user)

    def hidden(self, user: int) -> list[int]:
        """Return the item rows a user has rejected, oldest first."""
        return self._consumption.hidden(user)

    def positives_of(self, user: int) -> int:
        """Return how many positives of a user were learned."""
        return self._histories.total(user)

    def recent(self, user: int, limit: int = RECENT_KEPT) -> NDArray[np.int32]:
        """Return a user's newest positives, NEWEST FIRST, at most ``limit``."""
        return self._histories.newest(user, limit)

    # --- learning ---------------------------------------------------------------------------------------------------

    def learn(
        self,
        users: Sequence[int] | NDArray[np.int32],
        items: Sequence[int] | NDArray[np.int32],
        strengths: Sequence[float] | NDArray[np.float32],
        seeds: Sequence[int] | NDArray[np.uint64],
        known_items: Sequence[int] | NDArray[np.int64],
    ) -> None:
        """Learn positives and rejections strictly one after another; all arguments have length n.

        ``users``, ``items``: rows. ``strengths`` scale the steps; a negative one marks a rejection, which moves
        embeddings only. ``seeds``: ``event_seed``s. ``known_items``: how many
        item rows there were when each event arrived, its own included. NOT safe to repeat: it learns again.
        """
        positives = Positives(
            np.asarray(users, np.int32),
            np.asarray(items, np.int32),
            np.asarray(strengths, np.float32),
            np.asarray(seeds, np.uint64),
            np.asarray(known_items, np.int64),
        )
        liked = positives.strengths > 0
        if liked.all():
            fresh = self.popularity.count(positives.items, positives.known_items)
            recent = self._learn(positives, liked, fresh, self._steps)
        else:
            liked_ones = positives.only(liked)
            fresh = np.zeros(len(liked), np.bool_)
            fresh[liked] = self.popularity.count(liked_ones.items, liked_ones.known_items)
            recent = self._learn(positives, liked, fresh, self._steps).only(liked)
            positives = liked_ones
        self.transitions.remember(positives.items, recent)
        self.recent_users.remember(positives.users, positives.items)
        self.events_learned += len(positives.users)

    def forget_histories(self) -> None:
        """Empty every user's recent positives and the recent pool, before a history is learned once more."""
        self._histories.forget_all()
        self._pool.total[:] = 0

    def learn_again(self, positives: Positives, pass_number: int, rate: float) -> None:
        """Learn positives of an earlier pass once more, at ``rate`` times the step, with other negatives.

        Histories advance as in the first pass; popularity and transitions do not, and no item is fresh any more.
        """
        seeds = positives.seeds ^ np.uint64(event_seed(f"pass {pass_number}"))
        known_items = np.full_like(positives.known_items, len(self.items))
        steps = self._steps._replace(rate=rate * self._steps.rate, bias_rate=rate * self._steps.bias_rate)
        positives = positives._replace(seeds=seeds, known_items=known_items)
        self._learn(positives, positives.strengths > 0, np.zeros(len(positives.users), np.bool_), steps)

    def _learn(self, positives: Positives, liked: NDArray[np.bool_], fresh: NDArray[np.bool_], steps: Steps) -> Recent:
        """Move embeddings; return what each user had before each event."""
        recent = self._histories.advance(positives.users, positives.items, liked, max(steps.context_length, FOLLOWED))
        learn_positives(
            positives,
            self._embeddings.arrays(),
            recent.items,
            recent.counts,
            fresh,
            self._pool,
            self._touched.arrays(),
            steps,
        )
        return recent

    # --- what is published ------------------------------------------------------------------------------------------

    def take_touched(self) -> Touched:
        """Return the rows changed since last asked, in order of first change, and start anew."""
        return self._touched.take()

    def user_embedding(self, user: int) -> NDArray[np.float32]:
        """Return a copy of a user's embedding, (d,)."""
        return self.user_table.weights[user].copy()

    def item_vectors(self, rows: NDArray[np.integer[Any]] | slice) -> NDArray[np.float32]:
        """Return what the index holds for these items, (n, d + 1): head * embedding, then bias."""
        return self._embeddings.item_vectors(rows)

    def contexts(self, rows: NDArray[np.integer[Any]] | slice) -> NDArray[np.float32]:
        """Return the context embeddings of these items, (n, d)."""
        return self.context_table.weights[rows].copy()

    def biases(self) -> NDArray[np.float32]:
        """Return the biases of all items, (size,); a view."""
        return self._embeddings.biases(len(self.items))

    def popularity_columns(self) -> NDArray[np.float32]:
        """Return log popularity of all items, (size, 2): fast, slow."""
        return self.popularity.columns(len(self.items))

    def neighbours(self, item: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return the rows that tend to follow an item and the weights of its edges, strongest first."""
        return self.transitions.neighbours(item)

    # --- state ------------------------------------------------------------------------------------------------------

    def state(self) -> tuple[Arrays, dict[str, Any]]:
        """Return (arrays, facts): copies of everything needed to go on bit by bit; facts are JSON-able.

        Which rows are touched is not part of it: whoever keeps a state has published, or kept in an outbox, all that
        ``take_touched`` told.
        """
        m, n = len(self.users), len(self.items)
        seen, hidden = self._consumption.state()
        arrays: Arrays = {
            "pool_items": self._pool.items.copy(),
            "pool_users": self._pool.users.copy(),
            "pool_total": self._pool.total.copy(),
        }
        arrays |= self._embeddings.state(m, n)
        arrays |= {f"recent_{name}": array for name, array in self._histories.state(m).items()}
        arrays |= {f"seen_{name}": array for name, array in seen.items()}
        arrays |= {f"merge_{name}": array for name, array in self.merges.state().items()}
        arrays |= {f"popularity_{name}": array for name, array in self.popularity.state(n).items()}
        arrays |= {f"transition_{name}": array for name, array in self.transitions.state(n).items()}
        arrays |= {f"recent_users_{name}": array for name, array in self.recent_users.state(n).items()}
        facts = {
            "user_ids": list(self.users.ids),
            "item_ids": list(self.items.ids),
            "user_growths": self.user_growths,
            "item_growths": self.item_growths,
            "user_capacity": self.user_capacity,
            "item_capacity": self.item_capacity,
            "events_learned": self.events_learned,
            "hidden": hidden,
        }
        return arrays, facts

    @classmethod
    def from_state(
        cls, settings: ModelSettings, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]
    ) -> Learner:
        """Return a learner that goes on from a state. The settings must be those it was made with."""
        learner = cls(settings, user_capacity=facts["user_capacity"], item_capacity=facts["item_capacity"])
        learner.users = Vocabulary(facts["user_ids"])
        learner.items = Vocabulary(facts["item_ids"])
        learner.user_growths = facts["user_growths"]
        learner.item_growths = facts["item_growths"]
        learner.events_learned = facts["events_learned"]
        learner._embeddings.restore(arrays)
        learner._histories.restore({name: arrays[f"recent_{name}"] for name in ("rings", "totals")})
        learner._consumption.restore(_with_prefix(arrays, "seen_"), facts["hidden"])
        learner._pool.items[:] = arrays["pool_items"]
        learner._pool.users[:] = arrays["pool_users"]
        learner._pool.total[:] = arrays["pool_total"]
        learner.merges.restore(_with_prefix(arrays, "merge_"))
        learner.popularity.restore(_with_prefix(arrays, "popularity_"))
        learner.transitions.restore(_with_prefix(arrays, "transition_"))
        learner.recent_users.restore(_with_prefix(arrays, "recent_users_"))
        return learner


def _with_prefix(arrays: Mapping[str, NDArray[Any]], prefix: str) -> Arrays:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
