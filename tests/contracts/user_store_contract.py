"""What every user store must do. A subclass supplies ``new_url``: each call returns the URL of a fresh, empty store."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stores.adapters import open_user_reader, open_user_writer
from stores.ports import LeaseHeld, PendingEvent, StaleEpoch, UserDocument, UserReader, UserState, version_of

ROOT = Path(__file__).parents[2]

LEASE_PROCESS = """
import sys, time
from stores.adapters import open_user_writer
writer = open_user_writer(sys.argv[1])
print(writer.acquire_lease("a process"), flush=True)
time.sleep(60)
"""

PENDING_PROCESS = """
import asyncio, sys
from stores.adapters import open_user_reader
from stores.ports import PendingEvent
url, name = sys.argv[1], int(sys.argv[2])

async def main():
    reader = open_user_reader(url, timeout_s=30.0)
    for nth in range(100):
        offset = 2 * nth + name
        await reader.add_pending({f"u{nth % 5}": [PendingEvent(f"e{offset}", "i1", "positive", 1.0, 0.0, 0, offset)]})
    await reader.close()

asyncio.run(main())
"""


def _document(user_id: str, version: int, *, first: float = 1.0, as_of: dict[int, int] | None = None) -> UserDocument:
    embedding = np.array([first, -0.25, 3e-38, 7.5], dtype=np.float32)
    return UserDocument(user_id, embedding, ["i1", "i2"], ["i0", "i1", "i2"], ["i9"], as_of or {}, version)


def _pending(offset: int, event_id: str | None = None, partition: int = 0) -> PendingEvent:
    return PendingEvent(event_id or f"e{offset}", f"i{offset}", "positive", 0.5, 1.7e9 + offset, partition, offset)


def _same(one: UserDocument, other: UserDocument) -> bool:
    fields = ("user_id", "recent", "seen", "hidden", "as_of", "version")
    return one.embedding.tobytes() == other.embedding.tobytes() and all(
        getattr(one, name) == getattr(other, name) for name in fields
    )


class UserStoreContract:
    @pytest.fixture
    def new_url(self) -> Callable[[], str]:
        raise NotImplementedError

    @pytest.fixture
    def url(self, new_url: Callable[[], str]) -> str:
        return new_url()

    @pytest.fixture
    def writer(self, url: str):
        with closing(open_user_writer(url)) as writer:
            yield writer

    def run(self, url: str, scenario: Callable[[UserReader], Awaitable[object]]) -> object:
        """Run an async scenario with the users as serving sees them."""

        async def with_reader() -> object:
            reader = open_user_reader(url)
            try:
                return await scenario(reader)
            finally:
                await reader.close()

        return asyncio.run(with_reader())

    def get_many(self, url: str, user_ids: Sequence[str]) -> dict[str, UserState]:
        return self.run(url, lambda reader: reader.get_many(user_ids))

    def get(self, url: str, user_id: str) -> UserState:
        return self.get_many(url, [user_id])[user_id]

    def add_pending(self, url: str, user_id: str, *events: PendingEvent) -> None:
        self.run(url, lambda reader: reader.add_pending({user_id: events}))

    def offsets(self, url: str, user_id: str) -> list[int]:
        return [event.offset for event in self.get(url, user_id).pending]

    # --- documents

    def test_an_unknown_user_has_an_empty_state(self, url):
        assert self.get_many(url, ["u1", "u2"]) == {"u1": UserState(None, []), "u2": UserState(None, [])}
        assert self.get_many(url, []) == {}

    def test_a_document_comes_back_bit_for_bit(self, writer, url):
        written = _document("ключ 🔑", version_of(3, 7), as_of={0: 12, 5: 2**40})
        writer.upsert([written])
        read = self.get(url, "ключ 🔑").document
        assert _same(read, written)
        assert read.embedding.dtype == np.float32
        assert read.embedding.shape == (4,)

    def test_many_are_read_at_once(self, writer, url):
        writer.upsert([_document(f"u{n}", version_of(1, 1), first=n) for n in range(150)])
        states = self.get_many(url, [f"u{n}" for n in range(200)])
        assert len(states) == 200
        assert [states[f"u{n}"].document.embedding[0] for n in range(150)] == list(range(150))
        assert all(states[f"u{n}"].document is None for n in range(150, 200))

    def test_writing_nothing_is_nothing(self, writer, url):
        writer.upsert([])
        writer.delete([], version_of(1, 1))
        assert self.get(url, "u1") == UserState(None, [])

    def test_an_older_version_changes_nothing_and_its_neighbours_are_written(self, writer, url):
        writer.upsert([_document("u1", version_of(1, 5), first=5)])
        writer.upsert([_document("u1", version_of(1, 4), first=4), _document("u2", version_of(1, 4), first=4)])
        assert self.get(url, "u1").document.embedding[0] == 5
        assert self.get(url, "u2").document.embedding[0] == 4

    def test_a_write_can_be_repeated_and_of_one_version_the_last_counts(self, writer, url):
        for first in (5, 5, 6):
            writer.upsert([_document("u1", version_of(1, 5), first=first)])
        assert _same(self.get(url, "u1").document, _document("u1", version_of(1, 5), first=6))

    def test_a_newer_epoch_wins_whatever_its_flush(self, writer, url):
        writer.upsert([_document("u1", version_of(1, 900), first=1)])
        writer.upsert([_document("u1", version_of(2, 1), first=2)])
        assert self.get(url, "u1").document.embedding[0] == 2

    def test_an_older_epoch_is_refused_whole(self, writer, url):
        writer.upsert([_document("u1", version_of(2, 1), first=2)])
        with pytest.raises(StaleEpoch):
            writer.upsert([_document("u2", version_of(1, 9)), _document("u3", version_of(1, 9))])
        with pytest.raises(StaleEpoch):
            writer.delete(["u1"], version_of(1, 9))
        states = self.get_many(url, ["u1", "u2", "u3"])
        assert states["u1"].document.embedding[0] == 2
        assert states["u2"].document is None
        assert states["u3"].document is None

    def test_the_epoch_is_remembered_by_the_store_not_by_the_process(self, writer, url):
        writer.upsert([_document("u1", version_of(2, 1))])
        with closing(open_user_writer(url)) as other, pytest.raises(StaleEpoch):
            other.upsert([_document("u2", version_of(1, 9))])

    def test_deleting_removes_document_and_pending_events(self, writer, url):
        writer.upsert([_document("u1", version_of(1, 1)), _document("u2", version_of(1, 1))])
        self.add_pending(url, "u1", _pending(3))
        self.add_pending(url, "u2", _pending(4))
        for _ in range(2):
            writer.delete(["u1", "never seen"], version_of(1, 2))
        assert self.get(url, "u1") == UserState(None, [])
        assert self.get(url, "u2").document is not None
        assert self.offsets(url, "u2") == [4]

    def test_a_late_older_write_does_not_bring_a_deleted_user_back_a_newer_one_does(self, writer, url):
        writer.upsert([_document("u1", version_of(1, 1))])
        writer.delete(["u1"], version_of(1, 5))
        writer.upsert([_document("u1", version_of(1, 4))])
        assert self.get(url, "u1").document is None
        writer.upsert([_document("u1", version_of(1, 6))])
        assert self.get(url, "u1").document is not None

    def test_a_late_older_delete_removes_no_newer_document(self, writer, url):
        writer.upsert([_document("u1", version_of(1, 5))])
        writer.delete(["u1"], version_of(1, 4))
        assert self.get(url, "u1").document is not None

    def test_any_order_of_writes_ends_as_the_versions_say(self, new_url):
        write = st.tuples(
            st.sampled_from(["upsert", "delete"]),
            st.sampled_from(["u1", "u2"]),
            st.integers(1, 3),
            st.integers(0, 5),
        )

        @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.lists(write, max_size=15))
        def check(writes: list[tuple[str, str, int, int]]) -> None:
            url = new_url()
            documents: dict[str, UserDocument | None] = {"u1": None, "u2": None}
            versions = dict.fromkeys(documents, 0)
            newest_epoch = 0
            with closing(open_user_writer(url)) as writer:
                for nth, (action, user_id, epoch, seq) in enumerate(writes):
                    version = version_of(epoch, seq)
                    document = _document(user_id, version, first=nth) if action == "upsert" else None
                    try:
                        writer.upsert([document]) if document else writer.delete([user_id], version)
                    except StaleEpoch:
                        assert epoch < newest_epoch
                        continue
                    assert epoch >= newest_epoch
                    newest_epoch = epoch
                    if version >= versions[user_id]:
                        documents[user_id], versions[user_id] = document, version
            for user_id, state in self.get_many(url, list(documents)).items():
                expected = documents[user_id]
                assert (state.document is None) == (expected is None)
                assert expected is None or _same(state.document, expected)

        check()

    def test_scanning_tells_every_document_once(self, writer, url):
        user_ids = {f"u{n}" for n in range(40)} | {"ключ 🔑", "é", "A", "~"}
        writer.upsert([_document(user_id, version_of(1, 1)) for user_id in sorted(user_ids)])
        writer.delete(["u7"], version_of(1, 2))
        self.add_pending(url, "only pending", _pending(1))

        async def scan(reader: UserReader) -> list[UserDocument]:
            found: list[UserDocument] = []
            while page := await reader.scan(found[-1].user_id if found else None, 7):
                assert len(page) <= 7
                found += page
            return found

        found = self.run(url, scan)
        assert sorted(document.user_id for document in found) == sorted(user_ids - {"u7"})
        assert all(_same(document, _document(document.user_id, version_of(1, 1))) for document in found)

    # --- pending events

    def test_pending_events_come_in_order_and_as_they_were(self, url):
        self.add_pending(url, "u1", _pending(7), _pending(3))
        self.add_pending(url, "u1", _pending(5))
        self.add_pending(url, "u2", _pending(4))
        assert self.get(url, "u1") == UserState(None, [_pending(3), _pending(5), _pending(7)])

    def test_pending_events_of_several_users_are_kept_in_one_call(self, url):
        self.run(url, lambda reader: reader.add_pending({"u1": [_pending(1)], "u2": [_pending(2), _pending(3)]}))
        self.run(url, lambda reader: reader.add_pending({}))
        assert self.offsets(url, "u1") == [1]
        assert self.offsets(url, "u2") == [2, 3]

    def test_keeping_pending_events_can_be_repeated(self, url):
        for _ in range(2):
            self.add_pending(url, "u1", _pending(3))
        assert self.offsets(url, "u1") == [3]

    def test_another_reader_sees_a_pending_event_at_once(self, url):
        async def ask(reader: UserReader) -> list[PendingEvent]:
            other = open_user_reader(url)
            await other.get_many(["u1"])
            await reader.add_pending({"u1": [_pending(3)]})
            state = (await other.get_many(["u1"]))["u1"]
            await other.close()
            return state.pending

        assert self.run(url, ask) == [_pending(3)]

    def test_what_the_document_contains_is_not_pending(self, writer, url):
        events = [_pending(3), _pending(4), _pending(3, "other", partition=1), _pending(9, "new", partition=2)]
        self.add_pending(url, "u1", *events)
        writer.upsert([_document("u1", version_of(1, 1), as_of={0: 4, 1: 4})])
        assert self.get(url, "u1").pending == [_pending(4), _pending(9, "new", partition=2)]

    def test_an_event_sent_twice_counts_once_the_first_time(self, writer, url):
        self.add_pending(url, "u1", _pending(8, "again"), _pending(3, "again"), _pending(5))
        assert self.get(url, "u1").pending == [_pending(3, "again"), _pending(5)]
        writer.upsert([_document("u1", version_of(1, 1), as_of={0: 4})])
        assert self.get(url, "u1").pending == [_pending(5)]

    def test_learned_pending_events_are_forgotten_up_to_the_learned_offset(self, url):
        for event in (_pending(3), _pending(4), _pending(3, "other", partition=1)):
            self.add_pending(url, "u1", event)
        for _ in range(2):
            self.run(url, lambda reader: reader.forget_pending({0: 4}))
        assert [(x.partition, x.offset) for x in self.get(url, "u1").pending] == [(0, 4), (1, 3)]

    def test_many_pending_events_are_forgotten(self, url):
        self.add_pending(url, "u1", *map(_pending, range(4_990)))
        self.add_pending(url, "u1", *map(_pending, range(4_990, 5_000)))
        self.run(url, lambda reader: reader.forget_pending({0: 4_990}))
        assert self.offsets(url, "u1") == list(range(4_990, 5_000))

    def test_processes_add_pending_events_while_the_trainer_writes(self, writer, url):
        commands = [[sys.executable, "-c", PENDING_PROCESS, url, name] for name in ("0", "1")]
        with subprocess.Popen(commands[0], cwd=ROOT) as one, subprocess.Popen(commands[1], cwd=ROOT) as other:
            seq = 0
            while one.poll() is None or other.poll() is None:
                seq += 1
                writer.upsert([_document(f"u{n}", version_of(1, seq)) for n in range(5)])
        assert (one.returncode, other.returncode) == (0, 0)
        states = self.get_many(url, [f"u{n}" for n in range(5)])
        assert sorted(event.offset for state in states.values() for event in state.pending) == list(range(200))
        assert {state.document.version for state in states.values()} == {version_of(1, seq)}

    # --- lease

    def test_only_one_holds_the_lease_and_every_epoch_is_new(self, writer, url):
        first = writer.acquire_lease("one")
        assert first >= 1
        with closing(open_user_writer(url)) as other:
            with pytest.raises(LeaseHeld):
                other.acquire_lease("other")
            writer.close()
            assert other.acquire_lease("other") > first

    def test_the_lease_is_released_when_its_holder_dies(self, writer, url):
        command = [sys.executable, "-c", LEASE_PROCESS, url]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            epoch = int(process.stdout.readline())
            with pytest.raises(LeaseHeld):
                writer.acquire_lease("survivor")
            process.kill()
        assert self.acquire_when_free(writer) > epoch

    def acquire_when_free(self, writer) -> int:
        """Acquire the lease of a killed holder; a store whose leases run out overrides this with its patience."""
        return writer.acquire_lease("survivor")

    def test_a_new_lease_shuts_out_the_trainer_before_it(self, writer, url):
        old_epoch = writer.acquire_lease("old")
        writer.upsert([_document("u1", version_of(old_epoch, 1), first=1)])
        writer.close()
        with closing(open_user_writer(url)) as new, closing(open_user_writer(url)) as zombie:
            new.acquire_lease("new")
            with pytest.raises(StaleEpoch):
                zombie.upsert([_document("u1", version_of(old_epoch, 2), first=2)])
        assert self.get(url, "u1").document.embedding[0] == 1

    def test_a_lease_is_above_every_epoch_that_was_written(self, writer):
        writer.upsert([_document("u1", version_of(41, 1))])
        assert writer.acquire_lease("one") > 41

    def test_closing_can_be_repeated(self, url):
        writer = open_user_writer(url)
        writer.acquire_lease("one")
        writer.close()
        writer.close()

        async def close_twice(reader: UserReader) -> None:
            await reader.close()

        self.run(url, close_twice)
