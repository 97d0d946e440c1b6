import asyncio

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recommender_fakes import World, ids, in_loop, serving


@pytest.mark.parametrize("k", [1, 5, 10])
@pytest.mark.parametrize("user_id", ["u0", "u1", "u2", "u3", "u4"])
@in_loop
async def test_the_list_is_the_best_of_all_items_by_the_models_own_formula(user_id, k):
    world = World()
    document = world.users.documents[user_id]
    recent = document.recent[::-1]
    async with serving(world) as client:
        result = await client.simulate_get("/v1/recommendations", params={"user_id": user_id, "k": k})
    assert result.json["source"] == "personal"
    assert result.json["degraded"] is False
    assert ids(result) == world.best(k, recent, document.embedding, set(document.seen))
    for item in result.json["items"]:
        assert item["score"] == pytest.approx(world.score(item["item_id"], recent, document.embedding), abs=1e-4)


@pytest.mark.parametrize("seed", range(6))
@in_loop
async def test_neighbours_that_the_index_is_not_told_of_are_not_overlooked(seed):
    # Many more neighbours than the index is told of at first, most with lifts that are nearly equal.
    world = World(items=900, seed=seed)
    chance = np.random.default_rng(seed)
    document = world.users.documents["u0"]
    spread = 10.0 ** chance.integers(-4, 2)
    for item in document.recent:
        targets = chance.choice(900, size=400, replace=False)
        weights = 0.1 * (1.0 + spread * chance.random(400))
        edges = [(world.index.ids[target], float(w)) for target, w in zip(targets, weights, strict=True)]
        world.items.edges[item] = sorted(edges, key=lambda edge: -edge[1])
    async with serving(world) as client:
        result = await client.simulate_get("/v1/recommendations", params={"user_id": "u0", "k": 10})
    assert ids(result) == world.best(10, document.recent[::-1], document.embedding, set(document.seen))


@in_loop
async def test_favourites_alone_are_a_query_without_an_embedding():
    world = World()
    favourites = ["i003", "i017", "i025"]
    async with serving(world) as client:
        result = await client.simulate_post("/v1/recommendations", json={"item_ids": favourites, "k": 8})
    assert result.json["source"] == "personal"
    assert ids(result) == world.best(8, favourites[::-1], None, set(favourites))


@in_loop
async def test_an_item_page_continues_the_users_history():
    world = World()
    document = world.users.documents["u1"]
    page = next(item for item in world.index.ids if item not in document.seen)
    async with serving(world) as client:
        result = await client.simulate_get("/v1/recommendations", params={"user_id": "u1", "item_id": page})
    assert ids(result) == world.best(10, [page, *document.recent[::-1]], document.embedding, {page, *document.seen})


@in_loop
async def test_unavailable_items_never_show_and_k_items_come_while_k_exist():
    world = World(items=60)
    for item_id in world.index.ids[:50]:
        world.items.records[item_id] = msgspec.structs.replace(world.items.records[item_id], available=False)
    document = world.users.documents["u0"]
    blocked = set(document.seen)
    exist = [item_id for item_id in world.index.ids[50:] if item_id not in blocked]
    async with serving(world) as client:
        result = await client.simulate_get("/v1/recommendations", params={"user_id": "u0", "k": len(exist)})
    assert ids(result) == world.best(len(exist), document.recent[::-1], document.embedding, blocked)
    assert sorted(ids(result)) == sorted(exist)


@in_loop
async def test_a_user_who_has_seen_nearly_everything_still_gets_the_rest():
    world = World(items=300)
    document = world.users.documents["u0"]
    seen = [item_id for item_id in world.index.ids if int(item_id[1:]) % 25]
    document = msgspec.structs.replace(document, seen=seen, recent=seen[-10:])
    world.users.documents["u0"] = document
    async with serving(world) as client:
        result = await client.simulate_get("/v1/recommendations", params={"user_id": "u0", "k": 10})
    assert ids(result) == world.best(10, seen[:-11:-1], document.embedding, set(seen))


@in_loop
async def test_an_item_without_metadata_is_returned_under_its_id():
    world = World()
    del world.items.records["i005"]
    async with serving(world) as client:
        result = await client.simulate_get("/v1/recommendations", params={"user_id": "u0", "k": 40, "seen": "allow"})
    item = next(item for item in result.json["items"] if item["item_id"] == "i005")
    assert item["title"] == ""


@in_loop
async def test_seen_allow_brings_seen_items_back_but_never_hidden_ones_nor_inputs():
    world = World()
    document = world.users.documents["u0"]
    hidden = document.seen[0]
    world.users.documents["u0"] = msgspec.structs.replace(document, hidden=[hidden])
    async with serving(world) as client:
        body = {"user_id": "u0", "item_ids": ["i001"], "exclude": ["i002"], "k": 40, "seen": "allow"}
        result = await client.simulate_post("/v1/recommendations", json=body)
    assert set(ids(result)) == set(world.index.ids) - {hidden, "i001", "i002"}


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_what_was_seen_hidden_excluded_or_given_never_comes_back(data):
    seed = data.draw(st.integers(0, 1000))
    world = World(items=30, seed=seed)
    some = st.lists(st.sampled_from(world.index.ids), max_size=12, unique=True)
    seen, hidden, exclude, liked, gone = (data.draw(some) for _ in range(5))
    k = data.draw(st.integers(1, 30))
    down = data.draw(st.sampled_from([None, "index", "items"]))
    document = world.users.documents["u0"]
    world.users.documents["u0"] = msgspec.structs.replace(document, seen=seen, recent=seen[-5:], hidden=hidden)
    for item_id in gone:
        world.items.records[item_id] = msgspec.structs.replace(world.items.records[item_id], available=False)

    async def ask():
        async with serving(world) as client:
            await client.simulate_get("/v1/popular")  # so that there is something to fall back to
            if down:
                getattr(world, down).down = True
            body = {"user_id": "u0", "item_ids": liked, "exclude": exclude, "k": k}
            return await client.simulate_post("/v1/recommendations", json=body)

    result = asyncio.run(ask())
    assert result.status_code == 200
    answered = ids(result)
    blocked = {*seen, *hidden, *exclude, *liked}
    assert not blocked & set(answered)
    assert len(answered) == len(set(answered)) <= k
    if down != "items":
        assert not set(gone) & set(answered)
        assert len(answered) == min(k, len(set(world.index.ids) - blocked - set(gone)))
