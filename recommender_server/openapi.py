"""The OpenAPI document of the recommender, made from the ``OPERATIONS`` of its resources."""

from __future__ import annotations

from typing import Any

import falcon.asgi

from recommender_server import (
    batch_resource,
    data_routes,
    health,
    live_report,
    page_resource,
    rank_resource,
    recommendations_resource,
    rules_resource,
    served_resource,
    similar_resource,
)
from recommender_server.access import REFUSALS, scope_of
from recommender_server.answers import answer
from recommender_server.problems import KINDS
from recommender_server.requests import Bounds
from stores import openapi, openapi_page
from stores.openapi import HTML, Guard, Operation

OPERATIONS = (
    *recommendations_resource.OPERATIONS,
    *served_resource.OPERATIONS,
    *batch_resource.OPERATIONS,
    *rank_resource.OPERATIONS,
    *rules_resource.OPERATIONS,
    *data_routes.OPERATIONS,
    *similar_resource.OPERATIONS,
    *live_report.OPERATIONS,
    *page_resource.OPERATIONS,
    *health.OPERATIONS,
    Operation("get", "/openapi.json", "This document.", dict[str, Any]),
    Operation("get", "/docs", "This document for people.", None, answer_media=(HTML,)),
)


def document(version: str, bounds: Bounds) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of a recommender with these limits."""
    limits = {"max_k": bounds.max_k}
    return openapi.document("recommender", version, OPERATIONS, KINDS, limits, guard=Guard(scope_of, REFUSALS))


class DocumentResource:
    """``/openapi.json`` and ``/docs``."""

    def __init__(self, version: str, bounds: Bounds) -> None:
        self._document = document(version, bounds)

    async def on_get_openapi(self, _request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        """Describe the API to programs."""
        answer(response, self._document)

    async def on_get_docs(self, _request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        """Describe the API to people."""
        response.content_type = falcon.MEDIA_HTML
        response.set_header("Content-Security-Policy", openapi_page.CONTENT_SECURITY_POLICY)
        response.text = openapi_page.page(self._document)
