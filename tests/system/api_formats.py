"""What schemathesis must be told about this API: how to make texts of its formats, NDJSON, and what no schema can say.

The checks here hold for every operation that ``schemathesis.recommender.toml`` turns another check off for.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
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
_WHEN = st.datetimes(datetime(1970, 1, 2), datetime(2026, 1, 1))
schemathesis.openapi.format("date-time", _WHEN.map(lambda when: f"{when.isoformat(timespec='seconds')}Z"))


@schemathesis.serializer("application/x-ndjson")
def one_line(_context: Any, value: Any) -> bytes:
    return json.dumps(value).encode() + b"\n"


@schemathesis.deserializer("application/x-ndjson")
def first_line(_context: Any, response: Any) -> Any:
    return json.loads(response.content.splitlines()[0])


BATCHES = re.compile(r"(POST /v1/(events|items|import/.*|recommendations:batch)|PUT /v1/items)")


def _results(response: Any) -> list[dict[str, Any]]:
    """Return what became of every record, by line or in one answer; nothing where there was no record."""
    lines = [json.loads(line) for line in response.content.splitlines()]
    return [result for line in lines if "complete" not in line for result in line.get("results", [line])]


@schemathesis.check
def what_is_bad_is_refused_alone(_context: Any, response: Any, case: Any) -> None:
    """A request that does not keep to the document is refused, or says which of its records it refused."""
    if case.meta is None or not case.meta.generation.mode.is_negative or not BATCHES.fullmatch(case.operation.label):
        return
    if response.request.headers.get("Content-Type") not in ("application/json", "application/x-ndjson"):
        return  # whatever a body calls itself, it is read as JSON: curl calls everything a form
    if response.status_code < 300:
        results = _results(response)
        refused = [one for one in results if one.get("status") == "rejected" or "problem" in one]
        assert refused or not results, f"all was accepted: {case.body!r}"


@schemathesis.check
def only_the_future_is_refused(_context: Any, response: Any, case: Any) -> None:
    """An event that keeps to the document is accepted, unless it has not happened yet."""
    if case.meta is None or not case.meta.generation.mode.is_positive or case.operation.label != "POST /v1/events":
        return
    if response.status_code == 400:
        problem = response.json()
        reasons = {one.get("reason") for one in problem.get("results", [problem])}
        assert reasons == {"timestamp_in_future"}, problem
    elif response.status_code == 202:
        assert {one.get("reason") for one in _results(response)} <= {None, "timestamp_in_future"}, response.text
    else:
        raise AssertionError(f"{response.status_code}: {response.text}")
