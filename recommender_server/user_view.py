"""A user as of now: what the trainer has learned of him, and his accepted events beyond that."""

from __future__ import annotations

from typing import Literal, NamedTuple, cast

import msgspec

from stores.ports import PendingEvent, Receipt, UserDocument, UserState, Vectors

MAX_RECENT = 50

Feedback = Literal["positive", "negative", "history"]


class Consumed(NamedTuple):
    """One item of a user's history."""

    item_id: str
    feedback: Feedback
    state: Literal["learned", "pending"]


class UserView(msgspec.Struct, frozen=True):
    """What recommending needs to know of a user.

    ``recent``: positives, NEWEST FIRST, at most 50. ``seen``: items consumed, in any way. ``hidden``: items rejected.
    ``as_of``: learned offset per partition; ``pending``: the events counted on top of it, in order.
    """

    document: UserDocument | None
    pending: list[PendingEvent]
    recent: list[str]
    seen: frozenset[str]
    hidden: frozenset[str]

    @property
    def embedding(self) -> Vectors | None:
        """The learned embedding, if there is one."""
        return self.document.embedding if self.document else None

    @property
    def as_of(self) -> dict[int, int]:
        """The learned offset per partition that the document stands at."""
        return self.document.as_of if self.document else {}

    def includes(self, receipt: Receipt) -> bool:
        """Say whether an accepted event counts in this view."""
        # What a forgotten user did before has had all the effect that it will have.
        return self.as_of.get(receipt.partition, 0) > receipt.offset or any(
            event.partition == receipt.partition
            and (event.offset == receipt.offset or (event.feedback == "forget" and event.offset > receipt.offset))
            for event in self.pending
        )

    def history(self) -> list[Consumed]:
        """Return every item consumed or rejected, newest first, each once."""
        newest: dict[str, Consumed] = {}
        for event in reversed(self.pending):
            if event.feedback == "forget":
                break
            newest.setdefault(event.item_id, Consumed(event.item_id, cast(Feedback, event.feedback), "pending"))
        if self.document:
            # What was rejected counts as seen too, and stays rejected.
            known: dict[str, Feedback] = dict.fromkeys(self.document.recent, "positive")
            known |= dict.fromkeys(self.document.hidden, "negative")
            for item_id in reversed(self.document.seen):
                newest.setdefault(item_id, Consumed(item_id, known.get(item_id, "history"), "learned"))
            for item_id in reversed(self.document.hidden):
                newest.setdefault(item_id, Consumed(item_id, "negative", "learned"))
        return list(newest.values())


def _since_forgotten(state: UserState) -> tuple[UserDocument | None, list[PendingEvent]]:
    """Return what is left when the user asked to be forgotten: nothing but the newest such wish and what came after."""
    wishes = [nth for nth, event in enumerate(state.pending) if event.feedback == "forget"]
    return (None, state.pending[wishes[-1] :]) if wishes else (state.document, state.pending)


NOBODY = UserView(None, [], [], frozenset(), frozenset())


def fold(state: UserState) -> UserView:
    """Return the user with his pending events counted in, as the trainer will count them once it learns them."""
    document, pending = _since_forgotten(state)
    recent = list(document.recent) if document else []
    seen = set(document.seen) if document else set()
    hidden = set(document.hidden) if document else set()
    for event in pending:
        if event.feedback == "forget":
            continue
        if event.feedback == "negative":
            hidden.add(event.item_id)
        elif event.feedback == "positive" and event.item_id not in recent:  # a repeat is not learned from
            recent.append(event.item_id)
        seen.add(event.item_id)
    return UserView(document, pending, recent[: -MAX_RECENT - 1 : -1], frozenset(seen), frozenset(hidden))
