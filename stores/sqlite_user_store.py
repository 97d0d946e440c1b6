"""Users in two SQLite files: documents, which the trainer alone writes, and pending events, which serving alone writes.

Two files, because SQLite has one writer per file: an accepted event never waits for the trainer's flush. Documents and
pending events can be made again from the log and the snapshots; nothing here waits for the disk.
Beside ``users.db`` lie ``users-pending.db`` and ``users.lease``; all of them belong together.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from stores.file_lease import FileLease
from stores.ports import PendingEvent, UserDocument, UserState, version_of
from stores.sqlite_file import SqliteFile, fence, path_of
from stores.sqlite_group_commit import GroupCommit

# Pending events are forgotten in steps, so that accepted ones never wait long for their turn.
FORGET_STEP = 2_000

# A deleted user leaves a row without embedding, so that a late older write cannot bring him back; it goes when a newer
# epoch begins, because from then on the fence refuses such a write anyway.
_DOCUMENTS = (
    """CREATE TABLE users (user_id TEXT PRIMARY KEY, embedding BLOB, history BLOB, version INTEGER NOT NULL)""",
    "CREATE INDEX deleted_users ON users (user_id) WHERE embedding IS NULL",
)
_PENDING = (
    """CREATE TABLE pending (partition INTEGER NOT NULL, offset INTEGER NOT NULL, user_id TEXT NOT NULL,
           event_id TEXT NOT NULL, item_id TEXT NOT NULL, feedback TEXT NOT NULL, strength REAL NOT NULL,
           timestamp_s REAL NOT NULL, PRIMARY KEY (partition, offset)) WITHOUT ROWID""",
    "CREATE INDEX pending_of_user ON pending (user_id, partition, offset)",
)

_DOCUMENT = "SELECT user_id, embedding, history, version FROM users WHERE embedding IS NOT NULL"


class _History(msgspec.Struct, frozen=True):
    """The part of a user document that is stored as JSON."""

    recent: list[str]
    seen: list[str]
    hidden: list[str]
    as_of: dict[int, int]


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_History).decode


def _pending_path(path: Path) -> Path:
    return path.with_name(f"{path.stem}-pending{path.suffix}")


class SqliteUserReader:
    """Users as serving sees them.

    Reads run on the event loop itself: a point read of a local file takes some ten microseconds and never waits for a
    writer, which is less than the hop to another thread. Writes go to a thread.
    """

    def __init__(self, path: Path, *, timeout_s: float) -> None:
        self._documents = SqliteFile(path, _DOCUMENTS, durable=False, timeout_s=timeout_s)
        self._pending = SqliteFile(_pending_path(path), _PENDING, durable=False, timeout_s=timeout_s)
        self._writer = GroupCommit(
            SqliteFile(_pending_path(path), _PENDING, durable=False, timeout_s=timeout_s),
            timeout_s=timeout_s,
        )

    @classmethod
    def from_url(cls, url: str, timeout_s: float) -> SqliteUserReader:
        """Open ``sqlite:///path``."""
        return cls(path_of(url), timeout_s=timeout_s)

    async def get_many(self, user_ids: Sequence[str]) -> dict[str, UserState]:
        """Return the state of each user."""
        # Pending first: an event that is learned and forgotten between the two reads is then in the document. The
        # other way round it would be in neither.
        pending: dict[str, list[PendingEvent]] = {}
        for user_id, *event in self._pending.read_in(
            "SELECT user_id, event_id, item_id, feedback, strength, timestamp_s, partition, offset FROM pending"
            " WHERE user_id IN {}",
            user_ids,
        ):
            pending.setdefault(user_id, []).append(PendingEvent(*event))
        rows = self._documents.read_in(f"{_DOCUMENT} AND user_id IN {{}}", user_ids)
        documents = {row[0]: _document(*row) for row in rows}
        return {x: UserState.of(documents.get(x), pending.get(x, [])) for x in user_ids}

    async def add_pending(self, events: Mapping[str, Sequence[PendingEvent]]) -> None:
        """Keep accepted events; visible to every process on return. Safe to repeat."""
        rows = [
            (x.partition, x.offset, user_id, x.event_id, x.item_id, x.feedback, x.strength, x.timestamp_s)
            for user_id, of_user in events.items()
            for x in of_user
        ]
        if rows:
            insert = "INSERT INTO pending VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
            await self._writer.run(lambda connection: connection.executemany(insert, rows).rowcount)

    async def forget_pending(self, learned: Mapping[int, int]) -> None:
        """Drop pending events below the learned offset of their partition. Safe to repeat."""
        for partition, offset in learned.items():

            def forget(connection: sqlite3.Connection, place: tuple[int, int] = (partition, offset)) -> int:
                return connection.execute(
                    "DELETE FROM pending WHERE (partition, offset) IN (SELECT partition, offset FROM pending"
                    f" WHERE partition = ? AND offset < ? ORDER BY offset LIMIT {FORGET_STEP})",
                    place,
                ).rowcount

            while await self._writer.run(forget) == FORGET_STEP:
                pass

    async def scan(self, after: str | None, limit: int) -> list[UserDocument]:
        """Return documents in order of user_id, the first ones or those after ``after``."""
        rows = self._documents.read(f"{_DOCUMENT} AND user_id > ? ORDER BY user_id LIMIT ?", (after or "", limit))
        return [_document(*row) for row in rows]

    async def close(self) -> None:
        """Finish what was asked for and close the files. Safe to repeat."""
        await self._writer.close()
        self._documents.close()
        self._pending.close()


def _document(user_id: str, embedding: bytes, history_json: bytes, version: int) -> UserDocument:
    history = _decode(history_json)
    return UserDocument(
        user_id=user_id,
        embedding=np.frombuffer(embedding, dtype="<f4"),
        recent=history.recent,
        seen=history.seen,
        hidden=history.hidden,
        as_of=history.as_of,
        version=version,
    )


class SqliteUserWriter:
    """Users as the trainer writes them."""

    apart = False

    def __init__(self, path: Path, *, timeout_s: float) -> None:
        self._documents = SqliteFile(path, _DOCUMENTS, durable=False, timeout_s=timeout_s)
        self._pending = SqliteFile(_pending_path(path), _PENDING, durable=False, timeout_s=timeout_s)
        self._lease = FileLease(path.with_suffix(".lease"))

    @classmethod
    def from_url(cls, url: str, timeout_s: float) -> SqliteUserWriter:
        """Open ``sqlite:///path``."""
        return cls(path_of(url), timeout_s=timeout_s)

    def acquire_lease(self, owner: str) -> int:
        """Become the one trainer and return a new epoch; raises ``LeaseHeld``. From here on older epochs are refused.

        The lease ends with ``close`` or with the process.
        """
        seen = self._documents.read("SELECT epoch FROM fence")
        epoch = self._lease.acquire(owner, above=seen[0][0] if seen else 0)
        with self._documents.write() as connection:
            _fence(connection, version_of(epoch, 0))
        return epoch

    def upsert(self, documents: Sequence[UserDocument]) -> None:
        """Write whole documents; an older version changes nothing. Safe to repeat. Raises ``StaleEpoch``."""
        rows = [
            (
                x.user_id,
                np.ascontiguousarray(x.embedding, dtype="<f4").tobytes(),
                _encode(_History(x.recent, x.seen, x.hidden, x.as_of)),
                x.version,
            )
            for x in documents
        ]
        with self._documents.write() as connection:
            for version in sorted({x.version for x in documents}):
                _fence(connection, version)
            connection.executemany(
                "INSERT INTO users VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET embedding = excluded.embedding,"
                " history = excluded.history, version = excluded.version WHERE excluded.version >= users.version",
                rows,
            )

    def delete(self, user_ids: Sequence[str], version: int) -> None:
        """Remove documents and pending events. Safe to repeat. Raises ``StaleEpoch``."""
        with self._documents.write() as connection:
            _fence(connection, version)
            connection.executemany(
                "INSERT INTO users VALUES (?, NULL, NULL, ?) ON CONFLICT DO UPDATE SET embedding = NULL,"
                " history = NULL, version = excluded.version WHERE excluded.version >= users.version",
                [(user_id, version) for user_id in user_ids],
            )
        with self._pending.write() as connection:
            connection.executemany("DELETE FROM pending WHERE user_id = ?", [(user_id,) for user_id in user_ids])

    def close(self) -> None:
        """Release the lease and close the files. Safe to repeat."""
        self._documents.close()
        self._pending.close()
        self._lease.release()


def _fence(connection: sqlite3.Connection, version: int) -> None:
    if fence(connection, version):
        connection.execute("DELETE FROM users WHERE embedding IS NULL")
