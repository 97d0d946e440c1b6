"""Where a list goes on: the text that a client hands back to get the next page.

It holds the ids of the items shown so far and nothing else, so a page never repeats one, however far the model has
moved since; nothing is kept on the server. It goes with the request it came from, but nothing breaks when it does not.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Collection, Iterable

# Beyond this a list does not go on: a cursor must fit into an address. Some 500 short ids, 160 of 36 characters.
MAX_CURSOR = 8000
# The first byte, for a later form.
_FORM = b"\x01"
# No id holds a control character.
_BETWEEN = "\n"


class BadCursor(ValueError):
    """The text is no cursor."""


def write(before: Collection[str], item_ids: Iterable[str]) -> str | None:
    """Return the cursor after a page; ``None`` once it would have to remember too much."""
    body = _BETWEEN.join([*before, *item_ids]).encode()
    whole = base64.urlsafe_b64encode(b"".join((_FORM, zlib.crc32(body).to_bytes(4, "big"), body)))
    return whole.decode() if len(whole) <= MAX_CURSOR else None


def read(text: str) -> frozenset[str]:
    """Return the items shown so far. Raises ``BadCursor``."""
    if len(text) > MAX_CURSOR or not text.isascii():
        raise BadCursor(f"a cursor has at most {MAX_CURSOR} characters, all ASCII")
    try:
        whole = base64.b64decode(text, altchars=b"-_", validate=True)
        body = whole[5:]
        if whole[:1] != _FORM or whole[1:5] != zlib.crc32(body).to_bytes(4, "big"):
            raise BadCursor("a cursor must come as `next` gave it")
        return frozenset(body.decode().split(_BETWEEN))
    except (binascii.Error, UnicodeDecodeError):
        raise BadCursor("a cursor must come as `next` gave it") from None
