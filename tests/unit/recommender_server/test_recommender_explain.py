"""The reason of an item adds up to its score, and what was left out is named."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recommender_fakes import World, ids, in_loop, serving


def parts_of(item, *kinds):
    return [part for part in item["parts"] if part["of"] in kinds]


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 1000),
    visitor=st.sampled_from(["u0", "u1", "nobody"]),
    liked=st.lists(st.sampled_from([f"i{n:03d}" for n in range(40)]), max_size=25, unique=True),
    down=st.sampled_from([None, "index"]),
)
def test_the_parts_add_up_to_the_score_of_the_models_ranking(seed, visitor, liked, down):
    world = World(seed=seed)

    async def ask():
        async with serving(world) as client:
            if down:
                getattr(world, down).down = True
            body = {"user_id": visitor, "item_ids": liked, "k": 12}
            plain = await client.simulate_post("/v1/recommendations", json=body)
            return plain, await client.simulate_post("/v1/recommendations", json={**body, "explain": "basic"})

    plain, explained = asyncio.run(ask())
    assert explained.status_code == 200
    assert ids(explained) == ids(plain)
    document = world.users.documents.get(visitor)
    recent = list(dict.fromkeys([*liked[::-1], *(document.recent[::-1] if document else [])]))
    for before, item in zip(plain.json["items"], explained.json["items"], strict=True):
        assert sum(part["value"] for part in item["parts"]) == pytest.approx(before["score"], abs=1e-5)
        assert item["score"] == pytest.approx(before["score"], abs=1e-5)
        if item["source"] == "personal":
            embedding = document.embedding if document else None
            assert item["score"] == pytest.approx(world.score(item["item_id"], recent, embedding), abs=1e-4)
        assert {part["item_id"] for part in parts_of(item, "context", "transitions")} <= set(recent)


@in_loop
async def test_the_part_of_an_event_is_what_the_score_loses_without_it():
    world = World()
    positives = ["i001", "i003", "i002"]  # with one less the merge weights are still those of a short history
    user = msgspec.structs.replace(world.users.documents["u0"], seen=positives, recent=positives)
    world.users.documents["u0"] = user
    async with serving(world) as client:
        result = await client.simulate_get("/v1/recommendations", params={"user_id": "u0", "k": 37, "explain": "basic"})
    for item in result.json["items"]:
        own = sum(part["value"] for part in item["parts"] if part.get("item_id") == "i001")
        transitions = any(part["of"] == "transitions" for part in item["parts"])
        whole = world.score(item["item_id"], ["i002", "i003", "i001"], user.embedding)
        if not transitions:  # their logarithm is shared out, not additive
            assert own == pytest.approx(
                whole - world.score(item["item_id"], ["i002", "i003"], user.embedding), abs=1e-4
            )


@in_loop
async def test_reasons_name_what_counted_most():
    world = World()
    async with serving(world) as client:
        liked = await client.simulate_post("/v1/recommendations", json={"item_ids": ["i001"], "explain": "basic"})
        popular = await client.simulate_get("/v1/recommendations", params={"explain": "basic"})
        similar = await client.simulate_get("/v1/recommendations", params={"item_id": "i001", "explain": "basic"})
    for item in liked.json["items"]:
        from_liked = sum(part["value"] for part in item["parts"] if part.get("item_id") == "i001")
        others = sum(part["value"] for part in item["parts"] if part.get("item_id") is None)
        assert item["reason"] == ("because you liked Title i001" if from_liked >= others else "popular now")
    assert "because you liked Title i001" in [item["reason"] for item in liked.json["items"]]
    assert {item["reason"] for item in popular.json["items"]} == {"popular now"}
    assert [[part["of"] for part in item["parts"]] for item in popular.json["items"]] == [["popularity"]] * 10
    assert {item["reason"] for item in similar.json["items"]} == {"similar to Title i001"}


@in_loop
async def test_full_names_what_was_left_out_and_why():
    world = World()
    document = world.users.documents["u0"]
    order = world.best(40, [], document.embedding, set())
    hidden, excluded, given, seen, gone, refused = order[:6]
    world.users.documents["u0"] = msgspec.structs.replace(document, seen=[seen], recent=[], hidden=[hidden])
    world.items.records[gone] = msgspec.structs.replace(world.items.records[gone], available=False)
    world.items.records[refused] = msgspec.structs.replace(world.items.records[refused], category="other")
    body = {"user_id": "u0", "exclude": [excluded], "item_ids": [given], "category": "c", "k": 20, "explain": "full"}
    async with serving(world) as client:
        result = await client.simulate_post("/v1/recommendations", json=body)
        plain = await client.simulate_get("/v1/recommendations", params={"user_id": "u0", "explain": "basic"})
    worst = result.json["items"][-1]["score"]
    left_out = {one["item_id"]: one["why"] for one in result.json["left_out"]}
    expected = {
        hidden: "hidden",
        excluded: "excluded",
        given: "given",
        seen: "seen",
        gone: "unavailable",
        refused: "filtered",
    }
    assert left_out == {i: why for i, why in expected.items() if world.score(i, [given], document.embedding) >= worst}
    assert len(left_out) >= 4
    assert all(one["score"] >= worst for one in result.json["left_out"])
    assert "left_out" not in plain.json


@in_loop
async def test_an_index_that_goes_away_leaves_the_list_without_parts():
    world = World()
    world.index.answers_left = 1
    async with serving(world) as client:
        result = await client.simulate_get("/v1/recommendations", params={"user_id": "u0", "explain": "full"})
    assert (result.status_code, result.json["source"], result.json["degraded"]) == (200, "personal", True)
    assert len(ids(result)) == 10
    assert not any("parts" in item for item in result.json["items"])


@in_loop
async def test_a_plain_list_asks_nobody_for_explanations():
    world = World()
    async with serving(world) as client:
        result = await client.simulate_get("/v1/recommendations", params={"user_id": "u0"})
    assert world.index.calls["search"] == 1
    assert not any("parts" in item for item in result.json["items"])
    assert {item["source"] for item in result.json["items"]} == {"personal"}
