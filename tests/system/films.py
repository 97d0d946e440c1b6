"""A few people and films for a loop of real processes, so that every route has something to answer with."""

from __future__ import annotations

from tests.system.real_loop import RealLoop

FILMS = ("casablanca", "vertigo", "alien", "psycho", "brazil", "dune", "heat")


def fill(loop: RealLoop) -> None:
    """Send them, and wait until every store has all of it."""
    likes = [{"user_id": f"u{n}", "item_id": item, "type": "click"} for n in range(12) for item in FILMS[n % 4 :]]
    films = [
        {"item_id": film, "title": film.title(), "category": "thriller", "attributes": {"year": 1958}}
        for film in ("vertigo", "psycho", "heat")
    ]
    assert loop.post("/v1/items", films, "PUT")[0] == 200
    status, answer = loop.post("/v1/events", {"events": likes})
    assert status == 202, answer
    wait_until_learned(loop, answer["receipts"][-1])
    loop.wait(lambda: loop.get("/v1/status")[1]["trainer"]["report"]["settled"], "every store has all of it")


def wait_until_learned(loop: RealLoop, receipt: str) -> None:
    """Wait until the answers take an event into account."""
    path = f"/v1/recommendations?user_id=anyone&after={receipt}&level=learned"
    loop.wait(lambda: not loop.get(path)[1]["stale"], f"{receipt} is learned")
