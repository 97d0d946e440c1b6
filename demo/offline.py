"""``python -m demo.offline [data/demo]``: the live figures of a finished demo beside the off-line ones of its events.

Nothing is taken over from the run but which data it replayed: initial training runs again in a folder of its own, then
the same events go through learner and evaluator in one plain loop - no log, no trainer, no stores. Ends with one JSON
object; exit code 1 when recall@10 of a method differs by more than .005.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from demo import processes
from demo.replay import Progress
from demo.stack import stores_of
from demo.stream import Stream
from models.evaluation import METHODS, PrequentialEvaluator
from models.event_settings import EventSettings
from models.events import NEGATIVE_TYPES, PositiveRule
from models.learner import Learner
from models.model_settings import ModelSettings
from models.prequential import Positive, Prequential
from models.settings import load
from models.snapshot import SnapshotStore, part_of
from stores.history import load_history

CLOSE = 0.005
SAME, DIFFERENT, NOTHING = 0, 1, 2


def main() -> int:
    """Print both; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m demo.offline", description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=Path("data/demo"), help="where a demo kept its state")
    demo = parser.parse_args().folder
    progress, live = Progress.load(demo / "replay.json"), _live(demo)
    if progress is None or live is None:
        print(f"{demo} holds no finished demo", file=sys.stderr)
        return NOTHING
    offline = replay(progress)
    table = Table(
        title=f"recall@10 of {live.scored:,} live and {offline.scored:,} off-line events", title_justify="left"
    )
    for title in ("", "live", "off line"):
        table.add_column(title, justify="right")
    figures = {
        name: [round(evaluator.totals()["recall10"][name], 4) for evaluator in (live, offline)] for name in METHODS
    }
    for name, pair in figures.items():
        table.add_row(name, *(f"{figure:.4f}" for figure in pair))
    Console(width=100).print(table)
    close = all(abs(one - other) <= CLOSE for one, other in figures.values())
    print(json.dumps({"live_and_offline": figures, "scored": [live.scored, offline.scored], "close": close}))
    return SAME if close and live.scored == offline.scored else DIFFERENT


def replay(progress: Progress) -> PrequentialEvaluator:
    """Train on the same share of the data, then take the events that the demo sent; return the evaluator."""
    rule = PositiveRule(load(EventSettings, os.environ).positive_events)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        env = processes.environment(folder, os.environ, stores_of("embedded", folder))
        if processes.train(Path(progress.data), "", progress.share, env) != 0:
            raise SystemExit(DIFFERENT)
        snapshot = SnapshotStore(folder / "snapshots").load_newest()
    assert snapshot is not None
    learner = Learner.from_state(
        load(ModelSettings, os.environ), part_of(snapshot.tensors, "learner"), snapshot.records["learner"]
    )
    evaluator = PrequentialEvaluator(learner)
    prequential = Prequential(learner, evaluator)
    history = load_history(Path(progress.data))
    stream = Stream(history, len(history.split(progress.share)[0]), rule, processes.EVALUATE_EVERY)
    for event in stream.events(stream.cut):
        interaction = Positive(
            event.user_id,
            event.item_id,
            rule.strength(event.body["type"], event.body.get("value")),
            event.body["event_id"],
        )
        if event.positive:
            prequential.take(interaction, scored=event.scored)
        elif event.body["type"] in NEGATIVE_TYPES:
            prequential.reject(interaction._replace(strength=1.0))
        else:
            learner.mark_seen(learner.add_user(event.user_id), learner.add_item(event.item_id))
    return evaluator


def _live(demo: Path) -> PrequentialEvaluator | None:
    snapshot = SnapshotStore(demo / "snapshots").load_newest()
    if snapshot is None or "evaluator" not in snapshot.records:
        return None
    learner = Learner.from_state(
        load(ModelSettings, os.environ), part_of(snapshot.tensors, "learner"), snapshot.records["learner"]
    )
    return PrequentialEvaluator.from_state(
        learner, part_of(snapshot.tensors, "evaluator"), snapshot.records["evaluator"]
    )


if __name__ == "__main__":
    sys.exit(main())
