"""Publication to the index: changed rows in table order, and the whole table whenever the index stands elsewhere."""

from __future__ import annotations

import logging
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.learner import Learner
from stores.outbox import Outbox, acknowledge
from stores.ports import Clock, Gap, ItemIndexWriter, ItemRows, Stamp, StoreUnavailable

# Rows touched only as negatives or context are published within this time.
BACKGROUND_S = 2.0
# The least and the most of them in one message: neither a message per row nor one that takes long to answer.
FEWEST_ROWS, MOST_ROWS = 256, 5_000

_log = logging.getLogger(__name__)


class IndexPublication:
    """Keeps the index at what the learner holds.

    It gets the whole table at the start of an epoch, after every gap, and after a write of which nobody knows whether
    it took effect; only changed rows in between. Rows of the index are rows of the table, in the same order.
    """

    def __init__(self, learner: Learner, outbox: Outbox, index: ItemIndexWriter, *, epoch: int, clock: Clock) -> None:
        self._learner, self._outbox, self._index = learner, outbox, index
        self._epoch = epoch
        self._clock = clock
        # Where the index stands; unknown until it has the whole table of this epoch.
        self._rows = 0
        self._seq: int | None = None
        self._popularity = b""
        self._last_background_s = -np.inf

    @property
    def lacks_rows(self) -> bool:
        """Whether there are items that the index has never been given."""
        return len(self._learner.items) > self._rows

    @property
    def exact(self) -> bool:
        """Whether the index holds the table, with the popularity of this moment."""
        return self._seq is not None and self._learner.popularity_columns().tobytes() == self._popularity

    def publish(self, seq: int, *, slow: bool, idle: bool) -> int:
        """Publish new rows and positive items at once, others by and by; popularity when ``slow``.

        ``seq`` is that of the flush; returns the seq that the index then stands at or the same, whichever is greater.
        ``idle``: hold nothing back. Raises ``StoreUnavailable``, ``StaleEpoch``.
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
        return self._replace(seq)

    def _replace(self, seq: int) -> int:
        columns = self._learner.popularity_columns()
        status = self._index.replace(self._rows_of(np.arange(len(columns)), columns), Stamp(self._epoch, 0, seq))
        self._rows, self._seq = status.rows, seq
        self._outbox.items.clear()
        self._outbox.background.clear()
        self._popularity = columns.tobytes()
        return seq

    def _update(self, seq: int, slow: bool, idle: bool) -> int:
        box, size = self._outbox, len(self._learner.items)
        now_s = self._clock.monotonic_s()
        background = self._due_background(now_s, idle)
        columns = self._learner.popularity_columns()
        # New rows first and in table order: their place in the index is their place in the table.
        rows = list(dict.fromkeys([*range(self._rows, size), *box.items, *background]))
        if rows:
            stamp = self._stamp(seq)
            self._seq = seq = self._index.upsert(self._rows_of(np.array(rows), columns), stamp).seq
            self._rows = size
            acknowledge(box.background, rows)
            box.items.clear()
            self._last_background_s = now_s
        if slow and columns.tobytes() != self._popularity:
            self._seq = seq = self._index.set_popularity(columns, self._stamp(seq)).seq
            self._popularity = columns.tobytes()
        elif slow and not rows:
            # Nothing to say, so nothing would tell that the index was restarted and is empty.
            status = self._index.status()
            if (status.epoch, status.seq) != (self._epoch, self._seq):
                raise Gap(f"it stands at ({status.epoch}, {status.seq}) in boot {status.boot_id}")
        return seq

    def _due_background(self, now_s: float, idle: bool) -> list[int]:
        waiting = self._outbox.background
        # A message of wide rows must not grow beyond what the index takes in one.
        most = MOST_ROWS * 64 // max(64, self._learner.settings.dimension)
        if idle:
            return list(islice(waiting, most))
        # As much of it as keeps every row's wait below BACKGROUND_S, in slices worth a message.
        share = min(1.0, (now_s - self._last_background_s) / BACKGROUND_S)
        due = int(share * len(waiting))
        return list(islice(waiting, min(due, most))) if due >= FEWEST_ROWS or share == 1.0 else []

    def _stamp(self, seq: int) -> Stamp:
        assert self._seq is not None
        return Stamp(self._epoch, self._seq, max(seq, self._seq + 1))

    def _rows_of(self, rows: NDArray[np.int64], columns: NDArray[Any]) -> ItemRows:
        learner = self._learner
        return ItemRows(
            item_ids=[learner.items.id(row) for row in rows.tolist()],
            vectors=learner.item_vectors(rows),
            contexts=learner.contexts(rows),
            popularity=columns[rows],
        )
