"""Reading requests: parameters, ids, bodies, each checked before anything else sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import falcon
import falcon.asgi
import msgspec

from models.events import BadEvent, checked_id
from recommender_server.degradation import Deadline
from recommender_server.problems import Problem, bad_parameter
from stores.ports import Receipt

# Lists in a request (favourites, exclusions): generous for a cart or a profile, bounded for the round trip they cause.
MAX_LISTED = 500
# In a query, whose address must stay below 64 KiB.
MAX_REPEATED = 50


class Bounds(msgspec.Struct, frozen=True):
    """The limits that requests are held to."""

    default_k: int
    max_k: int
    max_body_bytes: int
    max_batch: int


# --- single values --------------------------------------------------------------------------------------------------


def query_parameters(request: falcon.asgi.Request, known: Iterable[str]) -> dict[str, str]:
    """Return the query parameters. Raises ``Problem`` on an unknown, a repeated or a badly encoded one."""
    refuse_unknown(request.params, known)
    given: dict[str, str] = {}
    for name, value in request.params.items():
        if not isinstance(value, str):
            raise bad_parameter(name, f"{name} may be given once")
        given[name] = value
    return given


def repeatable_parameters(
    request: falcon.asgi.Request, known: Iterable[str], repeatable: Collection[str]
) -> dict[str, str | list[str]]:
    """Return the query parameters, those that may be repeated as lists. Raises ``Problem``."""
    refuse_unknown(request.params, known)
    given: dict[str, str | list[str]] = {}
    for name, value in request.params.items():
        if name in repeatable:
            value = [value] if isinstance(value, str) else value
            if len(value) > MAX_REPEATED:
                raise bad_parameter(name, f"{name} may be repeated {MAX_REPEATED} times; POST takes longer lists")
        elif not isinstance(value, str):
            raise bad_parameter(name, f"{name} may be given once")
        given[name] = value
    return given


def refuse_unknown(members: Mapping[str, Any], known: Iterable[str]) -> None:
    """Raise ``Problem`` for a name that means nothing here: a misspelt parameter must not be ignored in silence."""
    names = list(known)
    for name in members:
        if name not in names:
            raise Problem(
                400,
                "unknown-parameter",
                f"{name[:64]!r} is unknown here; known are {', '.join(names) or 'none'}",
                parameter=name[:64],
            )


def external_id(name: str, value: Any) -> str:
    """Read an id of a user or an item. Raises ``Problem``."""
    try:
        return checked_id(name, value)
    except (BadEvent, ValueError) as error:  # ValueError: a whole number of thousands of digits
        raise bad_parameter(name, str(error)) from None


def id_list(name: str, value: Any) -> list[str]:
    """Read a list of ids. Raises ``Problem``."""
    if not isinstance(value, list):
        raise bad_parameter(name, f"{name} must be a list of ids")
    if len(value) > MAX_LISTED:
        raise bad_parameter(name, f"{name} may list {MAX_LISTED} ids, not {len(value)}")
    return [external_id(name, item) for item in value]


def count(name: str, value: Any, maximum: int) -> int:
    """Read how many items are wanted, from query text or JSON. Raises ``Problem``."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 10:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= maximum:
        raise bad_parameter(name, f"{name} must be a whole number from 1 to {maximum}")
    return value


def number(name: str, value: Any) -> int:
    """Read a whole number from 0 on, from query text. Raises ``Problem``."""
    if not (isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 15):
        raise bad_parameter(name, f"{name} must be a whole number of at most 15 digits")
    return int(value)


def one_of(name: str, value: Any, allowed: tuple[str, ...]) -> str:
    """Read a word out of a few. Raises ``Problem``."""
    if not isinstance(value, str) or value not in allowed:
        raise bad_parameter(name, f"{name} must be {' or '.join(allowed)}")
    return value


def read_k(request: falcon.asgi.Request, bounds: Bounds) -> int:
    """Read ``k`` where it is the only parameter. Raises ``Problem``."""
    return count("k", query_parameters(request, ("k",)).get("k", bounds.default_k), bounds.max_k)


def refuse_batch_size(batch: list[Any], most: int) -> None:
    """Raise ``Problem`` for an empty or a too long batch."""
    if not 1 <= len(batch) <= most:
        raise Problem(400, "bad-batch", f"a batch holds 1 to {most} records, not {len(batch)}")


def share(name: str, value: Any) -> float:
    """Read a number from 0 to 1, from query text or JSON. Raises ``Problem``."""
    if isinstance(value, str):
        try:
            value = float(value) if value.isascii() and len(value) <= 20 else None
        except ValueError:
            value = None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise bad_parameter(name, f"{name} must be a number from 0 to 1")
    return float(value)


def short_text(name: str, value: Any, most: int) -> str:
    """Read a text of 1 to ``most`` characters. Raises ``Problem``."""
    if not isinstance(value, str) or not 1 <= len(value) <= most:
        raise bad_parameter(name, f"{name} must be a text of 1 to {most} characters")
    return value


def receipt(name: str, value: Any) -> Receipt:
    """Read a receipt. Raises ``Problem``."""
    if not isinstance(value, str):
        raise bad_parameter(name, f"{name} must be a receipt, text as POST /v1/events answered it")
    try:
        return Receipt.parse(value)
    except ValueError as error:
        raise bad_parameter(name, str(error)) from None


# --- bodies ---------------------------------------------------------------------------------------------------------


async def read_body(request: falcon.asgi.Request, max_bytes: int, deadline: Deadline) -> bytes:
    """Read the whole body. Raises ``Problem``: too large, or too slow."""
    too_large = Problem(413, "body-too-large", f"a body may have {max_bytes} bytes", max_bytes=max_bytes)
    if (request.content_length or 0) > max_bytes:
        raise too_large
    body = await _read(request, max_bytes + 1, deadline)
    if len(body) > max_bytes:  # no Content-Length said so
        raise too_large
    return body


async def read_json(request: falcon.asgi.Request, max_bytes: int, deadline: Deadline) -> Any:
    """Read and decode the whole body. Raises ``Problem``: too large, too slow, or no JSON."""
    body = await read_body(request, max_bytes, deadline)
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(400, "bad-json", f"the body is not JSON: {error}") from None


async def _read(request: falcon.asgi.Request, most_bytes: int, deadline: Deadline) -> bytes:
    try:
        async with asyncio.timeout(deadline.remaining_s()):
            return await request.stream.read(most_bytes)
    except TimeoutError:
        raise Problem(408, "body-too-slow", "the body did not arrive in time") from None


def path_id(name: str, segment: str) -> str:
    """Read an id out of the path, where it stands percent-encoded (so that an id may contain a slash)."""
    return external_id(name, falcon.uri.decode(segment, unquote_plus=False))
