"""The faiss server as its clients see it, over ASGI without a socket."""

from __future__ import annotations

import json

import falcon.testing
import msgspec
import numpy as np
import pytest

from faiss_server.app import create_app
from faiss_server.item_index import ItemIndex
from faiss_server.settings import FaissServerSettings
from stores import index_wire as wire
from stores.clock import SystemClock
from stores.ports import MAX_HITS, IndexStatus, ItemRows, Query, Stamp
from stores.recording_metrics import RecordingMetrics
from tests.unit.faiss_server.index_worlds import D, learned_rows, plain, subset

MAX_BODY_BYTES = 16_384


@pytest.fixture
def index() -> ItemIndex:
    return ItemIndex()


@pytest.fixture
def client(index: ItemIndex) -> falcon.testing.TestClient:
    metrics = RecordingMetrics()
    settings = FaissServerSettings(index_max_body_bytes=MAX_BODY_BYTES, index_max_table_bytes=100_000)
    text = metrics.prometheus_text
    app = create_app(index, settings, clock=SystemClock(), metrics=metrics, exposition=text, version="1.2")
    return falcon.testing.TestClient(app)


@pytest.fixture
def rows() -> ItemRows:
    return learned_rows(30)


@pytest.fixture
def filled(client: falcon.testing.TestClient, rows: ItemRows) -> falcon.testing.TestClient:
    """Stands at epoch 3, seq 5."""
    assert send(client, "PUT", "/v1/snapshot", wire.Upsert(rows, Stamp(3, 0, 5))).status_code == 200
    return client


def send(client, method, path, message, media_type=wire.MSGPACK):
    body = message if isinstance(message, bytes) else wire.encode(message, media_type)
    return client.simulate_request(method, path, body=body, headers={"Content-Type": media_type})


def problem(result, status, kind):
    """The detail of the problem that this answer must be."""
    assert (result.status_code, result.headers["content-type"]) == (status, "application/problem+json")
    found = json.loads(result.content)
    assert (found["type"], found["status"]) == (f"/problems/{kind}", status)
    return found["detail"]


# --- where it stands


def test_before_the_first_table_it_lives_but_is_not_ready(client):
    assert client.simulate_get("/healthz").status_code == 200
    problem(client.simulate_get("/readyz"), 503, "not-loaded")
    problem(send(client, "POST", "/v1/search", wire.Search([])), 503, "not-loaded")
    problem(send(client, "POST", "/v1/similar", wire.Similar(["a"], 3)), 503, "not-loaded")
    assert client.simulate_get("/v1/status").json["ready"] is False


def test_it_is_ready_until_a_write_from_further_on_was_refused(filled, rows):
    assert filled.simulate_get("/readyz").status_code == 200
    # A repeat of something older leaves nothing out.
    problem(send(filled, "POST", "/v1/delete", wire.Delete(["i0"], Stamp(3, 1, 2))), 409, "gap")
    assert filled.simulate_get("/readyz").status_code == 200
    problem(send(filled, "POST", "/v1/delete", wire.Delete(["i0"], Stamp(3, 7, 8))), 409, "gap")
    problem(filled.simulate_get("/readyz"), 503, "behind")
    # It goes on answering with what it has.
    assert send(filled, "POST", "/v1/search", wire.Search([plain(np.ones(D + 3, np.float32))])).status_code == 200
    assert send(filled, "PUT", "/v1/snapshot", wire.Upsert(rows, Stamp(3, 0, 8))).status_code == 200
    assert filled.simulate_get("/readyz").status_code == 200


def test_a_newer_trainer_begins_with_the_whole_table(filled, rows):
    detail = problem(send(filled, "POST", "/v1/upsert", wire.Upsert(subset(rows, [1]), Stamp(4, 5, 6))), 409, "gap")
    assert "epoch 3, seq 5" in detail
    problem(filled.simulate_get("/readyz"), 503, "behind")


def test_an_older_trainer_is_told_apart_from_a_gap(filled, rows):
    problem(send(filled, "POST", "/v1/upsert", wire.Upsert(subset(rows, [1]), Stamp(2, 5, 6))), 409, "stale-epoch")
    problem(send(filled, "PUT", "/v1/snapshot", wire.Upsert(rows, Stamp(2, 0, 6))), 409, "stale-epoch")


# --- bad input


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("name", ["vectors", "contexts", "popularity"])
def test_a_number_that_is_not_finite_never_comes_in(filled, index, rows, name, number):
    some = subset(rows, [4, 5])
    getattr(some, name)[1, 0] = number
    assert name in problem(send(filled, "POST", "/v1/upsert", wire.Upsert(some, Stamp(3, 5, 6))), 400, "bad-request")
    problem(send(filled, "PUT", "/v1/snapshot", wire.Upsert(some, Stamp(3, 5, 6))), 400, "bad-request")
    assert (index.status().seq, index.status().rows) == (5, 30)
    assert np.isfinite(index.table.columns).all() and np.isfinite(index.table.contexts).all()


def test_popularity_that_is_not_finite_never_comes_in(filled, index):
    columns = np.zeros((30, 2), np.float32)
    columns[29, 1] = np.nan
    problem(send(filled, "POST", "/v1/popularity", wire.SetPopularity(columns, Stamp(3, 5, 6))), 400, "bad-request")
    columns = np.zeros((30, 3), np.float32)
    problem(send(filled, "POST", "/v1/popularity", wire.SetPopularity(columns, Stamp(3, 5, 6))), 400, "bad-request")
    assert index.status().seq == 5


@pytest.mark.parametrize(
    "query",
    [
        Query(np.full(D + 3, np.nan, np.float32), 3),
        Query(np.full(D + 3, 1e20, np.float32), 3),
        Query(np.ones(D + 3, np.float32), 3, recent=["i1"], recent_weights=[float("nan")]),
        Query(np.ones(D + 3, np.float32), 3, recent=["i1"], recent_weights=[1e39]),
        Query(np.ones(D + 3, np.float32), 3, recent=["i1"]),
        Query(np.ones(D + 2, np.float32), 3),
        Query(np.ones((1, D + 3), np.float32), 3),
        Query(np.ones(D + 3, np.float32), 0),
        Query(np.ones(D + 3, np.float32), -1),
        Query(np.ones(D + 3, np.float32), MAX_HITS + 1),
        Query(np.ones(D + 3, np.float32), 10**18),
    ],
)
def test_a_query_that_cannot_be_answered_is_refused(filled, query):
    problem(send(filled, "POST", "/v1/search", wire.Search([query])), 400, "bad-request")


@pytest.mark.parametrize(
    "bad",
    [
        ItemRows(["a"], np.zeros((1, D), np.float32), np.zeros((1, D), np.float32), np.zeros((1, 2), np.float32)),
        ItemRows(["a", "a"], *(np.zeros((2, n), np.float32) for n in (D + 1, D, 2))),
        ItemRows(["a"], *(np.zeros((2, n), np.float32) for n in (D + 1, D, 2))),
        ItemRows(["a"], *(np.zeros(n, np.float32) for n in (D + 1, D, 2))),
        ItemRows(["a"], *(np.zeros((1, n), np.float32) for n in (1, 0, 2))),
    ],
    ids=["narrow", "twice", "too many", "flat", "no dimension"],
)
def test_rows_that_do_not_fit_together_are_refused(filled, index, bad):
    problem(send(filled, "POST", "/v1/upsert", wire.Upsert(bad, Stamp(3, 5, 6))), 400, "bad-request")
    problem(send(filled, "PUT", "/v1/snapshot", wire.Upsert(bad, Stamp(9, 0, 6))), 400, "bad-request")
    assert (index.status().epoch, index.status().seq, index.status().rows) == (3, 5, 30)


NO_SEARCH = wire.encode(wire.Delete([], Stamp(3, 5, 6)))


@pytest.mark.parametrize("body", [b"", b"\xc1", b"{}", b"\x80", b"\x93\x01", NO_SEARCH])
def test_a_body_that_is_no_message_is_refused(filled, body):
    for path in ("/v1/search", "/v1/similar", "/v1/upsert", "/v1/popularity"):
        problem(send(filled, "POST", path, body), 400, "bad-request")
    problem(send(filled, "PUT", "/v1/snapshot", body), 400, "bad-request")
    for deep in (b"\x91" * 3000, b"[" * 3000):
        problem(send(filled, "POST", "/v1/search", deep), 400, "bad-request")
        problem(send(filled, "POST", "/v1/search", deep, wire.JSON), 400, "bad-request")


@pytest.mark.parametrize("stamp", [Stamp(3, 5, 5), Stamp(3, 5, 4), Stamp(3, -1, 5)])
def test_a_write_that_goes_nowhere_is_refused(filled, stamp):
    problem(send(filled, "POST", "/v1/delete", wire.Delete(["i0"], stamp)), 400, "bad-request")


def test_a_body_too_large_is_refused_whether_or_not_it_says_so(filled):
    big = b"x" * (MAX_BODY_BYTES + 1)
    assert str(MAX_BODY_BYTES) in problem(send(filled, "POST", "/v1/search", big), 413, "body-too-large")
    untold = filled.simulate_post(
        "/v1/search", body=big, headers={"Content-Type": wire.MSGPACK, "Content-Length": "10"}
    )
    assert untold.status_code in (400, 413)
    problem(send(filled, "PUT", "/v1/snapshot", b"x" * 100_001), 413, "body-too-large")


def test_other_paths_methods_and_forms_are_problems_too(filled):
    problem(filled.simulate_get("/nowhere"), 404, "not-found")
    problem(filled.simulate_delete("/v1/search"), 405, "method-not-allowed")
    problem(send(filled, "POST", "/v1/search", b"x", "text/plain"), 415, "unsupported-media-type")


def test_many_items_at_once_are_refused_by_similar(filled):
    problem(send(filled, "POST", "/v1/similar", wire.Similar(["i1"] * 65, 3)), 400, "bad-request")
    problem(send(filled, "POST", "/v1/similar", wire.Similar(["i1"], 0)), 400, "bad-request")


# --- for people


def test_people_write_and_read_json(filled, rows):
    vector = [1.0] * (D + 3)
    body = json.dumps({"queries": [{"vector": vector, "k": 3, "lifted": ["i7"], "lifts": [0]}]}).encode()
    result = send(filled, "POST", "/v1/search", body, wire.JSON)
    [found] = result.json["answers"]
    scores = np.hstack([rows.vectors, rows.popularity]).sum(axis=1)
    assert found["item_ids"] == [f"i{row}" for row in np.argsort(-scores)[:3]]
    assert found["scores"] == pytest.approx(np.sort(scores)[::-1][:3], abs=1e-4)
    similar = send(filled, "POST", "/v1/similar", b'{"item_ids": ["i1"], "k": 2}', wire.JSON)
    assert [len(x) for x in similar.json["items"]["i1"]] == [2, 2]
    assert filled.simulate_get("/v1/status").json["items"] == 30
    for vector in ("[[[1]]]", '"AAAA"', "[[1], [2, 3]]", "null", "[1e400]"):
        text = f'{{"queries": [{{"vector": {vector}, "k": 3}}]}}'
        problem(send(filled, "POST", "/v1/search", text.encode(), wire.JSON), 400, "bad-request")


def test_programs_are_answered_in_messagepack(filled):
    result = filled.simulate_get("/v1/status", headers={"Accept": wire.MSGPACK})
    assert wire.decode(IndexStatus, result.content).items == 30


def test_more_queries_than_are_searched_at_once_come_back_in_order(filled):
    queries = [plain(np.eye(D + 3, dtype=np.float32)[nth % (D + 3)], k=1) for nth in range(100)]
    together = wire.decode(wire.Found, send(filled, "POST", "/v1/search", wire.Search(queries)).content).answers
    alone = [
        wire.decode(wire.Found, send(filled, "POST", "/v1/search", wire.Search([query])).content).answers[0]
        for query in queries
    ]
    assert [one.item_ids for one in together] == [one.item_ids for one in alone]


# --- for operators


def test_what_happens_is_counted(filled):
    send(filled, "POST", "/v1/search", wire.Search([plain(np.ones(D + 3, np.float32))]))
    send(filled, "POST", "/v1/delete", wire.Delete(["i0"], Stamp(3, 7, 8)))
    send(filled, "POST", "/v1/delete", wire.Delete(["i0"], Stamp(1, 5, 6)))
    send(filled, "POST", "/v1/delete", wire.Delete(["i0"], Stamp(3, 5, 6)))
    lines = filled.simulate_get("/metrics").text.splitlines()
    for line in ("index_items 29", "index_rows 30", "index_seq 6", "index_gaps_total 1", "index_stale_epochs_total 1"):
        assert line in lines
    assert "index_search_seconds_count 1" in lines
    assert filled.simulate_get("/version").json["version"] == "1.2"


def test_two_boots_are_told_apart():
    assert ItemIndex().boot_id != ItemIndex().boot_id
    assert msgspec.json.encode(ItemIndex().status())
