from __future__ import annotations

import asyncio

from recommender_fakes import RunningClock, World, in_loop, serving

from recommender_server.dependencies import Collaborators, Dependencies
from recommender_server.settings import RecommenderSettings
from recommender_server.traffic import Traffic
from recommender_server.vital_signs import VitalSigns


@in_loop
async def test_breakers_are_gauged_though_nobody_asks():
    world = World()
    rounds: asyncio.Queue[None] = asyncio.Queue()

    async def pause(_seconds):
        await rounds.get()

    collaborators = Collaborators(world.log, world.users, world.items, world.index, world.metrics, RunningClock())
    dependencies = Dependencies(collaborators, RecommenderSettings())
    signs = VitalSigns(dependencies, Traffic(world.metrics, 10), world.metrics, pause)
    await signs.process_startup({}, {})
    await asyncio.sleep(0)
    assert world.metrics.value("breaker_state", dependency="index") == 0
    assert world.metrics.value("requests_in_flight") == 0
    breaker = next(guard.breaker for guard in dependencies.guards if guard.name == "index")
    for _ in range(RecommenderSettings().breaker_failures):
        breaker.failed()
    rounds.put_nowait(None)
    await asyncio.sleep(0.01)
    assert world.metrics.value("breaker_state", dependency="index") == 2
    await signs.process_shutdown({}, {})


@in_loop
async def test_what_has_not_failed_is_told_from_the_start():
    world = World()
    async with serving(world):
        for name in ("dependency_failures", "degraded"):
            assert world.metrics.value(name, dependency="index") == 0
        assert world.metrics.value("requests_refused") == 0


@in_loop
async def test_status_tells_the_times_of_every_route_and_of_its_last_20_answers():
    async with serving(World()) as client:
        for n in range(23):
            await client.simulate_get("/v1/items/i001" if n else "/v1/items/nobody-knows-it")
        timings = (await client.simulate_get("/v1/status")).json["timings"]
    # A route is one whatever its ids are, and an error is an answer too.
    assert timings.keys() == {"/v1/items/{item_id}"}
    times = timings["/v1/items/{item_id}"]
    assert times["count"] == 23
    assert len(times["last_ms"]) == 20
    assert 0 < min(times["last_ms"]) <= max(times["last_ms"])
    assert times["mean_ms"] > 0
