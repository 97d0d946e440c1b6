"""The description of the faiss server's routes is complete."""

from __future__ import annotations

import json

import falcon.inspect
import falcon.testing

from faiss_server.app import create_app
from faiss_server.item_index import ItemIndex
from faiss_server.openapi import KINDS, OPERATIONS
from faiss_server.settings import FaissServerSettings
from stores.clock import SystemClock
from stores.openapi import COMMON_PROBLEMS
from stores.recording_metrics import RecordingMetrics


def test_every_route_is_declared_and_the_document_is_served() -> None:
    metrics = RecordingMetrics()
    app = create_app(
        ItemIndex(),
        FaissServerSettings(),
        clock=SystemClock(),
        metrics=metrics,
        exposition=metrics.prometheus_text,
        version="1.2",
    )
    routes = falcon.inspect.inspect_routes(app)
    served = {(one.method.lower(), route.path) for route in routes for one in route.methods if not one.internal}
    assert {(one.method, one.path) for one in OPERATIONS} == served
    client = falcon.testing.TestClient(app)
    document = json.loads(client.simulate_get("/openapi.json").content)
    assert document["info"] == {"title": "faiss server", "version": "1.2"}
    page = client.simulate_get("/docs").text
    assert all(one.path in page for one in OPERATIONS)


def test_every_kind_of_problem_is_answered_by_some_route() -> None:
    assert {kind for one in OPERATIONS for kind in (*one.problems, *COMMON_PROBLEMS)} == set(KINDS)
