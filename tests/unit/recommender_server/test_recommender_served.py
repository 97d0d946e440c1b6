"""What was served can be asked for by the request_id of the answer."""

from __future__ import annotations

import asyncio
import time

from recommender_fakes import MemoryEventLog, World, ids, in_loop, serving

from recommender_server.served_log import GATHER_S
from stores.ports import Record, TopicPartition


class LogOfNow(MemoryEventLog):
    """Every record arrived just now."""

    async def read(self, place, offset, limit):
        found = await super().read(place, offset, limit)
        return [Record(one.topic, 0, one.offset, one.key, one.value, time.time()) for one in found]

    async def offsets_at(self, topic, time_s):
        await self.pass_through("offsets_at")
        return {TopicPartition(topic, 0): 0 if time_s <= time.time() else len(self.topics.get(topic, []))}


@in_loop
async def test_what_was_served_is_found_by_its_request_id():
    world = World()
    world.log = LogOfNow()
    async with serving(world) as client:
        for n in range(3):
            await client.simulate_get("/v1/recommendations", params={"user_id": f"u{n}"})
        body = {"user_id": "u0", "item_ids": ["i001"], "k": 3}
        answered = await client.simulate_post("/v1/recommendations", json=body)
        await asyncio.sleep(2 * GATHER_S)
        request_id = answered.json["request_id"]
        found = await client.simulate_get(f"/v1/recommendations/{request_id}")
        unknown = await client.simulate_get(f"/v1/recommendations/{request_id[:-1]}x")
        never = await client.simulate_get(f"/v1/recommendations/{request_id[:12]}{'0' * 20}")
        world.log.down = True
        down = await client.simulate_get(f"/v1/recommendations/{request_id}")
    assert found.status_code == 200
    assert found.json["request_id"] == request_id
    assert (found.json["user_id"], found.json["liked"], found.json["source"]) == ("u0", ["i001"], "personal")
    assert ids(found) == ids(answered)
    assert abs(found.json["served_at"] - time.time()) < 60
    assert (unknown.status_code, unknown.json["type"]) == (400, "/problems/bad-parameter")
    assert (never.status_code, never.json["type"]) == (404, "/problems/unknown-request")
    assert (down.status_code, down.json["type"]) == (503, "/problems/log-unavailable")
