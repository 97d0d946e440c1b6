"""Filters and pages: k items whenever k exist, and no item twice."""

from __future__ import annotations

import asyncio
import bisect
import time

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from recommender_fakes import DIMENSION, ExactIndex, MemoryItems, World, ids, in_loop, serving

from models.items import Item
from recommender_server import cursor
from recommender_server.settings import RecommenderSettings
from stores import ports


class LargeIndex(ExactIndex):
    """As the other one, with what a search looks at found by number and not by looking at every id."""

    def _search(self, query):
        vector = query.vector.copy()
        for item_id, weight in zip(query.recent, query.recent_weights, strict=True):
            vector[:DIMENSION] += np.float32(weight) * self.contexts[int(item_id[1:])]
        scores = self.columns @ vector

        def rows(item_ids):
            return np.array([int(item_id[1:]) for item_id in item_ids if item_id[1:].isdigit()], np.int64)

        scores[rows(query.lifted)] += np.array(query.lifts, np.float32)
        allowed = np.arange(len(self.ids)) if query.within is None else rows(query.within)
        refused = np.zeros(len(self.ids), np.bool_)
        refused[rows(query.exclude)] = True
        allowed = allowed[~refused[allowed]]
        best = allowed[np.argpartition(-scores[allowed], query.k)[: query.k]] if query.k < len(allowed) else allowed
        best = best[np.argsort(-scores[best], kind="stable")]
        return ports.Candidates([self.ids[x] for x in best], scores[best])


class NumberedItems(MemoryItems):
    """As the other one, with pages cut from lists that are made once for every change."""

    def __init__(self):
        super().__init__()
        self._made = (-1, {})

    def _of(self, category):
        if self._made[0] != len(self.records):
            everything = self._numbered()
            by_category = {None: everything}
            for numbered in everything:
                by_category.setdefault(numbered.item.category, []).append(numbered)
            self._made = (len(self.records), by_category)
        return self._made[1].get(category, [])

    async def newest(self, limit, *, category=None, before=None):
        await self.pass_through("newest")
        known = self._of(category)
        end = len(known) if before is None else bisect.bisect_left(known, before, key=lambda x: x.number)
        return known[max(0, end - limit) : end][::-1]

    async def scan(self, after, limit):
        await self.pass_through("scan")
        known = self._of(None)
        start = bisect.bisect_right(known, after, key=lambda x: x.number)
        return known[start : start + limit]


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
@pytest.mark.parametrize(
    "filter", ["category = 'rare' and price < 10", "attributes.year = 1937 and price < 10", "attributes.year < 1938"]
)
async def test_a_handful_among_very_many_is_found_within_the_deadline(filter):
    world, many = World(), 100_000
    chances = np.random.default_rng(3)
    world.index = LargeIndex()
    world.index.ids = [f"i{n:06d}" for n in range(many)]
    world.index.columns = chances.normal(size=(many, DIMENSION + 3)).astype(np.float32)
    world.index.contexts = chances.normal(size=(many, DIMENSION)).astype(np.float32)
    # They fit worst of all.
    wanted = chances.choice(world.index.ids, size=7, replace=False).tolist()
    rows = [int(item_id[1:]) for item_id in wanted]
    world.index.columns[rows, DIMENSION] = -100.0 - np.arange(7)
    common = {"category": "common", "price": 1.0, "attributes": {"year": 1950}}
    rare = {"category": "rare", "price": 1.0, "attributes": {"year": 1937}}
    world.items = NumberedItems()
    world.items.records = {x: Item(x, title=x, **(rare if x in set(wanted) else common)) for x in world.index.ids}
    world.items.records["unheard"] = Item("unheard", title="Not in the index", **rare)
    world.items.lists["popular"] = [(item_id, 1.0) for item_id in world.index.ids[:1000]]
    world.items.state = World().items.state
    document = msgspec.structs.replace(world.users.documents["u0"], seen=wanted[:2], recent=wanted[:2])
    world.users.documents["u0"] = document
    # Other work on the machine must not make this fail: what the default deadline allows is compared with computing.
    async with serving(world, deadline_ms=5000.0) as client:
        params = {"user_id": "u0", "filter": filter, "k": "10"}
        await world.items.newest(1)
        started_s = time.process_time()
        first = await client.simulate_get("/v1/recommendations", params=params)
        took_s = time.process_time() - started_s
        # Its records are looked at as they are now, and what comes later is found too.
        world.items.records[wanted[2]] = msgspec.structs.replace(world.items.records[wanted[2]], available=False)
        world.items.records["later"] = Item("later", title="Later", **rare)
        await asyncio.sleep(1.1)
        second = await client.simulate_get("/v1/recommendations", params=params)
        nobody = await client.simulate_get("/v1/recommendations", params={"filter": filter, "k": "4"})
    refused = set(world.index.ids) - set(wanted[2:])
    world.items.records[wanted[2]] = msgspec.structs.replace(world.items.records[wanted[2]], available=True)
    assert ids(first)[:5] == world.best(5, document.recent[::-1], document.embedding, refused)
    assert ids(first)[5:] == ["unheard"] and not first.json["degraded"]
    assert [item["source"] for item in first.json["items"]] == [*["personal"] * 5, "new"]
    assert set(ids(second)) == {*wanted[3:], "unheard", "later"}
    assert len(ids(nobody)) == 4 and set(ids(nobody)) <= {*wanted, "later", "unheard"}
    assert took_s < RecommenderSettings().deadline_ms / 1000


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
