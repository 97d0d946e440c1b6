"""A new item, from its record to the lists, through the real processes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tests.system.real_loop import RealLoop

TEXTS = {
    "ship": "A captain and the crew of an old ship sail the stormy sea",
    "horse": "A sheriff and the outlaws of a small town ride horses over the desert",
}
# On a quiet machine it takes some 60 ms (``benchmarks.new_items``); other work must not make this fail.
SOON_S = 5.0


def _similar(loop: RealLoop, item_id: str) -> list[str]:
    """By the index; without ``by`` what it does not know yet is answered by content."""
    status, answer = loop.get(f"/v1/items/{item_id}/similar?k=5&by=behaviour")
    return [item["item_id"] for item in answer["items"]] if status == 200 and answer["source"] == "similar" else []


def _put(loop: RealLoop, **item: Any) -> float:
    status, answer = loop.post("/v1/items", item, method="PUT")
    assert status in (200, 202) and answer["results"][0]["status"] == "accepted", answer
    return time.monotonic()


def test_an_item_is_found_by_its_text_alone_and_gone_once_deleted(tmp_path: Path) -> None:
    loop = RealLoop(tmp_path, MODEL_DIMENSION="16", SNAPSHOT_EVENTS="50")
    loop.start_all()
    try:
        for kind, text in TEXTS.items():
            for n in range(12):
                _put(loop, item_id=f"{kind}{n}", title=f"The {kind} {n}", text=text)
        events = [
            {"user_id": f"{kind} lover {user}", "item_id": f"{kind}{(user + n) % 12}", "type": "rating", "value": 5}
            for n in range(6)
            for user in range(12)
            for kind in TEXTS
        ]
        assert loop.post("/v1/events", {"events": events})[0] in (200, 202)
        loop.wait(lambda: loop.get("/v1/status")[1]["trainer"]["report"]["settled"], "everything is learned")

        put_s = _put(loop, item_id="unheard", text=TEXTS["ship"])
        assert loop.get("/v1/items/unheard/similar?k=5")[1]["items"]  # at once
        loop.wait(lambda: _similar(loop, "unheard"), "the new item is found", SOON_S)
        assert time.monotonic() - put_s < SOON_S
        assert all(item_id.startswith("ship") for item_id in _similar(loop, "unheard"))

        # Nobody has had it, and yet it stands on the list of who likes its kind, and says why.
        def first() -> dict[str, Any]:
            items = loop.get("/v1/recommendations?user_id=ship%20lover%201&k=24")[1]["items"]
            return next((item for item in items if item["item_id"] == "unheard"), {})

        assert first()["source"] in ("personal", "new")

        loop.kill("incremental_training")
        loop.start("incremental_training")
        put_s = _put(loop, item_id="another", text=TEXTS["horse"])
        loop.wait(lambda: _similar(loop, "another"), "an item is found after a restart")
        assert all(item_id.startswith("horse") for item_id in _similar(loop, "another"))
        assert all(item_id.startswith("ship") or item_id == "another" for item_id in _similar(loop, "unheard"))

        assert loop.post("/v1/items/unheard", {}, method="DELETE")[0] == 200
        loop.wait(lambda: not _similar(loop, "unheard") and not first(), "the deleted item is gone", SOON_S)
        assert set(loop.stop().values()) == {0}, loop.logs()
    finally:
        loop.stop()
