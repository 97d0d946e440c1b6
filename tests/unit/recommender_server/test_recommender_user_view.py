"""What a user's history says of each item."""

import numpy as np

from recommender_server.user_view import fold
from stores.ports import UserDocument, UserState


def test_what_was_rejected_stays_rejected_once_it_is_learned():
    # The trainer puts a rejected item among the seen ones too, and it may have been liked before.
    document = UserDocument(
        user_id="ada",
        embedding=np.zeros(2, np.float32),
        recent=["casablanca", "vertigo"],
        seen=["casablanca", "vertigo", "alien", "heat"],
        hidden=["vertigo", "heat"],
        as_of={0: 4},
        version=1,
    )
    history = fold(UserState(document, [])).history()
    assert [(one.item_id, one.feedback) for one in history] == [
        ("heat", "negative"),
        ("alien", "history"),
        ("vertigo", "negative"),
        ("casablanca", "positive"),
    ]
