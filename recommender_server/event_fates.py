"""What became of single events and item records, and of those that were set aside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec

from recommender_server.degradation import Deadline, DependencyUnavailable
from recommender_server.dependencies import Dependencies
from recommender_server.problems import Problem
from stores.ports import USER_EVENTS, DeadLetter, Entry, Receipt, TopicPartition

# Of the bytes of a dead letter so many are shown.
MOST_SHOWN_BYTES = 2_000


class EventFate(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of an accepted event: it waits, it was learned from (or counted as history), or it was set aside.

    A record of an item is ``learned`` when it is in the item store and known to the trainer.
    """

    request_id: str
    receipt: str
    state: Literal["accepted", "learned", "dead_lettered"]
    reason: str | None = None
    detail: str | None = None


class ShownLetter(msgspec.Struct, frozen=True):
    """An event, or a record of an item, that was set aside, why, the beginning of what it said, and how often tried."""

    receipt: str
    reason: str
    detail: str
    value: str
    attempts: int


class DeadLetters(msgspec.Struct, frozen=True):
    """The newest dead letters, newest first."""

    request_id: str
    letters: list[ShownLetter]


class Redriven(msgspec.Struct, frozen=True):
    """Dead letters that were appended to the log again: old receipt → new receipt; ``unknown`` ones were not there."""

    request_id: str
    receipts: dict[str, str]
    unknown: list[str]


class EventFates:
    """Looks records of a topic up by their receipts. Every method raises ``Problem`` when the log does not answer."""

    def __init__(self, dependencies: Dependencies, new_deadline: Callable[[], Deadline]) -> None:
        self._dependencies = dependencies
        self._new_deadline = new_deadline

    async def of(self, topic: str, receipt: Receipt, request_id: str) -> EventFate:
        """Tell what became of one record. Raises ``Problem`` when there is none, or the log does not answer."""
        deadline = self._new_deadline()
        # The learned offset is read first: what it covers was set aside before, if it was, so the letter is there.
        learned = await self._learned(topic, receipt, deadline)
        try:
            letter = await self._dependencies.of_log(lambda log: log.dead_letter(topic, receipt), deadline)
            if letter is not None:
                return EventFate(request_id, str(receipt), "dead_lettered", letter.reason, letter.message)
            if learned:
                return EventFate(request_id, str(receipt), "learned")
            place = TopicPartition(topic, receipt.partition)
            records = await self._dependencies.of_log(lambda log: log.read(place, receipt.offset, 1), deadline)
        except DependencyUnavailable as error:
            raise _unavailable(error) from None
        if not records or records[0].offset != receipt.offset:
            raise Problem(404, "unknown-receipt", f"nothing in {topic} has the receipt {receipt}")
        return EventFate(request_id, str(receipt), "accepted")

    async def _learned(self, topic: str, receipt: Receipt, deadline: Deadline) -> bool:
        try:
            state = await self._dependencies.serving_state(deadline)
        except DependencyUnavailable:
            return False
        if topic == USER_EVENTS:
            return state.learned.get(receipt.partition, 0) > receipt.offset
        # Made about once a second, so it may lag behind what is known already; never the other way round.
        read: dict[str, int] = state.report.get("items_read", {})
        return read.get(str(receipt.partition), 0) > receipt.offset

    async def dead_letters(self, topic: str, k: int, request_id: str) -> DeadLetters:
        """Return the newest dead letters of a topic."""
        letters = await self._newest(topic, k)
        return DeadLetters(request_id, [_shown(letter) for letter in letters])

    async def redrive(self, topic: str, receipts: Sequence[Receipt] | None, most: int, request_id: str) -> Redriven:
        """Append dead letters to the log again, and drop them: for when the settings that refused them were corrected.

        ``receipts``: which of the newest ``most``; ``None`` for all of them.

        A letter of an event that is an object without event_id gets its old place for one. So one that is appended a
        second time, after a failure between the two steps, is dropped as a duplicate. A record of an item that is
        appended again is the newest of that item.
        """
        # Oldest first, as they came.
        known = {Receipt(x.partition, x.offset): x for x in reversed(await self._newest(topic, most))}
        wanted = set(known if receipts is None else receipts)
        found = {receipt: letter for receipt, letter in known.items() if receipt in wanted}
        deadline = self._new_deadline()
        try:
            entries = [_entry(letter)._replace(attempt=letter.attempts + 1) for letter in found.values()]
            appended = await self._dependencies.append(topic, entries) if entries else []
            await self._dependencies.of_log(lambda log: log.drop_dead_letters(topic, list(found)), deadline)
        except DependencyUnavailable as error:
            raise _unavailable(error) from None
        renewed = {str(old): str(new) for old, new in zip(found, appended, strict=True)}
        return Redriven(request_id, renewed, sorted(str(receipt) for receipt in wanted.difference(found)))

    async def _newest(self, topic: str, most: int) -> list[DeadLetter]:
        try:
            return await self._dependencies.of_log(lambda log: log.dead_letters(topic, most), self._new_deadline())
        except DependencyUnavailable as error:
            raise _unavailable(error) from None


def _unavailable(error: DependencyUnavailable) -> Problem:
    return Problem(503, "log-unavailable", str(error), retry_after_s=1)


def _shown(letter: DeadLetter) -> ShownLetter:
    value = letter.value[:MOST_SHOWN_BYTES].decode(errors="replace")
    return ShownLetter(
        str(Receipt(letter.partition, letter.offset)), letter.reason, letter.message, value, letter.attempts
    )


def _entry(letter: DeadLetter) -> Entry:
    place = f"{letter.topic}:{letter.partition}:{letter.offset}"
    try:
        record: Any = msgspec.json.decode(letter.value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Entry(place, letter.value)
    if not isinstance(record, dict):
        return Entry(place, letter.value)
    # Records of one user, or one item, stay in order, as long as the record says whose it is.
    own_id = record.get("user_id" if letter.topic == USER_EVENTS else "item_id")
    key = own_id if isinstance(own_id, str) and own_id else place
    if letter.topic != USER_EVENTS:
        return Entry(key, letter.value)
    return Entry(key, msgspec.json.encode({"event_id": place} | record))
