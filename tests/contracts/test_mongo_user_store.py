"""The contract of the user store, against the server of ``USERS_URL_TEST``; every test has databases of its own.

And what is special about MongoDB: documents of strangers, servers that go away, are silent or come back, the lease of a
trainer that was killed, and the form in which a user lies there.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from urllib.parse import urlsplit

import numpy as np
import pytest
from pymongo import MongoClient

from stores.adapters import open_user_reader, open_user_writer
from stores.mongo_connection import Connection
from stores.mongo_lease import MongoLease
from stores.ports import LeaseHeld, PendingEvent, StaleEpoch, StoreUnavailable, UserDocument, UserReader, version_of
from tests.contracts.user_store_contract import UserStoreContract

SERVER = os.environ.get("USERS_URL_TEST", "")

# Other work on the machine may hold up a call by so much; the driver's own patience is 20 s and more.
SLACK_S = 1.0

pytestmark = pytest.mark.skipif(
    not SERVER.startswith("mongodb"), reason="NO MONGODB: make services-up, then make contracts"
)


@pytest.fixture
def new_url() -> Iterator[Callable[[], str]]:
    names: list[str] = []

    def new_url() -> str:
        names.append(f"test-{uuid.uuid4().hex[:12]}")
        return urlsplit(SERVER)._replace(path=f"/{names[-1]}").geturl()

    yield new_url
    with closing(MongoClient(SERVER)) as client:
        for name in names:
            client.drop_database(name)


class TestMongoUserStore(UserStoreContract):
    @pytest.fixture
    def new_url(self, new_url: Callable[[], str]) -> Callable[[], str]:
        return new_url

    def run(self, url: str, scenario: Callable[[UserReader], Awaitable[object]]) -> object:
        """With more time than requests have: on a busy machine FerretDB needs a second for 5,000 events."""

        async def with_reader() -> object:
            reader = open_user_reader(url, timeout_s=15.0)
            try:
                return await scenario(reader)
            finally:
                await reader.close()

        return asyncio.run(with_reader())


@pytest.fixture
def url(new_url: Callable[[], str]) -> str:
    return new_url()


@pytest.fixture
def database(url: str):
    with closing(MongoClient(url)) as client:
        yield client.get_default_database()


@pytest.fixture
def writer(url: str):
    with closing(open_user_writer(url)) as writer:
        yield writer


def _document(user_id: str, version: int, first: float = 1.0) -> UserDocument:
    return UserDocument(user_id, np.array([first, -0.25, 3e-38], np.float32), ["i1"], ["i0", "i1"], [], {0: 7}, version)


def _read(url: str, *user_ids: str):
    async def read():
        reader = open_user_reader(url)
        try:
            return await reader.get_many(user_ids)
        finally:
            await reader.close()

    return asyncio.run(read())


# --- what lies there


def test_a_document_lies_there_whole_its_vector_as_raw_float32(writer, database) -> None:
    writer.upsert([_document("u1", version_of(1, 3))])
    assert database.users.find_one() == {
        "_id": "u1",
        "embedding": np.array([1.0, -0.25, 3e-38], "<f4").tobytes(),
        "recent": '["i1"]',
        "seen": '["i0","i1"]',
        "hidden": "[]",
        "as_of": {"0": 7},
        "version": version_of(1, 3),
    }


STRANGER = {"embedding": b"", "recent": "none", "seen": "", "hidden": "[]", "as_of": {}, "version": 0}


@pytest.mark.parametrize(
    "strange", [{}, {"version": None}, {"version": "3", "embedding": [1.0]}, {"version": 1.5}, STRANGER]
)
def test_a_document_without_a_version_of_ours_is_no_user_and_is_written_over(writer, database, url, strange) -> None:
    database.users.insert_one({"_id": "u1", "name": "Ann"} | strange)
    assert _read(url, "u1")["u1"].document is None
    writer.upsert([_document("u1", version_of(1, 1)), _document("u2", version_of(1, 1))])
    assert set(database.users.distinct("version")) == {version_of(1, 1)}
    assert "name" not in database.users.find_one({"_id": "u1"})


def test_of_one_write_the_stale_documents_stay_out_and_all_others_are_written(writer, database) -> None:
    writer.upsert([_document(f"u{n}", version_of(1, 9)) for n in range(0, 300, 3)])
    database.users.insert_many([{"_id": f"u{n}"} for n in range(1, 300, 3)])
    writer.upsert([_document(f"u{n}", version_of(1, 5)) for n in range(300)])
    versions = {x["_id"]: x["version"] for x in database.users.find()}
    assert versions == {f"u{n}": version_of(1, 5 if n % 3 else 9) for n in range(300)}


def test_a_newer_epoch_found_in_a_document_is_another_trainer(writer, database) -> None:
    writer.upsert([_document("u1", version_of(2, 1), first=2)])
    database.trainers.delete_many({})  # as if the other had begun between the question for the epoch and the write
    with pytest.raises(StaleEpoch):
        writer.upsert([_document("u1", version_of(1, 1))])
    assert database.users.find_one({"_id": "u1"})["version"] == version_of(2, 1)


def test_those_who_were_deleted_long_ago_leave_nothing(url, database) -> None:
    for epoch in (1, 2, 3):
        with closing(open_user_writer(url)) as writer:
            assert writer.acquire_lease("trainer") == epoch
            writer.delete([f"u{epoch}"], version_of(epoch, 1))
    assert sorted(x["_id"] for x in database.users.find()) == ["u2", "u3"]
    assert [x["_id"] for x in database.trainers.find()] == [3]


# --- the lease


def test_a_lease_that_no_longer_beats_runs_out(database, url) -> None:
    database.trainers.insert_one({"_id": 5, "owner": "killed", "held": True, "beats": 17})
    with closing(Connection(url, 5.0)) as connection:
        lease = MongoLease(connection, lease_s=0.5)
        assert lease.acquire("new") == 6
        lease.release()


def test_a_holder_who_comes_back_too_late_may_write_nothing_more(database, url, writer) -> None:
    late = writer.acquire_lease("late")
    writer.upsert([_document("u1", version_of(late, 1))])
    # What another trainer does once the beats have stopped.
    database.trainers.insert_one({"_id": late + 1, "owner": "new", "held": True, "beats": 0})
    with pytest.raises(StaleEpoch):
        writer.upsert([_document("u1", version_of(late, 2)), _document("u2", version_of(late, 2))])
    with pytest.raises(StaleEpoch):
        writer.delete(["u1"], version_of(late, 2))
    writer.close()
    assert database.trainers.find_one({"_id": late + 1})["held"]
    assert [x["version"] for x in database.users.find()] == [version_of(late, 1)]


def test_of_many_who_want_the_lease_at_once_one_gets_it(url) -> None:
    outcomes: list[int] = []
    start = threading.Barrier(5)

    def want() -> None:
        with closing(open_user_writer(url)) as writer:
            start.wait()
            try:
                outcomes.append(writer.acquire_lease("one of many"))
            except LeaseHeld:
                outcomes.append(0)
            start.wait()

    threads = [threading.Thread(target=want) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [0, 0, 0, 0, 1]


def test_a_store_that_was_emptied_takes_the_epoch_of_the_snapshots_and_the_lease_stays(url) -> None:
    with closing(open_user_writer(url)) as holder:
        assert holder.acquire_lease("holder") == 1
        holder.upsert([_document("u1", version_of(8, 1))])
        with closing(open_user_writer(url)) as other, pytest.raises(LeaseHeld):
            other.acquire_lease("other")


# --- servers that do not answer


def _port_of(listener: socket.socket) -> int:
    return int(listener.getsockname()[1])


@pytest.fixture(params=["nobody listens", "silent"])
def dead_url(request) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        if request.param == "nobody listens":
            listener.close()
            with socket.create_server(("127.0.0.1", 0)) as other:
                port = _port_of(other)
        else:
            port = _port_of(listener)
        yield f"mongodb://127.0.0.1:{port}/users"


def _event(offset: int) -> PendingEvent:
    return PendingEvent(f"e{offset}", "i1", "positive", 1.0, 0.0, 0, offset)


def test_a_dead_server_is_unavailable_within_the_deadline(dead_url) -> None:
    async def ask() -> list[float]:
        reader = open_user_reader(dead_url, timeout_s=0.2)
        calls = [
            lambda: reader.get_many(["u1"]),
            lambda: reader.add_pending({"u1": [_event(1)]}),
            lambda: reader.forget_pending({0: 4}),
            lambda: reader.scan(None, 10),
        ]
        waits_s = []
        for call in calls:
            began_s = time.monotonic()
            with pytest.raises(StoreUnavailable):
                await call()
            waits_s.append(time.monotonic() - began_s)
        began_s = time.monotonic()
        await reader.close()
        return [*waits_s, time.monotonic() - began_s]

    waits_s = asyncio.run(ask())
    with closing(open_user_writer(dead_url, timeout_s=0.2)) as writer:
        for call in (lambda: writer.acquire_lease("one"), lambda: writer.upsert([_document("u1", version_of(1, 1))])):
            began_s = time.monotonic()
            with pytest.raises(StoreUnavailable):
                call()
            waits_s.append(time.monotonic() - began_s)
    assert max(waits_s) < 0.2 + SLACK_S, waits_s


class Cable:
    """A connection to the server that can be cut: who talks through it hears nothing more, or is hung up on."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._server = (parts.hostname, parts.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = parts._replace(netloc=f"127.0.0.1:{_port_of(self._listener)}").geturl()
        self._open: list[socket.socket] = []
        self.delay_s = 0.0
        self._mute = threading.Event()
        self._cut = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def mute(self) -> None:
        """From now on nothing passes in either direction; connections stay open."""
        self._mute.set()

    def cut(self) -> None:
        """Hang up, and hang up on whoever calls again."""
        self._cut.set()
        self._hang_up()

    def mend(self) -> None:
        """New connections work again."""
        self._mute.clear()
        self._cut.clear()

    def close(self) -> None:
        self._cut.set()
        self._listener.close()
        self._hang_up()

    def _hang_up(self) -> None:
        for end in self._open:
            end.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self._cut.is_set():
                near.close()
                continue
            far = socket.create_connection(self._server)
            self._open += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._pass_on, args=(one, other), daemon=True).start()

    def _pass_on(self, one: socket.socket, other: socket.socket) -> None:
        try:
            while data := one.recv(65536):
                if self._mute.is_set():
                    return  # and both ends stay open, as with a machine that has gone
                time.sleep(self.delay_s)
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)
        except OSError:
            pass


@pytest.mark.parametrize("weather", ["mute", "cut"])
def test_an_outage_in_the_middle_is_unavailable_and_over_when_it_is_over(url, weather) -> None:
    with closing(Cable(url)) as cable:

        async def serve() -> None:
            reader = open_user_reader(cable.url, timeout_s=0.4)
            await reader.add_pending({"u1": [_event(1)]})
            assert len((await reader.get_many(["u1"]))["u1"].pending) == 1
            getattr(cable, weather)()
            for _ in range(2):
                began_s = time.monotonic()
                with pytest.raises(StoreUnavailable):
                    await reader.get_many(["u1"])
                assert time.monotonic() - began_s < 0.4 + SLACK_S
            cable.mend()
            deadline_s = time.monotonic() + 10.0
            while True:
                try:
                    assert len((await reader.get_many(["u1"]))["u1"].pending) == 1
                    break
                except StoreUnavailable:
                    assert time.monotonic() < deadline_s
            await reader.close()

        asyncio.run(serve())
        with closing(open_user_writer(cable.url, timeout_s=0.4)) as writer:
            writer.upsert([_document("u1", version_of(1, 1))])
            getattr(cable, weather)()
            began_s = time.monotonic()
            with pytest.raises(StoreUnavailable):
                writer.upsert([_document("u1", version_of(1, 2))])
            assert time.monotonic() - began_s < 0.4 + SLACK_S
            cable.mend()
            deadline_s = time.monotonic() + 10.0
            while True:
                try:
                    writer.upsert([_document("u1", version_of(1, 3))])
                    break
                except StoreUnavailable:
                    assert time.monotonic() < deadline_s
    assert _read(url, "u1")["u1"].document.version == version_of(1, 3)


def test_callers_who_wait_for_less_than_connecting_takes_are_answered_in_the_end(url) -> None:
    with closing(Cable(url)) as cable:
        # A connection takes two round trips at least, then the answer one.
        cable.delay_s = 0.1

        async def ask() -> None:
            reader = open_user_reader(cable.url, timeout_s=5.0)
            for _ in range(20):
                try:
                    await asyncio.wait_for(reader.get_many(["u1"]), 0.35)
                    break
                except TimeoutError:
                    pass
            else:
                pytest.fail("never answered")
            await reader.close()

        asyncio.run(ask())


@pytest.mark.parametrize("url", ["mongodb://", "mongodb://host:port/db", "mongodb://h/db?nonsense=maybe&w=-3"])
def test_a_url_that_cannot_be_one_is_refused_without_asking_anybody(url) -> None:
    with pytest.raises(ValueError, match="not the URL"):
        open_user_reader(url)
    with pytest.raises(ValueError, match="not the URL"):
        open_user_writer(url)
