"""Publication to the user store: whole documents of users who changed, and removal of those who are forgotten."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from itertools import islice

from models.learner import Learner
from stores.outbox import Outbox, acknowledge
from stores.ports import Clock, Metrics, StoreUnavailable, UserDocument, UserWriter

# The most documents in one message, and how long the store may take for one: serving waits for the same store.
USERS_AT_ONCE, AT_FIRST = 1_000, 100
MESSAGE_S = 0.05


class UserPublication:
    """Publishes the users of the outbox, who waits longest first.

    ``as_of`` tells, per user row, the learned offset per partition. ``published``: NEXT offset per partition up to
    which no user waits.
    """

    def __init__(
        self,
        learner: Learner,
        outbox: Outbox,
        users: UserWriter,
        as_of: Callable[[int], dict[int, int]],
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._learner, self._outbox, self._users, self._as_of = learner, outbox, users, as_of
        self._clock, self._metrics = clock, metrics
        self.published: dict[int, int] = {}
        # As many as the store takes in MESSAGE_S; at most half as many after a failure: a store that is slow, or comes
        # back to a long queue, answers in time for a few, and for all of them, asked again and again, it never would.
        self._at_once, self._most = AT_FIRST, USERS_AT_ONCE
        # How many have left the queue, and how many will have when all who waited at some offsets are published.
        self._left = 0
        self._marks: deque[tuple[int, dict[int, int]]] = deque()

    def publish(self, version: int, offsets: Mapping[int, int], within_s: float = math.inf) -> None:
        """Publish who waits, at least one message; after ``within_s`` the others go on waiting, in their order.

        ``offsets``: NEXT offset per partition up to which the learner has learned. Safe to repeat. Raises
        ``StoreUnavailable``, ``StaleEpoch``.
        """
        give_way_s = self._clock.monotonic_s() + within_s
        if forgotten := list(self._outbox.forgotten):
            # Before the documents: whoever came back has a new row, and his new document stays.
            self._users.delete(forgotten, version)
            acknowledge(self._outbox.forgotten, forgotten)
        waiting = self._outbox.users
        self._marks.append((self._left + len(waiting), dict(offsets)))
        while waiting:
            started_s = self._clock.monotonic_s()
            rows = list(islice(waiting, self._at_once))
            documents = [self._document(row, version) for row in rows if self._learner.users.id(row)]
            try:
                self._users.upsert(documents)
            except StoreUnavailable:
                self._at_once = self._most = max(1, self._at_once // 2)
                raise
            self._metrics.count("users_published", len(documents))
            acknowledge(waiting, rows)
            self._left += len(rows)
            ended_s = self._clock.monotonic_s()
            fitting = math.ceil(len(rows) * min(2.0, MESSAGE_S / max(ended_s - started_s, 1e-6)))
            if fitting < len(rows) or len(rows) == self._at_once:  # a short message tells little of a long one
                self._at_once = min(fitting, self._most)
            if ended_s >= give_way_s:
                break
        self._most = min(USERS_AT_ONCE, 2 * self._most)
        while self._marks and self._marks[0][0] <= self._left:
            _, self.published = self._marks.popleft()

    def _document(self, row: int, version: int) -> UserDocument:
        learner, item_id = self._learner, self._learner.items.id
        return UserDocument(
            user_id=learner.users.id(row),
            embedding=learner.user_embedding(row),
            recent=[item_id(item) for item in reversed(learner.recent(row).tolist())],
            seen=[item_id(item) for item in learner.seen(row)],
            hidden=[item_id(item) for item in learner.hidden(row)],
            as_of=self._as_of(row),
            version=version,
        )
