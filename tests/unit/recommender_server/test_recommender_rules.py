"""Rules raise, sink, pin and order; they never show what may not be shown, and k items come while k exist."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recommender_fakes import World, ids, in_loop, serving

from models.items import Item
from recommender_server.rules_resource import MAX_STORED


def _world(items=60):
    world = World(items=items)
    for n, item_id in enumerate(world.index.ids):
        item = Item(item_id, title=f"Title {item_id}", category="abc"[n % 3], price=float(n % 7) if n % 5 else None)
        world.items.records[item_id] = item
    return world


async def _ask(world, **body):
    async with serving(world) as client:
        return await client.simulate_post("/v1/recommendations", json={"user_id": "u0", "k": 5, **body})


@in_loop
async def test_a_boost_adds_to_the_score_and_says_so():
    world = _world()
    document = world.users.documents["u0"]
    boost = {"boost": [{"filter": "category = 'a'", "by": 2.5}, {"filter": "price < 3", "by": -1}]}
    result = await _ask(world, rules=[boost], explain="basic", k=15)

    def score(item_id):
        item = world.items.records[item_id]
        own = world.score(item_id, document.recent[::-1], document.embedding)
        return own + 2.5 * (item.category == "a") - 1.0 * (item.price is not None and item.price < 3)

    open_ones = [item_id for item_id in world.index.ids if item_id not in document.seen]
    assert ids(result) == sorted(open_ones, key=lambda item_id: -score(item_id))[:15]
    for item in result.json["items"]:
        assert item["score"] == pytest.approx(score(item["item_id"]), abs=1e-4)
        assert sum(part["value"] for part in item["parts"]) == pytest.approx(item["score"], abs=1e-5)


@in_loop
async def test_what_is_buried_comes_last_but_comes():
    world = _world(items=20)
    seen = set(world.users.documents["u0"].seen)
    result = await _ask(world, rules=[{"bury": "category in ('a', 'b')"}], k=20)
    plain = await _ask(world, k=20)
    first = [item_id for item_id in ids(plain) if world.items.records[item_id].category == "c"]
    assert ids(result) == first + [item_id for item_id in ids(plain) if item_id not in first]
    assert set(ids(result)) == set(world.index.ids) - seen


@in_loop
async def test_pins_come_first_in_their_order_but_never_what_may_not_be_shown():
    world = _world()
    document = world.users.documents["u0"]
    free = [item_id for item_id in world.index.ids if item_id not in document.seen]
    gone, excluded, one, other = free[:4]
    world.items.records[gone] = msgspec.structs.replace(world.items.records[gone], available=False)
    pins = [one, document.seen[0], gone, excluded, "nobody knows it", other]
    result = await _ask(world, rules=[{"pin": pins}], exclude=[excluded], explain="basic")
    assert ids(result)[:2] == [one, other]
    assert [item["reason"] for item in result.json["items"]][:2] == ["pinned", "pinned"]
    assert len(set(ids(result))) == 5
    assert not {document.seen[0], gone, excluded, "nobody knows it"} & set(ids(result))
    for item in result.json["items"]:
        assert sum(part["value"] for part in item["parts"]) == pytest.approx(item["score"], abs=1e-5)


@in_loop
async def test_the_item_page_shows_its_own_category_first_and_what_costs_about_as_much():
    world = _world()
    page = "i001"
    world.items.records[page] = Item(page, category="b", price=3.0)
    async with serving(world) as client:
        params = {"item_id": page, "rules": "item-page", "k": 10}
        result = await client.simulate_get("/v1/recommendations", params=params)
        pool = await client.simulate_get("/v1/recommendations", params={"item_id": page, "k": 60})
    records = world.items.records

    def distance(item_id):
        price = records[item_id].price
        return records[item_id].category != "b", float("inf") if price is None else abs(price - 3.0)

    assert ids(result) == sorted(ids(pool), key=distance)[:10]
    assert page not in ids(result)
    assert {item["source"] for item in result.json["items"]} == {"similar"}


@pytest.mark.parametrize("visitor", [{}, {"user_id": "u0"}])
@in_loop
async def test_the_item_page_begins_with_its_category_however_unlike_its_items_are(visitor):
    world = _world(items=400)
    page, *others = world.index.ids[::80]
    for price, item_id in enumerate([page, *others]):
        world.items.records[item_id] = Item(item_id, title=item_id, category="rare", price=float(price * price))
        # All others are nearer to the page's item than these.
        row = world.index.ids.index(item_id)
        world.index.columns[row] = -world.index.columns[0] if item_id != page else world.index.columns[0]
    for row, item_id in enumerate(world.index.ids):
        if item_id not in (page, *others):
            world.index.columns[row, :4] = world.index.columns[0, :4] + world.index.columns[row, :4] / 100
    world.items.records[others[1]] = msgspec.structs.replace(world.items.records[others[1]], available=False)
    world.users.documents["u0"] = msgspec.structs.replace(world.users.documents["u0"], seen=[], recent=[])
    async with serving(world) as client:
        params = {"item_id": page, "rules": "item-page", "k": 5, **visitor}
        result = await client.simulate_get("/v1/recommendations", params=params)
        dear = await client.simulate_get(
            "/v1/recommendations", params={**params, "filter": "price > 1 or price = null"}
        )
    assert ids(result)[:3] == [others[0], others[2], others[3]] and len(set(ids(result))) == 5
    assert ids(dear)[:2] == [others[2], others[3]]
    assert all(world.items.records[item_id].category != "rare" for item_id in ids(result)[3:])


@in_loop
async def test_a_stored_rule_counts_in_the_very_next_request_until_it_is_removed():
    world = _world()
    async with serving(world) as client:
        rule = {"pin": ["i001"], "bury": "price > 5"}
        put = await client.simulate_put("/v1/rules/summer", json=rule)
        by_name = await client.simulate_get("/v1/recommendations", params={"rules": "summer", "k": 5})
        one = await client.simulate_get("/v1/rules/summer")
        everything = await client.simulate_get("/v1/rules")
        sent_along = await client.simulate_post("/v1/recommendations", json={"rules": [rule], "k": 5})
        removed = await client.simulate_delete("/v1/rules/summer")
        again = await client.simulate_delete("/v1/rules/summer")
        gone = await client.simulate_get("/v1/rules/summer")
    assert (put.status_code, put.json) == (200, rule)
    assert one.json == rule
    assert everything.json == {"rules": {"item-page": {"order": "item-page"}, "summer": rule}}
    assert ids(by_name)[0] == "i001"
    assert by_name.json["items"] == sent_along.json["items"]
    assert (removed.status_code, again.status_code) == (204, 204)
    assert (gone.status_code, gone.json["type"]) == (404, "/problems/unknown-rule")


@in_loop
async def test_bad_rules_are_problems_and_built_in_ones_stay():
    world = _world()
    world.items.stored_rules = {f"r{n}": b"{}" for n in range(MAX_STORED)} | {"odd": b'{"of": "tomorrow"}'}
    async with serving(world) as client:

        async def kind(method, path, **rest):
            result = await client.simulate_request(method, path, **rest)
            return result.status_code, result.json["type"].removeprefix("/problems/")

        assert await kind("PUT", "/v1/rules/item-page", json={}) == (400, "bad-parameter")
        assert await kind("DELETE", "/v1/rules/item-page") == (400, "bad-parameter")
        assert await kind("PUT", "/v1/rules/a%2Fb", json={}) == (400, "bad-parameter")
        assert await kind("PUT", "/v1/rules/r1", json=[]) == (400, "bad-rule")
        assert await kind("PUT", "/v1/rules/r1", body="{") == (400, "bad-json")
        assert await kind("PUT", "/v1/rules/r1", json={"bury": "price"}) == (400, "bad-filter")
        assert await kind("PUT", "/v1/rules/one-more", json={}) == (409, "too-many-rules")
        assert (await client.simulate_put("/v1/rules/r1", json={"pin": ["i001"]})).status_code == 200
        # A rule that another version wrote counts for nothing, and breaks nothing.
        result = await client.simulate_get("/v1/recommendations", params={"rules": "odd"})
        assert (result.status_code, len(ids(result))) == (200, 10)
        assert "odd" not in (await client.simulate_get("/v1/rules")).json["rules"]
        world.items.down = True
        assert "r1" in (await client.simulate_get("/v1/rules")).json["rules"]  # as it was last known
        assert await kind("PUT", "/v1/rules/r1", json={}) == (503, "items-unavailable")
    async with serving(world) as client:
        assert await kind("GET", "/v1/rules") == (503, "items-unavailable")


@in_loop
async def test_without_the_store_a_named_rule_is_left_out_and_the_answer_says_that_something_was():
    world = _world()
    async with serving(world) as client:
        plain = await client.simulate_get("/v1/recommendations", params={"user_id": "u0"})
        world.items.down = True
        result = await client.simulate_get("/v1/recommendations", params={"user_id": "u0", "rules": "summer"})
    assert (result.status_code, result.json["degraded"]) == (200, True)
    assert len(ids(result)) == len(ids(plain))


CATEGORIES = st.sampled_from(["category = 'a'", "price in 2..4", "not category = 'b'", "attributes.x = 1"])
RULES = st.fixed_dictionaries(
    {},
    optional={
        "boost": st.lists(st.fixed_dictionaries({"filter": CATEGORIES, "by": st.floats(-5, 5)}), max_size=3),
        "bury": CATEGORIES,
        "order": st.sampled_from(["score", "item-page"]),
        "pin": st.lists(st.sampled_from([f"i{n:03d}" for n in range(30)] + ["unknown"]), max_size=5),
    },
)


@settings(max_examples=30, deadline=None)
@given(
    rules=st.lists(RULES, max_size=3),
    k=st.integers(1, 25),
    diversity=st.sampled_from([0, 0.5]),
    visitor=st.sampled_from(["u0", "nobody"]),
    liked=st.lists(st.sampled_from([f"i{n:03d}" for n in range(30)]), max_size=3, unique=True),
)
def test_under_any_rules_k_items_come_while_k_exist_and_pages_never_repeat(rules, k, diversity, visitor, liked):
    world = _world(items=30)
    body = {"user_id": visitor, "item_ids": liked, "k": k, "rules": rules, "diversity": diversity}

    async def walk():
        async with serving(world) as client:
            first = await client.simulate_post("/v1/recommendations", json=body)
            following = {"cursor": first.json["next"]}
            return first, await client.simulate_post("/v1/recommendations", json=body | following)

    first, second = asyncio.run(walk())
    blocked = set(liked) | (set(world.users.documents["u0"].seen) if visitor == "u0" else set())
    exist = set(world.index.ids) - blocked
    assert len(ids(first)) == min(k, len(exist))
    assert not blocked & {*ids(first), *ids(second)}
    if first.json["next"]:
        assert sorted(ids(first) + ids(second)) == sorted({*ids(first), *ids(second)})
        assert len(ids(first) + ids(second)) == min(2 * k, len(exist))
