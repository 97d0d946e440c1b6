"""What became of events and served lists: receipts, streams, dead letters, outcomes, charts, the live report."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import msgspec
import pytest
from recommender_fakes import World, ids, in_loop, serving

from recommender_server.degradation import DependencyUnavailable
from recommender_server.live_report import LiveReport
from recommender_server.outcomes import hit_rate
from recommender_server.problems import Problem
from stores.ports import ITEMS, USER_EVENTS, DeadLetter

LIKE = {"user_id": "u1", "item_id": "i001", "type": "like"}
NDJSON = {"Content-Type": "application/x-ndjson; charset=utf-8"}


def _report(world: World, **report: Any) -> None:
    assert world.items.state is not None
    world.items.state = msgspec.structs.replace(world.items.state, report=report)


@in_loop
async def test_a_receipt_tells_what_became_of_its_event():
    world = World()
    async with serving(world) as client:
        receipts = (await client.simulate_post("/v1/events", json={"events": [LIKE] * 3})).json["receipts"]
        world.learned(2)
        world.log.letters = [DeadLetter(USER_EVENTS, 0, 0, "bad_type", "type must be text", b"{}")]
        fates = [(await client.simulate_get(f"/v1/events/{receipt}")).json for receipt in receipts]
        assert [fate["state"] for fate in fates] == ["dead_lettered", "learned", "accepted"]
        assert (fates[0]["reason"], fates[0]["detail"]) == ("bad_type", "type must be text")
        for receipt, kind in (("0:3", "unknown-receipt"), ("5:0", "unknown-receipt"), ("x", "bad-parameter")):
            assert (await client.simulate_get(f"/v1/events/{receipt}")).json["type"] == f"/problems/{kind}"
        world.log.down = True
        assert (await client.simulate_get("/v1/events/0:0")).status_code == 503


@in_loop
async def test_events_come_as_a_stream_of_lines_too():
    world = World()
    async with serving(world) as client:
        body = "\n".join([json.dumps(LIKE), json.dumps({"user_id": "u1"}), json.dumps(LIKE | {"item_id": "i002"})])
        answer = await client.simulate_post("/v1/events", body=body, headers=NDJSON)
        assert answer.status_code == 202
        *results, summary = map(json.loads, answer.text.splitlines())
        assert [result["status"] for result in results] == ["accepted", "rejected", "accepted"]
        assert summary == {"lines": 3, "accepted": 2, "rejected": 1, "complete": True}
        assert ids(await client.simulate_get("/v1/users/u1/history", params={"k": "2"})) == ["i002", "i001"]


@in_loop
async def test_dead_letters_are_listed_and_driven_again_once():
    world = World()
    values = [b"rubbish", b'{"user_id": "u1"}', b'{"user_id": "u2", "event_id": "own"}']
    world.log.letters = [DeadLetter(USER_EVENTS, 0, n, "bad", "why", value) for n, value in enumerate(values)]
    async with serving(world) as client:
        listed = (await client.simulate_get("/v1/dead_letters", params={"k": "2"})).json["letters"]
        assert [letter["receipt"] for letter in listed] == ["0:2", "0:1"]
        shown = {"receipt": "0:1", "reason": "bad", "detail": "why", "value": '{"user_id": "u1"}', "attempts": 1}
        assert listed[1] == shown
        body = {"receipts": ["0:2", "0:1", "7:7"]}
        driven = (await client.simulate_post("/v1/dead_letters/redrive", json=body)).json
        assert driven["receipts"] == {"0:1": "0:0", "0:2": "0:1"}
        assert driven["unknown"] == ["7:7"]
        again = (await client.simulate_post("/v1/dead_letters/redrive", json=body)).json
        assert (again["receipts"], len(again["unknown"])) == ({}, 3)
        rest = (await client.simulate_post("/v1/dead_letters/redrive", json={})).json
        assert rest["receipts"] == {"0:0": "0:2"}
        for bad in ({"receipts": []}, {"receipts": "0:1"}, {"receipts": ["x"]}, {"all": True}, []):
            assert (await client.simulate_post("/v1/dead_letters/redrive", json=bad)).status_code == 400
    assert [entry.key for entry in world.log.topics[USER_EVENTS]] == ["u1", "u2", "user_events:0:0"]
    assert {entry.attempt for entry in world.log.topics[USER_EVENTS]} == {2}
    assert json.loads(world.log.topics[USER_EVENTS][0].value)["event_id"] == "user_events:0:1"
    assert json.loads(world.log.topics[USER_EVENTS][1].value)["event_id"] == "own"
    assert world.log.topics[USER_EVENTS][2].value == b"rubbish"


@in_loop
async def test_records_of_items_have_their_fates_and_dead_letters_too():
    world = World()
    value = b'{"item_id": "a", "price": "cheap"}'
    world.log.letters = [
        DeadLetter(USER_EVENTS, 0, 1, "bad", "why", b"{}"),
        DeadLetter(ITEMS, 0, 1, "bad_item", "price must be a number", value),
    ]
    _report(world, items_read={"0": 2})
    async with serving(world) as client:
        items = {"topic": "items"}
        put = [(await client.simulate_put(f"/v1/items/{x}", json={})).json["receipt"] for x in "abc"]
        fates = [(await client.simulate_get(f"/v1/events/{receipt}", params=items)).json for receipt in put]
        assert [fate["state"] for fate in fates] == ["learned", "dead_lettered", "accepted"]
        assert fates[1]["detail"] == "price must be a number"
        assert (await client.simulate_get("/v1/events/0:0")).status_code == 404
        assert (await client.simulate_get("/v1/events/0:9", params=items)).status_code == 404
        listed = (await client.simulate_get("/v1/dead_letters", params=items)).json["letters"]
        assert [(letter["receipt"], letter["reason"]) for letter in listed] == [("0:1", "bad_item")]
        driven = (await client.simulate_post("/v1/dead_letters/redrive", json=items | {"receipts": ["0:1"]})).json
        assert driven["receipts"] == {"0:1": "0:3"}
        assert (await client.simulate_get("/v1/dead_letters", params=items)).json["letters"] == []
        assert len((await client.simulate_get("/v1/dead_letters")).json["letters"]) == 1
        for topic in ("x", {}, "", 0, False):
            bad = await client.simulate_post("/v1/dead_letters/redrive", json={"topic": topic})
            assert (bad.status_code, bad.json["parameter"]) == (400, "topic")
        assert (await client.simulate_post("/v1/dead_letters/redrive", json={"topic": None})).status_code == 200
        for method, path in (("GET", "/v1/dead_letters?topic=x"), ("GET", "/v1/events/0:0?topic=x")):
            assert (await client.simulate_request(method, path)).status_code == 400
    assert (world.log.topics[ITEMS][3].key, world.log.topics[ITEMS][3].value) == ("a", value)


@in_loop
async def test_outcomes_are_told_with_their_intervals():
    world = World()
    counts = {"by_source": {"popular": [10, 1], "personal": [40, 8]}, "by_position": [[50, 9], [50, 0]]}
    _report(world, outcomes=counts | {"by_category": {"c": [100, 9]}})
    async with serving(world) as client:
        answer = (await client.simulate_get("/v1/outcomes")).json
        assert list(answer["by_source"]) == ["personal", "popular"]
        assert answer["by_source"]["personal"]["rate"] == 0.2
        assert answer["by_position"][1]["hits"] == 0
        assert answer["by_category"]["c"]["shown"] == 100
        _report(world)
    async with serving(world) as client:
        assert (await client.simulate_get("/v1/outcomes")).json["by_position"] == []


def test_the_interval_is_wilsons():
    rate = hit_rate(40, 8)
    assert (rate.low, rate.high) == pytest.approx((0.1050, 0.3476), abs=1e-4)
    assert (hit_rate(10, 0).low, hit_rate(0, 0).high) == (0.0, 1.0)
    assert hit_rate(10, 0).high == pytest.approx(0.2775, abs=1e-4)


@in_loop
async def test_charts_by_window_and_category():
    world = World()
    world.items.lists |= {
        "popular:day": [("i003", 9.0), ("i001", 2.0)],
        "trending:hour:c": [("i005", 3.0)],
        "popular:week": [("i007", 1.0)],
    }
    await _hide(world, "i003")
    _report(world, newest_event_s=time.time())
    async with serving(world) as client:
        day = (await client.simulate_get("/v1/popular", params={"window": "day"})).json
        assert [(item["item_id"], item["score"], item["reason"]) for item in day["items"]] == [
            ("i001", 2.0, "popular today")
        ]
        params = {"window": "hour", "order": "trending", "category": "c"}
        assert ids(await client.simulate_get("/v1/popular", params=params)) == ["i005"]
        assert ids(await client.simulate_get("/v1/popular", params={"order": "popular"})) == ["i007"]
        assert ids(await client.simulate_get("/v1/popular", params={"category": "unknown"})) == []
        for bad in ({"window": "year"}, {"order": "best"}, {"category": ""}):
            assert (await client.simulate_get("/v1/popular", params=bad)).status_code == 400
        world.items.down = True
        assert (await client.simulate_get("/v1/popular", params={"window": "day"})).status_code == 503


async def _hide(world: World, item_id: str) -> None:
    world.items.records[item_id] = msgspec.structs.replace(world.items.records[item_id], available=False)


@in_loop
async def test_the_report_is_streamed_and_ends_when_the_process_stops(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("recommender_server.live_report.EVERY_S", 0.01)
    monkeypatch.setattr("recommender_server.live_report.LOOK_EVERY_S", 0.01)
    world = World()
    _report(world, recall10={"served": 0.25})
    async with serving(world) as client:
        async with client.simulate_get_stream("/v1/metrics/stream") as watched:
            text = ""
            while text.count("event: report") < 3:
                text += (await watched.stream.read()).decode()
        assert watched.headers["content-type"].startswith("text/event-stream")
        data = next(line for line in text.splitlines() if line.startswith("data: "))
        assert json.loads(data.removeprefix("data: "))["report"]["recall10"] == {"served": 0.25}


@in_loop
async def test_watchers_are_bounded_counted_off_and_let_go(monkeypatch: pytest.MonkeyPatch):
    class Nobody:
        """Dependencies of which none answers."""

        async def serving_state(self, _deadline: Any) -> Any:
            raise DependencyUnavailable("trainer", "not there")

    async def no_pause(_seconds: float) -> None:
        await asyncio.sleep(0)

    report = LiveReport(Nobody(), None, lambda: None, no_pause)  # type: ignore[arg-type]
    streams = [report.reports() for _ in range(2)]
    assert [(await anext(stream)).event for stream in streams] == ["unavailable"] * 2
    monkeypatch.setattr("recommender_server.live_report.MOST_CLIENTS", 2)
    with pytest.raises(Problem):
        report.refuse_one_too_many()
    await streams[0].aclose()
    report.refuse_one_too_many()
    report.stop()
    assert [event async for event in streams[1]] == []
