"""Dead letters in a topic of their own: the bytes as they came, and beside them in headers why, and how often tried.

Key: ``topic:partition:offset``, our name of the topic. The same letter may be there twice, after a crash; the first
counts. A record with the header ``dropped`` takes its letter out of the list. Letters are looked up among the newest
``MOST_LETTERS`` (and ``MOST_BYTES`` of bytes): an older one is in the topic still, but no longer found here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kafka import OffsetSpec

from stores.kafka_address import DEAD_LETTERS
from stores.kafka_append import MAX_ENTRY_BYTES, Message
from stores.kafka_lookup import KafkaLookup, count_in
from stores.ports import DeadLetter, Receipt, TopicPartition

MOST_LETTERS, MOST_BYTES = 10_000, 32 * 1024 * 1024
MAX_MESSAGE_CHARACTERS = 1_000
_AT_ONCE = 2_000

Place = tuple[str, int, int]


def messages_of(letters: Sequence[DeadLetter]) -> list[Message]:
    """Return the records of letters. Bytes too many for a record are cut, and a header says how many there were."""
    messages = []
    for letter in letters:
        headers = [
            ("reason", letter.reason.encode()),
            ("attempts", str(letter.attempts).encode()),
            ("message", letter.message[:MAX_MESSAGE_CHARACTERS].encode(errors="replace")),
        ]
        room = MAX_ENTRY_BYTES - 8 * 1024
        if len(letter.value) > room:
            headers.append(("bytes", str(len(letter.value)).encode()))
        key = _key(letter.topic, letter.partition, letter.offset)
        messages.append(Message(key, letter.value[:room], headers))
    return messages


class LetterBox:
    """The newest letters, in memory; every look first reads what was added since the last one. For one thread."""

    def __init__(self, lookup: KafkaLookup) -> None:
        self._lookup = lookup
        self._letters: dict[Place, DeadLetter] = {}
        self._dropped: set[Place] = set()
        self._bytes = 0
        self._next: dict[TopicPartition, int] = {}

    def find(self, topic: str, partition: int, offset: int) -> DeadLetter | None:
        """Return the letter of a record, dropped or not, or ``None``. Raises ``StoreUnavailable``."""
        self._read_on()
        return self._letters.get((topic, partition, offset))

    def newest(self, topic: str, limit: int) -> list[DeadLetter]:
        """Return the newest letters of a topic that were not dropped, newest first. Raises ``StoreUnavailable``."""
        self._read_on()
        letters = [x for place, x in self._letters.items() if x.topic == topic and place not in self._dropped]
        return letters[::-1][:limit]

    def drops(self, topic: str, receipts: Sequence[Receipt]) -> list[Message]:
        """Return the records that drop those of these letters that are there. Raises ``StoreUnavailable``."""
        self._read_on()
        places = [(topic, receipt.partition, receipt.offset) for receipt in receipts]
        there = [place for place in places if place in self._letters and place not in self._dropped]
        return [Message(_key(*place), b"", [("dropped", b"")]) for place in there]

    def _read_on(self) -> None:
        """Read to the present end. What was read is kept when time runs out, so asking again gets there."""
        for place, end in self._lookup.topics.offsets(DEAD_LETTERS, OffsetSpec.LATEST).items():
            start = max(self._next.get(place, 0), end - MOST_LETTERS)
            while start < end:
                records = self._lookup.read_raw(place, start, min(_AT_ONCE, end - start))
                for record in records:
                    self._keep(record)
                start = records[-1].offset + 1 if records else end
                self._next[place] = start

    def _keep(self, record: Any) -> None:
        place = _place_of(record)
        if place is None:
            return
        headers = dict(record.headers)
        if "dropped" in headers and place in self._letters:
            self._dropped.add(place)
        if "reason" not in headers or place in self._letters:
            return
        self._letters[place] = DeadLetter(
            *place,
            reason=headers["reason"].decode(errors="replace"),
            message=headers.get("message", b"").decode(errors="replace"),
            value=record.value or b"",
            attempts=count_in(headers, "attempts"),
        )
        self._bytes += len(record.value or b"")
        while len(self._letters) > MOST_LETTERS or self._bytes > MOST_BYTES:
            oldest = next(iter(self._letters))
            self._bytes -= len(self._letters.pop(oldest).value)
            self._dropped.discard(oldest)


def _key(topic: str, partition: int, offset: int) -> bytes:
    return f"{topic}:{partition}:{offset}".encode()


def _place_of(record: Any) -> Place | None:
    """Return where a letter came from, ``None`` when somebody else put something else there."""
    topic, _, rest = (record.key or b"").decode(errors="replace").partition(":")
    partition, _, offset = rest.partition(":")
    if not (topic and partition.isdecimal() and offset.isdecimal()):
        return None
    return topic, int(partition), int(offset)
