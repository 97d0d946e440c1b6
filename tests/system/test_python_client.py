"""The Python client against the real processes."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from recommender_client import Event, Item, Recommender, Refused, Unreachable
from tests.system.films import fill
from tests.system.real_loop import RealLoop


@pytest.fixture(scope="module")
def recommender(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recommender]:
    loop = RealLoop(tmp_path_factory.mktemp("loop"))
    try:
        loop.start_all()
        fill(loop)
        with Recommender(loop.recommender_url) as recommender:
            yield recommender
    finally:
        loop.stop()


def test_a_like_counts_in_the_next_list(recommender: Recommender) -> None:
    before = recommender.recommend("grace", k=3)
    liked = before.items[0]
    assert liked.reason and liked.source and not before.stale
    receipt = recommender.like("grace", liked.item_id)
    after = recommender.recommend("grace", k=3, after=receipt)
    assert not after.stale
    assert liked.item_id not in [item.item_id for item in after.items]
    learned = recommender.recommend("grace", k=3, after=receipt, level="learned", explain="basic")
    assert all(sum(part["value"] for part in item.parts) == pytest.approx(item.score) for item in learned.items)
    assert [one.item_id for one in recommender.history("grace")] == [liked.item_id]


def test_a_hidden_item_does_not_come_back(recommender: Recommender) -> None:
    receipt = recommender.hide("joan", "vertigo")
    answer = recommender.recommend("joan", k=20, after=receipt)
    assert answer.items and "vertigo" not in [item.item_id for item in answer.items]
    assert recommender.history("joan", order="best")[0].feedback == "negative"


def test_a_visitor_and_what_is_like_an_item(recommender: Recommender) -> None:
    favourites = ["casablanca", "vertigo", "alien"]
    answer = recommender.recommend(item_ids=favourites, k=3)
    assert len(answer.items) == 3 and not set(favourites) & {item.item_id for item in answer.items}
    page = recommender.recommend(item_ids=favourites, k=2, cursor=recommender.recommend(item_ids=favourites, k=2).next)
    assert page.items
    assert recommender.similar("casablanca", k=2).items
    only = recommender.recommend("u0", seen="allow", filter="attributes.year = 1958", exclude=["heat"], k=20)
    assert {item.item_id: item.title for item in only.items} == {"vertigo": "Vertigo", "psycho": "Psycho"}
    assert all((item.category, item.attributes) == ("thriller", {"year": 1958}) for item in only.items)


def test_items_go_in_and_are_found(recommender: Recommender) -> None:
    gilda = Item("gilda/1946", "Gilda", "noir", 9.5, "A gambler in Buenos Aires", {"year": 1946})
    assert None not in recommender.put_items([gilda, Item("laura", "Laura")])
    assert recommender.item("gilda/1946") == gilda
    assert recommender.find("gil") == [gilda]


def test_events_get_a_receipt_each(recommender: Recommender) -> None:
    events = [Event("bob", "heat", "rating", 5.0, event_id="shop-1"), Event("", "heat", "click", event_id="shop-2")]
    receipts = recommender.send(events)
    assert receipts[0] and receipts[1] is None
    assert recommender.status()["trainer"]["report"]


def test_errors_are_exceptions_with_their_kind(recommender: Recommender) -> None:
    with pytest.raises(Refused) as refused:
        recommender.recommend("ada", filter="price <")
    assert (refused.value.status, refused.value.kind) == (400, "bad-filter")
    assert refused.value.problem["position"] == 7
    with pytest.raises(Refused, match="unknown-item"):
        recommender.item("nobody knows it")
    with pytest.raises(Refused, match="bad-event"):
        recommender.like("", "heat")


def test_a_connection_that_broke_is_opened_again(recommender: Recommender) -> None:
    recommender.status()
    recommender._connection.sock.shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]
    assert recommender.status()


def test_nobody_there_is_an_exception() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(Unreachable), Recommender(f"http://127.0.0.1:{port}") as recommender:
        recommender.status()


@pytest.mark.parametrize("address", ["127.0.0.1:8000", "ftp://host", "http://", "http://host/?a=b"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="address"):
        Recommender(address)
