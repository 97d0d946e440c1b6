"""A walk through the routes that give and take data, against the real processes."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from stores.adapters import open_event_log
from stores.ports import USER_EVENTS, Entry
from tests.system.real_loop import RealLoop

FILMS = ("casablanca", "vertigo", "alien", "psycho", "brazil", "dune", "heat")


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealLoop]:
    loop = RealLoop(tmp_path_factory.mktemp("walk"))
    try:
        loop.start_all()
        films = [{"item_id": film, "title": film.title(), "category": "film"} for film in FILMS]
        assert loop.post("/v1/items", films, "PUT")[0] == 200
        likes = [{"user_id": f"u{n}", "item_id": x, "type": "click"} for n in range(12) for x in FILMS[n % 4 :]]
        status, answer = loop.post("/v1/events", {"events": likes})
        assert status == 202, answer
        _until_learned(loop, answer["receipts"][-1])
        loop.wait(lambda: loop.get("/v1/status")[1]["trainer"]["report"]["settled"], "every store has all of it")
        yield loop
    finally:
        codes = loop.stop()
    assert codes == {"faiss_server": 0, "recommender_server": 0, "incremental_training": 0}, loop.logs()


def _until_learned(loop: RealLoop, receipt: str) -> None:
    loop.wait(lambda: loop.get(f"/v1/events/{receipt}")[1]["state"] == "learned", f"{receipt} is learned")


def _ids(answer: tuple[int, Any]) -> list[str]:
    assert answer[0] == 200, answer
    return [item["item_id"] for item in answer[1]["items"]]


def test_what_is_watched_now_is_popular_by_window_and_category(loop: RealLoop) -> None:
    for path in ("/v1/popular?window=hour", "/v1/popular?window=week&category=film", "/v1/popular?order=trending"):
        assert set(_ids(loop.get(path))) <= set(FILMS)
        assert "psycho" in _ids(loop.get(path))
    users = loop.get("/v1/users/u1/similar")[1]["users"]
    assert {"u5", "u9"} <= {user["user_id"] for user in users}, users  # who clicked on the same


def test_a_taken_recommendation_is_a_hit_once(loop: RealLoop) -> None:
    def lists_and_hits() -> tuple[int, int]:
        rates = loop.get("/v1/outcomes")[1]["by_source"].values()
        return sum(rate["shown"] for rate in rates), sum(rate["hits"] for rate in rates)

    shown, hits = lists_and_hits()
    [liked] = _ids(loop.get("/v1/recommendations?user_id=u3&k=1"))
    loop.post("/v1/events", {"user_id": "u3", "item_id": liked, "type": "like"})
    loop.wait(lambda: lists_and_hits() == (shown + 1, hits + 1), "the list and its hit are counted")


def test_a_bad_event_is_set_aside_told_and_driven_again(loop: RealLoop) -> None:
    with closing(open_event_log(f"sqlite:///{loop.folder}/events.db")) as log:
        [receipt] = log.append(USER_EVENTS, [Entry("u1", b'{"user_id": "u1", "type": "click"}')])
    loop.wait(lambda: loop.get(f"/v1/events/{receipt}")[1]["state"] == "dead_lettered", "the letter")
    assert loop.get(f"/v1/events/{receipt}")[1]["reason"] == "bad_item_id"
    assert loop.get("/v1/dead_letters")[1]["letters"][0]["receipt"] == str(receipt)
    status, driven = loop.post("/v1/dead_letters/redrive", {"receipts": [str(receipt)]})
    assert status == 200, driven
    anew = driven["receipts"][str(receipt)]
    loop.wait(lambda: loop.get(f"/v1/events/{anew}")[1]["state"] == "dead_lettered", "it is as bad as before")
    assert [x["receipt"] for x in loop.get("/v1/dead_letters")[1]["letters"]] == [anew]


def test_a_hidden_item_is_gone_at_once_and_a_deleted_one_for_good(loop: RealLoop) -> None:
    assert "alien" in _ids(loop.get("/v1/popular"))
    assert loop.post("/v1/items/alien", {"available": False}, "PATCH")[0] == 200
    assert "alien" not in _ids(loop.get("/v1/popular"))
    assert loop.post("/v1/items/alien", {"available": True}, "PATCH")[0] == 200
    assert "alien" in _ids(loop.get("/v1/popular"))
    status, deleted = loop.post("/v1/items/alien", None, "DELETE")
    assert (status, deleted["item"]) == (200, None)
    paths = ("/v1/popular", "/v1/popular?window=day", "/v1/items/vertigo/similar", "/v1/recommendations?user_id=u11")
    until_s = time.monotonic() + 4
    while time.monotonic() < until_s:  # until the trainer has taken it out of everything, and after
        assert loop.get("/v1/items/alien")[0] == 404
        for path in (*paths, "/v1/items"):
            assert "alien" not in _ids(loop.get(path)), path
    edges = loop.get("/v1/items/vertigo/neighbours")[1]
    assert "alien" not in [edge["item_id"] for edge in [*edges["next"], *edges["previous"]]]


def test_a_forgotten_user_stays_forgotten(loop: RealLoop) -> None:
    assert _ids(loop.get("/v1/users/u2/history"))
    status, forgotten = loop.post("/v1/users/u2", None, "DELETE")
    assert (status, forgotten["counted"]) == (200, True)
    assert _ids(loop.get("/v1/users/u2/history")) == []
    _until_learned(loop, forgotten["receipt"])
    loop.stop("incremental_training")
    loop.start("incremental_training")
    _, answer = loop.post("/v1/events", {"user_id": "u4", "item_id": "metropolis", "type": "click"})
    _until_learned(loop, answer["receipts"][0])
    assert _ids(loop.get("/v1/users/u2/history")) == []
    assert '"u2"' not in _text(loop, "/v1/export/users")


def _text(loop: RealLoop, path: str) -> str:
    with urllib.request.urlopen(loop.recommender_url + path, timeout=10) as response:
        return str(response.read().decode())


def test_a_watched_report_does_not_hold_the_recommender_up(loop: RealLoop, tmp_path: Path) -> None:
    with urllib.request.urlopen(loop.recommender_url + "/v1/metrics/stream", timeout=10) as watched:
        assert watched.readline().startswith(b"event: report")
        started_s = time.monotonic()
        assert loop.stop("recommender_server") == {"recommender_server": 0}
        assert time.monotonic() - started_s < 5
    loop.start("recommender_server")
    loop.wait(lambda: loop.get("/readyz")[0] == 200, "the recommender is back")
