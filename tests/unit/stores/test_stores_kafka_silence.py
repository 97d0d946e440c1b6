"""The Kafka adapter without a broker: every call ends within its time-out, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from stores.adapters import open_async_event_log, open_event_log
from stores.ports import USER_EVENTS, DeadLetter, Entry, EventLog, Receipt, StoreUnavailable, TopicPartition

TIMEOUT_S = 0.3
EVENTS = TopicPartition(USER_EVENTS, 0)


# A connection that kafka-python cannot make is closed when its garbage is collected.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture(params=["refuses", "says nothing"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        if request.param == "refuses":
            server.close()
        yield f"kafka://127.0.0.1:{port}/user_events"


def _poll(log: EventLog) -> object:
    log.seek({EVENTS: 0})
    return log.poll(10, 0.1)


CALLS: dict[str, Callable[[EventLog], object]] = {
    "partitions": lambda log: log.partitions(USER_EVENTS),
    "topic_id": lambda log: log.topic_id(USER_EVENTS),
    "begin_offsets": lambda log: log.begin_offsets(USER_EVENTS),
    "end_offsets": lambda log: log.end_offsets(USER_EVENTS),
    "poll": _poll,
    "commit": lambda log: log.commit({EVENTS: 1}),
    "committed_offsets": lambda log: log.committed_offsets(USER_EVENTS),
    "append": lambda log: log.append(USER_EVENTS, [Entry("u", b"x")]),
    "set_aside": lambda log: log.set_aside([DeadLetter(USER_EVENTS, 0, 0, "not_json", "", b"x")]),
    "dead_letters": lambda log: log.dead_letters(USER_EVENTS, 1),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_of_the_trainer_ends_in_time(name: str, url: str) -> None:
    with closing(open_event_log(url, timeout_s=TIMEOUT_S)) as log:
        started_s = time.monotonic()
        with pytest.raises(StoreUnavailable):
            CALLS[name](log)
        assert time.monotonic() - started_s < TIMEOUT_S * 2 + 1.0


def test_within_the_pause_after_a_failure_nobody_is_asked_and_the_reason_is_told(url: str) -> None:
    with closing(open_event_log(url, timeout_s=TIMEOUT_S)) as log:
        for _ in range(4):  # the pause grows
            with pytest.raises(StoreUnavailable):
                log.end_offsets(USER_EVENTS)
        started_s = time.monotonic()
        with pytest.raises(StoreUnavailable, match=r"left alone for .* after: .*Error"):
            log.end_offsets(USER_EVENTS)
        assert time.monotonic() - started_s < TIMEOUT_S / 2


def test_attempts_to_connect_leave_no_threads_and_no_files_behind(url: str) -> None:
    def held() -> tuple[int, int]:
        return threading.active_count(), len(list(Path("/dev/fd").iterdir()))

    before = held()
    with closing(open_event_log(url, timeout_s=0.05)) as log:
        for _ in range(3):
            for name in ("poll", "append", "end_offsets"):
                with pytest.raises(StoreUnavailable):
                    CALLS[name](log)
            time.sleep(0.11)
    give_up_s = time.monotonic() + 5
    while (now := held()) > before and time.monotonic() < give_up_s:
        gc.collect()
        time.sleep(0.05)
    assert now <= before


def test_serving_is_told_in_time_and_its_event_loop_goes_on(url: str) -> None:
    async def ask() -> tuple[list[object], int]:
        log = open_async_event_log(url, timeout_s=TIMEOUT_S)
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0.01)
                turns += 1

        counting = asyncio.create_task(count())
        asked = (
            log.append(USER_EVENTS, [Entry("u", b"x")]),
            log.dead_letter(USER_EVENTS, Receipt(0, 0)),
            log.dead_letters(USER_EVENTS, 10),
            log.drop_dead_letters(USER_EVENTS, [Receipt(0, 0)]),
            log.read(EVENTS, 0, 10),
            log.offsets_at(USER_EVENTS, 0.0),
        )
        answers = await asyncio.gather(*asked, return_exceptions=True)
        counting.cancel()
        await log.close()
        return list(answers), turns

    started_s = time.monotonic()
    answers, turns = asyncio.run(ask())
    assert all(isinstance(answer, StoreUnavailable) for answer in answers), answers
    assert turns >= 5
    assert time.monotonic() - started_s < 10 * TIMEOUT_S


def test_a_password_does_not_appear_in_what_is_said(caplog: pytest.LogCaptureFixture) -> None:
    url = "kafka://me:tellnobody@127.0.0.1:1/user_events"
    with (
        caplog.at_level("DEBUG"),
        closing(open_event_log(url, timeout_s=0.1)) as log,
        pytest.raises(StoreUnavailable) as told,
    ):
        log.end_offsets(USER_EVENTS)
    assert "tellnobody" not in caplog.text + str(told.value) + repr(told.value.__cause__)
