"""Publication to the index: changed items in the index's own order, and the whole table whenever it stands elsewhere.

The index holds the items of the learned table, blended with what their content predicts while they have few positives,
and items of the catalogue without any event, by their content alone. Deleted items leave it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from models.content import blend
from models.growable_array import GrowableArray, grown_capacity
from models.item_content import EVIDENCE, MOST_BLENDED, ItemContent
from models.learner import Learner
from models.teachers import content_columns
from models.vocabulary import Vocabulary
from stores.outbox import Outbox, acknowledge
from stores.ports import Clock, Gap, ItemIndexWriter, ItemRows, Stamp, StoreUnavailable, Vectors

# Rows touched only as negatives or context are published within this time.
BACKGROUND_S = 2.0
# The least and the most of them in one message: neither a message per row nor one that takes long to answer.
FEWEST_ROWS, MOST_ROWS = 256, 5_000

# The most changed records in one message: their vectors are predicted on the way, about 0.1 ms each.
MOST_RECORDS = 300
# Of an item without a row in the learned table.
NO_ROW = -1

_log = logging.getLogger(__name__)


class _Order:
    """The items of the index in the order in which it first got them, which popularity columns are aligned with."""

    def __init__(self) -> None:
        self._items = Vocabulary()
        self._rows = GrowableArray(0, (), np.int64)
        # Items that were deleted from the index; they keep their places.
        self._deleted: set[str] = set()

    def add(self, item_ids: Sequence[str], rows: NDArray[np.int64]) -> None:
        """Note items that the index was given, and their rows in the learned table. Safe to repeat."""
        places = [self._items.add(item_id) for item_id in item_ids]
        if len(self._items) > self._rows.capacity:
            self._rows.grow(grown_capacity(self._rows.capacity, len(self._items)))
        self._rows.rows[places] = rows
        self._deleted.difference_update(item_ids)

    def delete(self, item_ids: Iterable[str]) -> None:
        """Note items that were deleted from the index. Safe to repeat."""
        self._deleted.update(item_ids)

    def holds(self, item_id: str) -> bool:
        """Whether the item can be found in the index."""
        return item_id in self._items and item_id not in self._deleted

    @property
    def rows(self) -> NDArray[np.int64]:
        """Rows in the learned table, ``NO_ROW`` for an item without, by place in the index."""
        return self._rows.rows[: len(self._items)]


class IndexPublication:
    """Keeps the index at what the learner and the catalogue hold.

    It gets the whole table at the start of an epoch, after every gap, and after a write of which nobody knows whether
    it took effect; only changed items in between. An item without events that gets its first one keeps its place.
    """

    def __init__(
        self,
        learner: Learner,
        content: ItemContent,
        outbox: Outbox,
        index: ItemIndexWriter,
        *,
        epoch: int,
        clock: Clock,
    ) -> None:
        self._learner, self._content, self._outbox, self._index = learner, content, outbox, index
        self._epoch = epoch
        self._clock = clock
        self._order = _Order()
        # Rows of the learned table that were published, as far as they are not deleted.
        self._size = 0
        # Where the index stands; unknown until it has the whole table of this epoch.
        self._seq: int | None = None
        self._popularity = b""
        self._last_background_s = -np.inf
        # Items without a row to publish again by and by, since the map has changed, and what is not yet among them.
        self._later: dict[str, None] = {}
        self._sweep: Iterator[tuple[list[int], list[str]]] | None = None
        self._adoptions = 0

    @property
    def urgent(self) -> bool:
        """Whether there are items, or records of items, that the index has never been given."""
        return len(self._learner.items) > self._size or bool(self._content.changed)

    @property
    def exact(self) -> bool:
        """Whether the index holds everything as it is, with the popularity of this moment."""
        if self._seq is None or self.urgent or self._later or self._sweep is not None:
            return False
        if self._adoptions != self._content.adoptions:
            return False
        return self._popularity_columns().tobytes() == self._popularity

    @property
    def stands(self) -> bool:
        """Whether the index has been given the whole table in this epoch, and everything since."""
        return self._seq is not None

    def publish(self, seq: int, *, slow: bool, idle: bool, hold: bool = False) -> int:
        """Publish new and changed items and positive ones at once, others by and by; popularity when ``slow``.

        ``seq`` is that of the flush; returns the seq that the index then stands at or the same, whichever is greater.
        ``idle``: hold nothing back. ``hold``: do nothing as long as the index has a table of before. Raises
        ``StoreUnavailable``, ``StaleEpoch``.
        """
        try:
            if self._seq is not None:
                return self._update(seq, slow, idle)
        except Gap as gap:
            _log.info("the index needs the whole table: %s", gap)
        except StoreUnavailable:
            # Nobody knows whether the write took effect; the whole table is right in either case.
            self._seq = None
            raise
        self._seq = None
        return seq if hold and self._index.status().ready else self._replace(seq)

    def _replace(self, seq: int) -> int:
        learner, content = self._learner, self._content
        size, adoptions = len(learner.items), content.adoptions
        self._order = _Order()
        kept = [row for row, item_id in enumerate(learner.items.ids) if not content.catalogue.is_deleted(item_id)]
        without = [item_id for item_id in content.catalogue.item_ids() if learner.items.row(item_id) is None]
        item_ids = [*map(learner.items.id, kept), *self._shown_by_content(without)]
        rows = np.full(len(item_ids), NO_ROW, np.int64)
        rows[: len(kept)] = kept
        self._order.add(item_ids, rows)
        columns = self._popularity_columns()
        self._index.replace(self._item_rows(item_ids, rows, columns), Stamp(self._epoch, 0, seq))
        self._size, self._seq, self._adoptions = size, seq, adoptions
        for waiting in (self._outbox.items, self._outbox.background, self._later, content.changed):
            waiting.clear()
        self._sweep = None
        self._popularity = columns.tobytes()
        return seq

    def _update(self, seq: int, slow: bool, idle: bool) -> int:
        content, box, size = self._content, self._outbox, len(self._learner.items)
        if self._adoptions != content.adoptions:
            self._adoptions = content.adoptions
            self._sweep = self._everything_predicted()
        now_s = self._clock.monotonic_s()
        changed = list(islice(content.changed, MOST_RECORDS))
        background, later = self._due_background(now_s, idle)
        # New rows in table order, which makes the order of the index easy to tell.
        rows = [*range(self._size, size), *box.items, *background]
        item_ids, gone = self._by_presence([*map(self._learner.items.id, rows), *changed, *later])
        sent = bool(item_ids or gone)
        if item_ids:
            seq = self._upsert(item_ids, seq)
        if gone:
            stamp = self._stamp(seq)
            self._seq = seq = self._index.delete(gone, stamp).seq
            self._order.delete(gone)
        if background or later:
            self._last_background_s = now_s
        self._size = size
        acknowledge(box.background, rows)
        box.items.clear()
        for waiting, done in ((content.changed, changed), (self._later, later)):
            for item_id in done:
                waiting.pop(item_id, None)
        if slow and (columns := self._popularity_columns()).tobytes() != self._popularity:
            self._seq = seq = self._index.set_popularity(columns, self._stamp(seq)).seq
            self._popularity = columns.tobytes()
        elif slow and not sent:
            # Nothing to say, so nothing would tell that the index was restarted and is empty.
            status = self._index.status()
            if (status.epoch, status.seq) != (self._epoch, self._seq):
                raise Gap(f"it stands at ({status.epoch}, {status.seq}) in boot {status.boot_id}")
        return seq

    def _upsert(self, item_ids: list[str], seq: int) -> int:
        rows = np.array([self._row(item_id) for item_id in item_ids], np.int64)
        stamp = self._stamp(seq)
        columns = self._popularity_of(rows)
        self._seq = self._index.upsert(self._item_rows(item_ids, rows, columns), stamp).seq
        self._order.add(item_ids, rows)
        return self._seq

    # --- which items ------------------------------------------------------------------------------------------------

    def _by_presence(self, item_ids: Iterable[str]) -> tuple[list[str], list[str]]:
        """Return which of these items belong into the index, and which have to leave it, each once."""
        distinct = list(dict.fromkeys(item_ids))
        catalogue, has_row = self._content.catalogue, self._learner.items.__contains__
        present = [one for one in distinct if has_row(one) and not catalogue.is_deleted(one)]
        present += self._shown_by_content([one for one in distinct if not has_row(one)])
        staying = set(present)
        return present, [one for one in distinct if one not in staying and self._order.holds(one)]

    def _shown_by_content(self, item_ids: Sequence[str]) -> list[str]:
        """Return which of these items without events may be found by what is known of their content."""
        available = [item_id for item_id in item_ids if self._content.catalogue.available(item_id)]
        _, known = self._content.predicted(available)
        return [item_id for item_id, is_known in zip(available, known.tolist(), strict=True) if is_known]

    def _everything_predicted(self) -> Iterator[tuple[list[int], list[str]]]:
        """Yield rows, and items without one, that a new map says something else of; some at a time, as time allows."""
        learner, catalogue = self._learner, self._content.catalogue
        # Those first that nobody could find so far: until there is a map, nothing is known of an item without a row.
        item_ids = catalogue.item_ids()[::-1]
        for start in range(0, len(item_ids), MOST_ROWS):
            yield [], [one for one in item_ids[start : start + MOST_ROWS] if learner.items.row(one) is None]
        for start in range(0, self._size, MOST_ROWS):
            counts = learner.popularity.counts(len(learner.items))[start : start + MOST_ROWS]
            young = start + np.flatnonzero(counts < MOST_BLENDED)
            yield [row for row in young.tolist() if learner.items.id(row) in catalogue], []

    def _due_background(self, now_s: float, idle: bool) -> tuple[list[int], list[str]]:
        waiting = self._outbox.background
        if self._sweep is not None and len(waiting) + len(self._later) < MOST_ROWS:
            try:
                rows, item_ids = next(self._sweep)
                waiting.update(dict.fromkeys(rows))
                held = [one for one in item_ids if self._order.holds(one)]
                self._later.update(dict.fromkeys(held))
                # What nobody could find so far goes out as news does.
                found = set(self._shown_by_content(item_ids)).difference(held)
                self._content.changed.update((one, None) for one in item_ids if one in found)
            except StopIteration:
                self._sweep = None
        # A message of wide rows must not grow beyond what the index takes in one.
        most = MOST_ROWS * 64 // max(64, self._learner.settings.dimension)
        # As much of it as keeps every row's wait below BACKGROUND_S, in slices worth a message.
        share = 1.0 if idle else min(1.0, (now_s - self._last_background_s) / BACKGROUND_S)
        due = int(share * (len(waiting) + len(self._later)))
        if due < FEWEST_ROWS and share < 1.0:
            return [], []
        rows = list(islice(waiting, min(due, most)))
        return rows, list(islice(self._later, min(due, most) - len(rows)))

    # --- what of them -----------------------------------------------------------------------------------------------

    def _row(self, item_id: str) -> int:
        row = self._learner.items.row(item_id)
        return NO_ROW if row is None else row

    def _stamp(self, seq: int) -> Stamp:
        assert self._seq is not None
        return Stamp(self._epoch, self._seq, max(seq, self._seq + 1))

    def _popularity_columns(self) -> Vectors:
        return self._popularity_of(self._order.rows)

    def _popularity_of(self, rows: NDArray[np.int64]) -> Vectors:
        """Return the popularity columns of these rows, (n, 2); for items without one those of a row nobody touched."""
        learned = self._learner.popularity_columns()
        floor = np.log(np.float32(1.0 / max(len(learned), 1)))
        return np.vstack([learned, np.full((1, 2), floor, np.float32)])[rows]

    def _item_rows(self, item_ids: list[str], rows: NDArray[np.int64], columns: Vectors) -> ItemRows:
        learner, width = self._learner, self._learner.settings.dimension + 1
        learned = rows != NO_ROW
        values = np.zeros((len(rows), 2 * width - 1), np.float32)
        values[learned] = content_columns(learner, rows[learned])
        positives = np.zeros(len(rows), np.int64)
        positives[learned] = learner.popularity.counts(len(learner.items))[rows[learned]]
        young = np.flatnonzero(positives < MOST_BLENDED)
        predicted, known = self._content.predicted([item_ids[place] for place in young.tolist()])
        if predicted is not None:
            young = young[known]
            values[young] = blend(values[young], predicted[known], positives[young], EVIDENCE)
        return ItemRows(item_ids, values[:, :width], values[:, width:], columns)

    def item_rows(self, item_ids: Sequence[str]) -> ItemRows:
        """Return what the index is given of these items now."""
        rows = np.array([self._row(item_id) for item_id in item_ids], np.int64)
        return self._item_rows(list(item_ids), rows, self._popularity_of(rows))
