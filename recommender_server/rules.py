"""Rules that whoever runs the shop lays over the model's order: raise, sink, pin to the top, or order another way."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta

from models.items import Item
from recommender_server import filter_expression
from recommender_server.answers import Pick
from recommender_server.catalogue_view import CatalogueView
from recommender_server.field_types import FilterText, TextId
from recommender_server.filter_expression import Accepts
from recommender_server.problems import Problem, bad_parameter
from recommender_server.requests import external_id

MAX_PINNED, MAX_BOOSTS, MAX_BOOST = 50, 20, 1e6
MAX_RULES_AT_ONCE = 10

PINNED_REASON = "pinned"


class Boost(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Adds ``by``, which may be negative, to the score of the items that the filter lets pass."""

    filter: FilterText
    by: Annotated[float, Meta(ge=-MAX_BOOST, le=MAX_BOOST)]


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A rule over the best 4k + 20 candidates of a request for k items, for ``item-page`` also the best k of the page's
    category.

    ``boost``: changes scores. ``order``: ``item-page`` puts the category of the page's item first, and in it what costs
    about as much; ``score`` leaves the order alone. ``bury``: items that pass this filter come last. ``pin``: these
    come first, in this order, as far as they may be shown at all.
    """

    boost: Annotated[list[Boost], Meta(max_length=MAX_BOOSTS)] = []
    order: Literal["score", "item-page"] = "score"
    bury: FilterText | None = None
    pin: Annotated[list[TextId], Meta(max_length=MAX_PINNED)] = []


# The names that every recommender knows.
BUILT_IN = {"item-page": Rule(order="item-page")}

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class ReadRule(NamedTuple):
    """A rule whose filters were read."""

    boosts: list[tuple[Accepts, float]]
    by_page: bool
    bury: Accepts | None
    pin: list[str]


def rule_name(value: Any) -> str:
    """Read the name of a rule. Raises ``Problem``."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise bad_parameter("rules", "a rule is named by 1 to 64 letters, digits, _ or -")
    return value


def checked_rule(value: Any) -> Rule:
    """Read a rule as JSON decoded it. Raises ``Problem``."""
    try:
        rule = msgspec.convert(value, Rule)
    except (msgspec.ValidationError, ValueError) as error:
        raise Problem(400, "bad-rule", str(error)) from None
    for item_id in rule.pin:
        external_id("pin", item_id)
    read(rule)
    return rule


def rules_of(value: Any) -> tuple[str | Rule, ...]:
    """Read the names and rules of a request. Raises ``Problem``."""
    if not isinstance(value, list) or len(value) > MAX_RULES_AT_ONCE:
        raise bad_parameter("rules", f"rules must be a list of at most {MAX_RULES_AT_ONCE} names or rules")
    return tuple(rule_name(one) if isinstance(one, str) else checked_rule(one) for one in value)


def read(rule: Rule) -> ReadRule:
    """Read the filters of a rule. Raises ``Problem``."""
    return ReadRule(
        boosts=[(_accepts(boost.filter), boost.by) for boost in rule.boost],
        by_page=rule.order == "item-page",
        bury=_accepts(rule.bury) if rule.bury is not None else None,
        pin=rule.pin,
    )


@lru_cache(maxsize=256)
def stored(encoded: bytes) -> ReadRule:
    """Read a rule as the store keeps it. Raises ``Problem`` or ``msgspec.ValidationError`` for what is none."""
    return read(msgspec.json.decode(encoded, type=Rule))


def applied(
    rules: Sequence[ReadRule], picks: Sequence[Pick], catalogue: CatalogueView, page: Item | None
) -> list[Pick]:
    """Return all picks in the order of the rules, pins aside."""
    ordered = [_boosted(pick, rules, catalogue.get(pick.item_id)) for pick in picks]
    if any(rule.boosts for rule in rules):
        # Scores of different sources do not compare: a later source stays behind an earlier one.
        place = {source: n for n, source in enumerate(dict.fromkeys(pick.source for pick in picks))}
        ordered.sort(key=lambda pick: (place[pick.source], -pick.score))
    if page is not None and any(rule.by_page for rule in rules):
        ordered.sort(key=lambda pick: _distance(page, catalogue.get(pick.item_id)))
    buried = [rule.bury for rule in rules if rule.bury is not None]
    ordered.sort(key=lambda pick: _passes_any(buried, catalogue.get(pick.item_id)))
    return ordered


def _accepts(text: str) -> Accepts:
    try:
        return filter_expression.parse(text).accepts
    except filter_expression.BadFilter as error:
        raise Problem(400, "bad-filter", str(error), parameter="rules", position=error.position) from None


def _boosted(pick: Pick, rules: Sequence[ReadRule], item: Item | None) -> Pick:
    if item is None:
        return pick
    boost = sum(by for rule in rules for accepts, by in rule.boosts if accepts(item))
    return pick._replace(score=pick.score + boost, boost=boost) if boost else pick


def _distance(page: Item, item: Item | None) -> tuple[bool, float]:
    """Return what the item page of the original system orders by: another category?, then the difference in price."""
    if item is None or item.price is None or page.price is None:
        return item is None or item.category != page.category, float("inf")
    return item.category != page.category, abs(item.price - page.price)


def _passes_any(filters: Sequence[Accepts], item: Item | None) -> bool:
    return item is not None and any(accepts(item) for accepts in filters)
