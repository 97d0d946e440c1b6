"""Rows of a table by their ids, read and decoded again only when something was written to the file since."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from stores.decoded_once import DecodedOnce
from stores.sqlite_file import SqliteFile

Value = TypeVar("Value")


class KeptRows(Generic[Value]):
    """What one query returns of each id, always as it was committed last. For one thread.

    SQLite tells in one call whether anybody has committed since (some 3 microseconds against 4 for every row read, and
    10 to 50 for decoding it). ``sql``: selects (id, value) of ``WHERE … IN {}``.
    """

    def __init__(self, file: SqliteFile, sql: str, decode: Callable[[bytes], Value], most: int) -> None:
        self._file = file
        self._sql = sql
        self._decoded = DecodedOnce(decode, most)
        self._most = most
        self._state = -1
        # What there is in that state; ``None``: no such row.
        self._known: dict[str, Value | None] = {}

    def get(self, names: Sequence[str]) -> dict[str, Value]:
        """Return the values of those that there are. Raises ``StoreUnavailable``."""
        # The state is asked for first: what is read after it may be newer than it, never older.
        state = self._file.state()
        if state != self._state or len(self._known) > self._most:
            self._state, self._known = state, {}
        known = self._known
        unread = [name for name in names if name not in known]
        if unread:
            known.update(dict.fromkeys(unread))
            found = {name: self._decoded.of(name, encoded) for name, encoded in self._file.read_in(self._sql, unread)}
            known.update((name, found.get(name)) for name in unread)
        return {name: value for name in names if (value := known[name]) is not None}
