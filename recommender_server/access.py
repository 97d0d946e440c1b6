"""Who may ask what: keys with scopes, a rate per key, and requests that some other site sent.

A key is 32 random bytes; settings hold its sha256 only. ``python -m recommender_server.access shop ingest`` makes one.
Without any key everybody may do everything, and the server starts on the loopback interface only.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

import falcon.asgi
import msgspec

from recommender_server.problems import Problem
from stores.ports import Clock, Metrics

Scope = Literal["read", "ingest", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

# Everybody may see that the server lives, what its API is, and the page, which asks for a key itself.
OPEN = frozenset({"/", "/healthz", "/readyz", "/version", "/openapi.json", "/docs", "/page/{name}"})
# What is posted but changes nothing, and what feeds the model. Any other change, and these reads, take an admin.
READING = frozenset({"/v1/recommendations", "/v1/recommendations:batch", "/v1/rank"})
INGESTING = frozenset({"/v1/events", "/v1/items", "/v1/items/{item_id}"})
ADMIN_READING = ("/v1/dead_letters", "/v1/export")

REFUSALS = ("no-key", "key-lacks-scope", "cross-origin", "too-many-requests")


def scope_of(method: str, path: str) -> Scope | None:
    """Return the scope that a method (lower case) of a route's template needs; ``None``: none at all."""
    if path in OPEN:
        return None
    if method in ("get", "head", "options"):
        return "admin" if path.startswith(ADMIN_READING) else "read"
    if method == "post" and path in READING:
        return "read"
    return "ingest" if method in ("post", "put", "patch") and path in INGESTING else "admin"


class Key(msgspec.Struct, frozen=True):
    """One key: what it is called in metrics, what it may, and its sha256."""

    name: str
    scopes: frozenset[str]
    digest: bytes


def keys_of(text: str) -> list[Key]:
    """Read the setting: ``name:scope+scope:sha256`` and so on, separated by commas. Raises ``ValueError``."""
    clauses = [clause.strip() for clause in text.split(",") if clause.strip()]
    keys = [_key_of(number, clause) for number, clause in enumerate(clauses, start=1)]
    if len({key.name for key in keys}) < len(keys):
        raise ValueError("two keys have the same name")
    return keys


def _key_of(number: int, clause: str) -> Key:
    # The clause is not repeated in an error: somebody may have put a key where its digest belongs.
    name, _, rest = clause.partition(":")
    scopes, _, digest = rest.partition(":")
    if not name.isidentifier() or set(scopes.split("+")) - set(SCOPES):
        raise ValueError(f"key {number} must read name:scope+scope:sha256; scopes are {', '.join(SCOPES)}")
    try:
        found = bytes.fromhex(digest)
    except ValueError:
        found = b""
    if len(found) != hashlib.sha256().digest_size:
        raise ValueError(f"key {number} needs the 64 hexadecimal digits of its sha256")
    return Key(name, frozenset(scopes.split("+")), found)


def public_addresses(addresses: Iterable[Any]) -> list[str]:
    """Return which addresses of a server, ``(host, port)`` or a socket's path, others than this machine can reach."""
    public = []
    for address in addresses:
        if isinstance(address, tuple):
            host = str(address[0])
            try:
                loopback = ipaddress.ip_address(host).is_loopback
            except ValueError:
                loopback = host == "localhost"
            if not loopback:
                public.append(f"{host}:{address[1]}")
    return public


class Access:
    """Falcon middleware: after routing, before the resource."""

    def __init__(self, keys: Sequence[Key], rate_per_s: float, clock: Clock, metrics: Metrics) -> None:
        self._keys = keys
        self._clock = clock
        self._metrics = metrics
        self._buckets = {key.name: _Bucket(rate_per_s, clock.monotonic_s()) for key in keys}

    async def process_resource(
        self, request: falcon.asgi.Request, _response: falcon.asgi.Response, _resource: Any, _params: dict[str, Any]
    ) -> None:
        """Let the request pass, or raise ``Problem``."""
        method = request.method.lower()
        needed = scope_of(method, request.uri_template or "")
        if needed is None:
            return
        if needed != "read" and _from_elsewhere(request):
            raise self._refused(403, "cross-origin", "a page of another site sent this")
        if not self._keys:
            return
        key = self._key_of(request)
        if key is None:
            raise self._refused(401, "no-key", "send a key of this server as Authorization: Bearer KEY")
        if needed not in key.scopes:
            raise self._refused(403, "key-lacks-scope", f"this takes a key with scope {needed}", scope=needed)
        wait_s = self._buckets[key.name].take(self._clock.monotonic_s())
        if wait_s:
            raise self._refused(
                429,
                "too-many-requests",
                "more requests a second than a key may send",
                retry_after_s=max(1, round(wait_s)),
            )

    def _key_of(self, request: falcon.asgi.Request) -> Key | None:
        given = (request.get_header("Authorization") or "").removeprefix("Bearer ").strip()
        digest = hashlib.sha256(given.encode()).digest()
        found = None
        for key in self._keys:  # all of them, each in constant time: how long it takes tells nothing
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found

    def _refused(self, status: int, kind: str, detail: str, **members: Any) -> Problem:
        self._metrics.count("access_refused", reason=kind)
        return Problem(status, kind, detail, **members)


class _Bucket:
    """A token bucket that holds one second's worth."""

    def __init__(self, rate_per_s: float, now_s: float) -> None:
        self._rate_per_s = rate_per_s
        self._most = max(1.0, rate_per_s)
        self._tokens = self._most
        self._at_s = now_s

    def take(self, now_s: float) -> float:
        """Take one token and return 0, or return the seconds until there is one."""
        self._tokens = min(self._most, self._tokens + (now_s - self._at_s) * self._rate_per_s)
        self._at_s = now_s
        if self._tokens < 1.0:
            return (1.0 - self._tokens) / self._rate_per_s
        self._tokens -= 1.0
        return 0.0


def _from_elsewhere(request: falcon.asgi.Request) -> bool:
    """Whether a browser sent this for a page of another origin: it can write here though it cannot read."""
    origin = request.get_header("Origin")
    return origin is not None and urlsplit(origin).netloc != request.get_header("Host")


def main(arguments: Sequence[str]) -> int:
    """Make a key: print it, and what to add to API_KEYS; return the exit code."""
    if len(arguments) < 2 or set(arguments[1:]) - set(SCOPES) or not arguments[0].isidentifier():
        print(f"usage: python -m recommender_server.access NAME {{{'|'.join(SCOPES)}}}...", file=sys.stderr)
        return 2
    key = secrets.token_urlsafe(32)
    digest = hashlib.sha256(key.encode()).hexdigest()
    print(f"the key, shown this once:  {key}")
    print(f"add to API_KEYS:           {arguments[0]}:{'+'.join(arguments[1:])}:{digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
