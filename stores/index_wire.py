"""The messages between the faiss server and its clients, shared by both sides.

Bodies are MessagePack; the records of ``stores.ports`` travel as they are, an array as ``[shape, raw float32 bytes]``
(little-endian, row by row). For people the same routes read and write JSON, where an array is nested lists of numbers.
Errors are problem+json (RFC 9457); the last part of their ``type`` is one of the words below.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

import msgspec
import numpy as np

from stores.ports import MAX_HITS, Candidates, ItemRows, Query, Stamp, Vectors

MSGPACK = "application/msgpack"
JSON = "application/json"

PROBLEMS = "/problems/"
STALE_EPOCH = "stale-epoch"
GAP = "gap"
NOT_LOADED = "not-loaded"

# No message holds an array of more dimensions.
_MAX_DIMENSIONS = 2


class Upsert(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of ``POST /v1/upsert`` and ``PUT /v1/snapshot``."""

    rows: ItemRows
    stamp: Stamp


class SetPopularity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of ``POST /v1/popularity``."""

    columns: Vectors
    stamp: Stamp


class Delete(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of ``POST /v1/delete``."""

    item_ids: list[str]
    stamp: Stamp


class Search(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of ``POST /v1/search``."""

    queries: Sequence[Query]


class Found(msgspec.Struct, frozen=True):
    """Answer of ``POST /v1/search``: one entry per query, in order."""

    answers: list[Candidates]


class Similar(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of ``POST /v1/similar``."""

    item_ids: Sequence[str]
    k: Annotated[int, msgspec.Meta(ge=1, le=MAX_HITS)]


class FoundSimilar(msgspec.Struct, frozen=True):
    """Answer of ``POST /v1/similar``: (item_id, cosine), best first, of every known item."""

    items: dict[str, list[tuple[str, float]]]


class AskVectors(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of ``POST /v1/vectors``."""

    item_ids: Sequence[str]


class FoundVectors(msgspec.Struct, frozen=True):
    """Answer of ``POST /v1/vectors``: of the known items, in the order asked for, (n, d) float32 of length 1."""

    item_ids: list[str]
    vectors: Vectors


class Problem(msgspec.Struct, frozen=True):
    """An error as clients see it."""

    type: str
    title: str
    status: int
    detail: str


Message = TypeVar("Message")


class BadMessage(ValueError):
    """A body that is no message of the kind expected; the message says why."""


def _to_bytes(array: Any) -> Any:
    if not isinstance(array, np.ndarray):
        raise NotImplementedError(f"no form for {type(array)}")
    return array.shape, np.ascontiguousarray(array, dtype="<f4").data


def _to_lists(array: Any) -> Any:
    if not isinstance(array, np.ndarray):
        raise NotImplementedError(f"no form for {type(array)}")
    return array.tolist()


def _from_bytes(_kind: Any, value: Any) -> Vectors:
    """Read ``[shape, bytes]``; the array is a read-only view of the bytes. ``ValueError`` when they do not fit."""
    if not (isinstance(value, list) and len(value) == 2 and isinstance(value[0], list) and isinstance(value[1], bytes)):
        raise ValueError("an array is written [shape, float32 bytes]")
    shape, data = value
    if len(shape) > _MAX_DIMENSIONS or any(type(size) is not int or size < 0 for size in shape):
        raise ValueError("the shape of an array is a list of at most two sizes")
    if math.prod(shape) * 4 != len(data):
        raise ValueError(f"an array of shape {shape} has {math.prod(shape) * 4} bytes, not {len(data)}")
    array = np.frombuffer(data, dtype="<f4").reshape(shape)
    return array if sys.byteorder == "little" else array.astype(np.float32)


def _from_lists(_kind: Any, value: Any) -> Vectors:
    try:
        with np.errstate(over="ignore"):  # whoever uses the numbers refuses what is not finite
            array = np.array(value, dtype=np.float32)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("an array is written as (nested) lists of numbers, all of one length") from None
    if not isinstance(value, list) or array.ndim > _MAX_DIMENSIONS:
        raise ValueError("an array is written as a list of numbers, or a list of lists of them")
    return array


_msgpack_encoder = msgspec.msgpack.Encoder(enc_hook=_to_bytes)
_json_encoder = msgspec.json.Encoder(enc_hook=_to_lists)
_decoders: dict[tuple[type, str], Any] = {}


def encode(message: Any, media_type: str = MSGPACK) -> bytes:
    """Return the body of a message; a number that is not finite becomes ``null`` in JSON."""
    return _json_encoder.encode(message) if media_type == JSON else _msgpack_encoder.encode(message)


def decode(kind: type[Message], body: bytes | bytearray | memoryview, media_type: str = MSGPACK) -> Message:
    """Read a body. Raises ``BadMessage`` when it is none of this kind."""
    decoder = _decoders.get((kind, media_type))
    if decoder is None:
        decoder = _decoders[kind, media_type] = (
            msgspec.json.Decoder(kind, dec_hook=_from_lists)
            if media_type == JSON
            else msgspec.msgpack.Decoder(kind, dec_hook=_from_bytes)
        )
    try:
        message: Message = decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadMessage(f"the body is not readable: {error}") from None
    return message
