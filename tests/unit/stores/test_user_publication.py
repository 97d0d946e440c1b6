"""Users are published to whatever store there is, also to one that takes but a few documents within its time."""

import pytest

from models.learner import Learner
from models.model_settings import ModelSettings
from stores.clock import SystemClock
from stores.outbox import Outbox
from stores.ports import StoreUnavailable
from stores.recording_metrics import RecordingMetrics
from stores.user_publication import AT_FIRST, MESSAGE_S, USERS_AT_ONCE, UserPublication


class SlowUserStore:
    """Takes ``patience`` documents within the deadline; of more it writes some and says nothing."""

    def __init__(self, patience):
        self.patience = patience
        self.held = {}

    def upsert(self, documents):
        self.held |= {document.user_id: document.version for document in documents[: self.patience]}
        if len(documents) > self.patience:
            raise StoreUnavailable("no answer in time")


class CountingUserStore:
    """Says how many documents came at once."""

    def __init__(self):
        self.lengths = []

    def upsert(self, documents):
        self.lengths.append(len(documents))


class SteppedClock(SystemClock):
    """Goes on by so many seconds at each look."""

    def __init__(self, step_s):
        self.step_s, self.now = step_s, 0.0

    def monotonic_s(self):
        self.now += self.step_s
        return self.now


@pytest.mark.parametrize("patience", [1, 70, USERS_AT_ONCE])
def test_a_store_that_takes_a_few_in_time_gets_all_of_a_long_queue_in_the_end(patience):
    learner, users = Learner(ModelSettings(dimension=4)), 2 * USERS_AT_ONCE + 1
    rows = [learner.add_user(f"u{n}") for n in range(users)]
    outbox, store = Outbox(users=dict.fromkeys(rows)), SlowUserStore(patience)
    publication = UserPublication(learner, outbox, store, lambda row: {0: 1}, SteppedClock(0.0), RecordingMetrics())
    failures = 0
    while outbox.users:
        try:
            publication.publish(7, {0: 9})
        except StoreUnavailable:
            failures += 1
            assert failures <= 10  # down to one, and never again
    assert store.held == {f"u{n}": 7 for n in range(users)}
    assert publication.published == {0: 9}


def test_users_who_find_no_time_wait_for_the_next_flush_and_offsets_pass_nobody_who_waits():
    learner = Learner(ModelSettings(dimension=4))
    rows = [learner.add_user(f"u{n}") for n in range(3 * AT_FIRST)]
    outbox, store = Outbox(users=dict.fromkeys(rows[: 2 * AT_FIRST])), SlowUserStore(USERS_AT_ONCE)
    # As long as a message is to take, each: the next one has as many documents.
    publication = UserPublication(
        learner, outbox, store, lambda row: {0: 1}, SteppedClock(MESSAGE_S), RecordingMetrics()
    )
    publication.publish(1, {0: 10}, MESSAGE_S)
    assert list(outbox.users) == rows[AT_FIRST : 2 * AT_FIRST] and publication.published == {}
    outbox.users.update(dict.fromkeys(rows[AT_FIRST:]))  # with news of some who wait already
    publication.publish(2, {0: 20}, MESSAGE_S)
    assert list(outbox.users) == rows[2 * AT_FIRST :] and publication.published == {0: 10}
    publication.publish(3, {0: 20}, MESSAGE_S)
    assert not outbox.users and publication.published == {0: 20}
    assert list(store.held.values()) == [1] * AT_FIRST + [2] * AT_FIRST + [3] * AT_FIRST


def test_messages_become_as_long_as_the_store_takes_them_in_time():
    learner = Learner(ModelSettings(dimension=4))
    rows = [learner.add_user(f"u{n}") for n in range(1000)]
    for step_s, lengths in ((MESSAGE_S / 2, [100, 200, 400, 300]), (4 * MESSAGE_S, [100, 25, 7, 2, 1, 1])):
        outbox, metrics = Outbox(users=dict.fromkeys(rows)), RecordingMetrics()
        store = CountingUserStore()
        publication = UserPublication(learner, outbox, store, lambda row: {}, SteppedClock(step_s), metrics)
        publication.publish(1, {})
        assert store.lengths[: len(lengths)] == lengths
