"""A small recommender with a log, a catalogue and bad weather, answering on a real port."""

import contextlib

import aiohttp
from aiohttp import web

from demo.client import RecommenderClient

ITEMS_SHOWN = 10


class FakeRecommender:
    """Recommends the newest ten items of the log; ``log`` holds what was accepted, duplicates too, in order.

    ``fails_next``: so many posts are accepted and then answered 503, as when a process dies before it can answer.
    """

    def __init__(self):
        self.log = []
        self.catalogue = {}
        self.lists_asked = []
        self.unannounced = set()
        self.fails_next = 0

    def shown(self):
        return list(dict.fromkeys(event["item_id"] for event in reversed(self.log)))[:ITEMS_SHOWN]

    async def events(self, request):
        batch = (await request.json())["events"]
        receipts = []
        for event in batch:
            if not event.get("user_id") or not event.get("item_id"):
                receipts.append(None)
                continue
            if event["item_id"] not in self.catalogue:
                self.unannounced.add(event["item_id"])
            receipts.append(f"0:{len(self.log)}")
            self.log.append(event)
        if self.fails_next:
            self.fails_next -= 1
            return web.json_response({}, status=503)
        if not any(receipts):
            return web.json_response({"title": "bad"}, status=400)
        return web.json_response({"receipts": receipts}, status=202)

    async def items(self, request):
        self.catalogue.update((item["item_id"], item) for item in await request.json())
        return web.json_response({})

    async def recommendations(self, request):
        if "after" not in request.query:
            self.lists_asked.append((request.query["user_id"], len(self.log)))
        seen = {event["item_id"] for event in self.log if event["user_id"] == request.query["user_id"]}
        listed = [{"item_id": item_id} for item_id in self.shown() if item_id not in seen]
        return web.json_response({"stale": False, "items": listed})


@contextlib.asynccontextmanager
async def client_of(fake):
    """Serve the fake on a free port and give a client of it."""
    app = web.Application()
    app.add_routes(
        [
            web.post("/v1/events", fake.events),
            web.put("/v1/items", fake.items),
            web.get("/v1/recommendations", fake.recommendations),
        ]
    )
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0]
    try:
        async with aiohttp.ClientSession(f"http://{host}:{port}", timeout=aiohttp.ClientTimeout(total=10)) as session:
            yield RecommenderClient(session)
    finally:
        await runner.cleanup()
