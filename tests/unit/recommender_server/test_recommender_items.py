"""The catalogue over the API: find, list, show, create, change, hide, delete, and streams of items."""

from __future__ import annotations

import json
from typing import Any

import pytest
from recommender_fakes import World, ids, in_loop, serving

from models.items import Item
from stores.ports import ITEMS

NDJSON = {"Content-Type": "application/x-ndjson"}


def _lines(result: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.text.splitlines()]


@in_loop
async def test_items_are_found_by_their_words_the_last_one_by_its_beginning():
    world = World()
    world.items.records["moby"] = Item("moby", title="Moby Dick", category="novels", text="a white whale")
    async with serving(world) as client:
        assert ids(await client.simulate_get("/v1/items", params={"q": "white wha"})) == ["moby"]
        found = await client.simulate_get("/v1/items", params={"q": "mob", "category": "novels"})
        assert found.json["items"][0] == {
            "item_id": "moby", "title": "Moby Dick", "category": "novels", "text": "a white whale",
        }  # fmt: skip
        assert ids(await client.simulate_get("/v1/items", params={"q": "mob", "category": "c"})) == []
        assert len(ids(await client.simulate_get("/v1/items", params={"q": "title", "k": "3"}))) == 3


@in_loop
@pytest.mark.parametrize("category", [{}, {"category": "c"}])
async def test_what_is_found_comes_page_after_page(monkeypatch, category):
    monkeypatch.setattr("recommender_server.catalogue.MOST_HITS", 6)
    async with serving(World(items=9)) as client:
        pages, cursor = [], "0"
        while cursor is not None:
            params = {"q": "title", "k": "4", "cursor": cursor} | category
            page = await client.simulate_get("/v1/items", params=params)
            pages.append(ids(page))
            cursor = page.json["next"]
        assert pages == [["i000", "i001", "i002", "i003"], ["i004", "i005"]]
        for beyond in ("6", "999999999999999"):
            page = await client.simulate_get("/v1/items", params={"q": "title", "cursor": beyond} | category)
            assert (ids(page), page.json["next"]) == ([], None)
        page = await client.simulate_get("/v1/items", params={"q": "i000", "k": "4"} | category)
        assert page.json["next"] is None


@in_loop
async def test_the_newest_items_come_page_after_page():
    async with serving(World(items=7)) as client:
        pages, params = [], {"k": "3"}
        while True:
            page = await client.simulate_get("/v1/items", params=params)
            pages.append(ids(page))
            if page.json["next"] is None:
                break
            params = {"k": "3", "cursor": page.json["next"]}
    assert pages == [["i006", "i005", "i004"], ["i003", "i002", "i001"], ["i000"]]


@in_loop
async def test_items_of_a_category_and_the_categories():
    world = World(items=3)
    world.items.records["x"] = Item("x", category="plays")
    async with serving(world) as client:
        assert ids(await client.simulate_get("/v1/items", params={"category": "plays"})) == ["x"]
        assert (await client.simulate_get("/v1/categories")).json["categories"] == {"c": 3, "plays": 1}


@in_loop
async def test_an_item_is_created_once_changed_hidden_shown_again_and_deleted():
    world = World()
    async with serving(world) as client:
        path, new = "/v1/items/a%2Fb", {"If-None-Match": "*"}
        assert (await client.simulate_get(path)).json["type"] == "/problems/unknown-item"
        created = await client.simulate_put(path, json={"title": "New", "attributes": {"x": 1, "y": 2}}, headers=new)
        assert (created.status_code, created.json["counted"], created.json["receipt"]) == (200, True, "0:0")
        again = await client.simulate_put(path, json={"title": "Other"}, headers=new)
        assert (again.status_code, again.json["type"]) == (412, "/problems/item-exists")
        change = {"price": 3, "attributes": {"x": None, "z": [1]}, "available": False}
        changed = await client.simulate_patch(path, json=change)
        assert changed.json["item"] == {
            "item_id": "a/b", "title": "New", "price": 3.0, "attributes": {"y": 2, "z": [1]}, "available": False,
        }  # fmt: skip
        assert (await client.simulate_get(path)).json["item"] == changed.json["item"]
        assert "a/b" not in ids(await client.simulate_get("/v1/items"))
        await client.simulate_patch(path, json={"available": True})
        assert ids(await client.simulate_get("/v1/items"))[0] == "a/b"
        assert (await client.simulate_delete(path)).json["item"] is None
        assert (await client.simulate_get(path)).status_code == 404
        assert (await client.simulate_delete(path)).status_code == 404
        created = await client.simulate_put(path, json={"title": "Back"}, headers=new)
        assert created.status_code == 200
    written = [json.loads(entry.value) if entry.value else None for entry in world.log.topics[ITEMS]]
    assert [record and record["title"] for record in written] == ["New", "New", "New", None, "Back"]
    assert {entry.key for entry in world.log.topics[ITEMS]} == {"a/b"}


@in_loop
async def test_a_hidden_or_deleted_item_leaves_the_very_next_answer():
    world = World()
    async with serving(world) as client:
        first, second = ids(await client.simulate_get("/v1/popular", params={"k": "2"}))
        await client.simulate_patch(f"/v1/items/{first}", json={"available": False})
        await client.simulate_delete(f"/v1/items/{second}")
        for path in ("/v1/popular", "/v1/recommendations?user_id=u1", "/v1/items/i000/similar"):
            assert not {first, second}.intersection(ids(await client.simulate_get(path)))
        await client.simulate_patch(f"/v1/items/{first}", json={"available": True})
        assert ids(await client.simulate_get("/v1/popular", params={"k": "1"})) == [first]


@in_loop
async def test_the_edges_of_an_item_both_ways():
    world = World(items=4)
    world.items.edges = {"i000": [("i001", 0.9), ("i002", 0.2)], "i001": [("i000", 0.5)], "i002": [("i003", 1.0)]}
    world.items.records["i003"] = Item("i003", available=False)
    async with serving(world) as client:
        edges = (await client.simulate_get("/v1/items/i000/neighbours")).json
        assert edges["next"] == [
            {"item_id": "i001", "title": "Title i001", "weight": 0.9},
            {"item_id": "i002", "title": "Title i002", "weight": 0.2},
        ]
        assert edges["previous"] == [{"item_id": "i001", "title": "Title i001", "weight": 0.5}]
        one = await client.simulate_get("/v1/items/i000/neighbours", params={"direction": "next", "k": "1"})
        assert (len(one.json["next"]), one.json["previous"]) == (1, [])
        assert (await client.simulate_get("/v1/items/i002/neighbours")).json["next"] == []
        assert (await client.simulate_get("/v1/items/i003/neighbours")).json["next"] == []
        assert (await client.simulate_get("/v1/items/unknown/neighbours")).status_code == 404


@in_loop
async def test_a_stream_of_items_is_answered_line_by_line():
    world = World(items=0)
    good = [json.dumps({"item_id": f"n{n}", "title": f"Number {n}"}) for n in range(5)]
    body = "\n".join([*good[:2], "", "rubbish", '{"title": "no id"}', *good[2:]])
    async with serving(world, max_batch=2) as client:
        lines = _lines(await client.simulate_post("/v1/items", body=body, headers=NDJSON))
    *results, summary = lines
    assert summary == {"lines": 7, "accepted": 5, "rejected": 2, "complete": True}
    assert [result["line"] for result in results] == [1, 2, 3, 4, 5, 6, 7]
    assert [result.get("reason") for result in results if result["status"] == "rejected"] == ["not_json", "bad_item"]
    assert [result["receipt"] for result in results if result["status"] == "accepted"] == [f"0:{n}" for n in range(5)]
    assert list(world.items.records) == [f"n{n}" for n in range(5)]


@in_loop
async def test_a_stream_that_cannot_go_on_says_how_far_it_came():
    world = World(items=0)
    async with serving(world, max_body_bytes=1024) as client:
        body = json.dumps({"item_id": "x"}) + "\n" + json.dumps({"item_id": "y", "text": "t" * 2000})
        *_, summary = _lines(await client.simulate_post("/v1/items", body=body, headers=NDJSON))
        assert (summary["complete"], summary["reason"]) == (False, "body-too-large")
        world.log.down = True
        *_, summary = _lines(await client.simulate_post("/v1/items", body='{"item_id": "z"}', headers=NDJSON))
        assert summary == {"lines": 0, "accepted": 0, "rejected": 0, "complete": False, "reason": "log-unavailable"}


@pytest.mark.parametrize(
    ("method", "path", "body", "kind"),
    [
        ("GET", "/v1/items?q=", None, "bad-parameter"),
        ("GET", "/v1/items?q=a&cursor=x", None, "bad-parameter"),
        ("GET", "/v1/items?cursor=-1", None, "bad-parameter"),
        ("GET", "/v1/items?cursor=1e3", None, "bad-parameter"),
        ("GET", "/v1/items?category=" + "c" * 300, None, "bad-parameter"),
        ("GET", "/v1/items?what=1", None, "unknown-parameter"),
        ("GET", "/v1/items/i000?k=1", None, "unknown-parameter"),
        ("GET", "/v1/items/%00", None, "bad-parameter"),
        ("GET", "/v1/items/i000/neighbours?direction=up", None, "bad-parameter"),
        ("PUT", "/v1/items/i000", [], "bad-body"),
        ("PUT", "/v1/items/i000", {"item_id": "i001"}, "bad-body"),
        ("PUT", "/v1/items/i000", {"titel": "x"}, "bad-item"),
        ("PUT", "/v1/items/i000", {"title": 7}, "bad-item"),
        ("PATCH", "/v1/items/i000", "x", "bad-body"),
        ("PATCH", "/v1/items/i000", {"item_id": "i001"}, "bad-body"),
        ("PATCH", "/v1/items/i000", {"price": "cheap"}, "bad-item"),
        ("PATCH", "/v1/items/unknown", {"price": 1}, "unknown-item"),
    ],
)
def test_bad_requests_are_told_so(method: str, path: str, body: Any, kind: str):
    @in_loop
    async def check() -> None:
        world = World()
        async with serving(world) as client:
            answer = await client.simulate_request(method, path, json=body)
        assert answer.json["type"] == f"/problems/{kind}"
        assert ITEMS not in world.log.topics

    check()


@in_loop
async def test_without_the_item_store_items_cannot_be_asked_for_but_written():
    world = World()
    world.items.down = True
    async with serving(world) as client:
        for path in ("/v1/items", "/v1/items?q=x", "/v1/items/i000", "/v1/categories"):
            asked = await client.simulate_get(path)
            assert (asked.status_code, asked.json["type"]) == (503, "/problems/items-unavailable")
        written = await client.simulate_put("/v1/items/new", json={"title": "New"})
        assert (written.status_code, written.json["counted"]) == (200, False)
