"""Publication: what the trainer has learned, on its way to the stores that serving reads.

Two rooms publish: initial training everything once, the incremental trainer what changed, flush after flush. Only
absolute values are published, every one under a version, so publishing again is always safe; what a store has not
acknowledged stays in the outbox.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from models.item_content import ItemContent
from models.learner import Learner
from stores.index_publication import IndexPublication
from stores.outbox import Outbox, acknowledge
from stores.ports import (
    POPULAR,
    Clock,
    Gap,
    ItemIndexWriter,
    ItemRows,
    ItemWriter,
    Metrics,
    ServingState,
    StoreUnavailable,
    UserDocument,
    UserWriter,
    version_of,
)

# The length of the popular list.
POPULAR_LIMIT = 1000
# Popularity, lists and edges are published about this often.
SLOW_S = 1.0
# So long after the last change every store is made exact, see ``Publisher.settled``.
SETTLE_AFTER_S = 2.0
# The most documents, and the most items whose edges are published, in one message: none should take long to answer.
USERS_AT_ONCE, EDGES_AT_ONCE = 5_000, 1_024
# The most popular lists in one message, unless everything is made exact: a catalogue has thousands of categories.
LISTS_AT_ONCE = 256
# Of a user's newest items so many are looked at for changed edges: ten before each positive of one flush. What a longer
# burst changed besides is found when everything is made exact.
EDGES_PER_USER = 25
# After a failure a store is left alone for a while, longer each time.
BACKOFF_S = (0.2, 0.5, 1.0, 2.0, 5.0)

WRITE_SECONDS = {
    "users": "users_write_seconds",
    "items": "items_write_seconds",
    "index": "index_write_seconds",
}

Entries = Sequence[tuple[str, float]]

_log = logging.getLogger(__name__)


def nothing_fails(point: str) -> None:
    """The failpoint of a running system: nothing happens at ``point``."""


def _ids(entries: Entries) -> list[str]:
    return [item_id for item_id, _ in entries]


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
        self._users, self._items = users, items
        self._as_of = as_of
        self._lists = lists
        self._clock = clock
        self._metrics = metrics
        self._failpoint = failpoint
        self._stores = {name: _Store(name) for name in ("users", "items", "index")}
        self._index = (
            None if index is None else IndexPublication(learner, content, outbox, index, epoch=epoch, clock=clock)
        )
        self._edges_published: dict[int, int] = {}
        self._recent_users_published: dict[int, list[int]] = {}
        self._lists_published: dict[str, Entries] = {}
        # Rows that were deleted when their edges were last looked at.
        self._deleted_rows: set[int] = set()
        self._settle_from = 0
        self._unsettled = True
        self._last_slow_s = self._changed_at_s = -np.inf
        self.published: dict[int, int] = {}

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
        for item_id in item_ids:
            row = self._learner.items.row(item_id)
            if row is not None and self._content.catalogue.is_deleted(item_id) != (row in self._deleted_rows):
                # Those that it leads to mostly lead back; what else does is found when everything is made exact.
                self.outbox.edges.update(dict.fromkeys([row, *self._learner.neighbours(row)[0].tolist()]))
                self._edges_published.pop(row, None)
                self._recent_users_published.pop(row, None)
                self._deleted_rows ^= {row}
        self._unsettle()

    def _unsettle(self) -> None:
        self._unsettled = True
        self._settle_from = 0
        self._changed_at_s = self._clock.monotonic_s()

    @property
    def urgent(self) -> bool:
        """Whether something waits that belongs into the very next flush."""
        box = self.outbox
        waiting = box.users or box.forgotten or box.items
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
        if self._unsettled or any(vars(self.outbox).values()):
            return False
        return self._index is None or self._index.exact

    # --- the flush --------------------------------------------------------------------------------------------------

    def flush(
        self,
        offsets: Mapping[int, int],
        report: Callable[[], Mapping[str, Any]],
        *,
        idle: bool,
        hold_index: bool = False,
    ) -> None:
        """Publish: users and positive items at once, the rest coalesced and budgeted; then the serving state.

        ``offsets``: NEXT offset per partition of ``user_events`` up to which the learner has learned. ``report`` makes
        the figures of the serving state. ``idle``: nothing is left to learn, so nothing need be held back.
        ``hold_index``: an index that holds a table of before keeps it for now. A store that fails is left alone for a
        while and keeps its rows in the outbox. Raises ``StaleEpoch``.
        """
        started_s = self._clock.monotonic_s()
        self.seq += 1
        settling = idle and self._unsettled and started_s - self._changed_at_s >= SETTLE_AFTER_S
        slow = settling or started_s - self._last_slow_s >= SLOW_S
        users_done = self._attempt("users", self._publish_users)
        self._failpoint("users_published")
        index_done = self._index is None or (
            self._attempt("index", lambda: self._publish_items(slow, idle, hold_index)) and self._index.stands
        )
        self._failpoint("index_published")
        if slow:
            self._last_slow_s = started_s
            self._attempt("items", lambda: self._publish_lists_and_edges(settling))
            self._failpoint("items_published")
        if users_done and index_done:
            fresh = dict(offsets) != self.published
            if (fresh or slow) and self._attempt("items", lambda: self._publish_state(offsets, report())):
                self.published = dict(offsets)
        elif slow:
            self._attempt("items", lambda: self._publish_state(self.published, report()))
        self._failpoint("state_published")
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
        self._metrics.timing(WRITE_SECONDS[name], self._clock.monotonic_s() - started_s)
        return True

    def _publish_users(self) -> None:
        waiting = self.outbox.users
        version = version_of(self.epoch, self.seq)
        if forgotten := list(self.outbox.forgotten):
            # Before the documents: whoever came back has a new row, and his new document stays.
            self._users.delete(forgotten, version)
            acknowledge(self.outbox.forgotten, forgotten)
        while waiting:
            rows = list(islice(waiting, USERS_AT_ONCE))
            self._users.upsert([self._document(row, version) for row in rows if self._learner.users.id(row)])
            acknowledge(waiting, rows)

    def _document(self, row: int, version: int) -> UserDocument:
        learner, item_id = self._learner, self._learner.items.id
        return UserDocument(
            user_id=learner.users.id(row),
            embedding=learner.user_embedding(row),
            recent=[item_id(item) for item in reversed(learner.recent(row).tolist())],
            seen=[item_id(item) for item in learner.seen(row)],
            hidden=[item_id(item) for item in learner.hidden(row)],
            as_of=self._as_of(row),
            version=version,
        )

    def _publish_items(self, slow: bool, idle: bool, hold: bool) -> None:
        assert self._index is not None
        self.seq = self._index.publish(self.seq, slow=slow, idle=idle, hold=hold)

    # --- the item store ---------------------------------------------------------------------------------------------

    def _publish_lists_and_edges(self, settling: bool) -> None:
        learner, version = self._learner, version_of(self.epoch, self.seq)
        fast = learner.popularity_columns()[:, 0]
        most = POPULAR_LIMIT + self._content.catalogue.deletions
        best = np.lexsort((np.arange(len(fast)), -fast))[:most].tolist()
        kept = [row for row in best if not self._is_deleted(row)][:POPULAR_LIMIT]
        popular = [(learner.items.id(row), float(fast[row])) for row in kept]
        changed = self._changed_lists(exact=settling)
        self._items.put_popular({POPULAR: popular} | changed, version)
        for name in changed:
            self._lists_published.pop(name, None)
        self._lists_published |= changed
        self._publish_edges(list(islice(self.outbox.edges, EDGES_AT_ONCE)), version)
        if settling and not self.outbox.edges:
            self._settle_edges(version)

    def _changed_lists(self, *, exact: bool) -> dict[str, Entries]:
        """Return the lists to publish: those with other items, or another order, than were published; some of them.

        Their scores fade with every event, all of them: these are published only when everything is made ``exact``.
        """
        lists = {name: self._without_deleted(entries) for name, entries in self._lists().items()}
        published = self._lists_published
        if exact:
            return {name: entries for name, entries in lists.items() if published.get(name) != entries}
        # Those first that have waited longest: it is the order in which ``published`` keeps them.
        waited = [*(name for name in lists if name not in published), *published]
        others = (name for name in waited if _ids(lists[name]) != _ids(published.get(name, ())))
        return {name: lists[name] for name in islice(others, LISTS_AT_ONCE)}

    def _settle_edges(self, version: int) -> None:
        """Publish edges that changed without their item being touched: a weight also depends on its target's visits."""
        size = len(self._learner.items)
        stop = min(self._settle_from + EDGES_AT_ONCE, size)
        self._publish_edges(list(range(self._settle_from, stop)), version)
        self._settle_from = stop
        self._unsettled = stop < size

    def _publish_edges(self, rows: list[int], version: int) -> None:
        edges, digests = {}, {}
        kept_rows = [row for row in rows if not self._is_deleted(row)]
        users = {row: found for row in kept_rows if (found := self._changed_recent_users(row)) is not None}
        for row in kept_rows:
            targets, weights = self._learner.neighbours(row)
            if not len(targets):
                continue
            kept = [place for place, target in enumerate(targets.tolist()) if not self._is_deleted(target)]
            targets, weights = targets[kept], weights[kept]
            digest = hash((targets.tobytes(), weights.tobytes()))
            if self._edges_published.get(row) != digest:
                digests[row] = digest
                ids = [self._learner.items.id(target) for target in targets.tolist()]
                edges[self._learner.items.id(row)] = list(zip(ids, weights.tolist(), strict=True))
        if edges:
            self._items.put_neighbours(edges, version)
        if users:
            user_id, item_id = self._learner.users.id, self._learner.items.id
            self._items.put_recent_users({item_id(x): [user_id(u) for u in of] for x, of in users.items()}, version)
        self._edges_published.update(digests)
        self._recent_users_published.update(users)
        acknowledge(self.outbox.edges, rows)

    def _changed_recent_users(self, row: int) -> list[int] | None:
        """Return an item's recent users when they are others than were published."""
        users = [user for user in self._learner.recent_users.of(row) if self._learner.users.id(user)]
        return users if users != self._recent_users_published.get(row) else None

    def _without_deleted(self, entries: Entries) -> Entries:
        catalogue = self._content.catalogue
        return [entry for entry in entries if not catalogue.is_deleted(entry[0])] if catalogue.deletions else entries

    def _is_deleted(self, row: int) -> bool:
        return self._content.catalogue.is_deleted(self._learner.items.id(row))

    def _publish_state(self, learned: Mapping[int, int], report: Mapping[str, Any]) -> None:
        settings = self._learner.settings
        self._items.put_serving_state(
            ServingState(
                version=version_of(self.epoch, self.seq),
                dimension=settings.dimension,
                merge_weights=[float(weight) for weight in self._learner.merge.weights],
                context_decay=settings.context_decay,
                context_length=settings.context_length,
                learned=dict(learned),
                report=dict(report),
            )
        )
