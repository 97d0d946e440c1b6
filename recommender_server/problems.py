"""Errors as clients see them: problem+json (RFC 9457), each with a stable ``type``."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

import falcon
import falcon.asgi
import msgspec

MEDIA_PROBLEM = "application/problem+json"

# Every kind of problem that a route may answer, with its status and what it means to the client.
KINDS: dict[str, tuple[int, str]] = {
    "bad-parameter": (400, "a parameter or member cannot be used; `parameter` names it"),
    "unknown-parameter": (400, "a parameter or member that means nothing here; `parameter` names it"),
    "bad-filter": (400, "the filter cannot be read; `position` is the character, from 0, where it went wrong"),
    "bad-cursor": (400, "not a cursor that an answer gave"),
    "bad-rule": (400, "not a rule"),
    "bad-json": (400, "the body is not JSON"),
    "bad-body": (400, "the body is JSON of another shape"),
    "bad-batch": (400, "too few or too many records"),
    "bad-event": (400, "none of the events can be accepted; `reason` or `results` say why"),
    "bad-item": (400, "none of the items can be accepted; `reason` or `results` say why"),
    "no-key": (401, "the route takes a key of this server, as Authorization: Bearer KEY"),
    "key-lacks-scope": (403, "the key may not do this; `scope` says what it lacks"),
    "cross-origin": (403, "a page of another site sent this"),
    "unknown-item": (404, "nobody knows the item"),
    "unknown-receipt": (404, "no event has the receipt"),
    "item-exists": (412, "there is an item of this id already, and If-None-Match: * asked for none"),
    "not-found": (404, "there is nothing at this path"),
    "unknown-request": (404, "the log does not hold what was served to this request"),
    "unknown-rule": (404, "no rule is stored under this name"),
    "body-too-slow": (408, "the body did not arrive in time"),
    "too-many-rules": (409, "no further rule can be stored"),
    "body-too-large": (413, "the body has too many bytes; `max_bytes` says how many it may have"),
    "too-many-requests": (429, "the key sent more requests a second than it may"),
    "internal": (500, "a fault of the recommender"),
    "starting": (503, "nothing was learned or published yet"),
    "too-many-requests-at-once": (503, "the recommender is busy"),
    "items-unavailable": (503, "the item store does not answer"),
    "users-unavailable": (503, "the user store does not answer"),
    "log-unavailable": (503, "the event log does not answer; events may have been accepted all the same"),
}

_log = logging.getLogger(__name__)
_encoder = msgspec.json.Encoder()


class Problem(falcon.HTTPError):
    """An answer that is an error. ``kind`` becomes the last part of its ``type``, ``/problems/<kind>``."""

    def __init__(
        self, status: int, kind: str, detail: str, *, retry_after_s: int | None = None, **members: Any
    ) -> None:
        headers = None if retry_after_s is None else {"Retry-After": str(retry_after_s)}
        super().__init__(status, title=kind.replace("-", " "), description=detail, headers=headers)
        self.kind = kind
        self.members = members


def bad_parameter(name: str, detail: str) -> Problem:
    """The problem of a parameter or body member that cannot be used."""
    return Problem(400, "bad-parameter", detail, parameter=name)


def starting(detail: str) -> Problem:
    """The problem of a request that came before there was anything to answer with."""
    return Problem(503, "starting", detail, retry_after_s=1)


def document_of(error: falcon.HTTPError) -> dict[str, Any]:
    """Return an error as the members of its problem document."""
    status = HTTPStatus(falcon.http_status_to_code(error.status))
    kind = error.kind if isinstance(error, Problem) else status.phrase.lower().replace(" ", "-")
    document: dict[str, Any] = {
        "type": f"/problems/{kind}",
        "title": kind.replace("-", " "),
        "status": status.value,
        "detail": error.description or status.description or status.phrase,
    }
    return document | error.members if isinstance(error, Problem) else document


def serialize(_request: falcon.asgi.Request, response: falcon.asgi.Response, error: falcon.HTTPError) -> None:
    """Write any HTTP error as problem+json, whatever the client accepts."""
    response.data = _encoder.encode(document_of(error))
    response.content_type = MEDIA_PROBLEM


async def unexpected(
    request: falcon.asgi.Request, _response: falcon.asgi.Response, error: Exception, _params: dict[str, Any]
) -> None:
    """Log a fault of this program with its traceback and tell the client no more than that."""
    _log.error("%s %s failed", request.method, request.path, exc_info=error)
    raise Problem(500, "internal", "the recommender failed to answer this request")
