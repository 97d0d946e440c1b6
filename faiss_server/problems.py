"""Errors as clients see them: problem+json (RFC 9457), each with a stable ``type``."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

import falcon
import falcon.asgi

from faiss_server.fencing import BadStamp
from faiss_server.item_index import NotLoaded
from faiss_server.item_table import BadRows
from faiss_server.searching import BadQuery
from stores import index_wire as wire
from stores.ports import Gap, StaleEpoch

REFUSALS: tuple[type[Exception], ...] = (
    StaleEpoch,
    Gap,
    NotLoaded,
    BadQuery,
    BadRows,
    BadStamp,
    wire.BadMessage,
)
MEDIA_PROBLEM = "application/problem+json"

_log = logging.getLogger(__name__)

Request = falcon.asgi.Request
Response = falcon.asgi.Response


class Problem(falcon.HTTPError):
    """An answer that is an error. ``kind`` becomes the last part of its ``type``, ``/problems/<kind>``."""

    def __init__(self, status: int, kind: str, detail: str) -> None:
        headers = {"Retry-After": "1"} if status == 503 else None
        super().__init__(status, title=kind.replace("-", " "), description=detail, headers=headers)
        self.kind = kind


def serialize(_request: Request, response: Response, error: falcon.HTTPError) -> None:
    """Write any HTTP error as problem+json, whatever the client accepts."""
    status = HTTPStatus(falcon.http_status_to_code(error.status))
    kind = error.kind if isinstance(error, Problem) else status.phrase.lower().replace(" ", "-")
    response.content_type = MEDIA_PROBLEM
    response.data = wire.encode(
        wire.Problem(
            type=wire.PROBLEMS + kind,
            title=kind.replace("-", " "),
            status=status.value,
            detail=error.description or status.description or status.phrase,
        ),
        wire.JSON,
    )


async def refused(_request: Request, _response: Response, error: Exception, _params: dict[str, Any]) -> None:
    """Answer what the index refuses."""
    if isinstance(error, StaleEpoch):
        raise Problem(409, wire.STALE_EPOCH, str(error))
    if isinstance(error, Gap):
        raise Problem(409, wire.GAP, str(error))
    if isinstance(error, NotLoaded):
        raise Problem(503, wire.NOT_LOADED, str(error))
    raise Problem(400, "bad-request", str(error))


async def unexpected(request: Request, _response: Response, error: Exception, _params: dict[str, Any]) -> None:
    """Log a fault of this program with its traceback and tell the client no more than that."""
    _log.error("%s %s failed", request.method, request.path, exc_info=error)
    raise Problem(500, "internal", "the index failed to answer this request")
