"""What single values of requests look like, for the schemas; the readers in ``requests`` hold clients to it."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from models.events import MAX_ID_BYTES
from recommender_server.cursor import MAX_CURSOR
from recommender_server.filter_expression import MAX_LENGTH
from recommender_server.requests import MAX_LISTED, MAX_REPEATED


def _format(name: str) -> dict[str, str]:
    return {"format": name}


# An id has printable characters and, which a schema cannot say, 256 bytes at most. Whole numbers are read as text.
TextId = Annotated[str, Meta(min_length=1, max_length=MAX_ID_BYTES, extra_json_schema=_format("id"))]
Id = TextId | int
Ids = Annotated[list[Id], Meta(max_length=MAX_LISTED)]
FewIds = Annotated[list[Id], Meta(max_length=MAX_REPEATED)]
Count = Annotated[int, Meta(ge=1)]
ReceiptText = Annotated[str, Meta(max_length=40, pattern=r"^[0-9]+:[0-9]+$")]
FilterText = Annotated[str, Meta(min_length=1, max_length=MAX_LENGTH, extra_json_schema=_format("filter"))]
CursorText = Annotated[str, Meta(min_length=1, max_length=MAX_CURSOR, extra_json_schema=_format("cursor"))]
RuleName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
# The name of a rule that is there.
KnownRule = Annotated[str, Meta(min_length=1, max_length=64, extra_json_schema=_format("rule"))]
RequestId = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}(-[0-9]{1,6})?$")]
