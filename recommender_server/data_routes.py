"""The routes that give and take data: items, users, events, and what became of them."""

from __future__ import annotations

import falcon.asgi

from recommender_server import item_resource, items_resource
from recommender_server.catalogue import Catalogue
from recommender_server.degradation import NewDeadline
from recommender_server.dependencies import Dependencies
from recommender_server.ingesting import Ingest
from recommender_server.item_resource import ItemResource
from recommender_server.items_resource import ItemsResource
from recommender_server.ndjson import Streams
from recommender_server.requests import Bounds

OPERATIONS = (*items_resource.OPERATIONS, *item_resource.OPERATIONS)


def add_data_routes(
    app: falcon.asgi.App, dependencies: Dependencies, ingest: Ingest, bounds: Bounds, deadline: NewDeadline
) -> None:
    """Add the routes of ``OPERATIONS``."""
    catalogue = Catalogue(dependencies, ingest, deadline)
    streams = Streams()
    app.add_route("/v1/items", ItemsResource(ingest, catalogue, streams, bounds, deadline))
    item = ItemResource(catalogue, bounds, deadline)
    app.add_route("/v1/items/{item_id}", item)
    app.add_route("/v1/items/{item_id}/neighbours", item, suffix="neighbours")
    app.add_route("/v1/categories", item, suffix="categories")
