"""Rows that are kept decoded are always as they were committed last."""

from pathlib import Path

import pytest

from stores.sqlite_file import SqliteFile
from stores.sqlite_kept_rows import KeptRows

_SCHEMA = (
    "CREATE TABLE things (name TEXT PRIMARY KEY, value BLOB NOT NULL)",
    "CREATE TABLE others (value INTEGER)",
    "CREATE TABLE changes (times INTEGER)",
)


class World:
    def __init__(self, folder: Path) -> None:
        path = folder / "things.db"
        self.writer = SqliteFile(path, _SCHEMA, durable=False, timeout_s=1.0)
        self.file = SqliteFile(path, _SCHEMA, durable=False, timeout_s=1.0)
        self.decoded: list[bytes] = []
        things = "SELECT name, value FROM things WHERE name IN {}"
        self.rows = KeptRows(self.file, things, "SELECT count(*) FROM changes", self._decode, most=3)

    def _decode(self, value: bytes) -> list[bytes]:
        self.decoded.append(value)
        return [value]

    def put(self, name: str, value: bytes | None) -> None:
        with self.writer.write() as connection:
            connection.execute("DELETE FROM things WHERE name = ?", (name,))
            if value is not None:
                connection.execute("INSERT INTO things VALUES (?, ?)", (name, value))
            connection.execute("INSERT INTO changes VALUES (1)")


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.writer.close()
    world.file.close()


def test_what_was_written_since_is_seen_at_once(world):
    assert world.rows.get(["a", "b"]) == {}
    world.put("a", b"1")
    assert world.rows.get(["a", "b"]) == {"a": [b"1"]}
    world.put("a", b"2")
    assert world.rows.get(["b", "a"]) == {"a": [b"2"]}
    world.put("a", None)
    world.put("b", b"3")
    assert world.rows.get(["a", "b"]) == {"b": [b"3"]}


def test_what_did_not_change_is_decoded_once(world):
    world.put("a", b"1")
    first = world.rows.get(["a"])["a"]
    world.put("b", b"2")
    assert world.rows.get(["a", "a", "b"])["a"] is first
    assert world.decoded == [b"1", b"2"]


def test_what_others_write_to_the_file_costs_no_reading(world, monkeypatch):
    world.put("a", b"1")
    assert world.rows.get(["a", "b"]) == {"a": [b"1"]}
    with world.writer.write() as connection:
        connection.execute("INSERT INTO others VALUES (1)")
    monkeypatch.setattr(world.file, "read_in", None)
    assert world.rows.get(["a", "b"]) == {"a": [b"1"]}


def test_however_many_are_asked_for_few_are_kept(world):
    names = [f"n{n}" for n in range(20)]
    for name in names:
        world.put(name, name.encode())
    for _ in range(2):
        for name in names:
            assert world.rows.get([name]) == {name: [name.encode()]}
    assert world.rows.get(names) == {name: [name.encode()] for name in names}
