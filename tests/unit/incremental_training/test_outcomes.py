"""Served lists and the positives that are joined to them."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from incremental_training.outcomes import MOST_OPEN_OF_USER, WINDOW_S, Outcomes
from stores.adapters import open_event_log, open_item_reader
from stores.ports import RECOMMENDATIONS_SERVED, USER_EVENTS, Entry, Record
from stores.publication import nothing_fails
from tests.chaos.crash_world import CrashWorld

NOW_S = 1.7e9


def _outcomes() -> Outcomes:
    return Outcomes({"a": "novels", "b": "novels", "c": "plays"}.get)


def _serve(outcomes: Outcomes, items: str, at_s: float = NOW_S, user_id: str | None = "u", **more: Any) -> None:
    document = {
        "request_id": "r",
        "served_at": at_s,
        "user_id": user_id,
        "source": "personal",
        "items": [[item, 1.0] for item in items],
    }
    value = msgspec.json.encode(document | more)
    outcomes.take_served([Record(RECOMMENDATIONS_SERVED, 0, 0, "u", value, at_s)])


def test_a_hit_counts_for_its_source_position_and_category():
    outcomes = _outcomes()
    _serve(outcomes, "abc")
    _serve(outcomes, "cd", user_id="other", source="popular")
    outcomes.take_positive("u", "b", NOW_S + 5)
    outcomes.take_positive("u", "c", NOW_S + 6)
    counts = outcomes.counts
    assert counts.by_source == {"personal": [1, 1], "popular": [1, 0]}
    assert counts.by_position == [[2, 0], [2, 1], [1, 1]]
    assert counts.by_category == {"novels": [2, 1], "plays": [2, 1]}


def test_a_positive_counts_for_the_newest_list_that_showed_it_and_once():
    outcomes = _outcomes()
    _serve(outcomes, "xa", at_s=NOW_S)
    _serve(outcomes, "ax", at_s=NOW_S + 10)
    _serve(outcomes, "yz", at_s=NOW_S + 20)
    outcomes.take_positive("u", "a", NOW_S + 30)
    assert outcomes.counts.by_source == {"personal": [3, 1]}
    assert [hits for _, hits in outcomes.counts.by_position] == [1, 0]


@pytest.mark.parametrize("arrival_s", [NOW_S - 2, NOW_S + WINDOW_S + 1])
def test_a_positive_before_the_list_or_too_long_after_it_is_no_hit(arrival_s: float):
    outcomes = _outcomes()
    _serve(outcomes, "ab")
    outcomes.take_positive("u", "a", arrival_s)
    outcomes.take_positive("somebody else", "a", NOW_S + 1)
    assert outcomes.counts.by_source == {"personal": [1, 0]}


def test_the_list_may_be_read_after_its_positive():
    outcomes = _outcomes()
    outcomes.take_positive("u", "a", NOW_S + 0.1)
    for _ in range(2):
        _serve(outcomes, "ab", at_s=NOW_S)
    assert outcomes.counts.by_source == {"personal": [2, 1]}


def test_what_is_for_nobody_or_no_list_is_left_out():
    outcomes = _outcomes()
    _serve(outcomes, "ab", user_id=None)
    _serve(outcomes, "")
    _serve(outcomes, "ab", served_at="noon")
    outcomes.take_served([Record(RECOMMENDATIONS_SERVED, 0, 0, "u", b"rubbish", NOW_S)])
    assert (outcomes.counts.by_source, outcomes.counts.bad_records) == ({}, 2)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("incremental_training.outcomes.MOST_OPEN", 20)
    outcomes = _outcomes()
    for n in range(100):
        _serve(outcomes, f"{n % 10}", at_s=NOW_S + n, user_id=f"u{n % 7}" if n % 2 else "u")
    state = outcomes.state()
    assert len(state["open"]) <= 20
    assert len([shown for shown in state["open"] if shown[0] == "u"]) == MOST_OPEN_OF_USER
    _serve(outcomes, "ab", at_s=NOW_S + 1e6)
    assert len(outcomes.state()["open"]) == 1


def test_a_forgotten_user_leaves_nothing_that_waits():
    outcomes = _outcomes()
    _serve(outcomes, "ab")
    outcomes.take_positive("u", "z", NOW_S)
    outcomes.forget("u")
    assert outcomes.state()["open"] == []
    outcomes.take_positive("u", "a", NOW_S + 1)
    _serve(outcomes, "z", user_id="u")
    assert outcomes.counts.by_source == {"personal": [2, 0]}


def test_positives_that_wait_for_a_list_are_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("incremental_training.outcomes.MOST_WAITING", 2)
    outcomes = _outcomes()
    for item in "abc":
        outcomes.take_positive("u", item, NOW_S)
    _serve(outcomes, "a")
    assert outcomes.counts.by_source == {"personal": [1, 0]}
    _serve(outcomes, "b")
    assert outcomes.counts.by_source == {"personal": [2, 1]}


def test_going_on_from_a_state_counts_as_if_nothing_had_happened():
    whole, first = _outcomes(), _outcomes()
    for outcomes in (whole, first):
        _serve(outcomes, "abc")
        outcomes.take_positive("u", "a", NOW_S + 1)
    second = _outcomes()
    second.restore(msgspec.json.decode(msgspec.json.encode(first.state())))
    for outcomes in (whole, second):
        outcomes.take_positive("u", "b", NOW_S + 3)
        _serve(outcomes, "be", at_s=NOW_S + 1)
        outcomes.take_positive("u", "e", NOW_S + 4)
    assert second.state() == whole.state()
    assert whole.counts.by_source == {"personal": [2, 2]}


def test_the_trainer_counts_every_served_list_once_also_after_a_restart(tmp_path: Path):
    world = CrashWorld(tmp_path)
    log = open_event_log(world.settings.events_url)
    shown = {"served_at": time.time(), "source": "personal", "items": [["i1", 2.0], ["i2", 1.0]]}
    log.append(
        RECOMMENDATIONS_SERVED, [Entry(f"u{n}", msgspec.json.encode(shown | {"user_id": f"u{n}"})) for n in "123"]
    )
    like = {"type": "like", "item_id": "i2"}
    log.append(USER_EVENTS, [Entry("u1", msgspec.json.encode(like | {"user_id": "u1"}))])
    assert world.run(nothing_fails)
    assert _published(world)["by_source"] == {"personal": [3, 1]}
    log.append(USER_EVENTS, [Entry("u2", msgspec.json.encode(like | {"user_id": "u2", "item_id": "i1"}))])
    log.close()
    assert world.run(nothing_fails)
    assert _published(world) == {
        "by_source": {"personal": [3, 2]},
        "by_position": [[3, 1], [3, 1]],
        "by_category": {},
        "bad_records": 0,
    }


def _published(world: CrashWorld) -> dict[str, Any]:
    async def read() -> dict[str, Any]:
        reader = open_item_reader(world.settings.items_url)
        state = await reader.serving_state()
        await reader.close()
        assert state is not None
        return state.report["outcomes"]

    return asyncio.run(read())
