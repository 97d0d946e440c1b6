"""A MongoDB database as the adapters use it: reached late, left in time, errors in the system's own words.

A client starts threads and opens sockets, and neither survives a fork: it is made when it is first used. The deadline
of a port holds for a call as a whole, however many round trips it takes and whatever the URL says about time-outs;
measured, it is kept against a server that accepts connections and never answers, and against none at all.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pymongo
from pymongo import AsyncMongoClient, MongoClient, ReadPreference, WriteConcern
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError, InvalidOperation, OperationFailure, PyMongoError

from stores.ports import StoreUnavailable

Fields = dict[str, Any]
Answer = TypeVar("Answer")

# On the disks of most of the servers before it counts as written.
DURABLE = WriteConcern(w="majority", j=True)
# Who has the lease, and what a user just did, is never asked of a server that may lag, whatever the URL prefers.
_NEWEST = ReadPreference.PRIMARY
DUPLICATE_KEY = 11000

_DEFAULT_DATABASE = "recommender"
# Reads are coalesced and writes come from one place: few run beside each other. The URL may say otherwise.
_MOST_CONNECTIONS = 16
# BadValue, FailedToParse, TypeMismatch, CommandNotFound: what was asked is wrong, not the server's state.
_FAULTS_OF_OURS = {2, 9, 14, 59}


def check_url(url: str) -> None:
    """Raise ``ValueError`` unless this is the URL of a database; asks no server, not even one of names."""
    try:
        with warnings.catch_warnings():
            # The driver only warns of an option that it does not know and leaves it out.
            warnings.simplefilter("error", UserWarning)
            MongoClient(url, connect=False).close()
    except (PyMongoError, ValueError, UserWarning) as error:
        raise ValueError(f"not the URL of a MongoDB database: {error}") from error


def only_duplicates(error: BulkWriteError) -> bool:
    """Say whether a bulk write was done but for documents that the store has already."""
    details = error.details
    return not details["writeConcernErrors"] and all(x["code"] == DUPLICATE_KEY for x in details["writeErrors"])


class Connection:
    """The database of a URL, for threads; they may share it."""

    def __init__(self, url: str, timeout_s: float) -> None:
        self._url, self._timeout_s = url, timeout_s
        self._client: MongoClient[Fields] | None = None

    @contextmanager
    def collection(self, name: str) -> Iterator[Collection[Fields]]:
        """Work on a collection; the block as a whole has the deadline. Raises ``StoreUnavailable``."""
        with _translated(), pymongo.timeout(self._timeout_s):
            if self._client is None:
                self._client = MongoClient(self._url, **_options(self._url, self._timeout_s))
            database = self._client.get_default_database(_DEFAULT_DATABASE)
            yield database.get_collection(name, write_concern=DURABLE, read_preference=_NEWEST)

    def close(self) -> None:
        """Close the client, within the deadline. Safe to repeat."""
        client, self._client = self._client, None
        if client is not None:
            with pymongo.timeout(self._timeout_s):
                client.close()


class AsyncConnection:
    """The database of a URL, for one event loop."""

    def __init__(self, url: str, timeout_s: float) -> None:
        self._url, self._timeout_s = url, timeout_s
        self._client: AsyncMongoClient[Fields] | None = None
        self._running: set[asyncio.Task[Any]] = set()

    async def run(self, work: Callable[[AsyncDatabase[Fields]], Coroutine[Any, Any, Answer]]) -> Answer:
        """Do something with the database; all of it has the deadline. Raises ``StoreUnavailable``.

        It goes on when the caller gives up: the driver closes a connection whose answer is not waited for, and a caller
        with less time than connecting takes would never be answered, however often he asks.
        """
        task = asyncio.create_task(self._within_deadline(work))
        self._running.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    async def _within_deadline(self, work: Callable[[AsyncDatabase[Fields]], Coroutine[Any, Any, Answer]]) -> Answer:
        with _translated(), pymongo.timeout(self._timeout_s):
            if self._client is None:
                self._client = AsyncMongoClient(self._url, **_options(self._url, self._timeout_s))
            database = self._client.get_default_database(_DEFAULT_DATABASE).with_options(read_preference=_NEWEST)
            # The driver looks at its deadline between two waits, not in the middle of each.
            async with asyncio.timeout(self._timeout_s):
                return await work(database)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # nobody may be left to hear of it

    async def close(self) -> None:
        """Let what runs end and close the client, within two deadlines. Safe to repeat."""
        if self._running:
            await asyncio.wait(self._running, timeout=self._timeout_s)
        client, self._client = self._client, None
        if client is not None:
            with pymongo.timeout(self._timeout_s):
                await client.close()


def _options(url: str, timeout_s: float) -> dict[str, Any]:
    timeout_ms = max(1, round(timeout_s * 1000))
    options: dict[str, Any] = {
        "timeoutMS": timeout_ms,
        "serverSelectionTimeoutMS": timeout_ms,
        "connectTimeoutMS": timeout_ms,
    }
    if "maxpoolsize=" not in urlsplit(url).query.lower():
        options["maxPoolSize"] = _MOST_CONNECTIONS
    return options


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except InvalidOperation:
        raise
    except OperationFailure as error:
        if error.code in _FAULTS_OF_OURS:
            raise
        raise StoreUnavailable(f"MongoDB: {error}") from error
    except (PyMongoError, TimeoutError) as error:
        raise StoreUnavailable(f"MongoDB: {str(error) or 'no answer in time'}") from error
