"""Rows of a table by their ids, read and decoded again only when something was written to the file since."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from stores.decoded_once import DecodedOnce
from stores.sqlite_file import SqliteFile

Value = TypeVar("Value")


class KeptRows(Generic[Value]):
    """What one query returns of each id, always as it was committed last. For one thread.

    SQLite tells in one call whether anybody has committed to the file since; then what ``version_sql`` returns tells
    whether it was these rows. ``sql``: selects (id, value) of ``WHERE … IN {}``. ``most``: so many are kept.
    """

    def __init__(
        self, file: SqliteFile, sql: str, version_sql: str, decode: Callable[[bytes], Value], most: int
    ) -> None:
        self._file = file
        self._sql, self._version_sql = sql, version_sql
        self._decoded = DecodedOnce(decode, most)
        self._most = most
        self._state = -1
        self._version: list[tuple[Any, ...]] = []
        # What there is in that version; ``None``: no such row.
        self._known: dict[str, Value | None] = {}

    def get(self, names: Sequence[str]) -> dict[str, Value]:
        """Return the values of those that there are. Raises ``StoreUnavailable``."""
        # State and version are asked for first: what is read after them may be newer than they say, never older.
        state = self._file.state()
        if state != self._state:
            version = self._file.read(self._version_sql)
            if version != self._version:
                self._version, self._known = version, {}
            self._state = state
        if len(self._known) > self._most:
            self._known = {}
        known = self._known
        unread = [name for name in names if name not in known]
        if unread:
            found = {name: self._decoded.of(name, encoded) for name, encoded in self._file.read_in(self._sql, unread)}
            known.update((name, found.get(name)) for name in unread)
        return {name: value for name in names if (value := known[name]) is not None}
