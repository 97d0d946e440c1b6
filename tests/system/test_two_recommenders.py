"""Two recommenders on the same stores and the same index."""

from __future__ import annotations

from pathlib import Path

from tests.system.films import fill
from tests.system.real_loop import RealLoop


def _items(answer: dict) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def test_what_one_accepts_counts_in_the_next_answer_of_the_other(tmp_path: Path) -> None:
    first = RealLoop(tmp_path)
    stores = {f"{name.upper()}_URL": f"sqlite:///{tmp_path}/{name}.db" for name in ("events", "users", "items")}
    (tmp_path / "second").mkdir()
    second = RealLoop(tmp_path / "second", **stores, INDEX_URL=first.index_url)
    try:
        first.start_all()
        second.start("recommender_server")
        fill(first)
        second.wait(lambda: second.get("/readyz")[0] == 200, "the second is ready")
        one, other = (loop.get("/v1/recommendations?user_id=u3&k=3")[1] for loop in (first, second))
        assert _items(one) == _items(other) and one["source"] == other["source"] == "personal"
        liked = one["items"][0]["item_id"]
        status, accepted = first.post("/v1/events", {"user_id": "u3", "item_id": liked, "type": "click"})
        assert (status, accepted["counted"]) == (202, True)
        answer = second.get(f"/v1/recommendations?user_id=u3&k=3&after={accepted['receipts'][0]}&level=history")[1]
        assert not answer["stale"] and liked not in _items(answer)
        # Serving goes on when one of them dies.
        first.kill("recommender_server")
        assert _items(second.get("/v1/recommendations?user_id=u3&k=3")[1])
    finally:
        second.stop()
        first.stop()
