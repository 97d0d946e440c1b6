import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from stores.ports import StaleEpoch, StoreUnavailable, version_of
from stores.sqlite_file import SqliteFile, fence, path_of

ROOT = Path(__file__).parents[3]
SCHEMA = ("CREATE TABLE words (word TEXT PRIMARY KEY)",)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "words.db"


def opened(path: Path, *, durable: bool = False, timeout_s: float = 5.0) -> closing[SqliteFile]:
    return closing(SqliteFile(path, SCHEMA, durable=durable, timeout_s=timeout_s))


def words(file: SqliteFile) -> list[str]:
    return [row[0] for row in file.read("SELECT word FROM words ORDER BY word")]


def add(file: SqliteFile, word: str) -> None:
    with file.write() as connection:
        connection.execute("INSERT INTO words VALUES (?)", (word,))


def test_a_url_gives_a_relative_or_an_absolute_path():
    assert path_of("sqlite:///data/events.db") == Path("data/events.db")
    assert path_of("sqlite:////var/lib/events.db") == Path("/var/lib/events.db")


@pytest.mark.parametrize(
    "url",
    ["sqlite://", "sqlite:///", "sqlite:///data/", "sqlite://data/events.db", "sqlite:///x?mode=ro", "redis:///x"],
)
def test_a_url_without_a_path_is_refused(url):
    with pytest.raises(ValueError, match="sqlite:///relative/path"):
        path_of(url)


def test_only_a_durable_file_waits_for_the_disk(path):
    with opened(path, durable=True) as durable, opened(path) as quick:
        assert durable.read("PRAGMA synchronous") == [(2,)]
        assert quick.read("PRAGMA synchronous") == [(1,)]
        assert quick.read("PRAGMA journal_mode") == [("wal",)]


def test_many_open_a_new_file_at_once(path):
    faults: list[Exception] = []

    def open_and_write(nth: int) -> None:
        try:
            with opened(path, timeout_s=20.0) as file:
                add(file, str(nth))
        except Exception as fault:
            faults.append(fault)

    threads = [threading.Thread(target=open_and_write, args=(nth,)) for nth in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    with opened(path) as file:
        assert len(words(file)) == 12


def test_a_transaction_that_fails_leaves_nothing(path):
    with opened(path) as file:
        with pytest.raises(KeyError), file.write() as connection:
            connection.execute("INSERT INTO words VALUES ('half')")
            raise KeyError
        assert words(file) == []
        add(file, "whole")
        assert words(file) == ["whole"]


def test_a_writer_waits_for_its_turn_only_so_long_and_readers_never_wait(path):
    with opened(path) as holder, opened(path, timeout_s=0.1) as other:
        add(holder, "before")
        with holder.write() as connection:
            connection.execute("INSERT INTO words VALUES ('held')")
            assert words(other) == ["before"]
            start_s = time.monotonic()
            with pytest.raises(StoreUnavailable, match="locked"):
                add(other, "late")
            assert time.monotonic() - start_s < 3
        add(other, "in turn")
        assert words(holder) == ["before", "held", "in turn"]


BUSY_PROCESS = """
import itertools, sys, time
from pathlib import Path
from stores.sqlite_file import SqliteFile
file = SqliteFile(Path(sys.argv[1]), [], durable=False, timeout_s=5.0)
for nth in itertools.count():
    with file.write() as connection:
        time.sleep(0.002)
        connection.execute("INSERT INTO words VALUES (?)", (f"busy {nth}",))
"""


def test_a_busy_writer_lets_the_others_take_their_turn(path):
    with opened(path, timeout_s=10.0) as file:
        with subprocess.Popen([sys.executable, "-c", BUSY_PROCESS, str(path)], cwd=ROOT) as busy:
            while not words(file):
                time.sleep(0.001)
            before = len(words(file))
            for word in map(str, range(20)):
                add(file, word)
            between = len(words(file)) - before - 20
            busy.kill()
        # One or two before each of ours when writers take turns; twenty and more when whoever is quicker wins.
        assert between < 60


def test_a_closed_file_is_not_written_to(path):
    file = SqliteFile(path, SCHEMA, durable=False, timeout_s=1.0)
    file.close()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        add(file, "late")
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        words(file)


def test_what_is_no_database_is_unavailable(path):
    path.parent.mkdir()
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(StoreUnavailable, match="not a database"):
        opened(path)


def test_a_place_that_cannot_be_opened_is_unavailable(tmp_path):
    with pytest.raises(StoreUnavailable, match="unable to open"):
        opened(tmp_path)


def test_a_file_of_another_format_is_refused(path):
    with opened(path) as file:
        file.read("PRAGMA user_version = 99")
    with pytest.raises(ValueError, match="format 99"):
        opened(path)


def test_a_fault_of_ours_keeps_its_name(path):
    with opened(path) as file:
        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            file.read("SELECT * FROM missing")
        add(file, "twice")
        with pytest.raises(sqlite3.IntegrityError):
            add(file, "twice")


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 16, 17, 20_000])
def test_a_list_of_any_length_can_be_asked_for(path, count):
    with opened(path) as file:
        with file.write() as connection:
            connection.executemany("INSERT INTO words VALUES (?)", [(str(n),) for n in range(0, 20_000, 2)])
        rows = file.read_in("SELECT word FROM words WHERE word IN {}", [str(n) for n in range(count)])
        assert sorted(int(word) for (word,) in rows) == list(range(0, count, 2))


def test_the_fence_lets_no_older_epoch_pass(path):
    with opened(path) as file:
        answers = []
        for epoch in (3, 3, 4):
            with file.write() as connection:
                answers.append(fence(connection, version_of(epoch, 1)))
        assert answers == [True, False, True]
        with pytest.raises(StaleEpoch, match="3 is older than 4"), file.write() as connection:
            fence(connection, version_of(3, 9))


def test_closing_can_be_repeated(path):
    file = SqliteFile(path, SCHEMA, durable=False, timeout_s=1.0)
    file.close()
    file.close()
    file.interrupt()
