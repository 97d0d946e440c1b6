"""Values of a store, decoded when they come and not again while they come as the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

# Records, and edges, of so many items are kept, a few kilobytes each.
MOST_RECORDS, MOST_EDGES = 16_384, 8_192

Value = TypeVar("Value")


class DecodedOnce(Generic[Value]):
    """Decodes the values of names. What changed is decoded again, so nothing old is ever returned.

    ``most``: so many are kept; with one more all are forgotten, which bounds the memory and needs no bookkeeping.
    """

    def __init__(self, decode: Callable[[bytes], Value], most: int) -> None:
        self._decode = decode
        self._most = most
        self._kept: dict[str, tuple[bytes, Value]] = {}

    def of(self, name: str, encoded: bytes) -> Value:
        """Return the value of these bytes; the very same object while a name's bytes are the same."""
        kept = self._kept.get(name)
        if kept is not None and kept[0] == encoded:
            return kept[1]
        value = self._decode(encoded)
        if len(self._kept) >= self._most:
            self._kept.clear()
        self._kept[name] = encoded, value
        return value
