import asyncio
import random
import time

import msgspec
import numpy as np
import pytest
from recommender_fakes import DIMENSION, RunningClock, World, ids, in_loop, serving

from recommender_server.background import Background
from recommender_server.dependencies import Collaborators, Dependencies
from recommender_server.served_log import ServedLog
from recommender_server.settings import RecommenderSettings
from stores.ports import UserDocument


def event(user_id="u0", item_id="i001", type="buy", **more):
    return {"user_id": user_id, "item_id": item_id, "type": type, **more}


def unseen(world, user_id="u0"):
    return [item_id for item_id in world.index.ids if item_id not in world.users.documents[user_id].seen]


@in_loop
async def test_a_positive_counts_in_the_very_next_answer():
    world = World()
    document = world.users.documents["u0"]
    bought = unseen(world)[0]
    async with serving(world) as client:
        accepted = await client.simulate_post("/v1/events", json=event(item_id=bought))
        result = await client.simulate_get("/v1/recommendations", params={"user_id": "u0"})
    assert accepted.status_code == 202
    assert accepted.json["receipts"] == ["0:0"]
    assert accepted.json["counted"] is True
    recent = [bought, *document.recent[::-1]]
    assert ids(result) == world.best(10, recent, document.embedding, {bought, *document.seen})
    assert result.json["as_of"] == {"learned": {"0": 0}, "pending": 1}


@in_loop
async def test_a_new_users_first_event_makes_his_list_personal():
    world = World()
    async with serving(world) as client:
        before = await client.simulate_get("/v1/recommendations", params={"user_id": "new"})
        await client.simulate_post("/v1/events", json=event("new", "i007"))
        after = await client.simulate_get("/v1/recommendations", params={"user_id": "new"})
    assert before.json["source"] == "popular"
    assert after.json["source"] == "personal"
    assert ids(after) == world.best(10, ["i007"], None, {"i007"})


@pytest.mark.parametrize("kind", ["dislike", "hide"])
@in_loop
async def test_negative_feedback_takes_the_item_out_at_once_and_is_not_a_liking(kind):
    world = World()
    document = world.users.documents["u0"]
    disliked = unseen(world)[3]
    async with serving(world) as client:
        await client.simulate_post("/v1/events", json=event(item_id=disliked, type=kind))
        result = await client.simulate_get("/v1/recommendations", params={"user_id": "u0", "k": 40})
        allowed = await client.simulate_get("/v1/recommendations", params={"user_id": "u0", "k": 40, "seen": "allow"})
    expected = world.best(40, document.recent[::-1], document.embedding, {disliked, *document.seen})
    assert ids(result) == expected
    assert disliked not in ids(allowed)


@in_loop
async def test_a_view_is_seen_but_not_learned_from_and_a_later_liking_still_counts():
    world = World()
    document = world.users.documents["u0"]
    item = unseen(world)[0]
    async with serving(world) as client:
        await client.simulate_post("/v1/events", json=event(item_id=item, type="impression"))
        viewed = await client.simulate_get("/v1/recommendations", params={"user_id": "u0"})
        await client.simulate_post("/v1/events", json=event(item_id=item, type="like"))
        liked = await client.simulate_get("/v1/recommendations", params={"user_id": "u0"})
    blocked = {item, *document.seen}
    assert ids(viewed) == world.best(10, document.recent[::-1], document.embedding, blocked)
    assert ids(liked) == world.best(10, [item, *document.recent[::-1]], document.embedding, blocked)


@in_loop
async def test_events_of_a_batch_count_in_order_and_bad_neighbours_are_rejected_alone():
    world = World()
    batch = [event("b", "i001"), event("b", ""), event("b", "i002", value="x"), event("b", "i003", event_id="mine")]
    async with serving(world) as client:
        accepted = await client.simulate_post("/v1/events", json={"events": batch})
        result = await client.simulate_get("/v1/recommendations", params={"user_id": "b"})
    assert accepted.status_code == 202
    assert accepted.json["receipts"] == ["0:0", None, None, "0:1"]
    assert [r["status"] for r in accepted.json["results"]] == ["accepted", "rejected", "rejected", "accepted"]
    assert [r.get("reason") for r in accepted.json["results"]] == [None, "bad_item_id", "bad_value", None]
    assert ids(result) == world.best(10, ["i003", "i001"], None, {"i001", "i003"})
    first, second = world.log.decoded("user_events")
    assert "event_id" not in first
    assert second["event_id"] == "mine"
    assert [p.event_id for p in world.users.pending["b"]] == ["user_events:0:0", "mine"]


@in_loop
async def test_an_event_goes_to_the_log_in_its_own_words_with_its_own_time():
    world = World()
    async with serving(world, field_map="uuid:user_id, sourceprodid:item_id, userevent:type") as client:
        theirs = {"uuid": 17, "sourceprodid": "p/1", "userevent": "buy", "timestamp": 1_000_000, "price": 3}
        await client.simulate_post("/v1/events", json=theirs)
        soon = time.time() + 600
        await client.simulate_post("/v1/events", json=event(timestamp=soon))
    first, second = world.log.decoded("user_events")
    assert first == {"user_id": "17", "item_id": "p/1", "type": "buy", "timestamp": 1_000_000.0}
    assert second["timestamp"] == pytest.approx(soon)
    assert world.log.topics["user_events"][0].key == "17"


@in_loop
async def test_what_was_learned_meanwhile_is_not_counted_twice():
    world = World()
    async with serving(world) as client:
        await client.simulate_post("/v1/events", json=event("x", "i001"))
        world.users.documents["x"] = UserDocument(
            "x", np.zeros(DIMENSION, np.float32), ["i001"], ["i001"], [], {0: 1}, 9
        )
        result = await client.simulate_get("/v1/recommendations", params={"user_id": "x"})
    assert result.json["as_of"] == {"learned": {"0": 1}, "pending": 0}
    assert ids(result) == world.best(10, ["i001"], None, {"i001"})


@in_loop
async def test_an_event_that_the_log_has_is_accepted_even_when_it_cannot_count_yet():
    world = World()
    world.users.writes_down = True
    async with serving(world, deadline_ms=100.0) as client:
        accepted = await client.simulate_post("/v1/events", json=event(item_id="i001"))
        receipt = accepted.json["receipts"][0]
        late = await client.simulate_get("/v1/recommendations", params={"user_id": "u0", "after": receipt})
        world.learned(1)
        await asyncio.sleep(0.25)
        there = await client.simulate_get("/v1/recommendations", params={"user_id": "u0", "after": receipt})
    assert (accepted.status_code, accepted.json["counted"]) == (202, False)
    assert len(world.log.topics["user_events"]) == 1
    assert (late.status_code, late.json["stale"]) == (200, True)
    assert there.json["stale"] is False


@in_loop
async def test_after_a_receipt_at_level_history_is_satisfied_by_the_pending_event():
    world = World()
    async with serving(world) as client:
        accepted = await client.simulate_post("/v1/events", json=event("x", "i001"))
        params = {"user_id": "x", "after": accepted.json["receipts"][0]}
        result = await client.simulate_get("/v1/recommendations", params=params)
    assert result.json["stale"] is False
    assert world.users.calls["get_many"] == 1


@in_loop
async def test_after_a_receipt_at_level_learned_waits_for_the_trainer():
    world = World()
    async with serving(world) as client:
        accepted = await client.simulate_post("/v1/events", json=event("x", "i001"))
        params = {"user_id": "x", "after": accepted.json["receipts"][0], "level": "learned"}
        waiting = asyncio.ensure_future(client.simulate_get("/v1/recommendations", params=params))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        world.learned(1)
        result = await waiting
    assert result.json["stale"] is False


@in_loop
async def test_what_the_index_alone_has_learned_counts_with_the_pending_event_and_not_without_it():
    world = World()
    world.items.state = msgspec.structs.replace(world.items.state, indexed={0: 1})
    async with serving(world) as client:
        accepted = await client.simulate_post("/v1/events", json=event("x", "i001"))
        params = {"user_id": "x", "after": accepted.json["receipts"][0], "level": "learned"}
        counted = await client.simulate_get("/v1/recommendations", params=params)
        world.users.pending.clear()
        missing = await client.simulate_get("/v1/recommendations", params=params)
    assert (counted.json["stale"], missing.json["stale"]) == (False, True)


@in_loop
async def test_without_the_log_an_event_is_refused_and_nothing_counts():
    world = World()
    world.log.down = True
    async with serving(world) as client:
        refused = await client.simulate_post("/v1/events", json=event("x", "i001"))
    assert (refused.status_code, refused.json["type"]) == (503, "/problems/log-unavailable")
    assert refused.headers["retry-after"] == "1"
    assert not world.users.pending


@in_loop
async def test_concurrent_events_share_one_write_of_pending_rows():
    world = World()
    async with serving(world) as client:
        posts = [client.simulate_post("/v1/events", json=event(f"v{n}", "i001")) for n in range(6)]
        accepted = await asyncio.gather(*posts)
    assert sorted(result.json["receipts"][0] for result in accepted) == [f"0:{n}" for n in range(6)]
    assert world.users.calls["add_pending"] == 1


@in_loop
async def test_the_history_lists_pending_events_before_learned_ones():
    world = World()
    document = world.users.documents["u0"]
    fresh = unseen(world)[0]
    async with serving(world) as client:
        await client.simulate_post("/v1/events", json=event(item_id=fresh))
        result = await client.simulate_get("/v1/users/u0/history", params={"k": 50})
        nobody = await client.simulate_get("/v1/users/nobody/history")
    assert ids(result) == [fresh, *document.seen[::-1]]
    assert [item["state"] for item in result.json["items"]] == ["pending"] + ["learned"] * len(document.seen)
    assert result.json["items"][0]["title"] == f"Title {fresh}"
    assert (nobody.status_code, nobody.json["items"]) == (200, [])


@in_loop
async def test_items_go_to_the_topic_and_are_shown_at_once():
    world = World()
    async with serving(world) as client:
        one = {"item_id": "a/b c", "title": "New", "price": 3.5, "attributes": {"colour": "red"}}
        batch = [{"item_id": "i001", "available": False}, {"title": "nameless"}, {"item_id": "i002", "typo": 1}]
        put = await client.simulate_put("/v1/items", json=one)
        several = await client.simulate_put("/v1/items", json=batch)
        popular = await client.simulate_get("/v1/popular", params={"k": 40})
        similar = await client.simulate_get("/v1/items/a%2Fb%20c/similar")
    assert (put.status_code, put.json["counted"], put.json["receipts"]) == (200, True, ["0:0"])
    assert [r["status"] for r in several.json["results"]] == ["accepted", "rejected", "rejected"]
    assert world.items.records["a/b c"].title == "New"
    assert [record["item_id"] for record in world.log.decoded("items")] == ["a/b c", "i001"]
    assert "i001" not in ids(popular)
    assert (similar.status_code, similar.json["items"]) == (200, [])  # known, but nothing is known about it yet


@in_loop
async def test_similar_items_come_by_vector_and_without_the_index_by_the_graph():
    world = World()
    async with serving(world) as client:
        near = await client.simulate_get("/v1/items/i005/similar", params={"k": 5})
        unknown = await client.simulate_get("/v1/items/never/similar")
        world.index.down = True
        graph = await client.simulate_get("/v1/items/i005/similar", params={"k": 5})
    expected = (await world_similar(world))[:5]
    assert (near.json["source"], ids(near)) == ("similar", expected)
    assert (unknown.status_code, unknown.json["type"]) == (404, "/problems/unknown-item")
    assert (graph.json["source"], graph.json["degraded"]) == ("neighbours", True)
    assert ids(graph) == [item_id for item_id, _ in world.items.edges["i005"]][:5]


async def world_similar(world):
    world.index.down = False
    return [item_id for item_id, _ in (await world.index.similar(["i005"], 10))["i005"]]


@in_loop
async def test_answers_are_logged_behind_the_back_of_the_request():
    world = World()
    async with serving(world) as client:
        result = await client.simulate_get("/v1/recommendations", params={"user_id": "u0"})
        await asyncio.sleep(0.4)
        await client.simulate_post("/v1/recommendations", json={"item_ids": ["i001"], "k": 2})
    first, second = world.log.decoded("recommendations_served")  # the second is written while stopping
    assert first["request_id"] == result.json["request_id"] == result.headers["x-request-id"]
    assert [item_id for item_id, _ in first["items"]] == ids(result)
    assert (first["user_id"], first["source"]) == ("u0", "personal")
    assert second["liked"] == ["i001"]


@in_loop
async def test_learned_events_are_forgotten_in_the_background():
    world = World()
    rounds: asyncio.Queue[None] = asyncio.Queue()

    async def pause(_seconds):
        await rounds.get()

    collaborators = Collaborators(world.log, world.users, world.items, world.index, world.metrics, RunningClock())
    dependencies = Dependencies(collaborators, RecommenderSettings())
    served = ServedLog(dependencies, RunningClock(), world.metrics, 0.0, random.Random(1))
    background = Background(dependencies, served, RunningClock(), pause)
    async with serving(world) as client:
        await client.simulate_post("/v1/events", json={"events": [event("x", "i001"), event("x", "i002")]})
    world.learned(1)
    world.items.down = True
    await background.process_startup({}, {})
    rounds.put_nowait(None)  # a round without the trainer's word forgets nothing and ends nothing
    await asyncio.sleep(0.01)
    assert len(world.users.pending["x"]) == 2
    world.items.down = False
    rounds.put_nowait(None)  # nor does the first that has it: a read may be on its way that saw an older document
    await asyncio.sleep(0.01)
    assert len(world.users.pending["x"]) == 2
    rounds.put_nowait(None)
    await asyncio.sleep(0.01)
    assert [pending.offset for pending in world.users.pending["x"]] == [1]
    await background.process_shutdown({}, {})


@in_loop
async def test_nothing_is_logged_at_sample_rate_0_and_a_broken_log_disturbs_nobody():
    world = World()
    async with serving(world, served_sample_rate=0.0) as client:
        await client.simulate_get("/v1/recommendations", params={"user_id": "u0"})
    assert "recommendations_served" not in world.log.topics
    world.log.down = True
    async with serving(world) as client:
        result = await client.simulate_get("/v1/recommendations", params={"user_id": "u0"})
    assert result.status_code == 200
    assert world.metrics.value("served_records_dropped") == 1


@in_loop
async def test_status_shows_the_trainers_report_the_index_and_the_sources():
    world = World()
    async with serving(world) as client:
        await client.simulate_get("/v1/recommendations", params={"user_id": "u0"})
        status = await client.simulate_get("/v1/status")
        metrics = await client.simulate_get("/metrics")
        root = await client.simulate_get("/")
        version = await client.simulate_get("/version")
    assert status.json["trainer"]["report"] == {"events_learned": 5}
    assert status.json["index"]["items"] == 40
    assert status.json["breakers"] == dict.fromkeys(
        ("users", "pending", "items", "item_writes", "index", "log"), "closed"
    )
    assert status.json["answers_by_source"] == {"personal": 1}
    assert 'recommendations_total{source="personal"} 1' in metrics.text
    assert (
        root.headers["content-type"].startswith("text/html")
        and "script-src 'self'" in root.headers["content-security-policy"]
    )
    assert version.json == {"version": "0"}


def test_the_record_of_a_pending_event_survives_a_round_trip():
    world = World()

    async def post():
        async with serving(world) as client:
            await client.simulate_post("/v1/events", json=event(item_id="i001", type="addToCart"))

    asyncio.run(post())
    (pending,) = world.users.pending["u0"]
    assert (pending.feedback, pending.strength, pending.partition, pending.offset) == ("positive", 0.7, 0, 0)
    assert msgspec.json.decode(msgspec.json.encode(pending), type=type(pending)) == pending
