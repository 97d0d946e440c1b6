"""A history: past events in columns, read from the files people have, split in time order, turned back into events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.events import PositiveRule
from models.items import Item
from stores.history_columns import ColumnMap, Columns, HistoryError, read_columns
from stores.history_items import items_of
from stores.history_layouts import find_layout

__all__ = ["ColumnMap", "History", "HistoryError", "load_history"]


@dataclass(frozen=True)
class History:
    """Past events in columns, in time order; events of the same time keep the order of their file.

    ``users``, ``items``, ``types``: (n,) int32 positions in ``user_ids``, ``item_ids``, ``type_names``.
    ``values``: (n,) float32, NaN where an event has none. ``times_s``: (n,) float64 epoch seconds, or ``None`` when the
    data has no time, which makes it fit for batch training only. ``catalogue``: what is known about items, by item_id;
    it may name items without events and lack items with events. ``notes``: what the reader of the data should be told.
    """

    name: str
    user_ids: Sequence[str]
    item_ids: Sequence[str]
    type_names: Sequence[str]
    users: NDArray[np.int32]
    items: NDArray[np.int32]
    types: NDArray[np.int32]
    values: NDArray[np.float32]
    times_s: NDArray[np.float64] | None
    catalogue: dict[str, Item] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    bad_rows: int = 0

    def __len__(self) -> int:
        return len(self.users)

    def select(self, which: slice | NDArray[Any]) -> History:
        """Return some of the events, by slice, mask or positions; ids and catalogue are shared, not copied."""
        return replace(
            self,
            users=self.users[which],
            items=self.items[which],
            types=self.types[which],
            values=self.values[which],
            times_s=None if self.times_s is None else self.times_s[which],
        )

    def split(self, share: float) -> tuple[History, History]:
        """Return the first ``share`` (0 to 1) of the events and the rest, in time order.

        Raises ``HistoryError`` when the data has no time and the cut would fall inside it.
        """
        if not 0 <= share <= 1:
            raise ValueError(f"share must be between 0 and 1, not {share}")
        cut = round(share * len(self))
        if self.times_s is None and 0 < cut < len(self):
            raise HistoryError(f"{self.name} has no time column: it can train a batch model, but it is no stream")
        return self.select(slice(0, cut)), self.select(slice(cut, None))

    def strengths(self, rule: PositiveRule) -> NDArray[np.float32]:
        """Return (n,) strengths: 0 where the rule does not take the event for a positive."""
        strengths = np.zeros(len(self), np.float32)
        for code, name in enumerate(self.type_names):
            of_type = np.flatnonzero(self.types == code)
            values, inverse = np.unique(self.values[of_type], return_inverse=True)
            found = [rule.strength(name, None if np.isnan(value) else float(value)) for value in values]
            strengths[of_type] = np.asarray(found, np.float32)[inverse]
        return strengths

    def event(self, position: int) -> dict[str, Any]:
        """Return one event in the event format, without event_id; ``value`` and ``timestamp`` only when known."""
        event: dict[str, Any] = {
            "user_id": self.user_ids[self.users[position]],
            "item_id": self.item_ids[self.items[position]],
            "type": self.type_names[self.types[position]],
        }
        if not np.isnan(self.values[position]):
            # float32 keeps 4.4 as 4.400000095; six digits give back what the file said.
            event["value"] = float(f"{self.values[position]:.6g}")
        if self.times_s is not None:
            event["timestamp"] = float(self.times_s[position])
        return event


def load_history(path: Path | str, columns: ColumnMap | None = None) -> History:
    """Read a folder or file of past events.

    Without ``columns`` the layout is recognised: MovieLens in all its layouts, Taste Profile triplets, Book-Crossing,
    and any CSV, TSV or Parquet log (plain, .gz, or in a .zip) whose columns have usual names. Rows that are no events
    are counted in ``bad_rows``. Raises ``HistoryError`` with the reason and what would be understood.
    """
    layout = find_layout(Path(path), columns)
    table = read_columns(layout.events, layout.columns, layout.header)
    history = _in_time_order(layout.name, table)
    catalogue = items_of(layout, table)
    notes = list(layout.notes)
    if history.times_s is None:
        notes.append("no time column: good for batch training only, it cannot be split in time nor replayed")
    if history.bad_rows:
        notes.append(f"{history.bad_rows:,} rows are no events and were left out")
    if not len(history):
        raise HistoryError(f"{path}: none of its {history.bad_rows:,} rows is an event; {layout.columns.describe()}")
    return replace(history, catalogue=catalogue, notes=tuple(notes))


def _in_time_order(name: str, table: Columns) -> History:
    good = (table.users >= 0) & (table.items >= 0) & (table.types >= 0) & ~table.bad
    order: NDArray[np.int64] = np.flatnonzero(good)
    if table.times_s is not None:
        order = order[np.argsort(table.times_s[order], kind="stable")]
    return History(
        name=name,
        user_ids=table.user_ids,
        item_ids=table.item_ids,
        type_names=table.type_names,
        users=table.users[order],
        items=table.items[order],
        types=table.types[order],
        values=table.values[order],
        times_s=None if table.times_s is None else table.times_s[order],
        bad_rows=int(table.skipped_rows + len(good) - good.sum()),
    )
