"""Filters and pages: k items whenever k exist, and no item twice."""

from __future__ import annotations

import asyncio

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from recommender_fakes import World, ids, in_loop, serving

from models.items import Item
from recommender_server import cursor
from stores import ports


def _categorised(world: World) -> None:
    for n, item_id in enumerate(world.index.ids):
        world.items.records[item_id] = Item(
            item_id, title=f"Title {item_id}", category="abc"[n % 3], price=float(n % 7)
        )


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 100),
    k=st.integers(1, 20),
    visitor=st.sampled_from(["u0", "nobody", None]),
    category=st.sampled_from(["a", "b", "z", None]),
    price=st.integers(0, 7),
)
@example(seed=0, k=20, visitor="u0", category="a", price=7)
def test_as_many_items_come_as_pass_the_filter(seed, k, visitor, category, price):
    world = World(items=120, seed=seed)
    _categorised(world)
    body = {"user_id": visitor, "k": k, "category": category, "filter": f"price < {price}"}

    async def ask():
        async with serving(world) as client:
            return await client.simulate_post("/v1/recommendations", json=body)

    result = asyncio.run(ask())
    assert result.status_code == 200
    seen = set(world.users.documents["u0"].seen) if visitor == "u0" else set()
    pass_it = {
        item_id
        for item_id, item in world.items.records.items()
        if item.price < price and category in (None, item.category) and item_id not in seen
    }
    assert set(ids(result)) <= pass_it
    assert len(ids(result)) == min(k, len(pass_it))


@in_loop
async def test_a_filtered_list_is_the_best_of_what_passes():
    world = World(items=300)
    _categorised(world)
    document = world.users.documents["u0"]
    params = {"user_id": "u0", "k": 7, "filter": "category = 'b' and price in 2..3"}
    async with serving(world) as client:
        result = await client.simulate_get("/v1/recommendations", params=params)
    records = world.items.records
    refused = {i for i in world.index.ids if records[i].category != "b" or records[i].price not in (2, 3)}
    assert ids(result) == world.best(7, document.recent[::-1], document.embedding, refused | set(document.seen))


@in_loop
async def test_what_the_index_cannot_give_at_once_is_paged_through(monkeypatch):
    monkeypatch.setattr("recommender_server.candidates.MAX_HITS", 40)
    world = World(items=300)
    _categorised(world)
    wanted = world.index.ids[::50]
    for item_id in wanted:
        world.items.records[item_id] = msgspec.structs.replace(world.items.records[item_id], category="rare")
    document = msgspec.structs.replace(world.users.documents["u0"], seen=[], recent=world.index.ids[1:4])
    world.users.documents["u0"] = document
    async with serving(world) as client:
        result = await client.simulate_get("/v1/recommendations", params={"user_id": "u0", "category": "rare"})
    refused = {i for i in world.index.ids if i not in wanted} | set(document.recent)
    assert ids(result) == world.best(10, document.recent[::-1], document.embedding, refused)
    assert len(ids(result)) == 6
    assert world.index.largest_k <= 40 < ports.MAX_HITS


@in_loop
async def test_without_the_item_store_nothing_passes_a_filter():
    world = World()
    async with serving(world) as client:
        await client.simulate_get("/v1/popular")
        world.items.down = True
        params = {"user_id": "u0", "filter": "not price > 100"}
        result = await client.simulate_get("/v1/recommendations", params=params)
    assert (result.status_code, result.json["items"], result.json["degraded"]) == (200, [], True)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 100), k=st.integers(1, 15), visitor=st.sampled_from(["u0", "nobody"]))
def test_pages_bring_every_item_once_however_the_model_moves(seed, k, visitor):
    world = World(items=40, seed=seed)
    random = np.random.default_rng(seed)

    async def walk():
        pages, following = [], None
        async with serving(world) as client:
            while True:
                params = {"user_id": visitor, "k": k} | ({"cursor": following} if following else {})
                page = await client.simulate_get("/v1/recommendations", params=params)
                assert page.status_code == 200
                pages.append(ids(page))
                following = page.json["next"]
                if following is None:
                    return pages
                world.index.columns += random.normal(size=world.index.columns.shape).astype(np.float32)

    pages = asyncio.run(walk())
    everything = [item_id for page in pages for item_id in page]
    seen = set(world.users.documents["u0"].seen) if visitor == "u0" else set()
    assert sorted(everything) == sorted(set(world.index.ids) - seen)
    assert all(len(page) == k for page in pages[:-1])


@in_loop
async def test_lists_in_a_query_are_repeated():
    world = World()
    query = "item_ids=i001&item_ids=i002&exclude=i003&exclude=i004&k=40"
    async with serving(world) as client:
        result = await client.simulate_get("/v1/recommendations", query_string=query)
    assert set(ids(result)) == set(world.index.ids) - {"i001", "i002", "i003", "i004"}


@given(
    st.lists(
        st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=20), unique=True, max_size=30
    )
)
def test_a_cursor_is_read_as_it_was_written(item_ids):
    text = cursor.write(item_ids[:5], item_ids[5:])
    if item_ids:
        assert cursor.read(text) == frozenset(item_ids)


def test_a_cursor_has_its_bound():
    assert cursor.write((), [f"{n:036}" for n in range(150)]) is not None
    assert cursor.write((), [f"{n:036}" for n in range(200)]) is None


@given(st.text(max_size=100) | st.binary(max_size=60).map(lambda raw: raw.hex()))
def test_any_other_text_is_no_cursor(text):
    with pytest.raises(cursor.BadCursor):
        cursor.read(text)
