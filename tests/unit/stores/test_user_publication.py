"""Users are published to whatever store there is, also to one that takes but a few documents within its time."""

import pytest

from models.learner import Learner
from models.model_settings import ModelSettings
from stores.outbox import Outbox
from stores.ports import StoreUnavailable
from stores.recording_metrics import RecordingMetrics
from stores.user_publication import USERS_AT_ONCE, UserPublication


class SlowUserStore:
    """Takes ``patience`` documents within the deadline; of more it writes some and says nothing."""

    def __init__(self, patience):
        self.patience = patience
        self.held = {}

    def upsert(self, documents):
        self.held |= {document.user_id: document.version for document in documents[: self.patience]}
        if len(documents) > self.patience:
            raise StoreUnavailable("no answer in time")


@pytest.mark.parametrize("patience", [1, 70, USERS_AT_ONCE])
def test_a_store_that_takes_a_few_in_time_gets_all_of_a_long_queue_in_the_end(patience):
    learner, users = Learner(ModelSettings(dimension=4)), 2 * USERS_AT_ONCE + 1
    rows = [learner.add_user(f"u{n}") for n in range(users)]
    outbox, store = Outbox(users=dict.fromkeys(rows)), SlowUserStore(patience)
    publication = UserPublication(learner, outbox, store, lambda row: {0: 1}, RecordingMetrics())
    failures = 0
    while outbox.users:
        try:
            publication.publish(7)
        except StoreUnavailable:
            failures += 1
            assert failures <= 10  # down to one, and never again
    assert store.held == {f"u{n}": 7 for n in range(users)}
