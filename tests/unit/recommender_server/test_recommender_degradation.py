import asyncio
import time

import msgspec
import pytest
from recommender_fakes import SteppedClock, World, ids, in_loop, serving

from models import ranking
from recommender_server.degradation import CircuitBreaker, Deadline, DependencyUnavailable, Guard
from recommender_server.last_known import LastKnown
from stores.ports import StoreUnavailable
from stores.recording_metrics import RecordingMetrics

# --- the breaker and the guard --------------------------------------------------------------------------------------


def test_a_breaker_opens_after_failures_in_a_row_and_lets_one_call_try_later():
    clock = SteppedClock()
    breaker = CircuitBreaker(clock, failures_to_open=3, open_s=2.0)
    for _ in range(2):
        assert breaker.admit()
        breaker.failed()
    breaker.succeeded()  # a success in between starts the count again
    for _ in range(3):
        assert breaker.state == "closed"
        assert breaker.admit()
        breaker.failed()
    assert breaker.state == "open"
    assert not breaker.admit()
    clock.sleep(2.0)
    assert breaker.state == "half_open"
    assert breaker.admit()
    assert not breaker.admit()  # one at a time
    breaker.failed()
    assert breaker.state == "open"
    clock.sleep(2.0)
    assert breaker.admit()
    breaker.succeeded()
    assert breaker.state == "closed"
    assert breaker.admit()


def test_an_abandoned_try_lets_another_one_try():
    clock = SteppedClock()
    breaker = CircuitBreaker(clock, failures_to_open=1, open_s=1.0)
    breaker.admit()
    breaker.failed()
    clock.sleep(1.0)
    assert breaker.admit()
    breaker.abandoned()
    assert breaker.admit()


@in_loop
async def test_a_guard_ends_a_slow_call_within_the_budget_and_then_leaves_it_alone():
    clock, metrics = SteppedClock(), RecordingMetrics()
    guard = Guard("index", CircuitBreaker(clock, 2, 60.0), budget_s=0.02, clock=clock, metrics=metrics)
    calls = []

    async def slow():
        calls.append(1)
        await asyncio.sleep(30)

    for _ in range(5):
        started_s = time.monotonic()
        with pytest.raises(DependencyUnavailable) as caught:
            await guard.call(slow)
        assert caught.value.dependency == "index"
        assert time.monotonic() - started_s < 5
    assert len(calls) == 2
    assert metrics.value("dependency_failures", dependency="index") == 2


@in_loop
async def test_a_fault_of_a_dependency_counts_as_its_failure():
    clock = SteppedClock()
    guard = Guard("items", CircuitBreaker(clock, 1, 60.0), 1.0, clock, RecordingMetrics())

    async def broken():
        raise ZeroDivisionError("a bug in a driver")

    with pytest.raises(DependencyUnavailable, match="a bug in a driver"):
        await guard.call(broken)
    assert guard.breaker.state == "open"


def test_a_deadline_never_leaves_less_than_nothing():
    clock = SteppedClock()
    deadline = Deadline(clock, 0.5)
    assert deadline.remaining_s() == 0.5
    clock.sleep(3)
    assert deadline.remaining_s() == 0.0


@in_loop
async def test_last_known_reads_once_for_all_and_keeps_the_value_when_the_source_fails():
    clock = SteppedClock()
    reads = []

    async def read():
        reads.append(1)
        await asyncio.sleep(0)
        if len(reads) == 2:
            raise DependencyUnavailable("items", "gone")
        return len(reads)

    known = LastKnown(read, 1.0, clock)
    assert [x.value for x in await asyncio.gather(*(known.get(5.0) for _ in range(5)))] == [1] * 5
    assert await known.get(5.0) == (1, True)
    clock.sleep(1.0)
    assert await known.get(5.0) == (1, False)
    assert await known.get(5.0) == (3, True)
    assert len(reads) == 3


@in_loop
async def test_last_known_does_not_wait_longer_than_asked():
    clock = SteppedClock()
    hanging = asyncio.Event()

    async def read():
        await hanging.wait()
        return 7

    known = LastKnown(read, 1.0, clock)
    with pytest.raises(StoreUnavailable, match="in time"):
        await known.get(0.01)
    hanging.set()
    assert await known.get(5.0) == (7, True)
    hanging.clear()
    clock.sleep(1.0)
    assert await known.get(0.01) == (7, False)


# --- the chain of sources -------------------------------------------------------------------------------------------


@in_loop
async def test_without_the_index_the_neighbours_of_recent_items_answer():
    world = World()
    world.index.down = True
    document = world.users.documents["u0"]
    async with serving(world) as client:
        result = await client.simulate_get("/v1/recommendations", params={"user_id": "u0", "k": 3})
    recent = document.recent[::-1]
    t = ranking.transitions(recent, world.items.edges)
    w = world.items.state.merge_weights[ranking.history(len(recent))]
    open_ones = [(i, all_last) for i, all_last in t.items() if i not in document.seen]
    expected = sorted(
        open_ones,
        key=lambda pair: (
            -sum(weight * ranking.transition_feature(x) for weight, x in zip((w[3], w[5]), pair[1], strict=True)),
            pair[0],
        ),
    )
    assert (result.status_code, result.json["source"], result.json["degraded"]) == (200, "neighbours", True)
    assert ids(result) == [item_id for item_id, _ in expected[:3]]
    assert result.json["items"][0]["reason"].startswith("because you liked Title i")


@in_loop
async def test_an_index_that_fails_while_more_is_asked_for_leaves_a_shorter_personal_list_to_be_filled():
    world = World(items=600)
    for item_id in world.index.ids[:580]:
        world.items.records[item_id] = msgspec.structs.replace(world.items.records[item_id], available=False)
    world.index.answers_left = 1
    async with serving(world) as client:
        result = await client.simulate_get("/v1/recommendations", params={"user_id": "u0", "k": 10})
    assert (result.status_code, result.json["source"], result.json["degraded"]) == (200, "personal", True)
    assert set(ids(result)) <= set(world.index.ids[580:]) - set(world.users.documents["u0"].seen)
    assert len(ids(result)) == 10


@in_loop
async def test_neighbours_that_are_too_few_are_followed_by_popular_ones():
    world = World()
    world.index.down = True
    document = world.users.documents["u0"]
    async with serving(world) as client:
        result = await client.simulate_get("/v1/recommendations", params={"user_id": "u0", "k": 28})
    assert result.json["source"] == "neighbours"
    assert set(ids(result)) == set(world.index.ids) - set(document.seen)


@in_loop
async def test_without_the_user_store_an_item_page_shows_similar_items():
    world = World()
    world.users.down = True
    async with serving(world) as client:
        result = await client.simulate_get("/v1/recommendations", params={"user_id": "u0", "item_id": "i003"})
        visitor = await client.simulate_get("/v1/recommendations", params={"item_id": "i003"})
    assert (result.json["source"], result.json["degraded"]) == ("similar", True)
    assert (visitor.json["source"], visitor.json["degraded"]) == ("similar", False)
    assert ids(result) == ids(visitor)
    assert "i003" not in ids(result)
    assert result.json["items"][0]["reason"] == "similar to Title i003"


@in_loop
async def test_without_users_and_index_the_popular_list_answers():
    world = World()
    world.users.down = world.index.down = True
    async with serving(world) as client:
        result = await client.simulate_get("/v1/recommendations", params={"user_id": "u0"})
    assert (result.json["source"], result.json["degraded"]) == ("popular", True)
    assert ids(result) == [item_id for item_id, _ in world.items.lists["popular"][:10]]


@in_loop
async def test_without_any_store_the_last_known_popular_list_answers():
    world = World()
    async with serving(world) as client:
        await client.simulate_get("/v1/popular")
        world.users.down = world.index.down = world.items.down = True
        await asyncio.sleep(1.05)  # until the list is no longer fresh
        result = await client.simulate_get("/v1/recommendations", params={"user_id": "u0"})
        popular = await client.simulate_get("/v1/popular")
    assert (result.status_code, result.json["source"], result.json["degraded"]) == (200, "last_known_popular", True)
    assert ids(result) == [item_id for item_id, _ in world.items.lists["popular"][:10]]
    assert popular.json["source"] == "last_known_popular"


@in_loop
async def test_an_emptied_item_store_does_not_empty_what_is_last_known():
    world = World()
    async with serving(world) as client:
        before = await client.simulate_get("/v1/popular")
        world.items.lists.clear()
        await asyncio.sleep(1.05)
        after = await client.simulate_get("/v1/popular")
    assert after.json["source"] == "last_known_popular"
    assert ids(after) == ids(before)


@in_loop
async def test_without_the_item_store_the_list_stays_personal_and_shows_bare_ids():
    world = World()
    document = world.users.documents["u0"]
    async with serving(world) as client:
        await client.simulate_get("/v1/recommendations", params={"user_id": "u1"})
        world.items.down = True
        result = await client.simulate_get("/v1/recommendations", params={"user_id": "u0"})
    assert (result.json["source"], result.json["degraded"]) == ("personal", True)
    world.items.edges.clear()
    assert ids(result) == world.best(10, document.recent[::-1], document.embedding, set(document.seen))
    assert {item["title"] for item in result.json["items"]} == {""}


@in_loop
async def test_an_unknown_user_gets_the_popular_list_and_nothing_is_called_degraded():
    world = World()
    async with serving(world) as client:
        result = await client.simulate_get("/v1/recommendations", params={"user_id": "nobody"})
        everything = await client.simulate_get("/v1/recommendations", params={"k": 40})
    assert (result.json["source"], result.json["degraded"]) == ("popular", False)
    assert len(ids(everything)) == 40


@in_loop
async def test_beyond_the_popular_list_a_visitor_gets_the_rest_from_the_index():
    world = World()
    del world.items.lists["popular"][7:]
    async with serving(world) as client:
        result = await client.simulate_get("/v1/recommendations", params={"k": 40})
    assert result.json["source"] == "popular"
    assert sorted(ids(result)) == world.index.ids


@in_loop
async def test_a_hanging_index_costs_its_budget_a_few_times_and_then_nothing():
    world = World()
    world.index.delay_s = 30
    async with serving(world, index_budget_ms=30.0, breaker_failures=3) as client:
        durations = []
        for _ in range(6):
            started_s = time.monotonic()
            result = await client.simulate_get("/v1/recommendations", params={"user_id": "u0"})
            durations.append(time.monotonic() - started_s)
            assert (result.status_code, result.json["source"]) == (200, "neighbours")
        status = await client.simulate_get("/v1/status")
    assert world.index.calls["search"] == 3
    assert max(durations) < 5
    assert min(durations[:3]) >= 0.03
    assert status.json["breakers"]["index"] == "open"


@in_loop
async def test_everything_hangs_and_the_answer_comes_within_the_deadline():
    world = World()
    async with serving(world, deadline_ms=200.0) as client:
        await client.simulate_get("/v1/popular")
        for dependency in (world.users, world.items, world.index):
            dependency.delay_s = 30
        started_s = time.monotonic()
        result = await client.simulate_get("/v1/recommendations", params={"user_id": "u0"})
        took_s = time.monotonic() - started_s
    assert result.status_code == 200
    assert took_s < 2


@in_loop
async def test_before_the_trainer_has_published_it_is_starting():
    world = World()
    world.items.state = None
    world.items.lists.clear()
    world.users.documents.clear()
    async with serving(world) as client:
        result = await client.simulate_get("/v1/recommendations", params={"user_id": "u0"})
        ready = await client.simulate_get("/readyz")
        alive = await client.simulate_get("/healthz")
    assert (result.status_code, result.json["type"]) == (503, "/problems/starting")
    assert result.headers["retry-after"] == "1"
    assert (ready.status_code, alive.status_code) == (503, 200)


@in_loop
async def test_how_a_trainer_of_another_version_ranks_is_as_good_as_unknown():
    world = World()
    weights = [of_history[:-1] for of_history in world.items.state.merge_weights]
    world.items.state = msgspec.structs.replace(world.items.state, merge_weights=weights)
    async with serving(world) as client:
        result = await client.simulate_get("/v1/recommendations", params={"user_id": "u0"})
    assert (result.status_code, result.json["degraded"]) == (200, True)
    assert result.json["source"] == "neighbours" and len(result.json["items"]) == 10


@in_loop
async def test_too_many_at_once_are_refused_and_health_still_answers():
    world = World()
    world.users.delay_s = 0.2
    async with serving(world, max_in_flight=2) as client:
        asking = [client.simulate_get("/v1/recommendations", params={"user_id": "u0"}) for _ in range(5)]
        probing = client.simulate_get("/healthz")
        *results, alive = await asyncio.gather(*asking, probing)
        later = await client.simulate_get("/v1/recommendations", params={"user_id": "u0"})
    assert sorted(result.status_code for result in results) == [200, 200, 503, 503, 503]
    refused = next(result for result in results if result.status_code == 503)
    assert refused.headers["retry-after"] == "1"
    assert refused.json["type"] == "/problems/too-many-requests-at-once"
    assert (alive.status_code, later.status_code) == (200, 200)
