"""What is recommended to whom, as the routes read it and as everything behind them trusts it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import falcon.asgi
import msgspec

from recommender_server import cursor, filter_expression
from recommender_server.filter_expression import Filter
from recommender_server.problems import Problem, bad_parameter
from recommender_server.requests import (
    Bounds,
    count,
    external_id,
    id_list,
    one_of,
    receipt,
    refuse_unknown,
    repeatable_parameters,
    share,
    short_text,
)
from recommender_server.rules import Rule, rules_of
from recommender_server.user_view import UserView
from stores.ports import Receipt

MAX_CATEGORY = 256
# Members that are lists; in a query they are repeated.
LISTS = ("item_ids", "exclude", "rules")

Level = Literal["history", "learned"]
Seen = Literal["hide", "allow"]
Explain = Literal["none", "basic", "full"]


class RecommendationRequest(msgspec.Struct, frozen=True):
    """What is recommended to whom.

    ``liked``: favourites, a cart, oldest first. They count as the visitor's latest positives and never come back.
    ``item_id``: the item whose page this is, if it is one. ``shown``: items of the pages before this one.
    """

    k: int
    user_id: str | None = None
    item_id: str | None = None
    liked: list[str] = []
    exclude: frozenset[str] = frozenset()
    seen: Seen = "hide"
    after: Receipt | None = None
    level: Level = "history"
    filter: Filter | None = None
    shown: frozenset[str] = frozenset()
    diversity: float = 0.0
    explain: Explain = "none"
    rules: tuple[str | Rule, ...] = ()


def given_items(request: RecommendationRequest) -> list[str]:
    """Return what the request itself names as liked, newest first: the page's item before the favourites."""
    page = [] if request.item_id is None else [request.item_id]
    return [*page, *reversed(request.liked)]


def recent_items(request: RecommendationRequest, view: UserView) -> list[str]:
    """Return the positives to recommend from, newest first: what the request names, then the user's own."""
    return list(dict.fromkeys([*given_items(request), *view.recent]))


def from_query(request: falcon.asgi.Request, known: Sequence[str], bounds: Bounds) -> RecommendationRequest:
    """Read the query of a ``GET``. Raises ``Problem``."""
    return _read(repeatable_parameters(request, known, LISTS), bounds)


def from_body(body: Any, known: Sequence[str], bounds: Bounds) -> RecommendationRequest:
    """Read the body of a ``POST``. Raises ``Problem``."""
    if not isinstance(body, dict):
        raise Problem(400, "bad-body", "the body must be a JSON object")
    refuse_unknown(body, known)
    return from_members(body, bounds)


def from_members(body: Mapping[str, Any], bounds: Bounds) -> RecommendationRequest:
    """Read members whose names are known to mean something. Raises ``Problem``."""
    for name in ("k", "diversity"):  # digits in a text are numbers in a query only
        if isinstance(body.get(name), str):
            raise bad_parameter(name, f"{name} must be a number")
    return _read({name: value for name, value in body.items() if value is not None}, bounds)


def _read(members: Mapping[str, Any], bounds: Bounds) -> RecommendationRequest:
    return RecommendationRequest(
        k=count("k", members.get("k", bounds.default_k), bounds.max_k),
        user_id=external_id("user_id", members["user_id"]) if "user_id" in members else None,
        item_id=external_id("item_id", members["item_id"]) if "item_id" in members else None,
        liked=list(dict.fromkeys(id_list("item_ids", members["item_ids"]))) if "item_ids" in members else [],
        exclude=frozenset(id_list("exclude", members["exclude"]) if "exclude" in members else ()),
        seen=one_of("seen", members.get("seen", "hide"), ("hide", "allow")),  # type: ignore[arg-type]
        after=receipt("after", members["after"]) if "after" in members else None,
        level=one_of("level", members.get("level", "history"), ("history", "learned")),  # type: ignore[arg-type]
        filter=_filter(members) if "filter" in members or "category" in members else None,
        shown=_shown(members["cursor"]) if "cursor" in members else frozenset(),
        diversity=share("diversity", members["diversity"]) if "diversity" in members else 0.0,
        rules=rules_of(members["rules"]) if "rules" in members else (),
        explain=one_of("explain", members.get("explain", "none"), ("none", "basic", "full")),  # type: ignore[arg-type]
    )


def _filter(members: Mapping[str, Any]) -> Filter:
    filters = []
    if "category" in members:
        filters.append(filter_expression.of_category(short_text("category", members["category"], MAX_CATEGORY)))
    if "filter" in members:
        text = members["filter"]
        if not isinstance(text, str):
            raise bad_parameter("filter", "filter must be a text")
        try:
            filters.append(filter_expression.parse(text))
        except filter_expression.BadFilter as error:
            raise Problem(400, "bad-filter", str(error), parameter="filter", position=error.position) from None
    return filters[0] if len(filters) == 1 else filter_expression.both(*filters)


def _shown(value: Any) -> frozenset[str]:
    try:
        return cursor.read(short_text("cursor", value, cursor.MAX_CURSOR))
    except cursor.BadCursor as error:
        raise Problem(400, "bad-cursor", str(error), parameter="cursor") from None
