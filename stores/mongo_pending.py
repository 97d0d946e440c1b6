"""Pending events in MongoDB: what one user did in one call is one document of collection ``pending``.

``{_id, user_id, partition, block, first, last, events}``: ``events`` is JSON, its offsets go from ``first`` to
``last``. What a server has to do grows with the documents, and who has many waiting events sent them in few calls.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec
from pymongo import ASCENDING, IndexModel
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import BulkWriteError

from stores.mongo_connection import AsyncConnection, Fields, only_duplicates
from stores.ports import PendingEvent

PENDING = "pending"

_INDEXES = [
    IndexModel([("user_id", ASCENDING)], name="of_user"),
    IndexModel([("partition", ASCENDING), ("first", ASCENDING)], name="by_place"),
    IndexModel([("block", ASCENDING)], name="by_block"),
]
# Offsets of a block. FerretDB looks up strings in an index, and walks through the whole collection for numbers.
_BLOCK = 500

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[PendingEvent]).decode


class MongoPending:
    """The collection, for one process of serving."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._indexed = False
        # Up to which offset of a partition this process has forgotten everything.
        self._forgotten: dict[int, int] = {}

    async def add(self, events: Mapping[str, Sequence[PendingEvent]]) -> None:
        """Keep accepted events per user_id. Safe to repeat."""
        documents = [document for user_id, of_user in events.items() for document in _documents(user_id, of_user)]
        if not documents:
            return

        async def insert(database: AsyncDatabase[Fields]) -> None:
            if not self._indexed:
                for index in _INDEXES:  # one by one: FerretDB 1.24 stumbles over two that exist
                    await database[PENDING].create_indexes([index])
                self._indexed = True
            try:
                await database[PENDING].insert_many(documents, ordered=False)
            except BulkWriteError as error:
                if not only_duplicates(error):
                    raise

        await self._connection.run(insert)

    async def forget(self, learned: Mapping[int, int]) -> None:
        """Drop events below the learned offset of their partition. Safe to repeat.

        Block after block, the first time from the oldest on: what is forgotten stays so when the time is up.
        """
        for partition, offset in learned.items():
            since = max(0, await self._forgotten_up_to(partition, offset) - _BLOCK)
            for first in range(since - since % _BLOCK, offset, _BLOCK):
                await self._forget({"block": _block(partition, first), "last": {"$lt": offset}})
                self._forgotten[partition] = min(first + _BLOCK, offset)
            self._forgotten[partition] = offset

    async def _forgotten_up_to(self, partition: int, offset: int) -> int:
        if partition in self._forgotten:
            return self._forgotten[partition]

        async def oldest(database: AsyncDatabase[Fields]) -> Fields | None:
            return await database[PENDING].find_one({"partition": partition}, sort=[("first", ASCENDING)])

        found = await self._connection.run(oldest)
        return int(found["first"]) if found else offset

    async def _forget(self, which: Fields) -> None:
        async def forget(database: AsyncDatabase[Fields]) -> None:
            await database[PENDING].delete_many(which)

        await self._connection.run(forget)


def events_by_user(found: Iterable[Fields]) -> dict[str, list[PendingEvent]]:
    """Return the events of documents of the collection, in any order."""
    events: dict[str, list[PendingEvent]] = {}
    for fields in found:
        events.setdefault(fields["user_id"], []).extend(_decode(fields["events"]))
    return events


def _documents(user_id: str, events: Sequence[PendingEvent]) -> list[Fields]:
    """Return what keeps these events: one document per block of offsets, its name the same when they come again."""
    blocks: dict[str, list[PendingEvent]] = {}
    for event in sorted(events, key=lambda event: event.offset):
        blocks.setdefault(_block(event.partition, event.offset), []).append(event)
    return [
        {
            # An event may also be in a second document, of a call that named others with it: it counts once.
            "_id": f"{of_block[0].partition}:{of_block[0].offset}-{of_block[-1].offset}:{len(of_block)}",
            "user_id": user_id,
            "partition": of_block[0].partition,
            "block": block,
            "first": of_block[0].offset,
            "last": of_block[-1].offset,
            "events": _encode(of_block).decode(),
        }
        for block, of_block in blocks.items()
    ]


def _block(partition: int, offset: int) -> str:
    return f"{partition}:{offset // _BLOCK}"
