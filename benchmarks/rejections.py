"""What is learned from rejections? The same log twice: rejected items only hidden, and learned from as well.

``python -m benchmarks.rejections --data PATH --users COL --items COL --time COL --positive 'COL>=4'
--rejected 'COL<=2'``

Prequential, as in docs/quality.md, with the shipped defaults. ``recall10`` of what is served, for positives about to
be learned: more is better. ``rejected10``, ``rejected100``: the share of rejections, of items known already,
whose item stood among the first ten or hundred just before: less is better. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.stream import holds, without_repeats
from models.evaluation import MISS, PrequentialEvaluator
from models.full_ranking import candidate_features, candidates, rank_of
from models.learner import Learner
from models.model_settings import ModelSettings
from models.prequential import Positive, Prequential
from stores.history import ColumnMap, History, HistoryError, load_history


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rejections", description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="CSV, TSV (plain, .gz) or Parquet log")
    for name in ("users", "items", "time"):
        parser.add_argument(f"--{name}", required=True, help=f"column of {name}")
    for name in ("positive", "rejected"):
        parser.add_argument(f"--{name}", required=True, help="condition, such as 'rating>=4', both on one column")
    options = parser.parse_args(arguments)
    try:
        column = options.positive.split("=")[0].strip("<> ")
        columns = ColumnMap(user=options.users, item=options.items, time=options.time, value=column)
        history = load_history(options.data, columns)
        positive, rejected = holds(options.positive, history), holds(options.rejected, history)
    except HistoryError as error:
        print(error, file=sys.stderr)
        return 2
    rows = without_repeats(history, np.flatnonzero(positive | rejected))
    result = {way: measure(history, rows, positive, learned=way == "learned") for way in ("hidden", "learned")}
    table = Table(title=f"{len(rows):,} events, {int(rejected[rows].sum()):,} of them rejections", title_justify="left")
    for title in ("rejections are", *next(iter(result.values()))):
        table.add_column(title, justify="right")
    for way, figures in result.items():
        table.add_row(way, *(f"{figure:.4f}" for figure in figures.values()))
    Console(width=100).print(table)
    print(json.dumps(result))
    return 0


def measure(
    history: History, rows: NDArray[np.int64], positive: NDArray[np.bool_], *, learned: bool
) -> dict[str, float]:
    """Stream the rows of a log once and return the figures; ``learned``: rejections are learned from, too."""
    learner = Learner(ModelSettings())
    evaluator = PrequentialEvaluator(learner)
    prequential = Prequential(learner, evaluator)
    rejected_ranks = []
    for row in rows.tolist():
        user_id, item_id = history.user_ids[history.users[row]], history.item_ids[history.items[row]]
        event = Positive(user_id, item_id, 1.0, f"{learner.settings.seed}:{row}")
        prequential.learn_waiting()
        user, item = learner.users.row(event.user_id), learner.items.row(event.item_id)
        known = user is not None and learner.positives_of(user) > 0
        if positive[row]:
            prequential.take(event, scored=known)
            continue
        if known and item is not None:
            assert user is not None
            rejected_ranks.append(_rank(learner, user, item))
        if learned:
            prequential.reject(event)
        else:
            user, item = learner.add_user(event.user_id), learner.add_item(event.item_id)
            learner.mark_seen(user, item)
            learner.hide(user, item)
    ranks = np.array(rejected_ranks)
    return {
        "recall10": round(evaluator.totals()["recall10"]["served"], 4),
        "rejected10": round(float((ranks <= 10).mean()), 4),
        "rejected100": round(float((ranks <= 100).mean()), 4),
    }


def _rank(learner: Learner, user: int, item: int) -> int:
    allowed = candidates(learner, user)
    weights = learner.merges.of(learner.positives_of(user)).weights
    scores: NDArray[Any] = weights.astype(np.float32) @ candidate_features(learner, user)
    return rank_of(item, scores, allowed) if allowed[item] else MISS


if __name__ == "__main__":
    sys.exit(main())
