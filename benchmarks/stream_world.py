"""A synthetic stream of realistic shape, as long as one likes: what a shop or a newsroom writes into its log in a week.

Sessions of a few events, one after another, of many users at a time; few users do much and many a little; few items
are wanted by most (Zipf), and a session mostly stays within one category. Most events are positive, some are history
only, a few reject, and some repeat what the user had before. Every draw is of one seed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.items import Item, encode_item
from stores.ports import Entry

CATEGORIES = 40
# The mean number of events in a session, and how many sessions run at the same time.
SESSION_EVENTS, AT_ONCE = 5, 200
# The share of a session's events that lie in its own category.
LOYALTY = 0.7
# Item i, from 1, is wanted in proportion to i ** -ITEM_EXPONENT; user u is active likewise.
ITEM_EXPONENT, USER_EXPONENT = 0.9, 0.5
# Kinds of events and their shares: two positive ones, history, a rejection.
TYPES = ("click", "buy", "glance", "dislike")
SHARES = (0.75, 0.10, 0.12, 0.03)
# One event in so many has a pair of user and item that came before, besides those that chance repeats.
REPEATS = 50
SPAN_S = 7 * 86_400.0
_WORDS = ("old", "new", "red", "blue", "quiet", "loud", "small", "river", "house", "garden", "winter", "night", "storm")


@dataclass(frozen=True)
class StreamWorld:
    """``events`` of ``users`` with ``items``."""

    users: int
    items: int
    events: int
    seed: int = 0

    def item_entries(self) -> list[Entry]:
        """Return the catalogue as records of topic ``items``."""
        chance = np.random.default_rng(self.seed)
        records = []
        for item in range(self.items):
            title, text = (" ".join(chance.choice(_WORDS, size)) for size in (3, 12))
            record = Item(f"i{item}", title=title, category=f"c{item % CATEGORIES}", price=9.5, text=text)
            records.append(Entry(record.item_id, encode_item(record)))
        return records

    def event_entries(self, at_once: int = 10_000) -> Iterator[list[Entry]]:
        """Yield the events in order, so many at a time, as records of topic ``user_events``."""
        users, items = self.pairs()
        chance = np.random.default_rng(self.seed + 1)
        types = chance.choice(len(TYPES), self.events, p=SHARES)
        times_s = time.time() - SPAN_S + np.arange(self.events) * (SPAN_S / self.events)
        for start in range(0, self.events, at_once):
            part = slice(start, start + at_once)
            yield [
                Entry(
                    f"u{user}",
                    b'{"event_id":"e%d","user_id":"u%d","item_id":"i%d","type":"%s","timestamp":%.3f}'
                    % (nth, user, item, TYPES[kind].encode(), at_s),
                )
                for nth, (user, item, kind, at_s) in enumerate(
                    zip(users[part].tolist(), items[part].tolist(), types[part].tolist(), times_s[part], strict=True),
                    start,
                )
            ]

    def pairs(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return user and item of every event, (events,) each."""
        chance = np.random.default_rng(self.seed + 2)
        wanted = _zipf(self.items, ITEM_EXPONENT)
        popular = chance.permutation(self.items)
        drawn: NDArray[np.int64] = np.empty(0, np.int64)
        # Mostly new pairs: people do not take what they have for ever, so a long stream is no different from a short.
        while len(drawn) < self.events:
            more = self._draw(chance, 1000 + int(1.2 * (self.events - len(drawn))), wanted, popular)
            both = np.concatenate([drawn, more])
            _, first = np.unique(both, return_index=True)
            drawn = both[np.sort(first)]
        drawn = drawn[: self.events]
        again = np.arange(REPEATS, self.events, REPEATS)
        drawn[again] = drawn[again - chance.integers(1, REPEATS, len(again))]
        return drawn // self.items, drawn % self.items

    def _draw(
        self,
        chance: np.random.Generator,
        count: int,
        wanted: NDArray[np.float64],
        popular: NDArray[np.int64],
    ) -> NDArray[np.int64]:
        """Return pairs, ``user * items + item``, session by session, ``AT_ONCE`` of them interleaved."""
        sessions = count // SESSION_EVENTS + AT_ONCE
        whose = np.searchsorted(_zipf(self.users, USER_EXPONENT), chance.random(sessions))
        users = chance.permutation(self.users)[np.minimum(whose, self.users - 1)]
        where = chance.integers(CATEGORIES, size=sessions)
        lengths = chance.geometric(1.0 / SESSION_EVENTS, sessions)
        of_session = np.repeat(np.arange(sessions), lengths)[:count]
        items = popular[np.minimum(np.searchsorted(wanted, chance.random(len(of_session))), self.items - 1)]
        loyal = chance.random(len(of_session)) < LOYALTY
        category = where[of_session[loyal]]
        items[loyal] = np.minimum(items[loyal] // CATEGORIES * CATEGORIES + category, self.items - 1)
        pairs = users[of_session] * self.items + items
        # An event lies as far behind its session's beginning as ``AT_ONCE`` others of other sessions put it.
        began = np.cumsum(lengths) - lengths
        nth = np.arange(len(of_session)) - began[of_session]
        return pairs[np.argsort(began[of_session] + nth * AT_ONCE, kind="stable")]


def _zipf(size: int, exponent: float) -> NDArray[np.float64]:
    """Return the cumulated shares of ``size`` places, (size,)."""
    weights = np.arange(1, size + 1, dtype=np.float64) ** -exponent
    return np.cumsum(weights) / weights.sum()
