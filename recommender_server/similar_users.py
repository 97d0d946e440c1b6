"""Users like one: who consumed the same items lately, ranked by how alike their tastes are.

Candidates are the last users of the user's recent items (the trainer keeps them per item), so the cost does not grow
with the number of users. Embeddings are compared here and never leave the recommender.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import msgspec
import numpy as np

from recommender_server.degradation import Deadline, DependencyUnavailable
from recommender_server.dependencies import Dependencies
from recommender_server.problems import Problem
from recommender_server.user_view import UserView
from stores.ports import UserDocument, Vectors

# The user's newest items whose users are looked at, and how many of these, those of the most items first.
MOST_RECENT, MOST_CANDIDATES = 20, 100


class SimilarUser(msgspec.Struct, frozen=True):
    """A user, how alike (0 to 1), and what both consumed lately."""

    user_id: str
    similarity: float
    shared_items: list[str]


class SimilarUsers(msgspec.Struct, frozen=True):
    """Users most like one, best first."""

    request_id: str
    user_id: str
    users: list[SimilarUser]


class SimilarUserFinder:
    """Finds them. The similarity is the mean of two cosines: of the learned embeddings, and of the recent positives."""

    def __init__(self, dependencies: Dependencies, new_deadline: Callable[[], Deadline]) -> None:
        self._dependencies = dependencies
        self._new_deadline = new_deadline

    async def of(self, user_id: str, k: int, request_id: str) -> SimilarUsers:
        """Return at most k users; none for a user without positives. Raises ``Problem``: a store does not answer."""
        deadline = self._new_deadline()
        try:
            view = await self._dependencies.user(user_id, deadline)
            recent = view.recent[:MOST_RECENT]
            by_item = await self._dependencies.of_items(lambda items: items.recent_users(recent), deadline)
            together = Counter(other for users in by_item.values() for other in users if other != user_id)
            candidates = [other for other, _ in together.most_common(MOST_CANDIDATES)]
            states = await self._dependencies.of_users(lambda users: users.get_many(candidates), deadline)
        except DependencyUnavailable as error:
            raise Problem(503, "users-unavailable", str(error), retry_after_s=1) from None
        found = [_compared(view, state.document) for state in states.values() if state.document is not None]
        best = sorted(found, key=lambda user: (-user.similarity, user.user_id))[:k]
        return SimilarUsers(request_id, user_id, best)


def _compared(view: UserView, other: UserDocument) -> SimilarUser:
    shared = [item_id for item_id in view.recent if item_id in set(other.recent)]
    overlap = len(shared) / max(1.0, (len(view.recent) * len(other.recent)) ** 0.5)
    alike = max(0.0, _cosine(view.embedding, other.embedding))
    return SimilarUser(other.user_id, (alike + overlap) / 2, shared)


def _cosine(one: Vectors | None, other: Vectors) -> float:
    if one is None or one.shape != other.shape:
        return 0.0
    length = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / length if length else 0.0
