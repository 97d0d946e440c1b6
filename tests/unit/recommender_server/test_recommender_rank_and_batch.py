"""Ranking a given list, and many requests in one."""

from __future__ import annotations

import json

import pytest
from recommender_fakes import World, ids, in_loop, serving

from recommender_server.batch_resource import AT_ONCE


@in_loop
async def test_a_given_list_is_ordered_by_the_models_own_formula_and_nothing_leaves_it():
    world = World()
    document = world.users.documents["u0"]
    candidates = [*document.seen[:3], "i001", "i030", "unknown", "i001"]
    known = dict.fromkeys(candidates[:-2])
    async with serving(world) as client:
        body = {"user_id": "u0", "candidates": candidates, "explain": "basic"}
        result = await client.simulate_post("/v1/rank", json=body)
    recent = document.recent[::-1]
    expected = sorted(known, key=lambda i: (-world.score(i, recent, document.embedding), i))
    assert (result.status_code, result.json["source"], result.json["degraded"]) == (200, "personal", False)
    assert ids(result) == expected
    assert result.json["unranked"] == ["unknown"]
    for item in result.json["items"]:
        assert item["score"] == pytest.approx(world.score(item["item_id"], recent, document.embedding), abs=1e-4)
        assert sum(part["value"] for part in item["parts"]) == pytest.approx(item["score"], abs=1e-5)
        assert item["title"] == f"Title {item['item_id']}"


@in_loop
async def test_favourites_rank_for_someone_nobody_knows():
    world = World()
    async with serving(world) as client:
        body = {"item_ids": ["i001", "i002"], "candidates": ["i010", "i011", "i012", "i002"]}
        result = await client.simulate_post("/v1/rank", json=body)
    assert ids(result) == sorted(body["candidates"], key=lambda i: (-world.score(i, ["i002", "i001"], None), i))


@in_loop
async def test_without_the_index_transitions_order_the_list_and_nothing_is_lost():
    world = World()
    world.index.down = True
    after = [item_id for item_id, _ in world.items.edges["i001"]]
    candidates = ["i020", "i021", *after[::-1], "unknown"]
    async with serving(world) as client:
        result = await client.simulate_post("/v1/rank", json={"item_ids": ["i001"], "candidates": candidates})
    assert (result.status_code, result.json["source"], result.json["degraded"]) == (200, "neighbours", True)
    rest = [item_id for item_id in candidates if item_id not in after]
    assert ids(result) == after + rest


@in_loop
async def test_before_anything_was_published_and_without_the_items_there_is_no_order():
    world = World()
    world.items.down = True
    async with serving(world) as client:
        result = await client.simulate_post("/v1/rank", json={"user_id": "u0", "candidates": ["i001"]})
    assert (result.status_code, result.json["type"]) == (503, "/problems/starting")


@in_loop
async def test_every_line_of_a_batch_is_answered_as_if_it_came_alone():
    world = World()
    bodies = [{"user_id": f"u{n % 5}", "k": n % 7 + 1} for n in range(3 * AT_ONCE)]
    lines = [json.dumps(body) for body in bodies]
    lines[4:4] = ["{", "[]", '{"k": 0}', "", '{"user": "u1"}']
    # Patient: on a crowded machine a list that came too late for its titles would be compared with one that did not.
    patient = {
        "user_budget_ms": 5_000.0,
        "item_budget_ms": 5_000.0,
        "index_budget_ms": 5_000.0,
        "deadline_ms": 20_000.0,
    }
    async with serving(world, served_sample_rate=1.0, **patient) as client:
        result = await client.simulate_post("/v1/recommendations:batch", body="\n".join(lines))
        alone = [await client.simulate_post("/v1/recommendations", json=body) for body in bodies]
    assert result.headers["content-type"] == "application/x-ndjson"
    answers = [json.loads(line) for line in result.text.splitlines()]
    assert [answer["line"] for answer in answers] == list(range(len(bodies) + 4))
    bad = [answer["problem"]["type"].removeprefix("/problems/") for answer in answers[4:8]]
    assert bad == ["bad-json", "bad-body", "bad-parameter", "unknown-parameter"]
    good = [answer["answer"] for answer in answers if "answer" in answer]
    for one, other in zip(good, alone, strict=True):
        assert one["items"] == other.json["items"]
    assert len({one["request_id"] for one in good}) == len(good)


@pytest.mark.parametrize(("body", "kind"), [("", "bad-batch"), ("\n \n", "bad-batch"), ("{}\n" * 1001, "bad-batch")])
@in_loop
async def test_a_batch_has_its_bounds(body, kind):
    async with serving(World()) as client:
        result = await client.simulate_post("/v1/recommendations:batch", body=body)
    assert (result.status_code, result.json["type"]) == (400, f"/problems/{kind}")


@in_loop
async def test_a_fault_of_our_own_spoils_one_line_alone(caplog):
    world = World()
    body = '{"user_id": "u1"}\n{"user_id": "u2"}'
    async with serving(world) as client:
        count, faults = world.metrics.count, iter([True])

        def broken_once(name, *args, **labels):
            if name == "recommendations" and next(faults, False):
                raise AssertionError("a fault")
            count(name, *args, **labels)

        world.metrics.count = broken_once  # type: ignore[method-assign]
        result = await client.simulate_post("/v1/recommendations:batch", body=body)
    # Both are under way at once; the fault hits who comes first.
    lines = [json.loads(line) for line in result.text.splitlines()]
    [spoilt], [fine] = [x for x in lines if "problem" in x], [x for x in lines if "answer" in x]
    assert (spoilt["problem"]["type"], spoilt["problem"]["status"]) == ("/problems/internal", 500)
    assert "a fault" not in result.text
    assert "a fault" in caplog.text
    assert len(fine["answer"]["items"]) == 10
