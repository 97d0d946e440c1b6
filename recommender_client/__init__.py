"""A typed client of the recommender for other people's programs. It needs the standard library and nothing else.

    with Recommender("http://127.0.0.1:8000", key="…") as recommender:
        receipt = recommender.like("ada", "casablanca")
        for item in recommender.recommend("ada", k=5, after=receipt).items:
            print(item.title or item.item_id, item.score, item.reason)

It covers what most programs do; everything else is in ``/docs`` of the server. For load and measurements there is
``demo.client``. Members of answers that it does not know
are passed over, so that an older client understands a newer server.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeVar
from urllib.parse import quote, urlencode, urlsplit

# How long to wait before the one further attempt of a request that may be repeated.
_PAUSE_S = 0.2


class Unreachable(Exception):
    """No answer. What was sent may have arrived; events with an ``event_id`` can be sent again without harm."""


class Refused(Exception):
    """An answer that is an error.

    ``kind``: the last part of the problem's ``type``, such as ``bad-filter``. ``problem``: all that the server said.
    """

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status = status
        self.problem = dict(problem)
        self.kind = str(problem.get("type", "")).rpartition("/")[2] or "unknown"
        super().__init__(f"{status} {self.kind}: {problem.get('detail', '')}")


@dataclass(frozen=True)
class Item:
    """An item as the catalogue knows it."""

    item_id: str
    title: str = ""
    category: str | None = None
    price: float | None = None
    text: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    available: bool = True


@dataclass(frozen=True)
class Recommended(Item):
    """One place of a list. ``parts``: with ``explain``, what the score is the sum of."""

    score: float = 0.0
    source: str = ""
    reason: str = ""
    parts: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class Recommendations:
    """A list, best first. ``next``: hand it back as ``cursor``, with the same request, for the next page."""

    request_id: str
    source: str
    degraded: bool
    stale: bool
    items: tuple[Recommended, ...]
    next: str | None = None


@dataclass(frozen=True)
class Event:
    """What a user did. ``event_id``: give one, and a repeated delivery is dropped. ``timestamp``: Unix seconds."""

    user_id: str
    item_id: str
    type: str
    value: float | None = None
    event_id: str | None = None
    timestamp: float | None = None


@dataclass(frozen=True)
class Consumed:
    """One item of a user's history. ``state``: ``learned``, or ``pending``: it counts, and is not yet learned."""

    item_id: str
    title: str
    category: str | None
    feedback: Literal["positive", "negative", "history"]
    state: Literal["learned", "pending"]


_Record = TypeVar("_Record")


class Recommender:
    """One server, one connection that is kept open; not for several threads at once.

    ``key``: of a server that has keys. ``timeout_s``: the longest wait for one answer. Every method raises ``Refused``
    for an answer that is an error and ``Unreachable`` for none.
    """

    def __init__(self, url: str, key: str | None = None, timeout_s: float = 5.0) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError(f"not the address of a recommender: {url}")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.hostname, parts.port, timeout=timeout_s)
        self._base = parts.path.rstrip("/")
        self._headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})

    def __enter__(self) -> Recommender:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next call opens it again."""
        self._connection.close()

    def recommend(
        self,
        user_id: str | None = None,
        *,
        item_id: str | None = None,
        item_ids: Sequence[str] = (),
        k: int | None = None,
        exclude: Sequence[str] = (),
        category: str | None = None,
        filter: str | None = None,
        seen: Literal["hide", "allow"] | None = None,
        diversity: float | None = None,
        after: str | None = None,
        level: Literal["history", "learned"] | None = None,
        explain: Literal["none", "basic", "full"] | None = None,
        rules: Sequence[str | Mapping[str, Any]] = (),
        cursor: str | None = None,
    ) -> Recommendations:
        """Return a list for a user, for the page of an item, or for a visitor with some favourites (``item_ids``).

        ``after``: a receipt; the answer takes that event into account, or says that it is ``stale``.
        """
        members = {
            "user_id": user_id,
            "item_id": item_id,
            "item_ids": list(item_ids),
            "k": k,
            "exclude": list(exclude),
            "category": category,
            "filter": filter,
            "seen": seen,
            "diversity": diversity,
            "after": after,
            "level": level,
            "explain": explain,
            "rules": list(rules),
            "cursor": cursor,
        }
        return _list_of(self._ask("POST", "/v1/recommendations", _given(members), repeat=True))

    def similar(self, item_id: str, k: int | None = None) -> Recommendations:
        """Return the items most like one."""
        return _list_of(self._ask("GET", f"/v1/items/{_in_path(item_id)}/similar{_query(k=k)}"))

    def send(self, events: Sequence[Event]) -> list[str | None]:
        """Hand over what users did, in order; return a receipt each, ``None`` for an event that was refused.

        The events with a receipt are on disk. Raises ``Refused`` when none of them could be accepted. Sent once more,
        should the connection break, only where every event has an ``event_id``.
        """
        body = {"events": [_given(vars(event)) for event in events]}
        answer = self._ask("POST", "/v1/events", body, repeat=all(event.event_id for event in events))
        receipts: list[str | None] = answer["receipts"]
        return receipts

    def like(self, user_id: str, item_id: str) -> str:
        """Say that a user likes an item; return the receipt."""
        return self._send_one(user_id, item_id, "like")

    def hide(self, user_id: str, item_id: str) -> str:
        """Say that a user does not want to see an item; return the receipt."""
        return self._send_one(user_id, item_id, "hide")

    def put_items(self, items: Sequence[Item]) -> list[str | None]:
        """Create or replace items; return a receipt each, ``None`` for one that was refused. Safe to repeat."""
        records = [_given({one.name: getattr(item, one.name) for one in fields(Item)}) for item in items]
        receipts: list[str | None] = self._ask("PUT", "/v1/items", records)["receipts"]
        return receipts

    def item(self, item_id: str) -> Item:
        """Return one item. ``Refused`` of kind ``unknown-item`` when nobody knows it."""
        return _record(Item, self._ask("GET", f"/v1/items/{_in_path(item_id)}")["item"])

    def find(self, words: str, k: int | None = None) -> list[Item]:
        """Return items by words of their titles and texts, the last word by its beginning."""
        return [_record(Item, one) for one in self._ask("GET", f"/v1/items{_query(q=words, k=k)}")["items"]]

    def history(
        self, user_id: str, k: int | None = None, order: Literal["newest", "best"] = "newest"
    ) -> list[Consumed]:
        """Return what a user consumed."""
        answer = self._ask("GET", f"/v1/users/{_in_path(user_id)}/history{_query(k=k, order=order)}")
        return [_record(Consumed, one) for one in answer["items"]]

    def status(self) -> dict[str, Any]:
        """Return how everything is doing, as the server tells it."""
        return self._ask("GET", "/v1/status")

    def _send_one(self, user_id: str, item_id: str, kind: str) -> str:
        [receipt] = self.send([Event(user_id, item_id, kind)])
        assert receipt is not None, "the only event of a batch that was accepted"
        return receipt

    def _ask(self, method: str, path: str, body: Any = None, *, repeat: bool | None = None) -> dict[str, Any]:
        """Return the answer. ``repeat``: whether to try once more; by default all but POST."""
        content = None if body is None else json.dumps(body).encode()
        headers = self._headers | ({} if body is None else {"Content-Type": "application/json"})
        attempts = 2 if (method != "POST" if repeat is None else repeat) else 1
        for attempt in range(attempts):
            try:
                self._connection.request(method, self._base + path, content, headers)
                response = self._connection.getresponse()
                status, text = response.status, response.read()
                break
            except (OSError, http.client.HTTPException) as error:
                # A server may close a connection that was idle at any time.
                self._connection.close()
                if attempt + 1 == attempts:
                    raise Unreachable(f"{method} {path}: {type(error).__name__}: {error}") from error
                time.sleep(_PAUSE_S)
        try:
            answer = json.loads(text)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            answer = {"detail": text[:200].decode(errors="replace")}
            status = max(status, 500)
        if status >= 400:
            raise Refused(status, answer)
        return answer


def _list_of(answer: Mapping[str, Any]) -> Recommendations:
    items = tuple(_record(Recommended, one) for one in answer["items"])
    return _record(Recommendations, {**answer, "items": items})


def _record(kind: type[_Record], members: Mapping[str, Any]) -> _Record:
    known = {one.name for one in fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in members.items() if name in known})


def _given(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None and value != []}


def _in_path(external_id: str) -> str:
    return quote(external_id, safe="")


def _query(**parameters: Any) -> str:
    given = _given(parameters)
    return f"?{urlencode(given)}" if given else ""
