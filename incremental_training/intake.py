"""Intake: from records of the log to what the learner knows (steps 1 to 5 of the cycle).

Everything here depends on the records alone, in their order: not on time, nor on how the log cut them into batches. So
reading the same records again after a crash leads to the same bits.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from incremental_training.demand import Demand
from incremental_training.outcomes import Outcomes
from incremental_training.windows import Lists, Windows
from models.evaluation import PrequentialEvaluator, is_scored
from models.events import BadEvent, EventDecoder, Interaction
from models.learner import Learner
from models.prequential import Positive, Prequential
from models.teachers import Teachers, is_refresh
from stores.ports import USER_EVENTS, DeadLetter, Record

# An event this much older than its arrival counts as late; it is learned all the same.
LATE_S = 86_400.0
# Negative feedback has no strength of its own.
REJECTION_STRENGTH = 1.0


class TooManyBadEvents(Exception):
    """So large a share of the newest events is bad that going on would empty the topic into the dead letters."""


class Counters(msgspec.Struct):
    """What became of every event.

    ``events_seen`` = ``events_learned`` + ``non_positives`` + ``repeats`` + ``duplicates`` + ``dead_letters``; ``late``
    and ``future`` count some of them a second time.
    """

    events_seen: int = 0
    events_learned: int = 0
    non_positives: int = 0
    repeats: int = 0
    duplicates: int = 0
    dead_letters: int = 0
    late: int = 0
    future: int = 0


class Intake:
    """Decodes, drops duplicates and repeats, has scored positives ranked, and hands positives to the learner."""

    def __init__(
        self,
        learner: Learner,
        evaluator: PrequentialEvaluator,
        decoder: EventDecoder,
        *,
        evaluate_every: int,
        dedup_window: int,
        bad_window: int,
        bad_share: float,
    ) -> None:
        self.learner = learner
        self.evaluator = evaluator
        self.counters = Counters()
        self.windows = Windows()
        self.outcomes = Outcomes(self.windows.category_of)
        self.demand = Demand()
        self._lists: Lists = {}
        # Of the map from content to vectors, as they were when so many positives were learned.
        self.teachers: Teachers | None = None
        self._stream = Prequential(learner, evaluator)
        self._decoder = decoder
        self._evaluate_every = evaluate_every
        self._dedup_window = dedup_window
        # Oldest first. No plain dictionary: it looks for its oldest among the places of all that went before.
        self._event_ids: OrderedDict[str, None] = OrderedDict()
        self._bad: deque[bool] = deque(maxlen=bad_window)
        self._bad_limit = bad_share * bad_window
        # Per user row, one after another: partition and NEXT offset after his newest event.
        self._as_of = array("q")
        # Positives, with their item rows, that windows and outcomes have not counted yet.
        self._positives: list[tuple[int, Interaction]] = []
        self._changed_users: dict[int, None] = {}
        self._forgotten_users: dict[str, list[int]] = {}
        # For whoever looks through the real index; no part of what is learned.
        self.scored_users: deque[int] = deque(maxlen=20)

    def take(self, records: Sequence[Record]) -> list[DeadLetter]:
        """Learn from records of ``user_events``, in order; return those that are to be set aside.

        NOT safe to repeat.
        """
        letters: list[DeadLetter] = []
        # One thing for all of them and then the next: learning leaves nothing of what the others need in the caches.
        for record, interaction in [(record, self._understood(record, letters)) for record in records]:
            if interaction is not None:
                self._take_interaction(interaction, record.partition, record.offset)
        self._stream.learn_waiting()
        self._count_positives()
        return letters

    def _understood(self, record: Record, letters: list[DeadLetter]) -> Interaction | None:
        """Return what a record says, ``None`` when that is nothing new or, with one letter more, cannot be read."""
        counters = self.counters
        counters.events_seen += 1
        default_id = f"{record.topic}:{record.partition}:{record.offset}"
        try:
            event = self._decoder.decode(record.value, default_event_id=default_id, arrival_s=record.arrival_s)
        except BadEvent as error:
            counters.dead_letters += 1
            letters.append(DeadLetter.of(record, error.reason, str(error)))
            self._bad.append(True)
            return None
        self._bad.append(False)
        if event.event_id in self._event_ids:
            counters.duplicates += 1
            return None
        self._event_ids[event.event_id] = None
        if len(self._event_ids) > self._dedup_window:
            self._event_ids.popitem(last=False)
        self.demand.take(event)
        counters.late += event.lateness_s > LATE_S
        counters.future += event.lateness_s < 0
        return event

    def refuse_too_many_bad(self) -> None:
        """Raise ``TooManyBadEvents`` when they are; to be asked after the dead letters are kept."""
        bad = sum(self._bad)
        if bad > self._bad_limit:
            raise TooManyBadEvents(
                f"{bad} of the last {len(self._bad)} events are bad; look at the dead letters, then correct the "
                "producer or the settings EVENT_FIELDS and POSITIVE_EVENTS, and start again"
            )

    def _take_interaction(self, event: Interaction, partition: int, offset: int) -> None:
        counters, learner = self.counters, self.learner
        if event.feedback == "forget":
            counters.non_positives += 1
            self._forget(event.user_id)
            return
        taken = None
        if event.feedback == "positive":
            scored = self._is_scored(event)
            taken = self._stream.take(
                Positive(event.user_id, event.item_id, event.strength, event.event_id), scored=scored
            )
        if taken is None:
            user, item = learner.add_user(event.user_id), learner.add_item(event.item_id)
        else:
            user, item, outcome = taken
            if outcome is not None:
                self.scored_users.append(user)
        if 2 * user == len(self._as_of):
            self._as_of.extend((0, 0))
        self._as_of[2 * user], self._as_of[2 * user + 1] = partition, offset + 1
        self._changed_users[user] = None
        if taken is not None:
            counters.events_learned += 1
            if is_refresh(counters.events_learned):
                self._stream.learn_waiting()
                self.teachers = Teachers.of(learner)
            self._positives.append((item, event))
        elif event.feedback == "positive":
            counters.repeats += 1
        elif event.feedback == "negative":
            counters.non_positives += 1
            self._stream.reject(Positive(event.user_id, event.item_id, REJECTION_STRENGTH, event.event_id))
        else:
            counters.non_positives += 1
            learner.mark_seen(user, item)

    def _count_positives(self) -> None:
        positives, self._positives = self._positives, []
        events = [event for _, event in positives]
        self.windows.count(
            [item for item, _ in positives], [x.strength for x in events], [x.timestamp_s for x in events]
        )
        for event in events:
            self.outcomes.take_positive(event.user_id, event.item_id, event.timestamp_s + max(0.0, event.lateness_s))

    def _forget(self, user_id: str) -> None:
        # What waits of him is learned and counted first, as it would be had the stream been cut here: batches decide
        # nothing.
        self._stream.learn_waiting()
        self._count_positives()
        user = self.learner.users.row(user_id)
        consumed = [] if user is None else self.learner.seen(user).tolist()
        if user is not None:
            self.learner.forget_user(user)
            self._as_of[2 * user] = self._as_of[2 * user + 1] = 0
        self.outcomes.forget(user_id)
        self._forgotten_users[user_id] = [*self._forgotten_users.get(user_id, ()), *consumed]

    def _is_scored(self, event: Interaction) -> bool:
        user = self.learner.users.row(event.user_id)
        if user is None or not is_scored(event.event_id, self._evaluate_every):
            return False
        # Only who has an earlier positive can be recommended to by what he likes; it may still wait to be learned.
        self._stream.learn_waiting()
        return self.learner.positives_of(user) > 0

    def take_changed_users(self) -> dict[int, None]:
        """Return the rows of users with any event since last asked, and start anew."""
        changed, self._changed_users = self._changed_users, {}
        return changed

    def take_forgotten_users(self) -> dict[str, list[int]]:
        """Return the ids of users forgotten since last asked, with the items they consumed, and start anew."""
        forgotten, self._forgotten_users = self._forgotten_users, {}
        return forgotten

    def lists(self) -> Lists:
        """Return the popular lists by window and category, by name; made anew only when something was counted."""
        if self.windows.changed:
            self._lists = self.windows.lists(self.learner.items.ids)
            self.windows.changed = False
        return self._lists

    def as_of(self, user: int) -> dict[int, int]:
        """Return the NEXT offset after a user's newest event, by partition; empty for one known from history only.

        It is his own newest event, not the trainer's position, so that it does not depend on when he is published.
        """
        if 2 * user >= len(self._as_of):
            return {}
        partition, offset = self._as_of[2 * user : 2 * user + 2]
        return {partition: offset} if offset else {}

    def forget_offsets(self) -> None:
        """Forget what was known by its place in the log, which now holds other events; ids that clients gave stay."""
        self._as_of = array("q", bytes(8 * len(self._as_of)))
        kept = (name for name in self._event_ids if not name.startswith(f"{USER_EVENTS}:"))
        self._event_ids = OrderedDict.fromkeys(kept)

    def state(self) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, Any]]:
        """Return (arrays, facts): copies of everything needed to go on; facts are JSON-able."""
        arrays, windows = self.windows.state()
        arrays["as_of"] = np.array(self._as_of, np.int64).reshape(-1, 2)
        if self.teachers is not None:
            arrays |= self.teachers.state()
        return arrays, {
            "counters": msgspec.to_builtins(self.counters),
            "event_ids": list(self._event_ids),
            "windows": windows,
            "outcomes": self.outcomes.state(),
        }

    def restore(self, arrays: Mapping[str, np.ndarray[Any, Any]], facts: Mapping[str, Any]) -> None:
        """Take over a state, or nothing of it where initial training left none."""
        self.counters = msgspec.convert(facts.get("counters", {}), Counters)
        self._event_ids = OrderedDict.fromkeys(facts.get("event_ids", ()))
        if "windows" in facts:
            self.windows.restore(arrays, facts["windows"])
            self.outcomes.restore(facts["outcomes"])
        self.teachers = Teachers.from_state(arrays)
        if not facts and len(self.learner.items):
            self.teachers = Teachers.of(self.learner)  # initial training leaves none
        self._as_of = array("q", arrays["as_of"].tobytes() if "as_of" in arrays else b"")
        # Users of the history have no place in the log.
        self._as_of.extend(array("q", bytes(16 * len(self.learner.users) - 8 * len(self._as_of))))
