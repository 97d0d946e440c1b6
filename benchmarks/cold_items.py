"""How well is an item recommended that nobody has clicked yet? Withheld items, predicted from their content.

``python -m benchmarks.cold_items --data FOLDER [--text title text category …] --seeds 3``

Protocol, per seed: a random fifth of the items with any event is withheld with all its events. The other items train
users, vectors and biases by the recipe of initial training; ``models.content`` learns from them what vector and bias
go with which content, and predicts those of the withheld items from content alone. Each user with at least one
withheld item gets the ten best of ALL withheld items, and only those; the figure is hits / min(10, n), n being how many
of them are his, averaged over users. Every event counts as a positive, a pair of user and item once.

Weights of the content are chosen per seed on a fifth of the OTHER items, withheld from a training of its own: nothing
is chosen on the outcomes of the withheld items. The shipped settings, from which that choice starts, were found in the
same way on other random splits of ml-1m; other data never had a part in them. Baselines over the same candidates:
random order, and an oracle that ranks by how many users each withheld item really had. The last line is one JSON
object.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from initial_training.factorisation import Factors, Recipe, factorise
from models.content import ContentMap, ContentSettings
from models.items import Item
from stores.history import load_history

WITHHELD = 0.2
K = 10
ITEM_FIELDS = ("title", "text", "category", "price")
# A folder with ml-1m's pairs has no other complete log; its catalogue is read along with another one.
_ML_1M_PAIRS, _ML_1M_LOG = "pairs_in_ratings_dat_order.tsv.gz", "rebuilt_stream.parquet"


@dataclass(frozen=True)
class Catalogue:
    """Who had what: each pair once, (n,) rows of users and items; and what is known about each item, by row."""

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    user_count: int
    contents: Sequence[Item]

    @classmethod
    def read(cls, path: Path) -> Catalogue:
        """Read a log with a catalogue beside it; raises ``HistoryError``."""
        if (path / _ML_1M_PAIRS).exists():
            with gzip.open(path / _ML_1M_PAIRS, "rt") as lines:
                events = np.loadtxt(lines, dtype=np.int64).astype(str)
            history = load_history(path / _ML_1M_LOG)
            users, items = events[:, 0], events[:, 1]
        else:
            history = load_history(path)
            users, items = np.array(history.user_ids)[history.users], np.array(history.item_ids)[history.items]
        user_ids, user_rows = np.unique(users, return_inverse=True)
        item_ids, item_rows = np.unique(items, return_inverse=True)
        pairs = np.unique(np.stack([user_rows, item_rows], axis=1), axis=0).astype(np.int32)
        contents = [history.catalogue.get(item_id, Item(item_id)) for item_id in item_ids.tolist()]
        return cls(pairs[:, 0].copy(), pairs[:, 1].copy(), len(user_ids), contents)

    def fields(self) -> list[str]:
        """Return the fields that any item has."""
        own = [name for name in ITEM_FIELDS if any(getattr(item, name) for item in self.contents)]
        return own + sorted({name for item in self.contents for name in item.attributes})

    def with_fields(self, names: Sequence[str]) -> Catalogue:
        """Return the catalogue with no other content than these fields."""
        return replace(self, contents=[_only(item, names) for item in self.contents])


def _only(item: Item, names: Sequence[str]) -> Item:
    return Item(
        item.item_id,
        title=item.title if "title" in names else "",
        category=item.category if "category" in names else None,
        price=item.price if "price" in names else None,
        text=item.text if "text" in names else None,
        attributes={name: value for name, value in item.attributes.items() if name in names},
    )


class Split:
    """Items withheld, and what was learned from the pairs of ``taught``; both are rows of items."""

    def __init__(
        self, data: Catalogue, withheld: NDArray[np.int64], taught: NDArray[np.int64], recipe: Recipe, seed: int
    ) -> None:
        self._withheld = withheld
        self._taught = taught
        self._positives = np.bincount(data.items, minlength=len(data.contents))
        # Rows of their own: withheld items are not even negatives.
        row = _places(taught, len(data.contents))[data.items]
        self.learned: Factors = factorise(
            data.users[row >= 0],
            row[row >= 0],
            (data.user_count, len(taught)),
            recipe,
            seed=seed,
            device=torch.device("cpu"),
        )
        place = _places(withheld, len(data.contents))[data.items]
        self._had = np.zeros((data.user_count, len(withheld)), bool)
        self._had[data.users[place >= 0], place[place >= 0]] = True

    def from_content(self, data: Catalogue, settings: ContentSettings, *, bias: bool = True) -> float:
        """Return the recall of vectors predicted from the content in ``data``."""
        vectors = np.hstack([self.learned.items, self.learned.biases[:, None]])
        contents = [data.contents[row] for row in self._taught]
        content = ContentMap.learn(contents, vectors, self._positives[self._taught], settings)
        predicted = content.predict([data.contents[row] for row in self._withheld])
        return self.recall(self.learned.users @ predicted[:, :-1].T + bias * predicted[:, -1])

    def random(self, seed: int) -> float:
        """Return the recall of a random order."""
        return self.recall(np.random.default_rng(seed).random(self._had.shape))

    def popularity_oracle(self) -> float:
        """Return the recall of ranking by how many users each withheld item has: content cannot know that."""
        return self.recall(np.broadcast_to(self._positives[self._withheld], self._had.shape))

    def recall(self, scores: NDArray[Any]) -> float:
        """Return hits / min(10, n), averaged over users with n > 0 withheld items; ``scores``: (users, withheld)."""
        # Withheld items are in random order, which decides between equal scores.
        best = np.argsort(-scores, axis=1, kind="stable")[:, :K]
        hits = np.take_along_axis(self._had, best, axis=1).sum(axis=1)
        own = self._had.sum(axis=1)
        return float(np.mean(hits[own > 0] / np.minimum(own[own > 0], K)))


def _places(rows: NDArray[np.int64], count: int) -> NDArray[np.int32]:
    """Return the place in ``rows`` of each of ``count`` rows, −1 where it is not among them."""
    places = np.full(count, -1, np.int32)
    places[rows] = np.arange(len(rows))
    return places


def chosen_settings(data: Catalogue, split: Split) -> ContentSettings:
    """Return the shipped settings, each kind of weight halved or doubled where that is better on this split."""
    best = ContentSettings()
    recall = split.from_content(data, best)
    for knob in ("ridge", "words", "attributes"):
        for candidate in list(_halved_and_doubled(best, knob)):
            found = split.from_content(data, candidate)
            if found > recall:
                best, recall = candidate, found
    return best


def _halved_and_doubled(settings: ContentSettings, knob: str) -> Iterator[ContentSettings]:
    for factor in (0.5, 2.0):
        if knob == "ridge":
            yield replace(settings, ridge=factor * settings.ridge)
        elif knob == "attributes":
            yield replace(settings, attribute_weight=factor * settings.attribute_weight)
        else:
            words = {name: factor * settings.weights[name] for name in ("title", "text")}
            yield replace(settings, weights={**settings.weights, **words})


def run_seed(data: Catalogue, fields: Sequence[str], recipe: Recipe, seed: int) -> dict[str, Any]:
    """Return recall@10 by method, and the settings chosen, of one withheld fifth."""
    order = np.random.default_rng(seed).permutation(len(data.contents))
    withheld, others = _cut(order)
    inner_withheld, inner_taught = _cut(others)
    everything = data.with_fields(fields)
    settings = chosen_settings(everything, Split(data, inner_withheld, inner_taught, recipe, seed))
    split = Split(data, withheld, others, recipe, seed)
    recall = {
        "random": split.random(seed),
        "popularity oracle": split.popularity_oracle(),
        **{f"{name} alone": split.from_content(data.with_fields([name]), settings) for name in fields},
        "all, without bias": split.from_content(everything, settings, bias=False),
        "all, shipped settings": split.from_content(everything, ContentSettings()),
        "all": split.from_content(everything, settings),
    }
    return {"recall10": recall, "settings": _facts(settings), "withheld": len(withheld)}


def _cut(rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    count = max(1, int(WITHHELD * len(rows)))
    return rows[:count], rows[count:]


def _facts(settings: ContentSettings) -> dict[str, Any]:
    return {
        "ridge": settings.ridge,
        "weights": dict(settings.weights),
        "attribute_weight": settings.attribute_weight,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cold_items", description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder or log of past events, with a catalogue")
    parser.add_argument(
        "--text", nargs="+", metavar="COL", help="fields or attributes of items that count; default: all there are"
    )
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    started_s = time.perf_counter()
    data = Catalogue.read(options.data)
    known = data.fields()
    if unknown := sorted(set(options.text or ()) - set(known)):
        parser.error(f"no item has {', '.join(unknown)}; known are {', '.join(known) or 'no fields at all'}")
    fields = options.text or known
    if not fields:
        parser.error(f"nothing is known about the items of {options.data}")
    seeds = []
    for seed in range(options.seeds):
        seeds.append(run_seed(data, fields, Recipe(options.factors), seed))
        figures = "  ".join(f"{name} {value:.3f}" for name, value in seeds[-1]["recall10"].items())
        print(f"seed {seed}: {figures}", flush=True)
    recalls = {name: [one["recall10"][name] for one in seeds] for name in seeds[0]["recall10"]}
    result = {
        "recall10": {name: float(np.mean(values)) for name, values in recalls.items()},
        "spread": {name: float(np.std(values)) for name, values in recalls.items()},
        "all_minus_oracle": [one["recall10"]["all"] - one["recall10"]["popularity oracle"] for one in seeds],
        "fields": fields,
        "users": data.user_count,
        "items": len(data.contents),
        "pairs": len(data.users),
        "factors": options.factors,
        "seconds": round(time.perf_counter() - started_s, 1),
        "seeds": seeds,
    }
    _print_table(result)
    print(json.dumps(result))


def _print_table(result: Mapping[str, Any]) -> None:
    title = f"recall@10 among withheld items, {len(result['seeds'])} seeds"
    table = Table("method", "mean", "spread", title=title, title_justify="left")
    for name, value in result["recall10"].items():
        table.add_row(name, f"{value:.4f}", f"{result['spread'][name]:.4f}", style="bold" if name == "all" else "")
    Console().print(table)


if __name__ == "__main__":
    main()
