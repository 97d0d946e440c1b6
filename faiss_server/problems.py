"""Errors as clients see them: problem+json (RFC 9457), each with a stable ``type``."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

import falcon
import falcon.asgi

from stores import index_wire as wire
from stores.ports import Gap, StaleEpoch

_log = logging.getLogger(__name__)


class Problem(falcon.HTTPError):
    """An answer that is an error. ``kind`` becomes the last part of its ``type``."""

    def __init__(self, status: int, kind: str, detail: str) -> None:
        super().__init__(status, title=kind.replace("-", " "), description=detail)
        self.kind = kind


def serialize(_request: falcon.asgi.Request, response: falcon.asgi.Response, error: falcon.HTTPError) -> None:
    """Write any HTTP error as problem+json, whatever the client accepts."""
    status = HTTPStatus(falcon.http_status_to_code(error.status))
    kind = error.kind if isinstance(error, Problem) else status.phrase.lower().replace(" ", "-")
    detail = error.description or status.description or status.phrase
    problem = wire.Problem(wire.PROBLEMS + kind, kind.replace("-", " "), status.value, detail)
    response.data = wire.encode(problem, wire.JSON)
    response.content_type = "application/problem+json"


async def translate(
    request: falcon.asgi.Request, _response: falcon.asgi.Response, error: Exception, _params: dict[str, Any]
) -> None:
    """Turn what the index raises into a ``Problem``; an unforeseen error is logged and told as no more than that."""
    if isinstance(error, StaleEpoch):
        raise Problem(409, wire.STALE_EPOCH, str(error))
    if isinstance(error, Gap):
        raise Problem(409, wire.GAP, str(error))
    if isinstance(error, ValueError):
        raise Problem(400, "bad-request", str(error))
    _log.error("%s %s failed", request.method, request.path, exc_info=error)
    raise Problem(500, "internal", "the faiss server failed to answer this request")
