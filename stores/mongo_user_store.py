"""Users in MongoDB: documents, which the trainer alone writes, whole, and pending events, which serving alone writes.

Collections: ``users`` (``_id`` is the user_id, the embedding raw little-endian float32, a list of items one JSON text),
``pending`` (``stores.mongo_pending``), ``trainers`` (``stores.mongo_lease``). Only what MongoDB-compatible servers have
too: whole documents, no pipelines, no transactions. A document is guarded by its version: writes may be repeated, in
any order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress

import msgspec
import numpy as np
from pymongo import ASCENDING, ReplaceOne
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import BulkWriteError

from stores.mongo_connection import AsyncConnection, Connection, Fields, check_url, only_duplicates
from stores.mongo_lease import MongoLease
from stores.mongo_pending import PENDING, MongoPending, events_by_user
from stores.ports import PendingEvent, StaleEpoch, StoreUnavailable, UserDocument, UserState, epoch_of, version_of

_USERS = "users"
# More than a read finds. FerretDB makes room for so many before it looks for the first.
_IN_ONE_ANSWER = 10_000

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[str]).decode


class _Stored(msgspec.Struct, frozen=True):
    """A user document as it lies in the collection; ``as_of`` has its partitions as text there.

    Lists are texts: a server that takes a list apart, item by item, does so at every read and write of the user.
    """

    user_id: str = msgspec.field(name="_id")
    embedding: bytes
    recent: str
    seen: str
    hidden: str
    as_of: dict[int, int]
    version: int


class MongoUserReader:
    """Users as serving sees them."""

    def __init__(self, url: str, *, timeout_s: float) -> None:
        self._connection = AsyncConnection(url, timeout_s)
        self._pending = MongoPending(self._connection)

    @classmethod
    def from_url(cls, url: str, timeout_s: float) -> MongoUserReader:
        """Read ``mongodb://[user:password@]host[:port][/database][?options]``, connect later. Raises ``ValueError``."""
        check_url(url)
        return cls(url, timeout_s=timeout_s)

    async def get_many(self, user_ids: Sequence[str]) -> dict[str, UserState]:
        """Return the state of each user, in the time of one round trip: both questions are asked at once.

        So the answers may be of different moments, at most the deadline apart. An event would be in neither if it were
        learned and forgotten in between: whoever forgets waits for longer (``UserReader.forget_pending``).
        """
        if not user_ids:
            return {}
        wanted = {"$in": list(user_ids)}

        async def ask(database: AsyncDatabase[Fields]) -> tuple[list[Fields], list[Fields]]:
            return await asyncio.gather(
                database[_USERS].find({"_id": wanted}, batch_size=_IN_ONE_ANSWER).to_list(),
                database[PENDING].find({"user_id": wanted}, batch_size=_IN_ONE_ANSWER).to_list(),
            )

        found, waiting = await self._connection.run(ask)
        documents = {fields["_id"]: _document(fields) for fields in found}
        events = events_by_user(waiting)
        return {x: UserState.of(documents.get(x), events.get(x, [])) for x in user_ids}

    async def add_pending(self, events: Mapping[str, Sequence[PendingEvent]]) -> None:
        """Keep accepted events; visible to every process on return. Safe to repeat."""
        await self._pending.add(events)

    async def forget_pending(self, learned: Mapping[int, int]) -> None:
        """Drop pending events below the learned offset of their partition. Safe to repeat."""
        await self._pending.forget(learned)

    async def scan(self, after: str | None, limit: int) -> list[UserDocument]:
        """Return documents in order of user_id, the first ones or those after ``after``."""
        following: Fields = {"embedding": {"$exists": True}}
        if after is not None:
            following["_id"] = {"$gt": after}

        async def ask(database: AsyncDatabase[Fields]) -> list[Fields]:
            found = database[_USERS].find(following, sort=[("_id", ASCENDING)], limit=limit, batch_size=limit)
            return await found.to_list()

        return [document for fields in await self._connection.run(ask) if (document := _document(fields))]

    async def close(self) -> None:
        """Close the client. Safe to repeat."""
        await self._connection.close()


class MongoUserWriter:
    """Users as the trainer writes them."""

    apart = True

    def __init__(self, url: str, *, timeout_s: float) -> None:
        self._connection = Connection(url, timeout_s)
        self._lease = MongoLease(self._connection)

    @classmethod
    def from_url(cls, url: str, timeout_s: float) -> MongoUserWriter:
        """As ``MongoUserReader.from_url``."""
        check_url(url)
        return cls(url, timeout_s=timeout_s)

    def acquire_lease(self, owner: str) -> int:
        """Become the one trainer and return a new epoch; raises ``LeaseHeld``. From here on older epochs are refused.

        The lease ends with ``close``, or ``stores.mongo_lease.LEASE_S`` after the process was killed.
        """
        epoch = self._lease.acquire(owner)
        self._bury_the_deleted(epoch)
        return epoch

    def upsert(self, documents: Sequence[UserDocument]) -> None:
        """Write whole documents; an older version changes nothing. Safe to repeat. Raises ``StaleEpoch``."""
        self._write(
            {
                x.user_id: {
                    "_id": x.user_id,
                    "embedding": np.ascontiguousarray(x.embedding, dtype="<f4").tobytes(),
                    "recent": _encode(x.recent).decode(),
                    "seen": _encode(x.seen).decode(),
                    "hidden": _encode(x.hidden).decode(),
                    "as_of": {str(partition): offset for partition, offset in x.as_of.items()},
                    "version": x.version,
                }
                for x in documents
            }
        )

    def delete(self, user_ids: Sequence[str], version: int) -> None:
        """Remove documents and pending events. Safe to repeat. Raises ``StaleEpoch``.

        A deleted user leaves a document of his version and no more, so that a late older write cannot bring him back.
        """
        if not user_ids:
            return
        self._write({user_id: {"_id": user_id, "version": version, "deleted": True} for user_id in user_ids})
        with self._connection.collection(PENDING) as pending:
            pending.delete_many({"user_id": {"$in": list(user_ids)}})

    def close(self) -> None:
        """Release the lease and close the client. Safe to repeat."""
        self._lease.release()
        self._connection.close()

    def _write(self, wanted: Mapping[str, Fields]) -> None:
        with self._connection.collection(_USERS) as users:
            for epoch in sorted({epoch_of(fields["version"]) for fields in wanted.values()}):
                self._lease.fence(epoch)
            while wanted:
                try:
                    users.bulk_write([_guarded(fields) for fields in wanted.values()], ordered=False)
                    return
                except BulkWriteError as error:
                    if not only_duplicates(error):
                        raise
                    refused = {x["op"]["q"]["_id"] for x in error.details["writeErrors"]}
                found = users.find({"_id": {"$in": list(refused)}}, {"version": 1}, batch_size=_IN_ONE_ANSWER)
                # What is left is not stale but was made by somebody in the same moment.
                left = {user_id: wanted[user_id] for user_id in refused}
                wanted = _without_stale(left, {fields["_id"]: fields.get("version") for fields in found})

    def _bury_the_deleted(self, epoch: int) -> None:
        """Remove what users left who were deleted two epochs ago: whoever wrote then is certainly gone."""
        with suppress(StoreUnavailable), self._connection.collection(_USERS) as users:
            users.create_index([("deleted", ASCENDING)], name="deleted")
            users.delete_many({"deleted": True, "version": {"$lt": version_of(epoch - 1, 0)}})


def _guarded(fields: Fields) -> ReplaceOne[Fields]:
    # Not greater, rather than less or equal: a document that somebody made without a version is then overwritten, and
    # a duplicate key means one thing only, that a newer version stands there.
    return ReplaceOne({"_id": fields["_id"], "version": {"$not": {"$gt": fields["version"]}}}, fields, upsert=True)


def _without_stale(wanted: Mapping[str, Fields], standing: Mapping[str, object]) -> dict[str, Fields]:
    """Return the documents that are not older than what stands. Raises ``StaleEpoch``."""
    left = {}
    for user_id, fields in wanted.items():
        version = standing.get(user_id)
        if not isinstance(version, int) or version <= fields["version"]:
            left[user_id] = fields
        elif epoch_of(version) > epoch_of(fields["version"]):
            raise StaleEpoch(f"user {user_id!r} was written in epoch {epoch_of(version)}")
    return left


def _document(fields: Fields) -> UserDocument | None:
    try:
        stored = msgspec.convert(fields, _Stored, str_keys=True)
        recent, seen, hidden = map(_decode, (stored.recent, stored.seen, stored.hidden))
    except msgspec.DecodeError:
        # Deleted, or made by somebody else: the trainer writes over it when he has something to say.
        return None
    return UserDocument(
        user_id=stored.user_id,
        embedding=np.frombuffer(stored.embedding, dtype="<f4"),
        recent=recent,
        seen=seen,
        hidden=hidden,
        as_of=stored.as_of,
        version=stored.version,
    )
