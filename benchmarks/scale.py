"""Does anything get out of hand as users and items become many?

``python -m benchmarks.scale``

Learner, ranking and exact index as they ship, in one process per point: 10,000 to 1,000,000 users with 10,000 items,
and 1,000 to 1,000,000 items with 10,000 users. Measured are the processor time of learning an event, the time of a
request without its transport (the query, the search, the merge with the transitions, the best ten), and the memory that
users and items take. A slope is that of a cost over a number, both in logarithms: 0 is flat, 1 is linear. Exact search
is linear in items; from ``INDEX_APPROXIMATE_FROM`` items on the faiss server searches inverted lists instead
(``benchmarks.search``).

Prints a table and, last, one JSON object; draws ``docs/img/performance-scale.png``.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.filled_learner import filled_learner, some_positives
from benchmarks.verdict import ROOT, Bar, conclude
from faiss_server.item_index import ItemIndex
from models import ranking
from models.learner import Learner
from models.model_settings import ModelSettings
from recommender_server.candidates import DEPTH, STRONGEST
from recommender_server.item_graph import ItemGraph
from stores.ports import Edges, ItemRows, Query, Stamp

FEW_USERS, FEW_ITEMS = 10_000, 10_000
USERS, QUICK_USERS = (10_000, 100_000, 1_000_000), (10_000, 30_000)
ITEMS, QUICK_ITEMS = (1_000, 10_000, 100_000, 1_000_000), (1_000, 10_000)
EVENTS, REQUESTS, REPETITIONS, K = 2_000, 30, 5, 10
COSTS = {"event_us": "an event, µs", "request_us": "a request, µs", "memory_bytes": "memory, bytes"}
# Memory may grow as fast as what it holds: 1, and what a measured slope may be beside it.
MOST_MEMORY_SLOPE = 1.02
PLOT = ROOT / "docs/img/performance-scale.png"

Point = dict[str, float]


def resident_bytes() -> int:
    """Return the memory of this process that is no file's."""
    gc.collect()
    pages = list(map(int, Path("/proc/self/statm").read_text().split()))
    return (pages[1] - pages[2]) * os.sysconf("SC_PAGE_SIZE")


def loaded_index(learner: Learner) -> ItemIndex:
    """Return an index of all items of a learner."""
    everything = slice(0, len(learner.items))
    rows = ItemRows(
        item_ids=list(learner.items.ids),
        vectors=learner.item_vectors(everything),
        contexts=learner.contexts(everything),
        popularity=learner.popularity_columns(),
    )
    index = ItemIndex()
    index.replace(rows, Stamp(epoch=1, from_seq=0, to_seq=1))
    return index


def edges_of(learner: Learner, user: int) -> dict[str, Edges]:
    """Return the edges of a user's recent items, as the item store would give them."""
    edges = {}
    for item in learner.recent(user, ranking.TRANSITION_LENGTH).tolist():
        rows, weights = learner.neighbours(item)
        edges[learner.items.id(item)] = Edges(zip(map(learner.items.id, rows.tolist()), weights.tolist(), strict=True))
    return edges


def request(
    learner: Learner, index: ItemIndex, graph: ItemGraph, user: int, edges: dict[str, Edges]
) -> list[tuple[str, float]]:
    """Return the best ten for a user, as serving finds them when its first question to the index is its last."""
    weights, settings = learner.merges.of(learner.positives_of(user)).weights.tolist(), learner.settings
    recent = [learner.items.id(row) for row in learner.recent(user).tolist()]
    context = recent[: ranking.folded(settings.context_length)]
    lifted = graph.around(recent, edges).lifts(weights, recent).strongest(STRONGEST)
    query = Query(
        vector=ranking.query_vector(learner.user_embedding(user), weights, settings.dimension),
        k=K + len(recent) + DEPTH,
        recent=context,
        recent_weights=ranking.recent_weights(len(context), weights, settings.context_length, settings.context_decay),
        exclude=[],
        lifted=lifted.item_ids,
        lifts=lifted.lifts,
    )
    [hits] = index.search([query])
    scores = hits.scores + lifted.others.of(hits.item_ids)
    open_ones = [place for place, item_id in enumerate(hits.item_ids) if item_id not in recent]
    return ranking.top([hits.item_ids[place] for place in open_ones], scores[open_ones], K)


def measure(users: int, items: int) -> Point:
    """Return the costs at one point, in this process."""
    torch.set_num_threads(1)
    settings, chance = ModelSettings(), np.random.default_rng(1)
    small = filled_learner(100, 200, settings)  # whatever is loaded once for all sizes
    small.learn(*some_positives(chance, small, 10))
    request(small, loaded_index(small), ItemGraph(), 0, edges_of(small, 0))
    before = resident_bytes()
    learner = filled_learner(users, items, settings)
    index = loaded_index(learner)
    memory = resident_bytes() - before
    events, requests, graph = [], [], ItemGraph()
    learner.learn(*some_positives(chance, learner, EVENTS))
    for _ in range(REPETITIONS):
        positives = some_positives(chance, learner, EVENTS)
        began_s = time.process_time()
        learner.learn(*positives)
        events.append((time.process_time() - began_s) / EVENTS)
        edges = {user: edges_of(learner, user) for user in positives.users[:REQUESTS].tolist()}
        began_s = time.process_time()
        for user in edges:
            request(learner, index, graph, user, edges[user])
        requests.append((time.process_time() - began_s) / len(edges))
    return {
        "users": users,
        "items": items,
        "event_us": round(1e6 * float(np.median(events)), 3),
        "request_us": round(1e6 * float(np.median(requests)), 1),
        "memory_bytes": memory,
    }


def measured_apart(users: int, items: int) -> Point:
    """Return the costs at one point, from a process of its own, so that no other point's memory is in it."""
    command = [sys.executable, "-m", "benchmarks.scale", "--point", str(users), str(items)]
    point: Point = json.loads(subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout)
    return point


def slope(numbers: Sequence[float], costs: Sequence[float]) -> float:
    """Return by which power of a number a cost grows."""
    return float(np.polyfit(np.log(numbers), np.log(costs), 1)[0])


def figures_of(by_users: Sequence[Point], by_items: Sequence[Point]) -> dict[str, Any]:
    """Return every slope, the costs at the far ends, and what one more user and one more item take."""
    figures: dict[str, Any] = {}
    for name, points in (("users", by_users), ("items", by_items)):
        for cost in COSTS:
            figures[f"{cost}_by_{name}_slope"] = round(slope([p[name] for p in points], [p[cost] for p in points]), 3)
        few, many = points[0], points[-1]
        taken = (many["memory_bytes"] - few["memory_bytes"]) / (many[name] - few[name])
        figures[f"bytes_per_{name.removesuffix('s')}"] = round(taken)
    return figures | {"by_users": list(by_users), "by_items": list(by_items)}


def bars_of(figures: Mapping[str, Any]) -> list[Bar]:
    """Return every bar with what was measured."""
    names = [f"memory_bytes_by_{side}_slope" for side in ("users", "items")]
    return [Bar(name, figures[name], at_most=MOST_MEMORY_SLOPE) for name in names]


def show(figures: Mapping[str, Any]) -> None:
    """Print the table."""
    table = Table("users", "items", *COSTS.values(), title="costs")
    for point in (*figures["by_users"], *figures["by_items"]):
        table.add_row(*(f"{point[name]:,}" for name in ("users", "items", *COSTS)))
    for side in ("users", "items"):
        slopes = [f"{figures[f'{cost}_by_{side}_slope']:.2f}" for cost in COSTS]
        table.add_row(f"slope by {side}", "", *slopes)
    Console(width=120).print(table)
    print(f"one more user: {figures['bytes_per_user']:,} bytes; one more item: {figures['bytes_per_item']:,} bytes")


def draw(path: Path, figures: Mapping[str, Any]) -> None:
    """Draw every cost over users and over items, log-log, into a PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure, all_axes = plt.subplots(1, len(COSTS), figsize=(12, 4), layout="constrained")
    for axes, (cost, title) in zip(all_axes, COSTS.items(), strict=True):
        for side, colour in (("users", "#1f77b4"), ("items", "#d62728")):
            points = figures[f"by_{side}"]
            label = f"by {side}: slope {figures[f'{cost}_by_{side}_slope']:.2f}"
            numbers, costs = [p[side] for p in points], [p[cost] for p in points]
            axes.loglog(numbers, costs, color=colour, marker="o", label=label)
        axes.set(title=title, xlabel="users, items")
        axes.legend(frameon=False)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark, or one point of it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="few and small points, no picture")
    parser.add_argument("--point", type=int, nargs=2, metavar=("USERS", "ITEMS"), help="measure here, in this process")
    options = parser.parse_args(arguments)
    if options.point:
        print(json.dumps(measure(*options.point)))
        return
    users, items = (QUICK_USERS, QUICK_ITEMS) if options.quick else (USERS, ITEMS)
    by_users = [measured_apart(number, FEW_ITEMS) for number in users]
    by_items = [measured_apart(FEW_USERS, number) for number in items]
    figures = figures_of(by_users, by_items)
    show(figures)
    if not options.quick:
        draw(PLOT, figures)
    conclude("scale", figures, bars_of(figures), asdict(ModelSettings()), ("numba", "numpy", "faiss-cpu"))


if __name__ == "__main__":
    main()
