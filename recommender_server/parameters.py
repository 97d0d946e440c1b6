"""The parameters that several routes share, as their ``OPERATIONS`` tables name them."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from recommender_server.field_types import (
    Count,
    CursorText,
    FewIds,
    FilterText,
    Id,
    Ids,
    KnownRule,
    ReceiptText,
)
from recommender_server.recommendation_request import MAX_CATEGORY
from recommender_server.rules import MAX_RULES_AT_ONCE, Rule
from stores.openapi import Parameter
from stores.ports import ITEMS, USER_EVENTS

USER_ID = Parameter("user_id", Id, "A user.", example="ada")
ITEM_ID = Parameter("item_id", Id, "An item.", example="casablanca")
K = Parameter("k", Count, "How many items at most.", maximum="max_k")
SEEN = Parameter("seen", Literal["hide", "allow"], "Whether items the user has consumed may come back.", default="hide")
AFTER = Parameter("after", ReceiptText, "A receipt: wait until the answer takes this event into account.")
LEVEL = Parameter(
    "level",
    Literal["history", "learned"],
    "What ``after`` waits for: the event in the user's history, or the event learned by the model.",
    default="history",
)
TOPIC = Parameter(
    "topic", Literal["user_events", "items"], "Whether receipts are those of events or of items.", default=USER_EVENTS
)
_FAVOURITES = "Favourites or a cart, oldest first. They count as liked and never come back."
_EXCLUDE = "Items that must not come."
FAVOURITES = Parameter("item_ids", Ids, _FAVOURITES)
EXPLAIN_PARTS = Parameter(
    "explain", Literal["none", "basic"], "`basic`: every score with the parts it is the sum of.", default="none"
)

_MEMBERS = (
    USER_ID,
    ITEM_ID,
    K,
    Parameter("category", Annotated[str, Meta(min_length=1, max_length=MAX_CATEGORY)], "Items of this category only."),
    Parameter(
        "filter",
        FilterText,
        "Items that this expression lets pass: = != < <= > >=, in (…), in a..b, and, or, not, parentheses, over title,"
        " category, price, available and attributes.NAME.",
        example="price < 20 and not category = 'horror'",
    ),
    SEEN,
    AFTER,
    LEVEL,
    Parameter(
        "diversity",
        Annotated[float, Meta(ge=0, le=1)],
        "How much items that are like others on the list are moved back; 0 leaves the order alone.",
        default=0.0,
    ),
    Parameter(
        "explain",
        Literal["none", "basic", "full"],
        "`basic`: every score with the parts it is the sum of; `full`: also what would have been listed, and why not.",
        default="none",
    ),
    Parameter(
        "cursor",
        CursorText,
        "`next` of the page before: the list goes on without repeating an item.",
    ),
)
# What every request for recommendations may say, in a query and in a body.
QUERY_MEMBERS = (
    *_MEMBERS,
    Parameter("item_ids", FewIds, _FAVOURITES),
    Parameter("exclude", FewIds, _EXCLUDE),
    Parameter(
        "rules",
        Annotated[list[KnownRule], Meta(max_length=MAX_RULES_AT_ONCE)],
        "Names of rules to lay over the order: stored ones, or `item-page`.",
    ),
)
MEMBERS = (
    *_MEMBERS,
    FAVOURITES,
    Parameter("exclude", Ids, _EXCLUDE),
    Parameter(
        "rules",
        Annotated[list[KnownRule | Rule], Meta(max_length=MAX_RULES_AT_ONCE)],
        "Rules to lay over the order: names of stored ones, `item-page`, or rules themselves.",
    ),
)
RECOMMENDATION_PROBLEMS = ("bad-filter", "bad-cursor", "bad-rule", "starting")

# The topics whose records may become dead letters.
TOPICS = (USER_EVENTS, ITEMS)

# What can go wrong with any query, and with any JSON body.
QUERY_PROBLEMS = ("bad-parameter", "unknown-parameter", "too-many-requests-at-once")
BODY_PROBLEMS = (*QUERY_PROBLEMS, "bad-json", "bad-body", "body-too-large", "body-too-slow")
