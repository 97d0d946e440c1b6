"""The parameters that several routes share, as their ``OPERATIONS`` tables name them."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from models.events import MAX_ID_BYTES
from recommender_server.cursor import MAX_CURSOR
from recommender_server.filter_expression import MAX_LENGTH
from recommender_server.recommendation_request import MAX_CATEGORY
from recommender_server.requests import MAX_LISTED
from stores.openapi import Parameter

# Control characters are refused in ids. The schema counts characters, the reader bytes.
Id = Annotated[str, Meta(min_length=1, max_length=MAX_ID_BYTES, pattern=r"^[^\x00-\x1f\x7f]+$")]
Ids = Annotated[list[Id], Meta(max_length=MAX_LISTED)]
Count = Annotated[int, Meta(ge=1)]
ReceiptText = Annotated[str, Meta(max_length=40, pattern=r"^[0-9]+:[0-9]+$")]

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
FAVOURITES = Parameter("item_ids", Ids, "Favourites or a cart, oldest first. They count as liked and never come back.")
EXPLAIN_PARTS = Parameter(
    "explain", Literal["none", "basic"], "`basic`: every score with the parts it is the sum of.", default="none"
)

# What every request for recommendations may say.
MEMBERS = (
    USER_ID,
    ITEM_ID,
    FAVOURITES,
    K,
    Parameter("exclude", Ids, "Items that must not come."),
    Parameter("category", Annotated[str, Meta(min_length=1, max_length=MAX_CATEGORY)], "Items of this category only."),
    Parameter(
        "filter",
        Annotated[str, Meta(max_length=MAX_LENGTH)],
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
        Annotated[str, Meta(min_length=1, max_length=MAX_CURSOR)],
        "`next` of the page before: the list goes on without repeating an item.",
    ),
)
RECOMMENDATION_PROBLEMS = ("bad-filter", "bad-cursor", "starting")

# What can go wrong with any query, and with any JSON body.
QUERY_PROBLEMS = ("bad-parameter", "unknown-parameter", "too-many-requests-at-once")
BODY_PROBLEMS = (*QUERY_PROBLEMS, "bad-json", "bad-body", "body-too-large", "body-too-slow")
