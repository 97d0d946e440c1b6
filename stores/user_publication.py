"""Publication to the user store: whole documents of users who changed, and removal of those who are forgotten."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

from models.learner import Learner
from stores.outbox import Outbox, acknowledge
from stores.ports import Metrics, StoreUnavailable, UserDocument, UserWriter

# The most documents in one message: none should take long to answer.
USERS_AT_ONCE = 1_000


class UserPublication:
    """Publishes the users of the outbox. ``as_of`` tells, per user row, the learned offset per partition."""

    def __init__(
        self,
        learner: Learner,
        outbox: Outbox,
        users: UserWriter,
        as_of: Callable[[int], dict[int, int]],
        metrics: Metrics,
    ) -> None:
        self._learner, self._outbox, self._users, self._as_of = learner, outbox, users, as_of
        self._metrics = metrics
        # Half as many after a failure: a store that is slow, or comes back to a long queue, answers in time for a few,
        # and for all of them, asked again and again, it never would.
        self._at_once = USERS_AT_ONCE

    def publish(self, version: int) -> None:
        """Publish all who wait. Safe to repeat. Raises ``StoreUnavailable``, ``StaleEpoch``."""
        if forgotten := list(self._outbox.forgotten):
            # Before the documents: whoever came back has a new row, and his new document stays.
            self._users.delete(forgotten, version)
            acknowledge(self._outbox.forgotten, forgotten)
        waiting = self._outbox.users
        while waiting:
            rows = list(islice(waiting, self._at_once))
            documents = [self._document(row, version) for row in rows if self._learner.users.id(row)]
            try:
                self._users.upsert(documents)
            except StoreUnavailable:
                self._at_once = max(1, self._at_once // 2)
                raise
            self._metrics.count("users_published", len(documents))
            acknowledge(waiting, rows)
        self._at_once = min(USERS_AT_ONCE, 2 * self._at_once)

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
