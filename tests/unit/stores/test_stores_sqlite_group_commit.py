import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from stores.ports import StoreUnavailable
from stores.sqlite_file import SqliteFile
from stores.sqlite_group_commit import GroupCommit

SCHEMA = ("CREATE TABLE numbers (number INTEGER PRIMARY KEY)",)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "numbers.db"


def open_file(path: Path, timeout_s: float = 5.0) -> SqliteFile:
    return SqliteFile(path, SCHEMA, durable=True, timeout_s=timeout_s)


def run(path: Path, scenario: Callable[[GroupCommit], Awaitable[object]], timeout_s: float = 5.0) -> object:
    async def with_group() -> object:
        group = GroupCommit(open_file(path, timeout_s), timeout_s=timeout_s)
        try:
            return await scenario(group)
        finally:
            await group.close()

    return asyncio.run(with_group())


def insert(number: object) -> Callable[[sqlite3.Connection], object]:
    def write(connection: sqlite3.Connection) -> object:
        connection.execute("INSERT INTO numbers VALUES (?)", (number,))
        return number

    return write


def numbers(path: Path) -> list[int]:
    file = open_file(path)
    rows = file.read("SELECT number FROM numbers ORDER BY number")
    file.close()
    return [row[0] for row in rows]


def test_concurrent_writes_share_commits(path):
    async def write(group: GroupCommit) -> tuple[int, int]:
        for first in range(0, 640, 64):
            answers = await asyncio.gather(*(group.run(insert(first + nth)) for nth in range(64)))
            assert answers == list(range(first, first + 64))
        return group.writes, group.commits

    writes, commits = run(path, write)
    assert writes == 640
    # Rounds of 64 at once: the first of a round may go alone, the rest wait for it and then go together.
    assert commits <= 80
    assert numbers(path) == list(range(640))


def test_a_write_that_fails_takes_no_neighbour_with_it(path):
    async def write(group: GroupCommit) -> list[object]:
        calls = [group.run(insert(number)) for number in (1, 2, "no number", 3, 2)]
        return await asyncio.gather(*calls, return_exceptions=True)

    answers = run(path, write)
    assert [type(answer) for answer in answers] == [int, int, sqlite3.IntegrityError, int, sqlite3.IntegrityError]
    assert numbers(path) == [1, 2, 3]


def test_a_write_behind_a_held_lock_is_unavailable_in_time_and_the_next_one_is_not(path):
    async def write(group: GroupCommit) -> None:
        holder = open_file(path)
        with holder.write(), pytest.raises(StoreUnavailable):
            await asyncio.wait_for(group.run(insert(1)), 5)
        holder.close()
        await asyncio.sleep(0.3)  # until the thread has given up too
        assert await group.run(insert(2)) == 2

    run(path, write, timeout_s=0.1)
    assert 2 in numbers(path)


def test_what_was_asked_for_before_closing_is_done(path):
    async def write(group: GroupCommit) -> None:
        calls = [asyncio.create_task(group.run(insert(number))) for number in range(20)]
        await asyncio.sleep(0)
        await group.close()
        await asyncio.gather(*calls)
        with pytest.raises(StoreUnavailable):
            await group.run(insert(99))

    run(path, write)
    assert numbers(path) == list(range(20))


def test_a_loop_that_ended_leaves_the_thread_unharmed(path):
    group = GroupCommit(open_file(path), timeout_s=5.0)

    async def give_up() -> None:
        asyncio.create_task(group.run(insert(1))).cancel()
        writing = asyncio.create_task(group.run(insert(2)))
        await asyncio.sleep(0)
        writing.cancel()

    asyncio.run(give_up())

    async def go_on() -> None:
        assert await group.run(insert(3)) == 3
        await group.close()

    asyncio.run(go_on())
    # Whether what was given up on is done is left open.
    assert 3 in numbers(path)
