"""How much does it cost to learn one event, and does it cost more when the tables are large?

``python -m benchmarks.learn``

What ships (``Learner.learn`` in calls of a thousand, all memories included) against the same model and negatives by
PyTorch's autograd, one event at a time with sparse SGD; against river's FunkMF of as many factors, which takes one step
per event and no negatives; and against the floor: reading and writing the rows that a step touches, and nothing else.
At 10,000, 100,000 and 1,000,000 users and as many items; events are of any user and of popular items.

All hold as many rows. Everything runs on one core, one repetition of each in turn; figures are medians of processor
time. Prints a table and, last, one JSON object.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.baselines.autograd import AutogradStep
from benchmarks.filled_learner import filled_learner, popular_rows, some_positives
from benchmarks.verdict import Bar, conclude
from models.compiled import compiled
from models.learner import Learner
from models.learning_arrays import Positives
from models.model_settings import ModelSettings

ROWS, QUICK_ROWS = (10_000, 100_000, 1_000_000), (10_000, 30_000)
REPETITIONS, QUICK_REPETITIONS = 5, 3
EVENTS, AUTOGRAD_EVENTS, FUNK_EVENTS = 10_000, 200, 2_000
CALL = 1_000
BARS = {"times_autograd": 50.0, "times_funk": 1.0}

Rows = NDArray[np.int32]


def candidates_of(chance: np.random.Generator, learner: Learner, positives: Positives) -> Rows:
    """Return each positive and negatives drawn as the kernel draws them, (n, 1 + negatives)."""
    n, settings = len(positives.items), learner.settings
    recent = popular_rows(chance, len(learner.items), (n, settings.negatives // 2))
    uniform = chance.integers(len(learner.items), size=(n, settings.negatives - recent.shape[1]), dtype=np.int32)
    return np.hstack([positives.items[:, None], recent, uniform])


def recent_of(learner: Learner, positives: Positives) -> Rows:
    """Return what forms each user's context, (n, context length), newest first."""
    length = learner.settings.context_length
    return np.stack([learner.recent(user, length) for user in positives.users.tolist()])


@compiled
def touch(
    users: Rows, candidates: Rows, recent: Rows, p: NDArray[np.float32], q: NDArray[np.float32], c: NDArray[np.float32]
) -> None:
    """Read and write every row that learning these events reads and writes."""
    for event in range(len(users)):
        for f in range(p.shape[1]):
            p[users[event], f] += np.float32(1.0)
        for row in candidates[event]:
            for f in range(p.shape[1]):
                q[row, f] += np.float32(1.0)
        for row in recent[event]:
            for f in range(p.shape[1]):
                c[row, f] += np.float32(1.0)


def seconds_of(work: Callable[[], None]) -> float:
    """Return the processor time of some work."""
    began_s = time.process_time()
    work()
    return time.process_time() - began_s


def measure(rows: int, settings: ModelSettings, repetitions: int) -> dict[str, float]:
    """Return microseconds per event of everything, at so many users and items."""
    import river.reco  # nothing but this program needs it: requirements-bench.txt

    chance = np.random.default_rng(rows)
    learner = filled_learner(rows, rows, settings)
    autograd = AutogradStep(rows, rows, settings.dimension)
    funk = river.reco.FunkMF(n_factors=settings.dimension, seed=0)
    for row in range(rows):
        funk.predict_one(row, row)  # makes both rows
    learner.learn(*some_positives(chance, learner, EVENTS))
    tables = learner.user_table, learner.item_table, learner.context_table
    floor_tables = [table.weights.copy() for table in tables]
    samples: dict[str, list[float]] = {}

    def note(name: str, events: int, work: Callable[[], None]) -> None:
        samples.setdefault(name, []).append(1e6 * seconds_of(work) / events)

    for repetition in range(repetitions + 1):  # the first one compiles and warms up
        if repetition == 1:
            samples.clear()
        positives = some_positives(chance, learner, EVENTS)
        candidates, recent = candidates_of(chance, learner, positives), recent_of(learner, positives)
        few = slice(0, AUTOGRAD_EVENTS)
        pairs = [(int(u), int(i)) for u, i in zip(positives.users, positives.items, strict=True)][:FUNK_EVENTS]

        note("shipped", EVENTS, lambda: _in_calls(learner, positives))  # noqa: B023
        note("floor", EVENTS, lambda: touch(positives.users, candidates, recent, *floor_tables))  # noqa: B023
        note(
            "autograd",
            AUTOGRAD_EVENTS,
            lambda: autograd.learn(positives.users[few], candidates[few], recent[few]),  # noqa: B023
        )
        note("funk", len(pairs), lambda: _learn_each(funk, pairs))  # noqa: B023
        learner.take_touched()
    return {name: float(np.median(values)) for name, values in samples.items()}


def _learn_each(funk: Any, pairs: Sequence[tuple[int, int]]) -> None:
    for user, item in pairs:
        funk.learn_one(user, item, 1.0)


def _in_calls(learner: Learner, positives: Positives) -> None:
    for start in range(0, len(positives.users), CALL):
        learner.learn(*(column[start : start + CALL] for column in positives))


def figures_of(by_rows: Mapping[int, Mapping[str, float]]) -> dict[str, Any]:
    """Return what the bars are about: the worst ratios, and how costs rise from the smallest tables to the largest."""
    smallest, largest = min(by_rows), max(by_rows)
    rises = {name: by_rows[largest][name] / by_rows[smallest][name] for name in ("shipped", "floor")}
    return {
        "microseconds": {
            str(rows): {name: round(value, 3) for name, value in us.items()} for rows, us in by_rows.items()
        },
        "events_per_s": {str(rows): round(1e6 / us["shipped"]) for rows, us in by_rows.items()},
        "times_autograd": round(min(us["autograd"] / us["shipped"] for us in by_rows.values()), 2),
        "times_funk": round(min(us["funk"] / us["shipped"] for us in by_rows.values()), 2),
        "rise": round(rises["shipped"], 2),
        "floor_rise": round(rises["floor"], 2),
    }


def bars_of(figures: Mapping[str, Any]) -> list[Bar]:
    """Return every bar with what was measured."""
    bars = [Bar(name, figures[name], at_least=bar) for name, bar in BARS.items()]
    return [*bars, Bar("rise", figures["rise"], at_most=figures["floor_rise"])]


def show(by_rows: Mapping[int, Mapping[str, float]]) -> None:
    """Print the table."""
    table = Table("users and items", "shipped", "autograd", "FunkMF", "floor", title="microseconds per event, one core")
    for rows, us in by_rows.items():
        table.add_row(f"{rows:,}", *(f"{us[name]:.2f}" for name in ("shipped", "autograd", "funk", "floor")))
    Console(width=120).print(table)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.learn", description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="small tables and few repetitions")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    settings = ModelSettings()
    repetitions = QUICK_REPETITIONS if options.quick else REPETITIONS
    by_rows = {rows: measure(rows, settings, repetitions) for rows in (QUICK_ROWS if options.quick else ROWS)}
    show(by_rows)
    figures = figures_of(by_rows)
    conclude("learn", figures, bars_of(figures), asdict(settings), ("numba", "torch", "river", "numpy"))


if __name__ == "__main__":
    main()
