"""How good is what is served, on a stream of your own? Recommend first, then learn, and count the hits.

``python -m benchmarks.stream_quality --data PATH --users COL --items COL --time COL [--positive 'COL>=4']`` streams any
CSV, TSV or Parquet log through the product's own learner, ranking and evaluator, with the shipped defaults, beside the
baselines. Prints a table, draws recall over the stream, and ends with one JSON object on the last line. The protocol is
in docs/quality.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.recall_plot import draw_recall
from benchmarks.stream import Stream, read_stream
from benchmarks.stream_run import ALL_METHODS, Run, learning_rate, run
from benchmarks.uncertainty import intervals, paired_p_value
from models.evaluation import METRICS, metrics_of, segments_of
from models.model_settings import ModelSettings
from models.ranking import HISTORIES
from stores.history import HistoryError

ITEM_BANDS = {"8-15": (8, 15), "16-31": (16, 31), "32-63": (32, 63)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit code."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    began = time.monotonic()
    try:
        stream = read_stream(
            options.data,
            users=options.users,
            items=options.items,
            time=options.time,
            positive=options.positive,
            score_only=options.score_only,
            since=options.since,
        )
    except HistoryError as error:
        print(error, file=sys.stderr)
        return 2
    scored = stream.scored(start=options.score_from, every=options.score_every, at_most=options.max_scored)
    scored = scored[scored >= round(options.warm * len(stream))]  # what initial training learned is not scored
    if not len(scored):
        print("nothing to score: no user has an earlier positive in this part of the log", file=sys.stderr)
        return 2
    console = Console(width=120)
    sizes = f"{len(stream):,} positives, {len(stream.user_ids):,} users, {len(stream.item_ids):,} items"
    console.print(f"{options.data.name}: {sizes}; {len(scored):,} scored", highlight=False)
    runs = []
    for seed in range(options.seeds):
        settings = replace(ModelSettings(), seed=seed)
        runs.append(run(stream, scored, settings, options.warm, options.lag, partial(_tell, console, seed)))
    result = figures(stream, scored, runs)
    result["events_per_s"] = round(learning_rate(stream, ModelSettings()))
    result["settings"] = {"warm": options.warm, "lag": options.lag, "seeds": options.seeds, **asdict(ModelSettings())}
    console.print(_table(result))
    plot = options.plot or Path("benchmarks/results") / f"stream_quality-{options.data.stem.split('.')[0]}.png"
    title = f"{options.data.parent.name}/{options.data.name}"
    draw_recall(plot, title, {name: runs[0].rank(name) <= 10 for name in ALL_METHODS})
    result["seconds"] = round(time.monotonic() - began, 1)
    console.print(f"plot: {plot}")
    text = json.dumps(result)
    if options.result is not None:
        options.result.parent.mkdir(parents=True, exist_ok=True)
        options.result.write_text(text + "\n")
    print(text)
    return 0


def _tell(console: Console, seed: int, line: str) -> None:
    console.print(f"seed {seed}: {line}", highlight=False)


def figures(stream: Stream, scored: NDArray[np.int64], runs: Sequence[Run]) -> dict[str, Any]:
    """Return all figures: means over seeds, intervals over users."""
    metrics = {name: np.mean([metrics_of(run.rank(name)) for run in runs], axis=0) for name in ALL_METHODS}
    hits = {name: values[:, METRICS.index("recall10")] for name, values in metrics.items()}
    served, users = hits["served"], stream.users[scored]
    user_before, item_before = runs[0].user_positives, runs[0].item_positives
    early = stream.in_first_half()[scored]
    tenths = [round(float(part.mean()), 4) for part in np.array_split(served, 10) if len(part)]
    rivals = [name for name in ALL_METHODS if name != "served"]
    columns = [*(hits[name] for name in ALL_METHODS), *(served - hits[name] for name in rivals)]
    bounds = [_rounded(bound) for bound in intervals(np.stack(columns, axis=1), users)]
    return {
        **{
            metric: {name: round(float(metrics[name][:, column].mean()), 4) for name in ALL_METHODS}
            for column, metric in enumerate(METRICS)
        },
        "precision10": round(float(served.mean()) / 10, 5),
        "recall10_interval": dict(zip(ALL_METHODS, bounds, strict=False)),
        "served_minus": {
            name: {
                "mean": round(float((served - hits[name]).mean()), 4),
                "interval": bound,
                "p": round(paired_p_value(served - hits[name], users), 4),
            }
            for name, bound in zip(rivals, bounds[len(ALL_METHODS) :], strict=True)
        },
        "recall10_by_seed": [round(float((run.rank("served") <= 10).mean()), 4) for run in runs],
        "new_user_recall10": [_mean(served[user_before == nth - 1]) for nth in range(2, 7)],
        "new_item_recall10": {
            band: _mean(served[(item_before >= low) & (item_before <= high)])
            for band, (low, high) in ITEM_BANDS.items()
        },
        "users_of_first_half": {
            name: {"known": _mean(values[early]), "new": _mean(values[~early])} for name, values in hits.items()
        },
        "segments": _segments(served, user_before, item_before),
        "coverage10": round(float(np.mean([run.coverage10 for run in runs])), 4),
        "diversity10": round(float(np.mean([run.diversity10 for run in runs])), 4),
        "events": len(stream),
        "scored": len(scored),
        "never_seen": round(float((item_before == 0).mean()), 4),
        "first_tenth": tenths[0],
        "last_tenth": tenths[-1],
        "tenths": tenths,
        "merge_weights": {
            history: _rounded(weights)
            for history, weights in zip(HISTORIES, np.mean([run.merge_weights for run in runs], axis=0), strict=True)
        },
        "random_logits": _rounded(np.mean([run.random_logits for run in runs], axis=0).tolist()),
        "initial_training": [run.initial_training for run in runs],
    }


def _segments(
    served: NDArray[np.float64], user_before: NDArray[np.int64], item_before: NDArray[np.int64]
) -> dict[str, dict[str, Any]]:
    found: dict[str, list[int]] = {}
    for row, counts in enumerate(zip(user_before.tolist(), item_before.tolist(), strict=True)):
        for name in segments_of(*counts):
            found.setdefault(name, []).append(row)
    return {name: {"scored": len(rows), "recall10": _mean(served[rows])} for name, rows in sorted(found.items())}


def _mean(values: NDArray[np.float64]) -> float | None:
    return round(float(values.mean()), 4) if len(values) else None


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(float(value), 4) for value in values]


def _table(result: dict[str, Any]) -> Table:
    table = Table(title="recommended, scored, then learned", title_justify="left")
    for column in ("", "recall@1", "recall@10", "95 % interval", "NDCG@10", "served ahead by", "p"):
        table.add_column(column, justify="left" if not column else "right")
    for name in ALL_METHODS:
        low, high = result["recall10_interval"][name]
        ahead = result["served_minus"].get(name)
        table.add_row(
            name,
            f"{result['recall1'][name]:.4f}",
            f"{result['recall10'][name]:.4f}",
            f"{low:.4f} - {high:.4f}",
            f"{result['ndcg10'][name]:.4f}",
            f"{ahead['mean']:+.4f} ({ahead['interval'][0]:+.4f} to {ahead['interval'][1]:+.4f})" if ahead else "",
            f"{ahead['p']:.3f}" if ahead else "",
            style="bold" if name == "served" else "",
        )
    return table


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stream_quality", description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="CSV, TSV (plain, .gz) or Parquet log")
    parser.add_argument("--users", required=True, help="column of user ids")
    parser.add_argument("--items", required=True, help="column of item ids")
    parser.add_argument("--time", required=True, help="column of times, or any increasing number")
    parser.add_argument(
        "--positive", help="condition that makes an event a positive, such as 'rating>=4' or 'event==buy'; default: all"
    )
    parser.add_argument(
        "--warm", type=_share, default=0.0, help="share of the stream learned by initial training first"
    )
    parser.add_argument(
        "--since", type=_share, default=0.0, help="leave out this share of the log: as if the model began there"
    )
    parser.add_argument("--lag", type=int, default=0, help="learned vectors serve only from every so manieth event on")
    parser.add_argument("--seeds", type=int, default=1, help="runs with different random choices, averaged")
    parser.add_argument("--max-scored", type=int, default=100_000, help="at most so many are scored, evenly spaced")
    parser.add_argument(
        "--score-from", type=float, default=0.0, help="score from this row of the log on, or this share"
    )
    parser.add_argument("--score-every", type=int, default=1, help="score only rows divisible by this")
    parser.add_argument("--score-only", help="condition on an event to be scored")
    parser.add_argument("--result", type=Path, help="a file for the JSON object too")
    parser.add_argument("--plot", type=Path, help="where the PNG goes")
    return parser


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share < 1:
        raise argparse.ArgumentTypeError("must be at least 0 and below 1")
    return share


if __name__ == "__main__":
    sys.exit(main())
