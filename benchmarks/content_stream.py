"""What is it worth to blend learned vectors with what content predicts, and to let items without events be found?

``python -m benchmarks.content_stream --data LOG --catalogue FOLDER --users COL --items COL --time COL
[--positive 'COL>=4'] [--every N] [--seeds N] [--evidence X …]``

One pass over a log, recommend first and then learn, by the product's own learner; the map from content is renewed at
the same counts of positives as in the trainer. Every scored positive is ranked three times: by learned vectors alone,
which is what the prequential evaluation of the product does; by vectors blended as the product publishes them; and
among all items of the catalogue, those without events by their predicted vectors. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.stream import Stream, read_stream
from benchmarks.uncertainty import intervals
from models import ranking
from models.catalogue import Catalogue
from models.content import blend
from models.evaluation import PrequentialEvaluator
from models.full_ranking import candidate_features, candidates, rank_of
from models.item_content import EVIDENCE, MOST_BLENDED, learn_predictions
from models.learner import Learner
from models.model_settings import ModelSettings
from models.prequential import Positive, Prequential
from models.ranking import CONTEXT, CONTEXT_LONG, EMBEDDING, POPULARITY_FAST, POPULARITY_SLOW
from models.teachers import Teachers, content_columns, is_refresh
from stores.history import load_history

K = 10
MISS = 2**31 - 1
BANDS = {"0": (0, 0), "1-2": (1, 2), "3-9": (3, 9), "10-31": (10, 31), "32-": (32, MISS)}


class Predicted:
    """What the newest map says of every item of the catalogue: those of the learner by row, the others beside them."""

    def __init__(self, catalogue: Catalogue, width: int) -> None:
        self._catalogue = catalogue
        self._item_ids = catalogue.item_ids()
        self._place = {item_id: place for place, item_id in enumerate(self._item_ids)}
        self._vectors = np.zeros((len(self._item_ids), width), np.float32)
        self._known = np.zeros(len(self._item_ids), bool)
        self.maps = 0

    def renew(self, learner: Learner) -> None:
        """Learn the map anew from the learner as it is."""
        teachers = Teachers.of(learner)
        records = [self._catalogue.get(learner.items.id(row)) for row in teachers.rows.tolist()]
        predictions = learn_predictions(teachers, records, self._catalogue, lambda: None)
        if predictions is not None:
            self._vectors, self._known = predictions.at(np.arange(len(self._item_ids)))
            self.maps += 1

    def of_rows(self, learner: Learner) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return predictions of all items of the learner, and which of them are known."""
        places = np.array([self._place.get(item_id, -1) for item_id in learner.items.ids])
        return self._vectors[places], self._known[places] & (places >= 0)

    def without_row(self, learner: Learner) -> tuple[list[str], NDArray[np.float32]]:
        """Return the known items that the learner has never met, and their predictions."""
        chosen = [
            place for place, item_id in enumerate(self._item_ids) if self._known[place] and item_id not in learner.items
        ]
        return [self._item_ids[place] for place in chosen], self._vectors[chosen]


def ranks(learner: Learner, predicted: Predicted, positive: Positive, evidences: Sequence[float]) -> dict[str, int]:
    """Return the rank of a positive by every way of ranking."""
    user, item = learner.users.row(positive.user_id), learner.items.row(positive.item_id)
    assert user is not None
    weights, d = learner.merges.of(learner.positives_of(user)).weights, learner.settings.dimension
    features, allowed = candidate_features(learner, user), candidates(learner, user)
    ranked = item is not None and bool(allowed[item])
    found = {"learned": rank_of(item, weights @ features, allowed) if ranked and item is not None else MISS}
    size = len(learner.items)
    counts = learner.popularity.counts(size)
    prediction, known = predicted.of_rows(learner)
    young = np.flatnonzero(known & (counts < MOST_BLENDED))
    settings = learner.settings
    recent = learner.recent(user, ranking.folded(settings.context_length))
    folded = ranking.recent_weights(len(recent), weights.tolist(), settings.context_length, settings.context_decay)
    learned = content_columns(learner, np.arange(size))
    ids, others = predicted.without_row(learner)
    floor = np.log(1 / size) * (weights[POPULARITY_FAST] + weights[POPULARITY_SLOW])
    for evidence in evidences:
        columns = learned.copy()
        columns[young] = blend(learned[young], prediction[young], counts[young], evidence)
        context = np.array(folded, np.float32) @ columns[recent, d + 1 :]
        embedding = learner.user_embedding(user)

        def scores(vectors: NDArray[np.float32], context: Any = context, embedding: Any = embedding) -> Any:
            return vectors[:, :d] @ (context + weights[EMBEDDING] * embedding) + weights[CONTEXT] * vectors[:, d]

        rest = features.copy()
        rest[[CONTEXT, CONTEXT_LONG, EMBEDDING]] = 0.0
        own, of_others = scores(columns) + weights @ rest, scores(others) + floor
        found[f"blended {evidence:g}"] = rank_of(item, own, allowed) if ranked and item is not None else MISS
        mine = own[item] if ranked and item is not None else None
        if mine is None and positive.item_id in ids:
            mine = of_others[ids.index(positive.item_id)]
        above = MISS if mine is None else int((own[allowed] >= mine).sum() + (of_others >= mine).sum())
        found[f"all items {evidence:g}"] = above
    return found


def run(
    stream: Stream, scored: set[int], catalogue: Catalogue, settings: ModelSettings, evidences: Sequence[float]
) -> tuple[list[dict[str, int]], list[int], list[int]]:
    """Return, of every scored positive, its ranks, the positives of its item before it, and its user."""
    learner = Learner(settings)
    evaluator = PrequentialEvaluator(learner)
    prequential = Prequential(learner, evaluator)
    predicted = Predicted(catalogue, 2 * settings.dimension + 1)
    found, counts, users = [], [], []
    for position, positive in enumerate(stream.positives(settings.seed, 0, len(stream))):
        if position in scored:
            prequential.learn_waiting()
            item = learner.items.row(positive.item_id)
            found.append(ranks(learner, predicted, positive, evidences))
            counts.append(0 if item is None else int(learner.popularity.counts(len(learner.items))[item]))
            users.append(int(stream.users[position]))
        prequential.take(positive, scored=position in scored)
        if is_refresh(position + 1):
            prequential.learn_waiting()
            predicted.renew(learner)
    return found, counts, users


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.content_stream", description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="CSV, TSV or Parquet log")
    parser.add_argument("--catalogue", type=Path, required=True, help="folder or log with what is known of its items")
    parser.add_argument("--users", required=True, help="column of user ids")
    parser.add_argument("--items", required=True, help="column of item ids")
    parser.add_argument("--time", required=True, help="column of times")
    parser.add_argument("--positive", help="condition that makes an event a positive, such as 'rating>=4'")
    parser.add_argument("--every", type=int, default=4, help="one positive in so many is scored")
    parser.add_argument("--evidence", type=float, nargs="+", default=[EVIDENCE])
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    began_s = time.monotonic()
    stream = read_stream(
        options.data, users=options.users, items=options.items, time=options.time, positive=options.positive
    )
    catalogue = Catalogue()
    for item in load_history(options.catalogue).catalogue.values():
        catalogue.put(item)
    scored = set(stream.scored(start=0, every=1, at_most=len(stream))[:: options.every].tolist())
    found: list[dict[str, int]] = []
    counts: list[int] = []
    users: list[int] = []
    for seed in range(options.seeds):
        settings = replace(ModelSettings(), seed=seed)
        one = run(stream, scored, catalogue, settings, options.evidence)
        found, counts, users = found + one[0], counts + one[1], users + one[2]
    print(json.dumps(figures(found, counts, users) | {"seconds": round(time.monotonic() - began_s, 1)}))


def figures(found: Sequence[dict[str, int]], counts: Sequence[int], users: Sequence[int]) -> dict[str, Any]:
    """Print a table; return recall@10 by way of ranking, in all and by positives of the item before the event."""
    methods = list(found[0])
    hits = np.array([[one[name] <= K for name in methods] for one in found], np.float64)
    before = np.array(counts)
    bands = {name: (before >= low) & (before <= high) for name, (low, high) in BANDS.items()}
    bounds = intervals(hits[:, 1:] - hits[:, :1], np.array(users))
    table = Table("recall@10", "all", "minus learned alone", *bands, title=f"{len(found):,} scored positives")
    result: dict[str, Any] = {"scored": len(found), "recall10": {}, "minus_learned": {}, "by_positives_of_item": {}}
    for place, name in enumerate(methods):
        by_band = {band: round(float(hits[mask, place].mean()), 4) for band, mask in bands.items() if mask.any()}
        result["recall10"][name] = round(float(hits[:, place].mean()), 4)
        result["by_positives_of_item"][name] = by_band
        if place:
            result["minus_learned"][name] = [round(float(bound), 4) for bound in bounds[place - 1]]
        ahead = "{:+.4f} to {:+.4f}".format(*bounds[place - 1]) if place else ""
        table.add_row(name, f"{result['recall10'][name]:.4f}", ahead, *(f"{by_band.get(b, 0):.4f}" for b in bands))
    Console(width=120).print(table)
    return result


if __name__ == "__main__":
    main()
