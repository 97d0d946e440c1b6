"""Items in one SQLite file: records, popular lists, the item graph, serving state, and text search by FTS5.

A projection of topic ``items`` and of the trainer's state: all of it can be made again, so nothing waits for the disk.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from models.items import Item, encode_item
from stores.decoded_once import MOST_EDGES, MOST_RECORDS
from stores.ports import Edges, Numbered, ServingState, StoreUnavailable
from stores.sqlite_file import SqliteFile, fence, path_of
from stores.sqlite_group_commit import GroupCommit
from stores.sqlite_kept_rows import KeptRows

_SCHEMA = (
    """CREATE TABLE items (nth INTEGER PRIMARY KEY, item_id TEXT NOT NULL UNIQUE, record BLOB NOT NULL,
           available INTEGER NOT NULL, category TEXT)""",
    "CREATE INDEX newest_items ON items (nth) WHERE available",
    "CREATE INDEX items_of_category ON items (category, nth) WHERE available",
    # prefix: makes completing the first letters of a word as fast as finding a whole one.
    """CREATE VIRTUAL TABLE item_words USING fts5 (title, body, prefix = '2 3',
           tokenize = 'unicode61 remove_diacritics 2')""",
    "CREATE TABLE popular (name TEXT PRIMARY KEY, entries BLOB NOT NULL, version INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE neighbours (item_id TEXT PRIMARY KEY, edges BLOB NOT NULL, version INTEGER NOT NULL)",
    "CREATE TABLE recent_users (item_id TEXT PRIMARY KEY, user_ids BLOB NOT NULL, version INTEGER NOT NULL)",
    "CREATE TABLE rules (name TEXT PRIMARY KEY, rule BLOB NOT NULL) WITHOUT ROWID",
    # How often rows of a table were written, for whoever keeps some in memory (``KeptRows``).
    "CREATE TABLE changes (name TEXT PRIMARY KEY, times INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE serving (one INTEGER PRIMARY KEY CHECK (one = 1), state BLOB NOT NULL, version INTEGER NOT NULL)",
)
# A word of the title counts as much as ten of the text. FTS5 itself sorts by rank, so that the join stops at the limit.
_SEARCH = """SELECT record FROM item_words JOIN items ON items.nth = item_words.rowid
    WHERE item_words MATCH ? AND rank MATCH 'bm25(10.0, 1.0)' AND available ORDER BY rank LIMIT ?"""
# What a search looks at, at most: a longer text finds nothing more and only costs time.
MAX_WORDS = 12
_RECORDS = "SELECT item_id, record FROM items WHERE item_id IN {}"
_EDGES = "SELECT item_id, edges FROM neighbours WHERE item_id IN {}"
# Above every number of an item.
MOST = (1 << 63) - 1

_decode_item = msgspec.json.Decoder(Item).decode
_decode_ids = msgspec.json.Decoder(list[str]).decode
_decode_scored = msgspec.json.Decoder(list[tuple[str, float]]).decode
_decode_state = msgspec.json.Decoder(ServingState).decode
_encode = msgspec.json.Encoder().encode


class SqliteItemReader:
    """Items as serving sees them.

    Reads run on the event loop itself: a read of a local file takes some ten microseconds and never waits for a
    writer, which is less than the hop to another thread. Records and edges are not even read while nobody has written
    to the file. Writes go to a thread, and so does text search: one common word in ten thousand items takes
    milliseconds.
    """

    def __init__(self, path: Path, *, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._file = SqliteFile(path, _SCHEMA, durable=False, timeout_s=timeout_s)
        self._records = KeptRows(self._file, _RECORDS, _changes("items"), _decode_item, MOST_RECORDS)
        self._edges = KeptRows(
            self._file, _EDGES, _changes("neighbours"), lambda edges: Edges(_decode_scored(edges)), MOST_EDGES
        )
        self._words = SqliteFile(path, _SCHEMA, durable=False, timeout_s=timeout_s)
        self._writer = GroupCommit(
            SqliteFile(path, _SCHEMA, durable=False, timeout_s=timeout_s),
            timeout_s=timeout_s,
        )

    @classmethod
    def from_url(cls, url: str, timeout_s: float) -> SqliteItemReader:
        """Open ``sqlite:///path``."""
        return cls(path_of(url), timeout_s=timeout_s)

    async def get_many(self, item_ids: Sequence[str]) -> dict[str, Item]:
        """Return the known ones among these items."""
        return self._records.get(item_ids)

    async def popular(self, name: str, limit: int) -> list[tuple[str, float]]:
        """Return a popular list, best first; empty when there is none of that name."""
        rows = self._file.read("SELECT entries FROM popular WHERE name = ?", (name,))
        return _decode_scored(rows[0][0])[:limit] if rows else []

    async def neighbours(self, item_ids: Sequence[str]) -> dict[str, Edges]:
        """Return the edges item → next item of each known item."""
        return self._edges.get(item_ids)

    async def search_text(self, text: str, limit: int) -> list[Item]:
        """Return available items whose title or text match every word, the last word by prefix, best first."""
        pattern = _pattern(text)
        if not pattern:
            return []
        try:
            async with asyncio.timeout(self._timeout_s):
                rows = await asyncio.to_thread(self._words.read, _SEARCH, (pattern, limit))
        except TimeoutError:
            self._words.interrupt()
            raise StoreUnavailable(f"text search took more than {self._timeout_s} s") from None
        return [_decode_item(row[0]) for row in rows]

    async def newest(self, limit: int, *, category: str | None = None, before: int | None = None) -> list[Numbered]:
        """Return available items, of one category or all, the one that came last first."""
        below = MOST if before is None else before
        where, of = ("", ()) if category is None else (" AND category = ?", (category,))
        rows = self._file.read(
            f"SELECT nth, record FROM items WHERE available AND nth < ?{where} ORDER BY nth DESC LIMIT ?",
            (below, *of, limit),
        )
        return [Numbered(nth, _decode_item(record)) for nth, record in rows]

    async def categories(self) -> dict[str, int]:
        """Return how many available items every category has."""
        return dict(
            self._file.read(
                "SELECT category, count(*) FROM items WHERE available AND category IS NOT NULL GROUP BY category"
            )
        )

    async def scan(self, after: int, limit: int) -> list[Numbered]:
        """Return items, unavailable ones too, in order of their numbers."""
        rows = self._file.read("SELECT nth, record FROM items WHERE nth > ? ORDER BY nth LIMIT ?", (after, limit))
        return [Numbered(nth, _decode_item(record)) for nth, record in rows]

    async def recent_users(self, item_ids: Sequence[str]) -> dict[str, list[str]]:
        """Return the user_ids who consumed each of these items last, newest first."""
        rows = self._file.read_in("SELECT item_id, user_ids FROM recent_users WHERE item_id IN {}", item_ids)
        return {item_id: _decode_ids(user_ids) for item_id, user_ids in rows}

    async def rules(self) -> dict[str, bytes]:
        """Return all stored rules by name."""
        return dict(self._file.read("SELECT name, rule FROM rules"))

    async def put_rule(self, name: str, rule: bytes | None) -> None:
        """Store a rule under a name, or remove it; visible on return. Safe to repeat."""
        await self._writer.run(lambda connection: _put_rule(connection, name, rule))

    async def serving_state(self) -> ServingState | None:
        """Return what the trainer published last, or ``None`` before the first time."""
        rows = self._file.read("SELECT state FROM serving")
        return _decode_state(rows[0][0]) if rows else None

    async def put_many(self, items: Sequence[Item]) -> None:
        """Write items through; visible on return. Safe to repeat. The last write of an item wins, whoever writes."""
        if items:
            await self._writer.run(lambda connection: _put(connection, items))

    async def close(self) -> None:
        """Finish what was asked for and close the file. Safe to repeat."""
        await self._writer.close()
        self._file.close()
        self._words.interrupt()
        self._words.close()


class SqliteItemWriter:
    """Items as the trainer writes them."""

    def __init__(self, path: Path, *, timeout_s: float) -> None:
        self._file = SqliteFile(path, _SCHEMA, durable=False, timeout_s=timeout_s)

    @classmethod
    def from_url(cls, url: str, timeout_s: float) -> SqliteItemWriter:
        """Open ``sqlite:///path``."""
        return cls(path_of(url), timeout_s=timeout_s)

    def put_many(self, items: Sequence[Item]) -> None:
        """Write items. Safe to repeat. The last write of an item wins, whoever writes.

        An item that serving wrote through a moment ago may thus be set back until the trainer reaches that record in
        topic ``items``; both then hold the same.
        """
        with self._file.write() as connection:
            _put(connection, items)

    def delete(self, item_ids: Sequence[str]) -> None:
        """Remove items, the edges from them and their recent users. Safe to repeat.

        Edges to them, and their places in popular lists, go when the trainer writes those next.
        """
        with self._file.write() as connection:
            _delete(connection, item_ids)

    def put_popular(self, lists: Mapping[str, Sequence[tuple[str, float]]], version: int) -> None:
        """Replace popular lists by name (best first). Safe to repeat. Raises ``StaleEpoch``."""
        with self._file.write() as connection:
            fence(connection, version)
            connection.executemany(
                "INSERT INTO popular VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET entries = excluded.entries,"
                " version = excluded.version WHERE excluded.version >= popular.version",
                [(name, _encode(entries), version) for name, entries in lists.items()],
            )

    def put_recent_users(self, users: Mapping[str, Sequence[str]], version: int) -> None:
        """Replace the recent users of each of these items (newest first). Safe to repeat. Raises ``StaleEpoch``."""
        with self._file.write() as connection:
            fence(connection, version)
            connection.executemany(
                "INSERT INTO recent_users VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET user_ids = excluded.user_ids,"
                " version = excluded.version WHERE excluded.version >= recent_users.version",
                [(item_id, _encode(user_ids), version) for item_id, user_ids in users.items()],
            )

    def put_neighbours(self, edges: Mapping[str, Sequence[tuple[str, float]]], version: int) -> None:
        """Replace all edges of each of these items. Safe to repeat. Raises ``StaleEpoch``."""
        rows = [(item_id, _encode(of_item), version) for item_id, of_item in edges.items()]
        with self._file.write() as connection:
            fence(connection, version)
            connection.executemany(
                "INSERT INTO neighbours VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET edges = excluded.edges,"
                " version = excluded.version WHERE excluded.version >= neighbours.version",
                rows,
            )
            _changed(connection, "neighbours")

    def put_serving_state(self, state: ServingState) -> None:
        """Replace the serving state. Safe to repeat. Raises ``StaleEpoch``."""
        with self._file.write() as connection:
            fence(connection, state.version)
            connection.execute(
                "INSERT INTO serving VALUES (1, ?, ?) ON CONFLICT DO UPDATE SET state = excluded.state,"
                " version = excluded.version WHERE excluded.version >= serving.version",
                (_encode(state), state.version),
            )

    def close(self) -> None:
        """Close the file. Safe to repeat."""
        self._file.close()


def _put(connection: sqlite3.Connection, items: Sequence[Item]) -> None:
    for item in items:
        record = encode_item(item)
        known = connection.execute("SELECT nth, record FROM items WHERE item_id = ?", (item.item_id,)).fetchone()
        if known is None:
            nth = connection.execute(
                "INSERT INTO items (item_id, record, available, category) VALUES (?, ?, ?, ?)",
                (item.item_id, record, item.available, item.category),
            ).lastrowid
            words = "INSERT INTO item_words (title, body, rowid) VALUES (?, ?, ?)"
        elif known[1] != record:
            nth = known[0]
            connection.execute(
                "UPDATE items SET record = ?, available = ?, category = ? WHERE nth = ?",
                (record, item.available, item.category, nth),
            )
            words = "UPDATE item_words SET title = ?, body = ? WHERE rowid = ?"
        else:
            continue
        connection.execute(words, (item.title, item.text or "", nth))
    _changed(connection, "items")


def _changed(connection: sqlite3.Connection, *tables: str) -> None:
    for table in tables:
        connection.execute("INSERT INTO changes VALUES (?, 1) ON CONFLICT DO UPDATE SET times = times + 1", (table,))


def _changes(table: str) -> str:
    return f"SELECT times FROM changes WHERE name = '{table}'"


def _put_rule(connection: sqlite3.Connection, name: str, rule: bytes | None) -> None:
    connection.execute("DELETE FROM rules WHERE name = ?", (name,))
    if rule is not None:
        connection.execute("INSERT INTO rules VALUES (?, ?)", (name, rule))


def _delete(connection: sqlite3.Connection, item_ids: Sequence[str]) -> None:
    for item_id in item_ids:
        connection.execute("DELETE FROM item_words WHERE rowid = (SELECT nth FROM items WHERE item_id = ?)", (item_id,))
        for table in ("items", "neighbours", "recent_users"):
            connection.execute(f"DELETE FROM {table} WHERE item_id = ?", (item_id,))
    _changed(connection, "items", "neighbours")


def _pattern(text: str) -> str:
    # Every word between quotation marks, and none inside: no text can be read as FTS5's query language. A "word" of
    # punctuation alone holds no token, and FTS5 leaves it out.
    clean = text.encode(errors="ignore").decode().replace('"', " ").replace("\0", " ")
    words = clean.split()[:MAX_WORDS]
    return " ".join(f'"{word}"' for word in words) + "*" if words else ""
