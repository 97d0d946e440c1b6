"""What single values of requests look like, for the schemas; the readers in ``requests`` hold clients to it."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from models.events import MAX_ID_BYTES
from recommender_server.filter_expression import MAX_LENGTH
from recommender_server.requests import MAX_LISTED

# Control characters are refused in ids. The schema counts characters, the reader bytes.
Id = Annotated[str, Meta(min_length=1, max_length=MAX_ID_BYTES, pattern=r"^[^\x00-\x1f\x7f]+$")]
Ids = Annotated[list[Id], Meta(max_length=MAX_LISTED)]
Count = Annotated[int, Meta(ge=1)]
ReceiptText = Annotated[str, Meta(max_length=40, pattern=r"^[0-9]+:[0-9]+$")]
FilterText = Annotated[str, Meta(min_length=1, max_length=MAX_LENGTH)]
RuleName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
