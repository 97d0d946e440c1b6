"""How long does everything stand still when a table grows?

``python -m benchmarks.grow``

A table of a million rows of 64 numbers grows by a tenth: ``models.embedding_table.EmbeddingTable`` against the usual
way, a new ``nn.Embedding`` and a copy. Then the whole learner, a million users and as many items, all tables full:
events come one by one, and one of a new user and a new item makes everything grow. Reported is the longest that any of
these events took from its ids to being learned, as the median of the growths (another process may take the core away
from any event), and whether the rows of before still have their bits. Prints a table and, last, one JSON object.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.filled_learner import filled_learner, popular_rows
from benchmarks.verdict import Bar, conclude
from models.embedding_table import EmbeddingTable
from models.growable_array import grown_capacity
from models.learner import Learner, event_seed
from models.model_settings import ModelSettings

ROWS, QUICK_ROWS = 1_000_000, 100_000
GROWTHS = 3
EVENTS_AROUND = 1_000
BARS = {"times_shorter": 50.0}
LONGEST_WAIT_MS = 20.0


def seconds_of(work: Callable[[], object]) -> float:
    """Return the time that some work took."""
    began_s = time.perf_counter()
    work()
    return time.perf_counter() - began_s


def stalls(rows: int, dimension: int) -> tuple[list[float], list[float]]:
    """Return seconds of each growth by a tenth: of the shipped table, and of a new module with a copy."""
    ours, usual = [], []
    for _ in range(GROWTHS):
        table = EmbeddingTable(dimension, rows)
        table.weights[:] = 1.0
        module = torch.nn.Embedding(rows, dimension)
        capacity = grown_capacity(rows, rows + 1)
        ours.append(seconds_of(lambda: (table.grow(capacity), table.tensor())))  # noqa: B023
        usual.append(seconds_of(lambda: _grown_module(module, capacity)))  # noqa: B023
    return ours, usual


def _grown_module(module: torch.nn.Embedding, capacity: int) -> torch.nn.Embedding:
    grown = torch.nn.Embedding(capacity, module.embedding_dim)
    with torch.no_grad():
        grown.weight[: module.num_embeddings] = module.weight
    return grown


class Stream:
    """Events learned one by one, and how long each took."""

    def __init__(self, learner: Learner) -> None:
        self._learner = learner
        self._chance = np.random.default_rng(0)
        self._count = 0

    def learn(self, user_id: str, item_id: str) -> float:
        """Learn one event, perhaps of new ids; return the seconds it took."""
        learner = self._learner
        self._count += 1
        began_s = time.perf_counter()
        user, item = learner.add_user(user_id), learner.add_item(item_id)
        learner.mark_seen(user, item, learned=True)
        learner.learn([user], [item], [1.0], [event_seed(f"e{self._count}")], [len(learner.items)])
        return time.perf_counter() - began_s

    def around(self) -> list[float]:
        """Learn events of known ids; return the seconds of each."""
        users = self._chance.integers(len(self._learner.users), size=EVENTS_AROUND).tolist()
        items = popular_rows(self._chance, len(self._learner.items), (EVENTS_AROUND,)).tolist()
        ids = self._learner.users.ids, self._learner.items.ids
        return [self.learn(ids[0][user], ids[1][item]) for user, item in zip(users, items, strict=True)]

    def fill(self) -> None:
        """Give rows to new ids until all tables are full."""
        learner = self._learner
        for number in range(len(learner.users), learner.user_capacity):
            learner.add_user(f"u{number}")
        for number in range(len(learner.items), learner.item_capacity):
            learner.add_item(f"i{number}")


def waits(learner: Learner) -> dict[str, Any]:
    """Return how long events took around each growth, and how many tables lost a bit in it."""
    stream = Stream(learner)
    stream.around()
    growing, others, longest, changed = [], [], [], 0
    for growth in range(GROWTHS):
        stream.fill()
        known = stream.around()
        before = _fingerprints(learner, len(learner.users), len(learner.items))
        sizes = len(learner.users), len(learner.items)
        began_s = time.perf_counter()
        learner.add_user(f"new {growth}")
        learner.add_item(f"new {growth}")
        rows_s = time.perf_counter() - began_s
        changed += sum(a != b for a, b in zip(before, _fingerprints(learner, *sizes), strict=True))
        growing.append(rows_s + stream.learn(f"new {growth}", f"new {growth}"))
        known += stream.around()
        longest.append(max(growing[-1], *known))
        others += known
    assert learner.user_growths == learner.item_growths == GROWTHS
    return {
        "growing_event_ms": [round(1000 * wait_s, 3) for wait_s in growing],
        "other_event_p50_ms": round(1000 * float(np.median(others)), 3),
        "longest_wait_ms": round(1000 * float(np.median(longest)), 3),
        "longest_waits_ms": [round(1000 * wait_s, 3) for wait_s in longest],
        "tables_changed": changed,
    }


def _fingerprints(learner: Learner, users: int, items: int) -> list[str]:
    tables = (learner.user_table, users), (learner.item_table, items), (learner.context_table, items)
    arrays = [array[:size] for table, size in tables for array in (table.weights, table.accumulators)]
    return [hashlib.blake2b(array.data).hexdigest() for array in (*arrays, learner.biases()[:items])]


def bars_of(figures: Mapping[str, Any]) -> list[Bar]:
    """Return every bar with what was measured."""
    return [
        *(Bar(name, figures[name], at_least=bar) for name, bar in BARS.items()),
        Bar("longest_wait_ms", figures["longest_wait_ms"], at_most=LONGEST_WAIT_MS),
        Bar("tables_changed", figures["tables_changed"], at_most=0),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit code: 1 where growing changed a bit."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.grow", description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="tables of a tenth")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rows, settings = QUICK_ROWS if options.quick else ROWS, ModelSettings()
    ours, usual = stalls(rows, settings.dimension)
    ours_ms, usual_ms = 1000 * float(np.median(ours)), 1000 * float(np.median(usual))
    figures = {
        "rows": rows,
        "stall_ms": round(ours_ms, 4),
        "usual_stall_ms": round(usual_ms, 1),
        "times_shorter": round(usual_ms / ours_ms, 1),
    } | waits(filled_learner(rows, rows, settings))
    table = Table("", "ms", title=f"growth by a tenth, {rows:,} rows")
    table.add_row("stall of one table", f"{ours_ms:.4f}")
    table.add_row("stall of a new nn.Embedding and a copy", f"{usual_ms:.1f}")
    table.add_row("event that makes all tables grow", str(figures["growing_event_ms"]))
    table.add_row("other events, median", str(figures["other_event_p50_ms"]))
    table.add_row("the longest around each growth", str(figures["longest_waits_ms"]))
    Console(width=120).print(table)
    conclude("grow", figures, bars_of(figures), asdict(settings), ("numpy", "torch"))
    return 0 if figures["tables_changed"] == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
