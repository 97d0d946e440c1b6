"""Publication: what the trainer has learned, on its way to the stores that serving reads.

Two rooms publish: initial training everything once, the incremental trainer what changed, flush after flush. Only
absolute values are published, every one under a version, so publishing again is always safe; what a store has not
acknowledged stays in the outbox.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.item_content import ItemContent
from models.learner import Learner
from stores.index_publication import IndexPublication
from stores.item_publication import Entries, ItemPublication
from stores.outbox import Outbox
from stores.ports import (
    Clock,
    Gap,
    ItemIndexWriter,
    ItemRows,
    ItemWriter,
    Metrics,
    ServingState,
    StoreUnavailable,
    UserWriter,
    version_of,
)
from stores.user_publication import UserPublication

# Popularity, lists and edges are published about this often.
SLOW_S = 1.0
# So long after the last change every store is made exact, see ``Publisher.settled``.
SETTLE_AFTER_S = 2.0
# Of a user's newest items so many are looked at for changed edges: ten before each positive of one flush. What a longer
# burst changed besides is found when everything is made exact.
EDGES_PER_USER = 25
# After a failure a store is left alone for a while, longer each time.
BACKOFF_S = (0.2, 0.5, 1.0, 2.0, 5.0)

WRITE_SECONDS = {
    "items": "items_write_seconds",
    "index": "index_write_seconds",
}

_log = logging.getLogger(__name__)


def nothing_fails(point: str) -> None:
    """The failpoint of a running system: nothing happens at ``point``."""


@dataclass
class _Store:
    """How it stands with one store: failures in a row, and when to try again (monotonic seconds)."""

    name: str
    failures: int = 0
    retry_at_s: float = 0.0


class Publisher:
    """Carries an outbox to the stores, under one epoch; without an index, to the others.

    ``as_of`` tells, per user row, the learned offset per partition; ``lists`` the popular lists beside the one of the
    model, by name, as they are now; ``content`` what is known of items beside events.
    """

    def __init__(
        self,
        learner: Learner,
        content: ItemContent,
        outbox: Outbox,
        *,
        users: UserWriter,
        items: ItemWriter,
        index: ItemIndexWriter | None,
        epoch: int,
        seq: int,
        as_of: Callable[[int], dict[int, int]],
        lists: Callable[[], Mapping[str, Entries]] = dict,
        clock: Clock,
        metrics: Metrics,
        failpoint: Callable[[str], None] = nothing_fails,
    ) -> None:
        self.outbox = outbox
        self.epoch = epoch
        self.seq = seq
        self._learner, self._content = learner, content
        self._items = items
        self._clock = clock
        self._metrics = metrics
        self._failpoint = failpoint
        self._stores = {name: _Store(name) for name in ("users", "items", "index")}
        self._index = (
            None if index is None else IndexPublication(learner, content, outbox, index, epoch=epoch, clock=clock)
        )
        self._user_publication = UserPublication(learner, outbox, users, as_of, clock, metrics)
        self._item_publication = ItemPublication(learner, content, outbox, items, lists)
        self._last_slow_s = self._last_edges_s = self._changed_at_s = -np.inf
        # NEXT offset per partition up to which every store, and the index alone, has everything.
        self.published: dict[int, int] = {}
        self.indexed: dict[int, int] = {}

    # --- the outbox -------------------------------------------------------------------------------------------------

    def collect(
        self, users_seen: Mapping[int, None] | None = None, users_forgotten: Mapping[str, Sequence[int]] | None = None
    ) -> None:
        """Move what the learner touched, and users whose documents changed otherwise or must go, into the outbox.

        ``users_forgotten``: by id, with the rows of the items that they consumed.
        """
        touched = self._learner.take_touched()
        box = self.outbox
        positives = touched.positives.tolist()
        box.items.update(dict.fromkeys(positives))
        box.background.update(dict.fromkeys(touched.others.tolist()))
        users = touched.users.tolist()
        box.users.update(dict.fromkeys(users))
        if users_seen:
            box.users.update(users_seen)
        if users_forgotten:
            box.forgotten.update(dict.fromkeys(users_forgotten))
            for items in users_forgotten.values():  # which may name them among their recent users
                box.edges.update(dict.fromkeys(items))
        # A positive changes the edges of itself and of the ten items before it, both ways.
        for user in users:
            box.edges.update(dict.fromkeys(self._learner.recent(user, EDGES_PER_USER).tolist()))
        if positives or users or users_seen or users_forgotten:
            self._unsettle()

    def items_changed(self, item_ids: Iterable[str]) -> None:
        """Take note of items whose records came or went: edges do not lead to deleted ones. Safe to repeat."""
        self._item_publication.items_changed(item_ids)
        self._changed_at_s = self._clock.monotonic_s()

    def _unsettle(self) -> None:
        self._item_publication.unsettle()
        self._changed_at_s = self._clock.monotonic_s()

    @property
    def urgent(self) -> bool:
        """Whether something waits that belongs into the very next flush."""
        box = self.outbox
        waiting = box.users or box.users_sent or box.forgotten or box.items
        return bool(waiting or (self._index is not None and self._index.urgent))

    def item_rows(self, item_ids: Sequence[str]) -> ItemRows:
        """Return what the index is given of these items now. There must be an index."""
        assert self._index is not None
        return self._index.item_rows(item_ids)

    @property
    def records_wait(self) -> bool:
        """Whether there are item records that the index does not hold."""
        return self._index is not None and not (self._index.stands and not self._content.changed)

    @property
    def settled(self) -> bool:
        """Whether every store holds exactly what the learner holds."""
        if self._item_publication.unsettled or any(vars(self.outbox).values()):
            return False
        return self._index is None or self._index.exact

    @property
    def _version(self) -> int:
        return version_of(self.epoch, self.seq)

    # --- the flush --------------------------------------------------------------------------------------------------

    def flush(
        self,
        offsets: Mapping[int, int],
        report: Callable[[], Mapping[str, Any]],
        *,
        idle: bool,
        hold_index: bool = False,
        users_within_s: float = math.inf,
    ) -> None:
        """Publish: users and positive items at once, the rest coalesced and budgeted; then the serving state.

        ``offsets``: NEXT offset per partition of ``user_events`` up to which the learner has learned. ``report`` makes
        the figures of the serving state. ``idle``: nothing is left to learn, so nothing need be held back.
        ``hold_index``: an index that holds a table of before keeps it for now. ``users_within_s``: so much of the time
        of the user store is asked for; who is left then waits for a later flush. A store that fails is left alone for a
        while and keeps its rows in the outbox. Raises ``StaleEpoch``.
        """
        started_s = self._clock.monotonic_s()
        self.seq += 1
        settling = idle and self._item_publication.unsettled and started_s - self._changed_at_s >= SETTLE_AFTER_S
        slow = settling or started_s - self._last_slow_s >= SLOW_S
        self._attempt("users", lambda: self._user_publication.publish(self._version, offsets, users_within_s))
        self._failpoint("users_published")
        index_done = self._index is None or (
            self._attempt("index", lambda: self._publish_items(slow, idle, hold_index)) and self._index.stands
        )
        self._failpoint("index_published")
        if slow:
            self._last_slow_s = started_s
            self._attempt("items", lambda: self._publish_lists(settling))
            self._failpoint("items_published")
        # Never more than is in both, and what was told once stays true while the index is away.
        indexed, published = self.indexed, self.published
        if index_done:
            indexed, published = dict(offsets), self._user_publication.published
        fresh = (indexed, published) != (self.indexed, self.published)
        if (fresh or slow) and self._attempt("items", lambda: self._publish_state(published, indexed, report())):
            self.indexed, self.published = indexed, published
        self._failpoint("state_published")
        # Last, because no offset promises them: whoever waits for his event does not wait for them.
        if edges := self._item_publication.edges_due(started_s - self._last_edges_s):
            self._last_edges_s = started_s
            self._attempt("items", lambda: self._item_publication.publish_edges(self._version, edges))
        self._metrics.timing("flush_seconds", self._clock.monotonic_s() - started_s)

    def _attempt(self, name: str, publish: Callable[[], None]) -> bool:
        store = self._stores[name]
        started_s = self._clock.monotonic_s()
        if started_s < store.retry_at_s:
            return False
        try:
            publish()
        except (StoreUnavailable, Gap) as error:
            pause_s = BACKOFF_S[min(store.failures, len(BACKOFF_S) - 1)]
            store.failures += 1
            store.retry_at_s = self._clock.monotonic_s() + pause_s
            self._metrics.count("store_failures", store=name)
            _log.warning("%s not published, trying again in %.1f s: %s", name, pause_s, error)
            return False
        if store.failures:
            _log.info("%s is back after %d failures", name, store.failures)
        store.failures = 0
        if name in WRITE_SECONDS:  # of users it may go on
            self._metrics.timing(WRITE_SECONDS[name], self._clock.monotonic_s() - started_s)
        return True

    def _publish_items(self, slow: bool, idle: bool, hold: bool) -> None:
        assert self._index is not None
        self.seq = self._index.publish(self.seq, slow=slow, idle=idle, hold=hold)

    def _publish_lists(self, settling: bool) -> None:
        self._item_publication.publish_lists(self._version, exact=settling)
        if settling:
            self._item_publication.settle_edges(self._version)

    def _publish_state(self, learned: Mapping[int, int], indexed: Mapping[int, int], report: Mapping[str, Any]) -> None:
        settings = self._learner.settings
        self._items.put_serving_state(
            ServingState(
                version=self._version,
                dimension=settings.dimension,
                merge_weights=self._learner.merges.weights.tolist(),
                context_decay=settings.context_decay,
                context_length=settings.context_length,
                learned=dict(learned),
                report=dict(report),
                indexed=dict(indexed),
            )
        )
