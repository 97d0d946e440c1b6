import asyncio

import pytest
from recommender_fakes import World, ids, in_loop, serving

from recommender_server.coalescing import Coalescer


@in_loop
async def test_requests_of_one_tick_share_one_call_and_get_their_own_answers():
    calls = []

    async def double(numbers):
        calls.append(list(numbers))
        await asyncio.sleep(0)
        return [2 * number for number in numbers]

    coalescer = Coalescer(double)
    assert await asyncio.gather(*(coalescer.ask(n) for n in range(5))) == [0, 2, 4, 6, 8]
    assert await coalescer.ask(7) == 14
    assert calls == [[0, 1, 2, 3, 4], [7]]


@in_loop
async def test_a_failed_call_fails_every_request_of_it_and_no_other():
    async def fail_on_three(numbers):
        if 3 in numbers:
            raise ValueError("three")
        return numbers

    coalescer = Coalescer(fail_on_three)
    results = await asyncio.gather(*(coalescer.ask(n) for n in (1, 3)), return_exceptions=True)
    assert [type(result) for result in results] == [ValueError, ValueError]
    assert await coalescer.ask(4) == 4


@in_loop
async def test_a_caller_that_gives_up_leaves_the_others_undisturbed():
    async def slowly(numbers):
        await asyncio.sleep(0.02)
        return numbers

    coalescer = Coalescer(slowly)
    first, second = asyncio.ensure_future(coalescer.ask(1)), asyncio.ensure_future(coalescer.ask(2))
    await asyncio.sleep(0.005)
    first.cancel()
    assert await second == 2
    with pytest.raises(asyncio.CancelledError):
        await first


@in_loop
async def test_a_long_queue_is_cut_into_several_calls():
    calls = []

    async def note(numbers):
        calls.append(len(numbers))
        return numbers

    coalescer = Coalescer(note, max_batch=4)
    assert await asyncio.gather(*(coalescer.ask(n) for n in range(10))) == list(range(10))
    assert calls == [4, 4, 2]


@in_loop
async def test_what_comes_while_enough_calls_are_under_way_goes_together_with_the_next_one():
    calls, goes_on = [], asyncio.Event()

    async def answer(numbers):
        calls.append(list(numbers))
        await goes_on.wait()
        if 1 in numbers:
            raise ValueError("one")
        return numbers

    coalescer = Coalescer(answer, max_calls=2)
    asked = []
    for n in range(6):
        asked.append(asyncio.ensure_future(coalescer.ask(n)))
        await asyncio.sleep(0.001)
    assert calls == [[0], [1]]
    goes_on.set()
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert calls == [[0], [1], [2, 3, 4, 5]]
    assert [results[0], *results[2:]] == [0, 2, 3, 4, 5]
    assert isinstance(results[1], ValueError)


@in_loop
async def test_concurrent_requests_share_one_read_of_users_one_search_and_one_read_of_items():
    world = World()
    users = ["u0", "u1", "u2", "u3", "u4"]
    async with serving(world) as client:
        alone = [ids(await client.simulate_get("/v1/recommendations", params={"user_id": user})) for user in users]
        for dependency in (world.users, world.items, world.index):
            dependency.calls.clear()
        together = await asyncio.gather(
            *(client.simulate_get("/v1/recommendations", params={"user_id": user}) for user in users)
        )
    assert [ids(result) for result in together] == alone
    assert world.users.calls == {"get_many": 1}
    assert world.index.calls["search"] == 1
    assert (world.items.calls["neighbours"], world.items.calls["get_many"]) == (1, 1)
