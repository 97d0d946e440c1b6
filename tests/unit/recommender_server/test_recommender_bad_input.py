import asyncio
import json

import pytest
from falcon.testing import create_scope
from recommender_fakes import World, in_loop, serving

HUGE = "9" * 5000
GOOD_EVENT = {"user_id": "u", "item_id": "i", "type": "buy"}

QUERIES = {
    "k of nothing": ("k=0", "bad-parameter"),
    "k of a billion": ("k=1000000000", "bad-parameter"),
    "k beyond every integer": (f"k={HUGE}", "bad-parameter"),
    "k below nothing": ("k=-1", "bad-parameter"),
    "k with a fraction": ("k=1.5", "bad-parameter"),
    "k not a number": ("k=NaN", "bad-parameter"),
    "k empty": ("k=", "bad-parameter"),
    "k in other digits": ("k=%D9%A3", "bad-parameter"),
    "k twice": ("k=1&k=2", "bad-parameter"),
    "user empty": ("user_id=", "bad-parameter"),
    "user huge": ("user_id=" + "x" * 300, "bad-parameter"),
    "user with a control character": ("user_id=a%00b", "bad-parameter"),
    "item huge": ("item_id=" + "x" * 300, "bad-parameter"),
    "unknown parameter": ("user=u0", "unknown-parameter"),
    "misspelt parameter": ("user_id=u0&K=3", "unknown-parameter"),
    "receipt without colon": ("after=17", "bad-parameter"),
    "receipt of text": ("after=a:b", "bad-parameter"),
    "receipt endless": (f"after=0:{HUGE}", "bad-parameter"),
    "level unknown": ("after=0:1&level=all", "bad-parameter"),
    "seen unknown": ("seen=maybe", "bad-parameter"),
    "diversity beyond 1": ("diversity=1.1", "bad-parameter"),
    "diversity below 0": ("diversity=-0.1", "bad-parameter"),
    "diversity not a number": ("diversity=nan", "bad-parameter"),
    "diversity empty": ("diversity=", "bad-parameter"),
    "rules unknown": ("rules=none-of-that-name", "bad-parameter"),
    "rules badly named": ("rules=a%20b", "bad-parameter"),
    "rules without end": ("&".join(["rules=item-page"] * 11), "bad-parameter"),
    "explain unknown": ("explain=all", "bad-parameter"),
    "filter empty": ("filter=", "bad-filter"),
    "filter of code": ("filter=__import__('os')", "bad-filter"),
    "filter twice": ("filter=price<1&filter=price>2", "bad-parameter"),
    "category empty": ("category=", "bad-parameter"),
    "cursor of text": ("cursor=next", "bad-cursor"),
    "cursor of nothing": ("cursor=", "bad-parameter"),
    "exclude of a bad id": ("exclude=a&exclude=", "bad-parameter"),
    "items without end": ("&".join(["item_ids=i"] * 501), "bad-parameter"),
}


@pytest.mark.parametrize(("query", "kind"), QUERIES.values(), ids=QUERIES.keys())
@in_loop
async def test_a_bad_query_is_a_problem_that_names_its_parameter(query, kind):
    async with serving(World()) as client:
        result = await client.simulate_get("/v1/recommendations", query_string=query)
    assert_problem(result, 400, kind)
    assert result.json["parameter"] in query


BODIES = {
    "nothing": (b"", "bad-json"),
    "no json": (b"{user_id: 1}", "bad-json"),
    "not text": (b'{"user_id": "\xff"}', "bad-json"),
    "nesting without end": (b"[" * 100_000, "bad-json"),
    "a number beyond all": (b'{"k": 1' + b"0" * 6000 + b"}", "bad-json"),
    "NaN": (b'{"k": NaN}', "bad-json"),
    "a list": (b"[1]", "bad-body"),
    "text": (b'"u0"', "bad-body"),
    "k as text": (b'{"k": "ten"}', "bad-parameter"),
    "k as digits": (b'{"k": "10"}', "bad-parameter"),
    "k as a fraction": (b'{"k": 1.5}', "bad-parameter"),
    "k as truth": (b'{"k": true}', "bad-parameter"),
    "k of 0": (b'{"k": 0}', "bad-parameter"),
    "user of an object": (b'{"user_id": {}}', "bad-parameter"),
    "user of truth": (b'{"user_id": true}', "bad-parameter"),
    "user of half a character": (b'{"user_id": "\\ud800"}', "bad-json"),
    "items as text": (b'{"item_ids": "i001"}', "bad-parameter"),
    "items with an object": (b'{"item_ids": ["i001", {}]}', "bad-parameter"),
    "items without end": (json.dumps({"item_ids": ["i"] * 501}).encode(), "bad-parameter"),
    "exclude of a number": (b'{"exclude": 3}', "bad-parameter"),
    "unknown member": (b'{"users": "u0"}', "unknown-parameter"),
    "receipt of a number": (b'{"after": 3}', "bad-parameter"),
    "rules of text": (b'{"rules": "item-page"}', "bad-parameter"),
    "rules of numbers": (b'{"rules": [1]}', "bad-rule"),
    "a rule of something else": (b'{"rules": [{"raise": 1}]}', "bad-rule"),
    "a rule with a bad filter": (b'{"rules": [{"bury": "price <"}]}', "bad-filter"),
    "a rule that boosts without end": (b'{"rules": [{"boost": [{"filter": "price > 1", "by": 1e9}]}]}', "bad-rule"),
    "a rule that pins nothing": (b'{"rules": [{"pin": [""]}]}', "bad-rule"),
    "a rule that pins a line": (b'{"rules": [{"pin": ["a\\nb"]}]}', "bad-parameter"),
    "diversity as text": (b'{"diversity": "much"}', "bad-parameter"),
    "diversity as truth": (b'{"diversity": true}', "bad-parameter"),
    "filter of a number": (b'{"filter": 3}', "bad-parameter"),
    "filter broken": (b'{"filter": "price <"}', "bad-filter"),
    "category of a list": (b'{"category": ["a"]}', "bad-parameter"),
    "cursor of an object": (b'{"cursor": {}}', "bad-parameter"),
    "seen of a list": (b'{"seen": ["hide"]}', "bad-parameter"),
}


@pytest.mark.parametrize(("body", "kind"), BODIES.values(), ids=BODIES.keys())
@in_loop
async def test_a_bad_body_is_a_problem(body, kind):
    async with serving(World()) as client:
        result = await client.simulate_post("/v1/recommendations", body=body)
    assert_problem(result, 400, kind)


RANKINGS = {
    "no candidates": (b"{}", "bad-parameter"),
    "candidates of nothing": (b'{"candidates": []}', "bad-parameter"),
    "candidates as text": (b'{"candidates": "i001"}', "bad-parameter"),
    "candidates without end": (json.dumps({"candidates": ["i"] * 501}).encode(), "bad-parameter"),
    "k": (b'{"candidates": ["i"], "k": 3}', "unknown-parameter"),
    "explain full": (b'{"candidates": ["i"], "explain": "full"}', "bad-parameter"),
    "a list": (b'["i"]', "bad-body"),
}


@pytest.mark.parametrize(("body", "kind"), RANKINGS.values(), ids=RANKINGS.keys())
@in_loop
async def test_a_bad_list_to_rank_is_a_problem(body, kind):
    async with serving(World()) as client:
        assert_problem(await client.simulate_post("/v1/rank", body=body), 400, kind)


EVENTS = {
    "no user": ({**GOOD_EVENT, "user_id": None}, "bad_user_id"),
    "user empty": ({**GOOD_EVENT, "user_id": ""}, "bad_user_id"),
    "item huge": ({**GOOD_EVENT, "item_id": "x" * 257}, "bad_item_id"),
    "item of a list": ({**GOOD_EVENT, "item_id": ["i"]}, "bad_item_id"),
    "type missing": ({"user_id": "u", "item_id": "i"}, "bad_type"),
    "type huge": ({**GOOD_EVENT, "type": "x" * 65}, "bad_type"),
    "value of text": ({**GOOD_EVENT, "value": "5"}, "bad_value"),
    "time of text": ({**GOOD_EVENT, "timestamp": "yesterday"}, "bad_timestamp"),
    "time without a zone": ({**GOOD_EVENT, "timestamp": "2026-01-01T00:00:00"}, "bad_timestamp"),
    "from 2099": ({**GOOD_EVENT, "timestamp": "2099-01-01T00:00:00Z"}, "timestamp_in_future"),
    "event_id empty": ({**GOOD_EVENT, "event_id": ""}, "bad_event_id"),
}


@pytest.mark.parametrize(("event", "reason"), EVENTS.values(), ids=EVENTS.keys())
@in_loop
async def test_a_bad_event_is_a_problem_with_its_reason_and_never_reaches_the_log(event, reason):
    world = World()
    async with serving(world) as client:
        alone = await client.simulate_post("/v1/events", json=event)
        batch = await client.simulate_post("/v1/events", json={"events": [event, event]})
    assert_problem(alone, 400, "bad-event")
    assert alone.json["reason"] == reason
    assert_problem(batch, 400, "bad-event")
    assert [result["reason"] for result in batch.json["results"]] == [reason, reason]
    assert not world.log.topics


BATCHES = {
    "empty": ({"events": []}, "bad-batch"),
    "too long": ({"events": [GOOD_EVENT] * 1001}, "bad-batch"),
    "text": ("event", "bad-body"),
    "events of text": ({"events": "all"}, "bad-body"),
    "more than events": ({"events": [GOOD_EVENT], "user_id": "u"}, "bad-body"),
    "events of lists": ({"events": [[], []]}, "bad-event"),
}


@pytest.mark.parametrize(("batch", "kind"), BATCHES.values(), ids=BATCHES.keys())
@in_loop
async def test_a_bad_batch_is_a_problem(batch, kind):
    async with serving(World()) as client:
        assert_problem(await client.simulate_post("/v1/events", json=batch), 400, kind)


ITEMS = {
    "nameless": {"title": "x"},
    "id empty": {"item_id": ""},
    "id with a control character": {"item_id": "a\nb"},
    "price of text": {"item_id": "i", "price": "3"},
    "unknown member": {"item_id": "i", "colour": "red"},
    "a number": 3,
}


@pytest.mark.parametrize("item", ITEMS.values(), ids=ITEMS.keys())
@in_loop
async def test_a_bad_item_is_a_problem(item):
    world = World()
    async with serving(world) as client:
        assert_problem(await client.simulate_put("/v1/items", json=item), 400, "bad-item")
        assert_problem(await client.simulate_put("/v1/items", json=[]), 400, "bad-batch")
    assert not world.log.topics


@pytest.mark.parametrize("path", ["/v1/recommendations", "/v1/recommendations:batch", "/v1/rank", "/v1/events"])
@in_loop
async def test_a_body_of_10_mib_is_refused_whether_or_not_it_says_so(path):
    body = b" " * 10 * 2**20
    async with serving(World()) as client:
        assert_problem(await client.simulate_post(path, body=body), 413, "body-too-large")
        silent = await client.simulate_post(path, body=body, headers={"Transfer-Encoding": "chunked"})
    assert_problem(silent, 413, "body-too-large")


@in_loop
async def test_a_body_that_stops_arriving_is_given_up_within_the_deadline():
    world = World()
    sent = []
    parts = asyncio.Queue()
    parts.put_nowait({"type": "http.request", "body": b"{", "more_body": True})

    async def send(message):
        sent.append(message)

    async with serving(world, deadline_ms=50.0) as client:
        scope = create_scope(path="/v1/events", method="POST", headers={"Content-Length": "100"})
        await asyncio.wait_for(client.app(scope, parts.get, send), 5)
    assert sent[0]["status"] == 408
    assert json.loads(sent[1]["body"])["type"] == "/problems/body-too-slow"


@in_loop
async def test_a_bad_filter_says_where_it_went_wrong():
    async with serving(World()) as client:
        result = await client.simulate_get("/v1/recommendations", params={"filter": "price < 3 and colour = 1"})
    assert_problem(result, 400, "bad-filter")
    assert result.json["position"] == 14


@in_loop
async def test_unknown_routes_and_methods_are_problems_too():
    async with serving(World()) as client:
        assert_problem(await client.simulate_get("/v1/nothing"), 404, "not-found")
        assert_problem(await client.simulate_delete("/v1/events"), 405, "method-not-allowed")
        assert_problem(await client.simulate_get("/v1/items//similar"), 400, "bad-parameter")
        assert_problem(await client.simulate_get("/v1/items/%00/similar"), 400, "bad-parameter")
        assert_problem(await client.simulate_get("/v1/popular", query_string="k=1&x=1"), 400, "unknown-parameter")
        assert_problem(await client.simulate_get("/v1/users/" + "x" * 999 + "/history"), 400, "bad-parameter")


@in_loop
async def test_a_fault_of_our_own_is_a_problem_without_its_inner_life(caplog):
    world = World()
    async with serving(world) as client:
        world.metrics.count = None  # type: ignore[method-assign, assignment]
        result = await client.simulate_get("/v1/popular")
        del world.metrics.count
    assert_problem(result, 500, "internal")
    assert "TypeError" not in result.text
    assert "TypeError" in caplog.text


def assert_problem(result, status, kind):
    assert result.status_code == status
    assert result.headers["content-type"] == "application/problem+json"
    assert result.json["type"] == f"/problems/{kind}"
    assert result.json["status"] == status
    assert result.json["detail"]
