"""Users over the API: history in two orders, users like one, and forgetting one."""

from __future__ import annotations

import json

import msgspec
import numpy as np
from recommender_fakes import World, ids, in_loop, serving

from stores.ports import USER_EVENTS, PendingEvent, UserDocument


def _user(world: World, user_id: str, recent: list[str], embedding: list[float]) -> None:
    world.users.documents[user_id] = UserDocument(
        user_id, np.array(embedding, np.float32), recent, recent, [], {0: 0}, 1
    )
    for item_id in recent:
        world.items.visitors.setdefault(item_id, []).insert(0, user_id)


@in_loop
async def test_the_best_of_a_history_is_what_was_liked_by_score():
    world = World()
    document = world.users.documents["u1"]
    world.users.documents["u1"] = msgspec.structs.replace(document, hidden=["i001"])
    positives, recent = set(document.recent), document.recent[::-1]
    async with serving(world) as client:
        best = (await client.simulate_get("/v1/users/u1/history", params={"order": "best", "k": "100"})).json
        newest = (await client.simulate_get("/v1/users/u1/history", params={"k": "100"})).json
        world.index.down = True
        without = (await client.simulate_get("/v1/users/u1/history", params={"order": "best"})).json
    assert {item["item_id"] for item in best["items"]} == {item["item_id"] for item in newest["items"]}
    order = ["positive", "history", "negative"]
    assert [order.index(item["feedback"]) for item in best["items"]] == sorted(
        order.index(item["feedback"]) for item in best["items"]
    )
    liked = [item for item in best["items"] if item["feedback"] == "positive"]
    assert len(liked) == len(positives)
    scores = [world.score(item["item_id"], recent, document.embedding) for item in liked]
    assert scores == sorted(scores, reverse=True)
    np.testing.assert_allclose([item["score"] for item in liked], scores, rtol=1e-4)
    assert (without["degraded"], len(without["items"])) == (True, 10)
    assert newest["items"][0]["score"] is None


@in_loop
async def test_similar_users_share_items_and_taste():
    world = World()
    _user(world, "one", ["i000", "i001", "i002"], [1, 0, 0, 0])
    _user(world, "twin", ["i002", "i001", "i000"], [2, 0, 0, 0])
    _user(world, "half", ["i001", "i009"], [0, 1, 0, 0])
    _user(world, "opposite", ["i002", "i008"], [-1, 0, 0, 0])
    _user(world, "stranger", ["i030"], [1, 0, 0, 0])
    world.items.visitors["i000"].append("deleted since")
    async with serving(world) as client:
        found = (await client.simulate_get("/v1/users/one/similar")).json["users"]
        assert [user["user_id"] for user in found] == ["twin", "half", "opposite"]
        assert found[0]["similarity"] == 1.0
        assert found[0]["shared_items"] == ["i002", "i001", "i000"]
        assert abs(found[1]["similarity"] - 0.5 / 6**0.5) < 1e-6
        assert "embedding" not in json.dumps(found)
        assert len((await client.simulate_get("/v1/users/one/similar", params={"k": "1"})).json["users"]) == 1
        assert (await client.simulate_get("/v1/users/nobody/similar")).json["users"] == []
        world.users.down = True
        assert (await client.simulate_get("/v1/users/one/similar")).status_code == 503


@in_loop
async def test_a_forgotten_user_is_unknown_at_once_and_can_come_back():
    world = World()
    async with serving(world) as client:
        like = {"user_id": "u1", "item_id": "i001", "type": "like"}
        await client.simulate_post("/v1/events", json=like)
        forgotten = (await client.simulate_delete("/v1/users/u1")).json
        assert forgotten["counted"]
        assert (await client.simulate_get("/v1/users/u1/history")).json["items"] == []
        answer = (await client.simulate_get("/v1/recommendations", params={"user_id": "u1"})).json
        assert answer["source"] == "popular"
        for receipt in ("0:0", forgotten["receipt"]):
            asked = await client.simulate_get("/v1/recommendations", params={"user_id": "u1", "after": receipt})
            assert asked.json["stale"] is False
        await client.simulate_post("/v1/events", json=like | {"item_id": "i002"})
        assert ids(await client.simulate_get("/v1/users/u1/history")) == ["i002"]
    event = json.loads(world.log.topics[USER_EVENTS][1].value)
    assert (event["type"], event["user_id"], "item_id" in event) == ("forget", "u1", False)


@in_loop
async def test_only_the_route_forgets_not_an_event_that_lost_its_item():
    world = World()
    async with serving(world) as client:
        refused = await client.simulate_post("/v1/events", json={"user_id": "u1", "type": "forget"})
        assert (refused.status_code, refused.json["reason"]) == (400, "bad_item_id")
        kept = await client.simulate_post("/v1/events", json={"user_id": "u1", "item_id": "i9", "type": "forget"})
        assert kept.status_code == 202
        world.users.writes_down = True
        assert (await client.simulate_delete("/v1/users/u1")).json["counted"] is False
        world.log.down = True
        assert (await client.simulate_delete("/v1/users/u1")).status_code == 503
    assert isinstance(world.users.pending["u1"][0], PendingEvent)
