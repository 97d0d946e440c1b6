"""A simulated world: users with drifting tastes, Zipf popularity, sessions, new items and new users all the time.

Nothing is hidden: every choice is drawn from probabilities that the world knows, so that what a recommender reaches can
be held against what an oracle, which ranks by these probabilities at that very moment, would have reached.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

EVENTS_FILE, TRUTH_FILE = "events.csv", "true_ranks.npy"

_DAY_S = 86_400.0
_TASTES = 8
_CATEGORIES = ("Mystery", "Travel", "Cooking", "History", "Space", "Gardens", "Music", "Sports", "Poetry", "Nature")
_ADJECTIVES = ("Quiet", "Golden", "Hidden", "Northern", "Paper", "Distant", "Silver", "Restless", "Borrowed", "Winter")
_NOUNS = ("Harbour", "Orchard", "Lantern", "Atlas", "Kitchen", "Comet", "Meadow", "Overture", "Stadium", "Letter")
_OF = (
    "",
    " of Glass",
    " of Salt",
    " of Rain",
    " of Ash",
    " of Amber",
    " of Stone",
    " of Snow",
    " at Dawn",
    " at Dusk",
    " by Night",
    " in June",
    " in Blue",
    " in Red",
    " in White",
    " at Sea",
)
_COLUMNS = ("user_id", "item_id", "type", "value", "timestamp", "title", "category")


@dataclass(frozen=True)
class WorldSize:
    """How large a world is; the default gives about 70,000 events and a demo of some minutes."""

    users: int = 1_600
    items: int = 1_500
    days: int = 60
    sessions_per_user: float = 5.0
    views_per_session: float = 7.0


@dataclass
class _Items:
    """``places``: (n, tastes) where each item lies; ``next_in_series``: the item that follows it, −1 for none."""

    titles: list[str]
    categories: NDArray[np.int64]
    places: NDArray[np.float64]
    popularity: NDArray[np.float64]
    born_s: NDArray[np.float64]
    next_in_series: NDArray[np.int64]


@dataclass
class _Happened:
    """Everything that happened; ``true_ranks``: where each chosen item stood in the oracle's list, from 1."""

    rows: list[tuple[float, str, int, str, str]] = field(default_factory=list)
    true_ranks: list[int] = field(default_factory=list)

    def add(self, time_s: float, user: str, item: int, kind: str, value: str, true_rank: int) -> None:
        self.rows.append((time_s, user, item, kind, value))
        self.true_ranks.append(true_rank)


def write_world(folder: Path, *, seed: int, size: WorldSize | None = None, start_s: float = 1_700_000_000.0) -> None:
    """Simulate a world and write its events, in time order, as a log that any loader of the product reads.

    Beside it lie the oracle's ranks, (n,) int32: the place of each chosen item in the list of everything that the user
    had not consumed, by true probability at that moment. The same seed and size give the same files; safe to repeat.
    """
    size = size or WorldSize()
    chance = np.random.default_rng(seed)
    items = _make_items(chance, size)
    happened = _Happened()
    arrivals_s = np.where(chance.random(size.users) < 0.3, 0.0, chance.random(size.users)) * size.days * _DAY_S
    for user, arrival_s in enumerate(np.sort(arrivals_s)):
        _live(chance, f"user-{user:04d}", float(arrival_s), items, size, happened)
    order = sorted(range(len(happened.rows)), key=lambda position: happened.rows[position][0])
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / TRUTH_FILE, np.array([happened.true_ranks[position] for position in order], np.int32))
    with (folder / EVENTS_FILE).open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(_COLUMNS)
        for position in order:
            time_s, user_id, item, kind, value = happened.rows[position]
            category = _CATEGORIES[items.categories[item]]
            writer.writerow(
                (user_id, f"item-{item:04d}", kind, value, f"{start_s + time_s:.3f}", items.titles[item], category)
            )


def true_ranks_beside(path: Path) -> NDArray[np.int32] | None:
    """Return the oracle's ranks of a simulated world's events, ``None`` for any other data."""
    folder = path if path.is_dir() else path.parent
    return np.load(folder / TRUTH_FILE, allow_pickle=False) if (folder / TRUTH_FILE).exists() else None


def _make_items(chance: np.random.Generator, size: WorldSize) -> _Items:
    n = size.items
    categories = chance.integers(len(_CATEGORIES), size=n)
    centres = chance.normal(size=(len(_CATEGORIES), _TASTES))
    # Series: an item may have a successor of the same category, which who has just taken it wants next.
    next_in_series = np.full(n, -1, np.int64)
    # Every series a title of its own, or lists would seem to repeat themselves.
    words = [f"The {adjective} {noun}{of}" for of in _OF for adjective in _ADJECTIVES for noun in _NOUNS]
    titles = [words[word] for word in chance.permutation(len(words))[:n]]
    for item in np.flatnonzero(chance.random(n - 1) < 0.6):
        next_in_series[item] = item + 1
        categories[item + 1] = categories[item]
    volumes = np.ones(n, np.int64)
    for item in np.flatnonzero(next_in_series >= 0):
        volumes[item + 1] = volumes[item] + 1
        titles[item + 1] = titles[item]
    # New ones all the time: half are there from the start.
    born_s = np.where(chance.random(n) < 0.5, 0.0, chance.random(n)) * size.days * _DAY_S
    return _Items(
        titles=[f"{title}, volume {volume}" for title, volume in zip(titles, volumes, strict=True)],
        categories=categories,
        places=centres[categories] + 0.4 * chance.normal(size=(n, _TASTES)),
        popularity=-0.8 * np.log(1.0 + chance.permutation(n)),  # Zipf
        born_s=born_s,
        next_in_series=next_in_series,
    )


def _live(
    chance: np.random.Generator, user: str, arrival_s: float, items: _Items, size: WorldSize, happened: _Happened
) -> None:
    """Let one user live: sessions with a mood, each choice drawn from the true probabilities."""
    taste = chance.normal(size=_TASTES)
    consumed = np.zeros(len(items.titles), bool)
    time_s, end_s = arrival_s, size.days * _DAY_S
    for _ in range(1 + chance.poisson(size.sessions_per_user * chance.gamma(1.0))):
        taste = 0.95 * taste + 0.3 * chance.normal(size=_TASTES)
        mood = items.places[chance.integers(len(items.places))]
        last = -1
        for _ in range(1 + chance.poisson(size.views_per_session)):
            time_s += float(chance.exponential(90.0))
            if time_s >= end_s:
                return
            utility = items.popularity + items.places @ (0.5 * taste + 0.7 * mood)
            # A fresh item is talked about for some days.
            utility = utility + 1.5 * np.exp((items.born_s - time_s) / (4 * _DAY_S))
            if last >= 0 and items.next_in_series[last] >= 0:
                utility[items.next_in_series[last]] += 5.0
            utility[consumed | (items.born_s > time_s)] = -np.inf
            below = np.cumsum(np.exp(utility - utility.max()))
            chosen = int(np.searchsorted(below, chance.random() * below[-1], side="right"))
            true_rank = 1 + int(np.count_nonzero(utility > utility[chosen]))
            consumed[chosen], last = True, chosen
            _consume(chance, user, time_s, chosen, true_rank, float(items.places[chosen] @ taste), happened)
        time_s += float(chance.exponential(end_s / 12))


def _consume(
    chance: np.random.Generator,
    user: str,
    time_s: float,
    item: int,
    true_rank: int,
    liking: float,
    happened: _Happened,
) -> None:
    """Write down what the user did with the item: looked at it, maybe bought it too, or rated it, well or badly."""
    if chance.random() < 0.25:
        stars = float(np.clip(np.round(2 * (3.8 + 0.25 * liking + 0.7 * chance.normal())) / 2, 0.5, 5.0))
        happened.add(time_s, user, item, "rating", str(stars), true_rank)
        return
    happened.add(time_s, user, item, "pageView", "", true_rank)
    if chance.random() < 0.15:
        happened.add(time_s + 1.0, user, item, "buy", "", true_rank)
