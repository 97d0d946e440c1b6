"""What an item is like by its content, alone or with behaviour."""

from __future__ import annotations

import msgspec
import pytest
from recommender_fakes import World, ids, in_loop, serving

from models.items import Item
from recommender_server.content_similarity import content_cosines

SPACE = {
    "alien": Item("alien", "Alien", "horror", text="a crew in space meets a monster", attributes={"year": 1979}),
    "aliens": Item(
        "aliens", "Aliens", "horror", text="a crew in space meets monsters, many a monster", attributes={"year": 1986}
    ),
    "heat": Item("heat", "Heat", "crime", text="a robber and a detective", attributes={"year": 1995}),
    "ronin": Item("ronin", "Ronin", "crime", text="a robber without a master", attributes={"year": 1998}),
    "thing": Item("thing", "The Thing", "horror", text="a monster in the ice", attributes={"year": 1982}),
    "odd": Item("odd"),
}


def _world():
    world = World()
    world.items.records = dict(SPACE)
    return world


def test_cosines_of_content_are_largest_for_what_is_most_alike():
    found = dict(content_cosines(SPACE["alien"], [item for name, item in SPACE.items() if name != "alien"]))
    assert max(found, key=lambda name: found[name]) == "aliens"
    assert found["thing"] > found["heat"]
    assert found["odd"] == 0
    assert all(0 <= cosine <= 1.0001 for cosine in found.values())


def test_nothing_known_is_like_nothing():
    assert content_cosines(Item("a"), [Item("b"), SPACE["heat"]]) == [("b", 0.0), ("heat", 0.0)]
    assert content_cosines(SPACE["heat"], []) == []


@in_loop
async def test_a_new_item_is_in_the_list_of_what_it_is_like_from_its_first_second():
    world = _world()
    async with serving(world) as client:
        record = {"item_id": "new", "title": "Aliens again", "category": "horror", "text": "a crew and a monster"}
        assert (await client.simulate_put("/v1/items", json=record)).status_code == 200
        result = await client.simulate_get("/v1/items/alien/similar", params={"by": "content"})
        of_new = await client.simulate_get("/v1/items/new/similar", params={"by": "content", "k": 2})
        both = await client.simulate_get("/v1/items/new/similar", params={"by": "both", "k": 2})
        by_itself = await client.simulate_get("/v1/items/new/similar", params={"k": 2})
        by_behaviour = await client.simulate_get("/v1/items/new/similar", params={"by": "behaviour", "k": 2})
        world.index.down = True
        without_index = await client.simulate_get("/v1/items/new/similar", params={"k": 2})
    # Unless it was asked how others behave: of that nobody knows anything yet.
    assert ids(by_itself) == ids(without_index) == ids(of_new) and ids(by_behaviour) == []
    assert (by_itself.json["degraded"], without_index.json["degraded"]) == (False, True)
    assert (result.status_code, result.json["source"], result.json["degraded"]) == (200, "similar", False)
    assert "new" in ids(result)
    assert "alien" not in ids(result)
    assert set(ids(of_new)) <= {"alien", "aliens", "thing"}
    assert ids(both) == ids(of_new)  # the index knows nothing of it yet
    assert of_new.json["items"][0]["reason"] == "similar to Aliens again"


@in_loop
async def test_both_is_the_mean_where_the_index_knows_both():
    world = _world()
    for name in ("i001", "i002", "i003"):
        world.items.records[name] = Item(name, f"Title {name}", "horror", text="a crew in space")
    async with serving(world) as client:
        content = await client.simulate_get("/v1/items/i001/similar", params={"by": "content", "k": 40})
        behaviour = await client.simulate_get("/v1/items/i001/similar", params={"k": 40})
        both = await client.simulate_get("/v1/items/i001/similar", params={"by": "both", "k": 40})
        world.index.down = True
        without = await client.simulate_get("/v1/items/i001/similar", params={"by": "both", "k": 40})
    of = [{item["item_id"]: item["score"] for item in one.json["items"]} for one in (content, behaviour, both)]
    for name in ("i002", "i003"):
        if name in of[2]:
            assert of[2][name] == pytest.approx((of[0][name] + of[1][name]) / 2, abs=1e-3)
    assert {"i002", "i003"} & of[2].keys()
    assert (without.status_code, without.json["degraded"]) == (200, True)
    assert ids(without) == ids(content)


@in_loop
async def test_hidden_items_and_bad_questions():
    world = _world()
    world.items.records["aliens"] = msgspec.structs.replace(SPACE["aliens"], available=False)
    async with serving(world) as client:
        result = await client.simulate_get("/v1/items/alien/similar", params={"by": "content"})
        unknown = await client.simulate_get("/v1/items/nobody/similar", params={"by": "content"})
        bad = await client.simulate_get("/v1/items/alien/similar", params={"by": "magic"})
        world.items.down = True
        down = await client.simulate_get("/v1/items/alien/similar", params={"by": "both"})
    assert "aliens" not in ids(result)
    assert (unknown.status_code, unknown.json["type"]) == (404, "/problems/unknown-item")
    assert (bad.status_code, bad.json["parameter"]) == (400, "by")
    assert (down.status_code, down.json["type"]) == (503, "/problems/items-unavailable")
