"""A real Kafka in bad weather: events that expired, topics made anew, partitions added, failing drivers, outages."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka import TopicPartition as KafkaPlace
from kafka.admin import ConfigResource, ConfigResourceType

from incremental_training.failpoints import FAILPOINTS
from incremental_training.log_positions import RetentionGap, TopicReplaced
from services.kafka import SASL_PASSWORD, SASL_USER, Kafka
from services.local_process import LocalProcess
from services.server import HOST, CannotInstall, cache_folder
from stores.adapters import open_async_event_log, open_event_log
from stores.kafka_address import DEAD_LETTERS
from stores.ports import ITEMS, USER_EVENTS, DeadLetter, Entry, EventLog, Receipt, StoreUnavailable, TopicPartition
from stores.publication import nothing_fails
from tests.chaos import crash_world
from tests.chaos.crash_world import CrashAfter, CrashWorld, some_events
from tests.conftest import NOT_UP
from tests.contracts.kafka_space import KafkaSpace, kafka_space

SERVER = os.environ.get("EVENTS_URL_TEST", "")
BROKER = SERVER.removeprefix("kafka://").partition("/")[0]

pytestmark = [
    pytest.mark.skipif(not SERVER.startswith("kafka://"), reason=f"Kafka: {NOT_UP}"),
    pytest.mark.timeout(300),
    # A connection that kafka-python cannot make is closed when its garbage is collected.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture(scope="module")
def space() -> Iterator[KafkaSpace]:
    with kafka_space(BROKER) as space:
        yield space


def _topic(url: str, name: str = "user_events") -> str:
    return url.rpartition("prefix=")[2].partition("&")[0] + name


@pytest.fixture
def admin() -> Iterator[KafkaAdminClient]:
    with KafkaAdminClient(bootstrap_servers=BROKER) as admin:
        yield admin


def _world(folder: Path, events_url: str, **changes: Any) -> CrashWorld:
    folder.mkdir(exist_ok=True)
    world = CrashWorld(folder)
    world.settings = replace(world.settings, events_url=events_url, **changes)
    return world


def _start_with(monkeypatch: pytest.MonkeyPatch, **named: Any) -> None:
    start = crash_world.start_trainer
    monkeypatch.setattr(crash_world, "start_trainer", lambda *stores, **others: start(*stores, **(others | named)))


def _read(log: EventLog, count: int, seconds: float = 30.0) -> list[str]:
    values: list[str] = []
    give_up_s = time.monotonic() + seconds
    while len(values) < count and time.monotonic() < give_up_s:
        try:
            values += [record.value.decode() for record in log.poll(50, 0.2)]
        except StoreUnavailable:
            time.sleep(0.02)
    return values


# --- the trainer on Kafka -------------------------------------------------------------------------------------------


def test_one_partition_teaches_the_same_bits_as_the_embedded_log(space: KafkaSpace, tmp_path: Path) -> None:
    contents = []
    for name, url in (("kafka", space.new_url()), ("embedded", f"sqlite:///{tmp_path}/embedded/events.db")):
        world = _world(tmp_path / name, url)
        world.append(some_events(200, seed=1), items=20)
        assert world.run(nothing_fails)
        contents.append(world.contents())
    for part in ("tensors", "users", "index", "neighbours", "merge_weights", "learned", "counters", "letters"):
        assert contents[0][part] == contents[1][part], part


@pytest.mark.parametrize("seed", range(2))
def test_three_partitions_and_a_trainer_killed_again_and_again(space: KafkaSpace, seed: int, tmp_path: Path) -> None:
    world = _world(tmp_path, space.new_url(partitions=3))
    events = some_events(300, seed=1)
    world.append(events, items=20)
    chance = random.Random(seed)
    for _ in range(12):
        if world.run(CrashAfter(chance.choice(FAILPOINTS), chance.randint(1, 6)), chance.choice([1, 7, 40])):
            break
    assert world.run(nothing_fails)
    contents = world.contents()
    counters = contents["records"]["intake"]["counters"]
    parts = ("events_learned", "non_positives", "repeats", "duplicates", "dead_letters")
    assert counters["events_seen"] == sum(counters[part] for part in parts) == len(events)
    assert len(contents["learned"]) == 3
    assert sum(contents["learned"].values()) == len(events)
    rubbish = sum(event.value == b"rubbish" for event in events)
    assert len(contents["letters"]) == counters["dead_letters"] == rubbish > 0


def test_partitions_that_are_added_are_read_without_a_restart(
    space: KafkaSpace, tmp_path: Path, admin: KafkaAdminClient
) -> None:
    url = space.new_url()
    world = _world(tmp_path, url)
    world.append(some_events(60, seed=1))
    trainer = world.start(nothing_fails)
    grown = False

    def done() -> bool:
        nonlocal grown
        if not grown and trainer.settled and trainer.positions[TopicPartition(USER_EVENTS, 0)] == 60:
            grown = True
            admin.create_partitions({_topic(url): 3})
            world.append(some_events(90, seed=2))
        return grown and world._done(trainer) and sum(_events(trainer).values()) == 150

    trainer.run(done)
    trainer.wait_for_snapshot()
    for writer in world._writers:
        writer.close()
    assert len(_events(trainer)) == 3
    assert all(_events(trainer).values())
    assert world.contents()["counters"]["events_seen"] == 150


def _events(trainer: Any) -> dict[TopicPartition, int]:
    return {place: offset for place, offset in trainer.positions.items() if place.topic == USER_EVENTS}


def test_retention_that_ran_ahead_is_a_gap_of_so_many_events(
    space: KafkaSpace, tmp_path: Path, admin: KafkaAdminClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = space.new_url()
    world = _world(tmp_path, url)
    world.append(some_events(100, seed=1))
    assert world.run(nothing_fails)
    world.append(some_events(100, seed=2))
    admin.delete_records({KafkaPlace(_topic(url), 0): 130})
    with pytest.raises(RetentionGap, match="begins at 130, the trainer stands at 100: 30 events are gone"):
        world.run(nothing_fails)
    _start_with(monkeypatch, skip_gaps=True)
    assert world.run(nothing_fails)
    assert world.contents()["counters"]["events_seen"] == 170
    assert world.contents()["learned"] == {0: 200}


def test_retention_that_overtakes_a_running_trainer_stops_it(
    space: KafkaSpace, tmp_path: Path, admin: KafkaAdminClient
) -> None:
    url = space.new_url()
    world = _world(tmp_path, url)
    world.append(some_events(50, seed=1))

    def overtake() -> None:
        world.append(some_events(100, seed=2))
        admin.delete_records({KafkaPlace(_topic(url), 0): 120})

    class Overtaken(crash_world.FastLog):
        polls = 0

        def poll(self, max_records: int, timeout_s: float) -> Any:
            records = super().poll(max_records, timeout_s)
            Overtaken.polls += bool(records)
            if Overtaken.polls == 2:  # all fifty are read: what comes next goes before it is asked for
                Overtaken.polls += 1
                overtake()
            return records

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crash_world, "FastLog", Overtaken)
        with pytest.raises(RetentionGap, match=r"begins at 120, the trainer stands at .* events are gone"):
            world.run(nothing_fails)


def test_a_topic_that_was_made_anew_stops_the_trainer_though_it_is_longer_now(
    space: KafkaSpace, tmp_path: Path, admin: KafkaAdminClient
) -> None:
    url = space.new_url()
    world = _world(tmp_path, url)
    world.append(some_events(50, seed=1))
    assert world.run(nothing_fails)
    admin.delete_topics([_topic(url)])
    give_up_s = time.monotonic() + 20
    while _topic(url) in admin.list_topics() and time.monotonic() < give_up_s:
        time.sleep(0.05)
    world.append(some_events(80, seed=2))
    with pytest.raises(TopicReplaced, match="was made anew: its id was"):
        world.run(nothing_fails)


# --- the adapter ----------------------------------------------------------------------------------------------------


def test_a_driver_that_fails_in_any_way_is_made_again_and_nothing_is_lost_or_repeated(
    space: KafkaSpace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = space.new_url()
    values = [str(number) for number in range(3000)]
    with closing(open_event_log(url)) as log:
        log.append(USER_EVENTS, [Entry("u", value.encode()) for value in values])
        poll, calls, chance = KafkaConsumer.poll, 0, random.Random(3)
        failures: list[Exception] = [
            AssertionError("driver"),
            ValueError("bad record"),
            RuntimeError("closed"),
            OSError(),
        ]

        def failing(consumer: KafkaConsumer, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            # After the records were taken from it: its own position is beyond them.
            found = poll(consumer, timeout_ms=named["timeout_ms"], max_records=100)
            if chance.random() < 0.3:
                raise failures[calls % len(failures)]
            return found

        monkeypatch.setattr(KafkaConsumer, "poll", failing)
        log.seek({TopicPartition(USER_EVENTS, 0): 0})
        assert _read(log, len(values)) == values
        assert calls > 30


def test_a_deleted_item_is_a_tombstone_that_comes_back_as_no_bytes(space: KafkaSpace) -> None:
    url = space.new_url()
    with closing(open_event_log(url)) as log:
        log.append(ITEMS, [Entry("i1", b"{}"), Entry("i1", b"")])
        log.seek(log.begin_offsets(ITEMS))
        assert _read(log, 2) == ["{}", ""]
    consumer = KafkaConsumer(bootstrap_servers=BROKER, auto_offset_reset="earliest", group_id=None)
    place = KafkaPlace(_topic(url, "items"), 0)
    consumer.assign([place])
    consumer.seek(place, 1)
    [record] = consumer.poll(timeout_ms=5000)[place]
    consumer.close()
    assert record.value is None


def test_what_a_transaction_of_others_took_back_is_no_event(space: KafkaSpace) -> None:
    url = space.new_url()
    with closing(open_event_log(url)) as log:
        log.append(USER_EVENTS, [Entry("u", b"ours")])
        producer = KafkaProducer(bootstrap_servers=BROKER, transactional_id=f"others-{uuid.uuid4().hex}")
        producer.init_transactions()
        for value, ending in ((b"taken back", producer.abort_transaction), (b"kept", producer.commit_transaction)):
            producer.begin_transaction()
            producer.send(_topic(url), value, b"u").get(10)
            ending()
        producer.close()
        log.seek(log.begin_offsets(USER_EVENTS))
        assert _read(log, 3, seconds=3.0) == ["ours", "kept"]

    async def read() -> list[str]:
        serving = open_async_event_log(url, timeout_s=5.0)
        records = await serving.read(TopicPartition(USER_EVENTS, 0), 0, 10)
        await serving.close()
        return [record.value.decode() for record in records]

    assert asyncio.run(read()) == ["ours", "kept"]


@pytest.mark.parametrize("size", [1_048_576, 2_080_000])
def test_an_item_as_large_as_a_request_body_can_be_kept(space: KafkaSpace, size: int) -> None:
    with closing(open_event_log(space.new_url())) as log:
        log.append(ITEMS, [Entry("i1", b"x" * size), Entry("i2", b"y")])
        log.seek(log.begin_offsets(ITEMS))
        assert [len(value) for value in _read(log, 2)] == [size, 1]
        with pytest.raises(ValueError, match="bytes"):
            log.append(ITEMS, [Entry("i1", b"x" * 2_097_152)])


def test_a_topic_that_cannot_be_appended_to_takes_no_other_with_it(space: KafkaSpace) -> None:
    url = space.new_url()

    async def append() -> list[Any]:
        serving = open_async_event_log(url, timeout_s=5.0)
        await serving.append(USER_EVENTS, [Entry("u", b"first")])
        appends = [serving.append(topic, [Entry("u", b"x")]) for topic in ("no/name", USER_EVENTS, "no/name", ITEMS)]
        outcomes = await asyncio.gather(*appends, return_exceptions=True)
        await serving.close()
        return outcomes

    bad, good, also_bad, item = asyncio.run(append())
    assert isinstance(bad, StoreUnavailable)
    assert isinstance(also_bad, StoreUnavailable)
    assert (good, item) == ([Receipt(0, 1)], [Receipt(0, 0)])


def test_dead_letters_lie_in_their_topic_as_others_can_read_them(space: KafkaSpace) -> None:
    url = space.new_url()
    with closing(open_event_log(url)) as log:
        log.append(USER_EVENTS, [Entry("u", b"\xff{")])
        log.set_aside([DeadLetter(USER_EVENTS, 0, 0, "not_json", "no object", b"\xff{")])
    consumer = KafkaConsumer(bootstrap_servers=BROKER, auto_offset_reset="earliest", group_id=None)
    place = KafkaPlace(_topic(url, DEAD_LETTERS), 0)
    consumer.assign([place])
    consumer.seek(place, 0)
    [record] = consumer.poll(timeout_ms=5000)[place]
    consumer.close()
    assert (record.key, record.value) == (b"user_events:0:0", b"\xff{")
    assert dict(record.headers) == {"reason": b"not_json", "message": b"no object", "attempts": b"1"}


def test_topics_are_made_with_the_settings_that_the_address_says(space: KafkaSpace, admin: KafkaAdminClient) -> None:
    url = space.new_url(partitions=4)
    with closing(open_event_log(url)) as log, closing(open_event_log(url)) as other:
        assert len(log.partitions(USER_EVENTS)) == len(other.partitions(USER_EVENTS)) == 4
        assert len(log.partitions(ITEMS)) == 1
    resources = [ConfigResource(ConfigResourceType.TOPIC, _topic(url, name)) for name in ("items", "user_events")]
    found = admin.describe_configs(resources, config_filter="all")["topic"].values()
    items, events = ({name: config["value"] for name, config in topic.items()} for topic in found)
    assert (items["cleanup.policy"], items["retention.ms"]) == ("compact", "-1")
    assert (events["cleanup.policy"], events["message.timestamp.type"]) == ("delete", "LogAppendTime")


# --- a broker of our own, which may go away -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalProcess]:
    state = tmp_path_factory.mktemp("kafka")
    process = LocalProcess(Kafka(20_092), cache=cache_folder(os.environ), state=state)
    process.data = state / "kafka"  # type: ignore[attr-defined]
    try:
        process.start()
        process.wait_healthy()
        yield process
    except CannotInstall as error:
        pytest.skip(f"{error} ({NOT_UP} runs containers here, which this test cannot stop)")
    finally:
        process.stop()


def test_sasl_ssl_with_scram_and_a_wrong_password(broker: LocalProcess) -> None:
    certificate = broker.data / "certificate.pem"  # type: ignore[attr-defined]
    server = broker.server
    assert isinstance(server, Kafka)

    def url(password: str) -> str:
        prefix = f"sasl-{uuid.uuid4().hex[:8]}-"
        login = f"{SASL_USER}:{quote(password, safe='')}"
        return f"kafka://{login}@{HOST}:{server.sasl_port}/{prefix}ue?prefix={prefix}&cafile={certificate}"

    with closing(open_event_log(url(SASL_PASSWORD))) as log:
        [receipt] = log.append(USER_EVENTS, [Entry("u", b"secret event")])
        log.seek(log.begin_offsets(USER_EVENTS))
        assert (receipt, _read(log, 1)) == (Receipt(0, 0), ["secret event"])
    with closing(open_event_log(url("wr0ng"), timeout_s=2.0)) as log, pytest.raises(StoreUnavailable) as refused:
        log.append(USER_EVENTS, [Entry("u", b"x")])
    assert "wr0ng" not in str(refused.value)


@pytest.mark.parametrize("end", [LocalProcess.stop, LocalProcess.kill], ids=["SIGTERM", "SIGKILL"])
def test_what_was_acknowledged_through_an_outage_is_there_once_where_the_receipt_says(
    broker: LocalProcess, end: Callable[[LocalProcess], None], request: pytest.FixtureRequest
) -> None:
    outage_s = float(request.config.getoption("--outage-s"))
    url = KafkaSpace(f"{HOST}:{broker.server.port}").new_url(partitions=2)
    receipts: dict[str, Receipt] = {}
    failed: set[str] = set()
    stop = threading.Event()

    async def one_client(log: Any, name: str) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            event_id = f"{name}:{number}"
            try:
                [receipts[event_id]] = await log.append(USER_EVENTS, [Entry(name, event_id.encode())])
            except StoreUnavailable:
                failed.add(event_id)
            await asyncio.sleep(0.005)

    async def clients() -> None:
        log = open_async_event_log(url)
        await asyncio.gather(*(one_client(log, f"client{n}") for n in range(8)))
        await log.close()

    writing = threading.Thread(target=lambda: asyncio.run(clients()))
    seen: list[Any] = []

    def read() -> None:
        with closing(open_event_log(url, timeout_s=2.0)) as log:
            log.seek({TopicPartition(USER_EVENTS, n): 0 for n in range(2)})
            while not stop.is_set() or log_is_behind(log):
                try:
                    seen.extend(log.poll(500, 0.1))
                except StoreUnavailable:
                    time.sleep(0.05)

    def log_is_behind(log: EventLog) -> bool:
        try:
            return len(seen) < sum(log.end_offsets(USER_EVENTS).values())
        except StoreUnavailable:
            return True

    with closing(open_event_log(url)) as log:
        log.partitions(USER_EVENTS)
    reading = threading.Thread(target=read)
    writing.start()
    reading.start()
    give_up_s = time.monotonic() + 30
    while len(receipts) < 200 and time.monotonic() < give_up_s:
        time.sleep(0.05)
    before = len(receipts)
    end(broker)
    time.sleep(outage_s)
    broker.start()
    broker.wait_healthy()
    back_s = time.monotonic()
    while len(receipts) < before + 200 and time.monotonic() < back_s + 30:
        time.sleep(0.1)
    stop.set()
    writing.join(60)
    reading.join(60)
    assert not writing.is_alive() and not reading.is_alive()
    assert before >= 200
    assert len(receipts) >= before + 200, "nothing is acknowledged any more"
    assert failed, "the outage was not felt"
    places = [(record.partition, record.offset) for record in seen]
    assert len(places) == len(set(places)), "a reader saw a record twice"
    at = {(record.partition, record.offset): record.value.decode() for record in seen}
    for event_id, receipt in receipts.items():
        assert at.get((receipt.partition, receipt.offset)) == event_id
    ids = [record.value.decode() for record in seen]
    assert not {event_id for event_id in receipts if ids.count(event_id) != 1}
    assert set(ids) <= set(receipts) | failed
    # Records of one key are in order, those included that nobody was told of.
    for name in {event_id.partition(":")[0] for event_id in ids}:
        numbers = [int(event_id.partition(":")[2]) for event_id in ids if event_id.startswith(f"{name}:")]
        assert numbers == sorted(numbers)
