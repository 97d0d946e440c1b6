"""Group commit: concurrent writes of one event loop share one transaction, and with it one fsync."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from stores.grouping import Grouping
from stores.ports import StoreUnavailable
from stores.sqlite_file import SqliteFile

Result = TypeVar("Result")
Write = Callable[[sqlite3.Connection], Any]


class GroupCommit(Grouping[Write]):
    """Runs writes in shared transactions. Owns ``file`` and closes it.

    A write that fails for a reason of its own does not take its neighbours with it.
    """

    def __init__(self, file: SqliteFile, *, timeout_s: float) -> None:
        super().__init__(timeout_s=timeout_s)
        self._file = file
        self.commits = 0
        self.writes = 0

    async def run(self, write: Callable[[sqlite3.Connection], Result]) -> Result:
        """Run ``write`` inside a transaction and return its result once that is committed.

        Raises ``StoreUnavailable`` after the time-out; the write may still happen then.
        """
        result: Result = await self.ask(write)
        return result

    def _do(self, group: Sequence[Write]) -> list[Any]:
        try:
            with self._file.write() as connection:
                outcomes = [write(connection) for write in group]
        except StoreUnavailable as error:
            return [error] * len(group)
        except Exception as error:
            if len(group) == 1:
                return [error]
            return [outcome for write in group for outcome in self._do([write])]
        self.commits += 1
        self.writes += len(group)
        return outcomes

    def _release(self) -> None:
        self._file.close()
