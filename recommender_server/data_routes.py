"""The routes that give and take data: items, users, events, and what became of them."""

from __future__ import annotations

import falcon.asgi

from models.events import PositiveRule
from recommender_server import (
    dead_letters_resource,
    events_resource,
    exchange_resource,
    item_resource,
    items_resource,
    outcomes,
    popular_resource,
    user_resource,
)
from recommender_server.catalogue import Catalogue
from recommender_server.charts import Charts
from recommender_server.current_state import CurrentState
from recommender_server.dead_letters_resource import DeadLettersResource
from recommender_server.degradation import NewDeadline
from recommender_server.dependencies import Dependencies
from recommender_server.event_fates import EventFates
from recommender_server.events_resource import EventsResource
from recommender_server.exchange import Exchange
from recommender_server.exchange_resource import ExportResource, ImportResource
from recommender_server.history import Histories
from recommender_server.ingesting import Ingest
from recommender_server.item_resource import ItemResource
from recommender_server.items_resource import ItemsResource
from recommender_server.ndjson import Streams
from recommender_server.outcomes import OutcomesResource
from recommender_server.popular_resource import PopularResource
from recommender_server.recommending import Recommender
from recommender_server.requests import Bounds
from recommender_server.similar_users import SimilarUserFinder
from recommender_server.user_resource import UserResource
from stores.ports import Clock

OPERATIONS = (
    *events_resource.OPERATIONS,
    *items_resource.OPERATIONS,
    *item_resource.OPERATIONS,
    *user_resource.OPERATIONS,
    *popular_resource.OPERATIONS,
    *outcomes.OPERATIONS,
    *dead_letters_resource.OPERATIONS,
    *exchange_resource.OPERATIONS,
)


def add_data_routes(
    app: falcon.asgi.App,
    dependencies: Dependencies,
    ingest: Ingest,
    histories: Histories,
    recommender: Recommender,
    current: CurrentState,
    positives: PositiveRule,
    bounds: Bounds,
    clock: Clock,
    deadline: NewDeadline,
) -> None:
    """Add the routes of ``OPERATIONS``."""
    catalogue = Catalogue(dependencies, ingest, deadline)
    streams = Streams()
    fates = EventFates(dependencies, deadline)
    events = EventsResource(ingest, fates, streams, bounds, deadline)
    app.add_route("/v1/events", events)
    app.add_route("/v1/events/{receipt}", events, suffix="receipt")
    app.add_route("/v1/items", ItemsResource(ingest, catalogue, streams, bounds, deadline))
    item = ItemResource(catalogue, bounds, deadline)
    app.add_route("/v1/items/{item_id}", item)
    app.add_route("/v1/items/{item_id}/neighbours", item, suffix="neighbours")
    app.add_route("/v1/categories", item, suffix="categories")
    user = UserResource(histories, SimilarUserFinder(dependencies, deadline), ingest, bounds)
    app.add_route("/v1/users/{user_id}", user)
    app.add_route("/v1/users/{user_id}/history", user, suffix="history")
    app.add_route("/v1/users/{user_id}/similar", user, suffix="similar")
    charts = Charts(dependencies, current, clock, deadline)
    app.add_route("/v1/popular", PopularResource(recommender, charts, bounds))
    app.add_route("/v1/outcomes", OutcomesResource(dependencies, deadline))
    letters = DeadLettersResource(fates, bounds, deadline)
    app.add_route("/v1/dead_letters", letters)
    app.add_route("/v1/dead_letters/redrive", letters, suffix="redrive")
    exchange = Exchange(dependencies, ingest, positives, deadline)
    exporting, importing = ExportResource(exchange, streams), ImportResource(exchange, ingest, streams, bounds)
    for kind in ("items", "users", "events"):
        app.add_route(f"/v1/export/{kind}", exporting, suffix=kind)
        app.add_route(f"/v1/import/{kind}", importing, suffix=kind)
