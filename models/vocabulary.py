"""External ids and the rows that stand for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


class Vocabulary:
    """A one-to-one map from external id (opaque ``str``) to row (0, 1, 2, … in order of first sight).

    Rows are never reused: a row that means one id means it for ever, so a table indexed by it stays valid.
    Reading never allocates: an unknown id is ``None``. No id is empty: that is what a forgotten row has.
    """

    def __init__(self, ids: Iterable[str] = ()) -> None:
        self._ids = list(ids)
        self._rows = {external_id: row for row, external_id in enumerate(self._ids) if external_id}

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, external_id: object) -> bool:
        return external_id in self._rows

    def row(self, external_id: str) -> int | None:
        """Return the row of an id, or ``None`` when it was never added."""
        return self._rows.get(external_id)

    def id(self, row: int) -> str:
        """Return the id of a row; ``IndexError`` when there is no such row."""
        return self._ids[row]

    def add(self, external_id: str) -> int:
        """Return the row of an id, giving it the next one on first sight. Safe to repeat."""
        row = self._rows.get(external_id)
        if row is None:
            row = self._rows[external_id] = len(self._ids)
            self._ids.append(external_id)
        return row

    def forget(self, row: int) -> None:
        """Let a row mean nobody, for ever: its id is ``""`` from now on. Safe to repeat."""
        self._rows.pop(self._ids[row], None)
        self._ids[row] = ""

    @property
    def ids(self) -> Sequence[str]:
        """All ids in row order. Do not change it."""
        return self._ids
