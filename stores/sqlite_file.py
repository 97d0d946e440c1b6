"""One SQLite file as the embedded adapters use it: WAL, whole transactions, and errors in the system's own words.

Several processes work on one file at once: readers never wait, writers queue for at most ``timeout_s``.
Written after https://sqlite.org/wal.html; nothing here is specific to a port.

SQLite's own queue of writers is none: who finds the file busy sleeps, up to 100 ms at a time, while a busy writer takes
the file again and again (measured with two writers at full speed: waits of 80 to 1,000 ms). So a writer first locks
``<file>-turn`` and keeps that until the file is his: whoever has just written comes after whoever waits.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from stores.ports import StaleEpoch, StoreUnavailable, epoch_of

FORMAT = 4
# How often one who waits for a lock looks again.
PAUSE_S = 0.0005

Result = TypeVar("Result")

_FENCE = "CREATE TABLE fence (one INTEGER PRIMARY KEY CHECK (one = 1), epoch INTEGER NOT NULL)"


def path_of(url: str) -> Path:
    """Return the path of ``sqlite:///relative/path`` or ``sqlite:////absolute/path``. Raises ``ValueError``."""
    parts = urlsplit(url)
    if parts.scheme != "sqlite" or parts.netloc or parts.query or len(parts.path) < 2 or parts.path.endswith("/"):
        raise ValueError(f"{url!r}: write sqlite:///relative/path.db or sqlite:////absolute/path.db")
    return Path(parts.path[1:])


class SqliteFile:
    """A connection to a database file, made when it does not exist.

    ``durable``: a committed transaction survives power loss (one fsync per commit). Without it a power loss may take
    the newest transactions, never the consistency of the file. A process that dies loses nothing either way.
    Threads may share it; they take turns.
    """

    def __init__(self, path: Path, schema: Sequence[str], *, durable: bool, timeout_s: float) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._one_thread = threading.RLock()
        self._turn: int | None = None
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # timeout 0: we wait ourselves. isolation_level None: transactions begin where we say BEGIN, not where the
            # driver guesses.
            self._connection = sqlite3.connect(path, 0, isolation_level=None, check_same_thread=False)
        except sqlite3.OperationalError as error:
            raise StoreUnavailable(f"{path}: {error}") from error
        try:
            self._turn = os.open(f"{path}-turn", os.O_RDWR | os.O_CREAT, 0o644)
            self.read("PRAGMA journal_mode = WAL")
            self.read(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._make_tables(schema)
        except BaseException:
            self.close()
            raise

    def _make_tables(self, schema: Sequence[str]) -> None:
        if self._format() == FORMAT:
            return
        with self.write() as connection:
            found = self._format()  # another process may have been first
            if found not in (0, FORMAT):
                raise ValueError(f"{self._path} has format {found}; this program reads format {FORMAT}")
            if found == 0:
                for statement in (_FENCE, *schema):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {FORMAT}")

    def _format(self) -> int:
        return int(self.read("PRAGMA user_version")[0][0])

    def read(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of one query: what was committed last. Raises ``StoreUnavailable``."""
        with self._one_thread:
            try:
                return self._patiently(lambda: self._connection.execute(sql, parameters).fetchall())
            except sqlite3.Error as error:
                raise _translated(error, self._path) from error

    def state(self) -> int:
        """Return a number that changes whenever another connection, of any process, has committed to the file.

        Raises ``StoreUnavailable``.
        """
        return int(self.read("PRAGMA data_version")[0][0])

    def _patiently(self, act: Callable[[], Result]) -> Result:
        """Do something that another process may stand in the way of, again and again until the deadline."""
        deadline_s = time.monotonic() + self._timeout_s
        while True:
            try:
                return act()
            except (sqlite3.OperationalError, BlockingIOError) as error:
                if not _is_busy(error) or time.monotonic() > deadline_s:
                    raise
            time.sleep(PAUSE_S)

    def read_in(self, sql: str, values: Sequence[str]) -> list[tuple[Any, ...]]:
        """``read`` with ``{}`` in the query standing for a list of values, as in ``WHERE item_id IN {}``.

        The list is filled up to a power of two by repeating its last value, so that a handful of prepared statements
        serve every length.
        """
        rows: list[tuple[Any, ...]] = []
        for start in range(0, len(values), 16_384):
            part = values[start : start + 16_384]
            width = 1 << (len(part) - 1).bit_length()
            marks = f"({'?,' * (width - 1)}?)"
            rows += self.read(sql.replace("{}", marks), [*part, *[part[-1]] * (width - len(part))])
        return rows

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of the block or nothing of it. Raises ``StoreUnavailable``."""
        with self._one_thread:
            connection = self._connection
            try:
                self._begin()
                yield connection
                connection.execute("COMMIT")
            except sqlite3.Error as error:
                raise _translated(error, self._path) from error
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def _begin(self) -> None:
        turn = self._turn
        if turn is None:
            raise sqlite3.ProgrammingError("Cannot operate on a closed database.")
        try:
            self._patiently(lambda: fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB))
        except BlockingIOError:
            raise StoreUnavailable(f"{self._path}: locked, others are waiting to write") from None
        try:
            # IMMEDIATE takes the writer's place at once; a deferred transaction that reads first could not wait for it
            # and would fail instead.
            self._patiently(lambda: self._connection.execute("BEGIN IMMEDIATE"))
        finally:
            fcntl.flock(turn, fcntl.LOCK_UN)

    def interrupt(self) -> None:
        """End a read that is running in another thread: it raises ``StoreUnavailable`` there."""
        with suppress(sqlite3.ProgrammingError):  # closed: nothing runs
            self._connection.interrupt()

    def close(self) -> None:
        """Close the connection. Safe to repeat."""
        with self._one_thread:
            self._connection.close()
            if self._turn is not None:
                os.close(self._turn)
                self._turn = None


def fence(connection: sqlite3.Connection, version: int) -> bool:
    """Refuse a write of an older epoch than this file has seen, and remember a newer one.

    Call inside the transaction of the write. Returns whether the epoch is new here. Raises ``StaleEpoch``.
    """
    epoch = epoch_of(version)
    row = connection.execute("SELECT epoch FROM fence").fetchone()
    seen = row[0] if row else 0
    if epoch < seen:
        raise StaleEpoch(f"epoch {epoch} is older than {seen}, which this store has seen")
    if epoch == seen:
        return False
    connection.execute("INSERT OR REPLACE INTO fence VALUES (1, ?)", (epoch,))
    return True


def _is_busy(error: Exception) -> bool:
    if isinstance(error, BlockingIOError):
        return True
    # The low byte is the kind; the rest says why, such as another process that recovers the file just now.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _translated(error: sqlite3.Error, path: Path) -> Exception:
    # An error in a statement, or in how we call the driver, is a fault of ours and keeps its own name.
    if isinstance(error, sqlite3.ProgrammingError | sqlite3.IntegrityError | sqlite3.InterfaceError):
        return error
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR:
        return error
    return StoreUnavailable(f"{path}: {error}")
