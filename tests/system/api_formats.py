"""What schemathesis must be told about this API: how to make texts of its formats, and NDJSON."""

from __future__ import annotations

import json
from typing import Any

import schemathesis
from hypothesis import strategies as st

from recommender_server import cursor

# Every character is printable, and no id has more than 256 bytes.
_ID = st.text(st.characters(categories=("L", "N", "P", "S"), exclude_characters="\xad"), min_size=1, max_size=60)
FILTERS = (
    "price < 20",
    "category = 'drama' and not price in 5..10",
    "attributes.year in (1950, 1979) or title != 'x'",
    "available = true",
)

schemathesis.openapi.format("id", st.sampled_from(["ada", "casablanca", "vertigo", "a/b", "ä ö"]) | _ID)
schemathesis.openapi.format("filter", st.sampled_from(FILTERS))
schemathesis.openapi.format("cursor", st.lists(_ID, min_size=1, max_size=3).map(lambda ids: cursor.write((), ids)))
schemathesis.openapi.format("rule", st.just("item-page"))


@schemathesis.serializer("application/x-ndjson")
def one_line(_context: Any, value: Any) -> bytes:
    return json.dumps(value).encode() + b"\n"


@schemathesis.deserializer("application/x-ndjson")
def first_line(_context: Any, response: Any) -> Any:
    return json.loads(response.content.splitlines()[0])
