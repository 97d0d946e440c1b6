"""The item store while its Redis stops, starts, stumbles or forgets. The Redis is one of our own: others go on."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from incremental_training.failpoints import FAILPOINTS
from models.items import Item
from services.local_process import LocalProcess
from services.redis import RedisServer
from services.server import HOST, CannotInstall, cache_folder
from stores.adapters import open_item_reader, open_item_writer
from stores.ports import ItemReader, ItemWriter, StaleEpoch, StoreUnavailable, version_of
from stores.publication import nothing_fails
from stores.redis_item_scripts import MAX_CANDIDATES, MAX_COMPLETIONS
from stores.redis_item_store import MAX_CONNECTIONS
from tests.chaos.crash_world import CrashAfter, CrashWorld, some_events
from tests.conftest import NOT_UP

# Patient, for the machine may be busy; the test of late answers is not.
PATIENT_S, TIMEOUT_S = 10.0, 0.5
WHALE = Item("i1", title="Moby Dick", category="novels", text="A captain hunts a white whale.")

pytestmark = pytest.mark.skipif("ITEMS_URL_TEST" not in os.environ, reason=f"redis: {NOT_UP}")


def free_port() -> int:
    with socket.socket() as free:
        free.bind((HOST, 0))
        return int(free.getsockname()[1])


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalProcess]:
    server = RedisServer(free_port())
    process = LocalProcess(server, cache=cache_folder(os.environ), state=tmp_path_factory.mktemp("redis"))
    try:
        process.start()
        process.wait_healthy()
    except CannotInstall as error:
        pytest.skip(f"{error}: {NOT_UP}")
    yield process
    process.stop()


@pytest.fixture
def control(process: LocalProcess) -> Iterator[redis.Redis]:
    """A client to order the weather with; the store is empty and the weather fair when a test begins."""
    with redis.Redis.from_url(process.server.url) as control:
        control.flushall()
        yield control


@pytest.fixture
def writer(process: LocalProcess, control: redis.Redis) -> Iterator[ItemWriter]:
    with closing(open_item_writer(process.server.url, timeout_s=PATIENT_S)) as writer:
        yield writer


@pytest.fixture
def run(process: LocalProcess) -> Callable[..., object]:
    def run(scenario: Callable[[ItemReader], object], timeout_s: float = PATIENT_S) -> object:
        async def with_reader() -> object:
            reader = open_item_reader(process.server.url, timeout_s=timeout_s)
            try:
                return await scenario(reader)
            finally:
                await reader.close()

        return asyncio.run(with_reader())

    return run


def test_one_client_lives_through_its_server_stopping_and_nothing_is_lost(process, writer, run):
    writer.put_many([WHALE])
    writer.put_popular({"popular": [("i1", 1.0)]}, version_of(3, 1))

    async def scenario(reader: ItemReader) -> None:
        assert await reader.get_many(["i1"]) == {"i1": WHALE}
        for end in (process.stop, process.kill):
            end()
            started_s = time.monotonic()
            with pytest.raises(StoreUnavailable):
                await reader.get_many(["i1"])
            with pytest.raises(StoreUnavailable):
                writer.put_many([WHALE])
            assert time.monotonic() - started_s < 2.0
            process.start()
            process.wait_healthy()
            assert await reader.get_many(["i1"]) == {"i1": WHALE}
            assert await reader.popular("popular", 5) == [("i1", 1.0)]
            writer.put_many([WHALE])
            with pytest.raises(StaleEpoch):
                writer.put_popular({"popular": []}, version_of(2, 9))

    run(scenario)


def test_an_answer_that_came_too_late_is_given_to_nobody(control, writer, run):
    items = {f"i{n}": Item(f"i{n}", title=f"Number {n}") for n in range(8)}
    writer.put_many(list(items.values()))

    async def scenario(reader: ItemReader) -> None:
        await reader.get_many(["i0"])
        control.client_pause(int(3 * TIMEOUT_S * 1000))
        # More than there are connections: none may be lost.
        late = [asyncio.create_task(reader.get_many([f"i{n % 8}"])) for n in range(3 * MAX_CONNECTIONS)]
        await asyncio.sleep(TIMEOUT_S / 3)
        # As a guard that loses patience does.
        for task in late[::2]:
            task.cancel()
        answers = await asyncio.gather(*late, return_exceptions=True)
        # Answered when the pause has ended.
        control.ping()
        assert {type(answer) for answer in answers[1::2]} == {StoreUnavailable}
        # On a busy machine the deadline may have come first.
        assert {type(answer) for answer in answers[::2]} <= {asyncio.CancelledError, StoreUnavailable}
        for _ in range(MAX_CONNECTIONS):
            found = await asyncio.gather(*(reader.get_many([item_id]) for item_id in items))
            assert found == [{item_id: item} for item_id, item in items.items()]

    run(scenario, TIMEOUT_S)


@pytest.mark.parametrize("setting", [("maxmemory", "1"), ("min-replicas-to-write", "1")])
def test_a_server_that_takes_no_writes_is_unavailable_and_goes_on_answering(control, writer, run, setting):
    writer.put_many([WHALE])
    before = control.config_get(setting[0])[setting[0]]
    control.config_set(*setting)
    try:
        for write in (
            lambda: writer.put_many([Item("i2")]),
            lambda: writer.put_popular({"popular": []}, version_of(1, 1)),
            lambda: run(lambda reader: reader.put_rule("name", b"rule")),
        ):
            with pytest.raises(StoreUnavailable):
                write()
        assert run(lambda reader: reader.get_many(["i1", "i2"])) == {"i1": WHALE}
    finally:
        control.config_set(setting[0], before)


def test_a_fault_of_ours_keeps_its_name(control, writer, run):
    control.set("recommender:popular", "not a hash")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        run(lambda reader: reader.popular("popular", 5))


READS = {
    "get_many": lambda reader: reader.get_many(["i1", "i2", "i3"]),
    "popular": lambda reader: reader.popular("popular", 5),
    "neighbours": lambda reader: reader.neighbours(["i1", "i2"]),
    "recent_users": lambda reader: reader.recent_users(["i1", "i2"]),
    "search_text": lambda reader: reader.search_text("captain mob", 5),
    "complete": lambda reader: reader.search_text("mob", 5),
    "newest": lambda reader: reader.newest(5),
    "scan": lambda reader: reader.scan(0, 5),
    "categories": lambda reader: reader.categories(),
    "rules": lambda reader: reader.rules(),
    "serving_state": lambda reader: reader.serving_state(),
}


@pytest.mark.parametrize("call", READS)
def test_reading_is_one_round_trip(control, writer, run, call):
    writer.put_many([WHALE])
    writer.put_neighbours({"i1": [("i1", 1.0)]}, version_of(1, 1))

    async def scenario(reader: ItemReader) -> list[str]:
        await reader.get_many(["i1"])
        with control.monitor() as monitor:
            await READS[call](reader)
            # On a second connection, which introduces itself.
            control.ping()
            commands = [next(monitor.listen())]
            while not commands[-1]["command"].startswith(("HELLO", "PING")):
                commands.append(next(monitor.listen()))
        return [x["command"] for x in commands[:-1] if x["client_type"] != "lua"]

    assert len(run(scenario)) == 1


def test_a_common_beginning_still_fills_the_answer_and_a_common_word_gives_its_best(writer, run):
    words = [Item(f"w{n}", title=f"mm{n:04d}x") for n in range(MAX_COMPLETIONS + 50)]
    writer.put_many(words)
    found = run(lambda reader: reader.search_text("m", 200))
    assert len({item.item_id for item in found}) == 200
    assert run(lambda reader: reader.search_text("mm1049", 10)) == [words[1049]]
    many = [Item(f"c{n}", text="common whale") for n in range(MAX_CANDIDATES + 1)]
    for start in range(0, len(many), 1000):
        writer.put_many(many[start : start + 1000])
    writer.put_many([Item("best", title="Common whales")])
    found = run(lambda reader: reader.search_text("common wha", 200))
    assert len(found) == 200
    assert found[0].item_id == "best"
    # However common the other words are, a rare beginning leads to its items.
    writer.put_many([Item("rare", text="common whale, zebra")])
    assert [item.item_id for item in run(lambda reader: reader.search_text("common whale zeb", 10))] == ["rare"]


def test_what_is_deleted_leaves_nothing_behind(control, writer):
    writer.put_many([WHALE, Item("i2", title="Moby", available=False), Item("i3", title="Café", category="novels")])
    writer.put_many([Item("i1", title="Changed", category="other"), Item("i3", available=False)])
    writer.delete(["i1", "i2", "i3"])
    assert control.keys() == [b"recommender:last_number"]


def test_a_trainer_notices_that_redis_forgot_everything(control, writer, caplog):
    for seq in (1, 2):
        writer.put_popular({"popular": []}, version_of(1, seq))
    assert not caplog.records
    control.flushall()
    for seq in (3, 4):
        writer.put_popular({"popular": []}, version_of(1, seq))
    assert ["--republish" in record.message for record in caplog.records] == [True]


def test_a_redis_that_forgot_everything_is_filled_again_by_republishing(process, control, tmp_path):
    # As ``python -m incremental_training --republish`` does; beside it the same world on SQLite, trainers killed.
    on_sqlite, on_redis = CrashWorld(tmp_path / "sqlite"), CrashWorld(tmp_path / "redis")
    on_redis.settings = replace(on_redis.settings, items_url=process.server.url)
    for world in (on_sqlite, on_redis):
        Path(world.folder).mkdir()
        world.append(some_events(150, seed=2), 30)
    assert on_sqlite.run(nothing_fails)
    chance = random.Random(4)
    for _ in range(2):
        on_redis.run(CrashAfter(chance.choice(FAILPOINTS), chance.randint(1, 8)))
    assert on_redis.run(nothing_fails)
    expected = on_sqlite.contents()
    found = [on_redis.contents()]
    control.flushall()
    assert on_redis.run(nothing_fails, republish=True)
    found.append(on_redis.contents())
    assert expected["items"] and expected["neighbours"] and all(expected["popular"].values())
    for contents in found:
        different = [part for part in expected if contents[part] != expected[part]]
        assert not different
