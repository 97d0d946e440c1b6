"""The routes of the faiss server, described, and the OpenAPI document made from that."""

from __future__ import annotations

from typing import Any

import falcon
import falcon.asgi
import numpy as np

from stores import index_wire as wire
from stores import openapi, openapi_page
from stores.openapi import HTML, JSON, TEXT, Operation
from stores.ports import IndexStatus

BOTH = (wire.MSGPACK, JSON)
KINDS = {
    "bad-request": (400, "the body is no message of this route, or asks for what cannot be answered"),
    wire.STALE_EPOCH: (409, "a newer trainer has written"),
    wire.GAP: (409, "the index does not stand where this write starts from; send the whole table"),
    "body-too-large": (413, "the body has too many bytes"),
    "unsupported-media-type": (415, "neither MessagePack nor JSON"),
    "internal": (500, "a fault of the index"),
    wire.NOT_LOADED: (503, "no whole table has come since the process started"),
    "behind": (503, "a write from further on was refused; the whole table has not come yet"),
}
READING = ("bad-request", "body-too-large", "unsupported-media-type", wire.NOT_LOADED)
WRITING = ("bad-request", "body-too-large", "unsupported-media-type", wire.STALE_EPOCH, wire.GAP)


# The examples tell one story: a table of two dimensions is loaded, asked, and changed.
_LOADED = {
    "rows": {
        "item_ids": ["casablanca", "vertigo"],
        "vectors": [[0.6, 0.8, 0.1], [0.8, 0.6, 0.0]],
        "contexts": [[0.1, 0.2], [0.2, 0.1]],
        "popularity": [[1.0, 2.0], [0.5, 1.5]],
    },
    "stamp": {"epoch": 1, "from_seq": 0, "to_seq": 1},
}
_ADDED = {
    "rows": {
        "item_ids": ["alien"],
        "vectors": [[0.0, 1.0, 0.2]],
        "contexts": [[0.0, 0.3]],
        "popularity": [[0.1, 0.2]],
    },
    "stamp": {"epoch": 1, "from_seq": 1, "to_seq": 2},
}
_POPULARITY = {
    "columns": [[1.1, 2.0], [0.5, 1.5], [0.4, 0.3]],
    "stamp": {"epoch": 1, "from_seq": 2, "to_seq": 3},
}
_DELETED = {"item_ids": ["vertigo"], "stamp": {"epoch": 1, "from_seq": 3, "to_seq": 4}}
_QUERY = {"vector": [0.6, 0.8, 1.0, 0.5, 0.5], "k": 2, "recent": ["vertigo"], "recent_weights": [1.0]}


def _post(path: str, summary: str, body: Any, answer: Any, problems: tuple[str, ...], example: Any) -> Operation:
    return Operation(
        "post",
        path,
        summary,
        answer,
        body=body,
        body_media=BOTH,
        answer_media=BOTH,
        problems=problems,
        example=example,
    )


OPERATIONS = (
    Operation(
        "put",
        "/v1/snapshot",
        "Replace the whole table.",
        IndexStatus,
        body=wire.Upsert,
        body_media=BOTH,
        answer_media=BOTH,
        problems=("bad-request", "body-too-large", "unsupported-media-type", wire.STALE_EPOCH),
        example=_LOADED,
    ),
    _post("/v1/search", "The best items of several queries.", wire.Search, wire.Found, READING, {"queries": [_QUERY]}),
    _post(
        "/v1/similar",
        "The nearest of several items.",
        wire.Similar,
        wire.FoundSimilar,
        READING,
        {"item_ids": ["casablanca"], "k": 1},
    ),
    _post(
        "/v1/vectors",
        "The vectors of several items, at length 1.",
        wire.AskVectors,
        wire.FoundVectors,
        READING,
        {"item_ids": ["casablanca", "vertigo"]},
    ),
    Operation("get", "/v1/status", "Where the index stands.", IndexStatus, answer_media=BOTH),
    _post("/v1/upsert", "Add or overwrite rows.", wire.Upsert, IndexStatus, WRITING, _ADDED),
    _post("/v1/popularity", "Overwrite the popularity columns.", wire.SetPopularity, IndexStatus, WRITING, _POPULARITY),
    _post("/v1/delete", "Make items unfindable.", wire.Delete, IndexStatus, WRITING, _DELETED),
    Operation("get", "/healthz", "The process answers.", dict[str, str]),
    Operation(
        "get", "/readyz", "The index holds the newest state.", dict[str, str], problems=(wire.NOT_LOADED, "behind")
    ),
    Operation("get", "/version", "The program, its version, and this boot.", dict[str, str]),
    Operation("get", "/metrics", "Prometheus text.", None, answer_media=(TEXT,)),
    Operation("get", "/openapi.json", "This document.", dict[str, Any]),
    Operation("get", "/docs", "This document for people.", None, answer_media=(HTML,)),
)


def document(version: str) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document."""
    return openapi.document("faiss server", version, OPERATIONS, KINDS, {}, _array)


def _array(kind: Any) -> dict[str, Any]:
    if kind is not np.ndarray:
        raise NotImplementedError(f"no schema for {kind}")
    return {
        "type": "array",
        "description": "float32 numbers, or rows of them. In MessagePack: [shape, little-endian float32 bytes].",
    }


class DocumentRoutes:
    """``/openapi.json`` and ``/docs``."""

    def __init__(self, version: str) -> None:
        self._document = document(version)

    async def on_get_openapi(self, _request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        """Describe the routes to programs."""
        response.content_type = JSON
        response.data = wire.encode(self._document, JSON)

    async def on_get_docs(self, _request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        """Describe the routes to people."""
        response.content_type = falcon.MEDIA_HTML
        response.set_header("Content-Security-Policy", openapi_page.CONTENT_SECURITY_POLICY)
        response.text = openapi_page.page(self._document)
