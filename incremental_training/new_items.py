"""Who is new: items that may be shown and that few have had; serving gives them a small share of its places."""

from __future__ import annotations

from itertools import islice

from models.catalogue import Catalogue
from models.learner import Learner
from stores.ports import NEW_POSITIVES

NEW_LIMIT = 1_000
# Among so many items with the newest records.
LOOKED_AT = 5_000


def new_items(learner: Learner, catalogue: Catalogue) -> list[tuple[str, float]]:
    """Return new items, those with fewest positives first, of these the newest; with how many positives they lack."""
    counts = learner.popularity.counts(len(learner.items))
    found = []
    for item_id in islice(catalogue.newest(), LOOKED_AT):
        row = learner.items.row(item_id)
        positives = 0 if row is None else int(counts[row])
        if positives < NEW_POSITIVES:
            found.append((item_id, float(NEW_POSITIVES - positives)))
    found.sort(key=lambda entry: -entry[1])
    return found[:NEW_LIMIT]
