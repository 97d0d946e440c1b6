"""Why an item is on a list, in words that are true."""

from __future__ import annotations

import time

import msgspec
import pytest
from recommender_fakes import World, ids, in_loop, serving


def _world(newest_event_s: float) -> World:
    """A world whose third and fourth most popular items stand in the list of the week."""
    world = World()
    popular = [item_id for item_id, _ in world.items.lists["popular"]]
    world.items.lists["popular:week"] = [(item_id, 3.0) for item_id in popular[2:4]]
    assert world.items.state is not None
    world.items.state = msgspec.structs.replace(world.items.state, report={"newest_event_s": newest_event_s})
    return world


def _reasons(answer) -> list[str]:
    return [item["reason"] for item in answer.json["items"]]


@in_loop
async def test_what_is_popular_says_so_and_names_the_week_where_that_is_true():
    week = ["popular now"] * 2 + ["popular this week"] * 2 + ["popular now"]
    async with serving(_world(time.time() - 3600)) as client:
        for path in ("/v1/popular?k=5", "/v1/recommendations?k=5", "/v1/recommendations?user_id=nobody&k=5"):
            assert _reasons(await client.simulate_get(path)) == week
    # What was popular within the last week of a stream that stopped a month ago is not popular this week.
    async with serving(_world(time.time() - 30 * 86_400)) as client:
        assert _reasons(await client.simulate_get("/v1/popular?k=5")) == ["popular now"] * 5
        answer = await client.simulate_get("/v1/popular?k=2&window=week")
        assert _reasons(answer) == ["popular in the last week of events"] * 2


@in_loop
async def test_a_store_that_fails_costs_the_words_only():
    world = _world(time.time())
    async with serving(world, exploration_share=0.0) as client:
        await client.simulate_get("/v1/recommendations?k=5")
        del world.items.lists["popular:week"]
        world.items.down = True
        answer = await client.simulate_get("/v1/recommendations?k=5")
        assert answer.status_code == 200 and len(ids(answer)) == 5


@in_loop
async def test_a_personal_item_that_is_there_for_its_popularity_names_the_week_too():
    world = _world(time.time())
    world.items.edges = {}
    week = {item_id for item_id, _ in world.items.lists["popular:week"]}
    for row, item_id in enumerate(world.index.ids):
        world.index.columns[row] = 0.0
        world.index.columns[row, -1] = 50.0 if item_id in week else 10.0
    async with serving(world, exploration_share=0.0) as client:
        answer = await client.simulate_get("/v1/recommendations?user_id=u0&k=10&explain=basic&seen=allow")
    assert {item["source"] for item in answer.json["items"]} == {"personal"}
    named = {item["item_id"]: item["reason"] for item in answer.json["items"]}
    assert {x for x, reason in named.items() if reason == "popular this week"} == week & set(named) != set()
    assert set(named.values()) == {"popular this week", "popular now"}


@in_loop
@pytest.mark.parametrize("query", ["item_id=i001", "item_id=i001&explain=basic"])
async def test_the_page_of_an_item_says_what_it_is_similar_to(query):
    async with serving(World(), exploration_share=0.0) as client:
        answer = await client.simulate_get("/v1/items/i001/similar?k=3")
        assert _reasons(answer) == ["similar to Title i001"] * 3
        answer = await client.simulate_get(f"/v1/recommendations?{query}&k=3")
        assert all(reason in ("similar to Title i001", "because you liked Title i001") for reason in _reasons(answer))
