"""Publication: what the trainer has learned, on its way to the stores that serving reads.

Two rooms publish: initial training everything once, the incremental trainer what changed, flush after flush. Only
absolute values are published, every one under a version, so publishing again is always safe; what a store has not
acknowledged stays in the outbox.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from models.learner import Learner
from stores.ports import (
    POPULAR,
    Clock,
    Gap,
    ItemIndexWriter,
    ItemRows,
    ItemWriter,
    Metrics,
    ServingState,
    Stamp,
    StoreUnavailable,
    UserDocument,
    UserWriter,
    version_of,
)

# The length of the popular list.
POPULAR_LIMIT = 1000
# Rows touched only as negatives or context are published within this time, popularity and lists about this often.
BACKGROUND_S = 2.0
SLOW_S = 1.0
# So long after the last change every store is made exact, see ``Publisher.settled``.
SETTLE_AFTER_S = 2.0
# The least and the most rows of a kind in one message: neither a message per row nor one that takes long to answer.
SMALL_SLICE, LARGE_SLICE = 256, 5_000
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

_log = logging.getLogger(__name__)


def nothing_fails(point: str) -> None:
    """The failpoint of a running system: nothing happens at ``point``."""


@dataclass
class Outbox:
    """Rows changed and not yet acknowledged; insertion-ordered sets.

    ``items`` go out at once, ``background`` (touched as negatives or context only) within two seconds, ``edges`` about
    once a second.
    """

    users: dict[int, None] = field(default_factory=dict)
    items: dict[int, None] = field(default_factory=dict)
    background: dict[int, None] = field(default_factory=dict)
    edges: dict[int, None] = field(default_factory=dict)

    @classmethod
    def of_everything(cls, learner: Learner) -> Outbox:
        """Return the outbox that publishes all users and edges; the items go as one table, see ``Publisher``."""
        return cls(users=dict.fromkeys(range(len(learner.users))), edges=dict.fromkeys(range(len(learner.items))))

    def record(self) -> dict[str, list[int]]:
        """Return the JSON-able form that a snapshot keeps."""
        return {name: list(rows) for name, rows in vars(self).items()}

    @classmethod
    def from_record(cls, record: Mapping[str, list[int]]) -> Outbox:
        """Return the outbox that a snapshot kept."""
        return cls(**{name: dict.fromkeys(rows) for name, rows in record.items()})


@dataclass
class _Store:
    """How it stands with one store: failures in a row, and when to try again (monotonic seconds)."""

    name: str
    failures: int = 0
    retry_at_s: float = 0.0


class Publisher:
    """Carries an outbox to the stores, under one epoch; without an index, to the others.

    The index holds rows in table order; it gets the whole table at the start of an epoch and after every gap, and only
    changed rows in between. ``as_of`` tells, per user row, the learned offset per partition.
    """

    def __init__(
        self,
        learner: Learner,
        outbox: Outbox,
        *,
        users: UserWriter,
        items: ItemWriter,
        index: ItemIndexWriter | None,
        epoch: int,
        seq: int,
        as_of: Callable[[int], dict[int, int]],
        clock: Clock,
        metrics: Metrics,
        failpoint: Callable[[str], None] = nothing_fails,
    ) -> None:
        self.outbox = outbox
        self.epoch = epoch
        self.seq = seq
        self._learner = learner
        self._users, self._items, self._index = users, items, index
        self._as_of = as_of
        self._clock = clock
        self._metrics = metrics
        self._failpoint = failpoint
        self._stores = {name: _Store(name) for name in ("users", "items", "index")}
        # Where the index stands; unknown until it has the whole table of this epoch.
        self._index_rows = 0
        self._index_seq: int | None = None
        self._popularity = b""
        self._edges_published: dict[int, int] = {}
        self._settle_from = 0
        self._unsettled = True
        self._last_background_s = self._last_slow_s = self._changed_at_s = -np.inf
        self.published: dict[int, int] = {}

    # --- the outbox -------------------------------------------------------------------------------------------------

    def collect(self, users_seen: Mapping[int, None] | None = None) -> None:
        """Move what the learner touched, and users whose documents changed otherwise, into the outbox."""
        touched = self._learner.take_touched()
        box = self.outbox
        positives = touched.positives.tolist()
        box.items.update(dict.fromkeys(positives))
        box.background.update(dict.fromkeys(touched.others.tolist()))
        users = touched.users.tolist()
        box.users.update(dict.fromkeys(users))
        if users_seen:
            box.users.update(users_seen)
        # A positive changes the edges of itself and of the ten items before it, both ways.
        for user in users:
            box.edges.update(dict.fromkeys(self._learner.recent(user, EDGES_PER_USER).tolist()))
        if positives or users or users_seen:
            self._unsettled = True
            self._settle_from = 0
            self._changed_at_s = self._clock.monotonic_s()

    @property
    def urgent(self) -> bool:
        """Whether something waits that belongs into the very next flush."""
        box = self.outbox
        return bool(box.users or box.items or len(self._learner.items) > self._index_rows)

    @property
    def settled(self) -> bool:
        """Whether every store holds exactly what the learner holds."""
        return not self._unsettled and not any(vars(self.outbox).values())

    # --- the flush --------------------------------------------------------------------------------------------------

    def flush(self, offsets: Mapping[int, int], report: Callable[[], Mapping[str, Any]], *, idle: bool) -> None:
        """Publish: users and positive items at once, the rest coalesced and budgeted; then the serving state.

        ``offsets``: NEXT offset per partition of ``user_events`` up to which the learner has learned. ``report`` makes
        the figures of the serving state. ``idle``: nothing is left to learn, so nothing need be held back. A store that
        fails is left alone for a while and keeps its rows in the outbox. Raises ``StaleEpoch``.
        """
        started_s = self._clock.monotonic_s()
        self.seq += 1
        settling = idle and self._unsettled and started_s - self._changed_at_s >= SETTLE_AFTER_S
        slow = settling or started_s - self._last_slow_s >= SLOW_S
        users_done = self._attempt("users", self._publish_users)
        self._failpoint("users_published")
        index = self._index
        index_done = index is None or self._attempt("index", lambda: self._publish_items(index, slow, idle))
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
        while waiting:
            rows = list(islice(waiting, LARGE_SLICE))
            self._users.upsert([self._document(row, version) for row in rows])
            _acknowledge(waiting, rows)

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

    # --- the index --------------------------------------------------------------------------------------------------

    def _publish_items(self, index: ItemIndexWriter, slow: bool, idle: bool) -> None:
        try:
            if self._index_seq is not None:
                self._update_index(index, slow, idle)
                return
        except Gap as gap:
            _log.info("the index needs the whole table: %s", gap)
        except StoreUnavailable:
            # Nobody knows whether the write took effect; the whole table is right in either case.
            self._index_seq = None
            raise
        self._index_seq = None
        self._replace_index(index)

    def _replace_index(self, index: ItemIndexWriter) -> None:
        status = index.replace(self._rows(np.arange(len(self._learner.items))), Stamp(self.epoch, 0, self.seq))
        self._index_rows = status.rows
        self._index_seq = self.seq
        self.outbox.items.clear()
        self.outbox.background.clear()
        self._popularity = self._learner.popularity_columns().tobytes()

    def _update_index(self, index: ItemIndexWriter, slow: bool, idle: bool) -> None:
        box, size = self.outbox, len(self._learner.items)
        now_s = self._clock.monotonic_s()
        background = self._due_background(now_s, idle)
        # New rows first and in table order: their place in the index is their place in the table.
        rows = dict.fromkeys([*range(self._index_rows, size), *box.items, *background])
        if rows:
            chosen = list(rows)
            self._index_seq = index.upsert(self._rows(np.array(chosen)), self._stamp()).seq
            self._index_rows = size
            _acknowledge(box.items, list(box.items))
            _acknowledge(box.background, chosen)
            self._last_background_s = now_s
        if not slow:
            return
        columns = self._learner.popularity_columns()
        if columns.tobytes() != self._popularity:
            self._index_seq = index.set_popularity(columns, self._stamp()).seq
            self._popularity = columns.tobytes()
        elif not rows:
            # Nothing to say, so nothing would tell that the index was restarted and is empty.
            status = index.status()
            if (status.epoch, status.seq) != (self.epoch, self._index_seq):
                raise Gap(f"it stands at ({status.epoch}, {status.seq}) in boot {status.boot_id}")

    def _due_background(self, now_s: float, idle: bool) -> list[int]:
        waiting = self.outbox.background
        # A message of wide rows must not grow beyond what the index takes in one.
        most = LARGE_SLICE * 64 // max(64, self._learner.settings.dimension)
        if idle:
            return list(islice(waiting, most))
        # As much of it as keeps every row's wait below BACKGROUND_S, in slices worth a message.
        share = min(1.0, (now_s - self._last_background_s) / BACKGROUND_S)
        due = int(share * len(waiting))
        return list(islice(waiting, min(due, most))) if due >= SMALL_SLICE or share == 1.0 else []

    def _stamp(self) -> Stamp:
        assert self._index_seq is not None
        from_seq = self._index_seq
        self.seq = max(self.seq, from_seq + 1)
        return Stamp(self.epoch, from_seq, self.seq)

    def _rows(self, rows: np.ndarray[Any, np.dtype[np.int64]]) -> ItemRows:
        learner = self._learner
        return ItemRows(
            item_ids=[learner.items.id(row) for row in rows.tolist()],
            vectors=learner.item_vectors(rows),
            contexts=learner.contexts(rows),
            popularity=learner.popularity_columns()[rows],
        )

    # --- the item store ---------------------------------------------------------------------------------------------

    def _publish_lists_and_edges(self, settling: bool) -> None:
        learner, version = self._learner, version_of(self.epoch, self.seq)
        fast = learner.popularity_columns()[:, 0]
        best = np.lexsort((np.arange(len(fast)), -fast))[:POPULAR_LIMIT].tolist()
        self._items.put_popular(POPULAR, [(learner.items.id(row), float(fast[row])) for row in best], version)
        self._publish_edges(list(islice(self.outbox.edges, SMALL_SLICE * 4)), version)
        if settling and not self.outbox.edges:
            self._settle_edges(version)

    def _settle_edges(self, version: int) -> None:
        """Publish edges that changed without their item being touched: a weight also depends on its target's visits."""
        size = len(self._learner.items)
        stop = min(self._settle_from + SMALL_SLICE * 4, size)
        self._publish_edges(list(range(self._settle_from, stop)), version)
        self._settle_from = stop
        self._unsettled = stop < size

    def _publish_edges(self, rows: list[int], version: int) -> None:
        edges, digests = {}, {}
        for row in rows:
            targets, weights = self._learner.neighbours(row)
            digest = hash((targets.tobytes(), weights.tobytes()))
            if self._edges_published.get(row) != digest and len(targets):
                digests[row] = digest
                ids = [self._learner.items.id(target) for target in targets.tolist()]
                edges[self._learner.items.id(row)] = list(zip(ids, weights.tolist(), strict=True))
        if edges:
            self._items.put_neighbours(edges, version)
        self._edges_published.update(digests)
        _acknowledge(self.outbox.edges, rows)

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


def _acknowledge(waiting: dict[int, None], rows: list[int]) -> None:
    for row in rows:
        waiting.pop(row, None)
