"""``python -m initial_training``: learn once from a history, and hand over to the trainer."""

from __future__ import annotations

import argparse
import logging
import os
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from initial_training import without_time
from initial_training.curve import CurvePoint, write_curve
from initial_training.handover import Stores, epoch_above_snapshots, next_generation, publish, write_first_snapshot
from initial_training.loss import NonFiniteLoss
from initial_training.pairs import Pairs
from initial_training.selection import PASSES, choose, train
from initial_training.settings import InitialTrainingSettings
from models.events import NEGATIVE_TYPES, PositiveRule
from models.learner import Learner
from models.model_settings import ModelSettings
from models.settings import check_or_exit, exit_with, load
from stores.adapters import open_event_log, open_item_writer, open_metrics, open_user_writer
from stores.clock import SystemClock
from stores.history import ColumnMap, History, HistoryError, load_history
from stores.ports import LeaseHeld, StaleEpoch, StoreUnavailable
from stores.recording_metrics import RecordingMetrics

# Exit codes: 0 done, 1 training diverged or a store failed, 2 called wrongly, 3 a trainer lives.
FAILED, ANOTHER_TRAINER = 1, 3

_console = Console(stderr=True)


@dataclass(frozen=True)
class Trained:
    """What training gave: the learner, how it was trained, in words, and the curve that decided it."""

    learner: Learner
    choice: str
    curve: list[CurvePoint]


def main(arguments: list[str] | None = None) -> int:
    """Run initial training; return the exit code."""
    options = _parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    check_or_exit(os.environ, InitialTrainingSettings, ModelSettings)
    settings, model = load(InitialTrainingSettings, os.environ), load(ModelSettings, os.environ)
    snapshot_root = Path(options.snapshot_dir or settings.snapshot_dir)
    torch.set_num_threads(1)
    try:
        device = _device(options.device)
        history, _ = load_history(options.data, options.columns).split(options.until)
    except (HistoryError, ValueError) as error:
        exit_with(str(error))
    pairs = Pairs.of(history, PositiveRule(settings.positive_events))
    _describe(history, pairs, device, snapshot_root)
    if not len(pairs):
        exit_with(f"none of its {len(history):,} events is positive; POSITIVE_EVENTS is {settings.positive_events!r}")
    if options.dry_run:
        _console.print("dry run: nothing was trained, written or published")
        return 0
    try:
        return _train_and_hand_over(options, settings, model, history, pairs, device, snapshot_root)
    except NonFiniteLoss as error:
        _console.print(f"[red]error:[/] {error}")
        return FAILED
    except StoreUnavailable as error:
        _console.print(f"[red]error:[/] a store failed: {error}")
        return FAILED
    except (LeaseHeld, StaleEpoch) as error:
        _console.print(f"[red]error:[/] stop the trainer first: {error}")
        return ANOTHER_TRAINER


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m initial_training", description="Learn once from a history.")
    parser.add_argument("--data", type=Path, required=True, help="folder or file of past events")
    parser.add_argument("--columns", type=_column_map, help="column map such as user=uuid,item=sku,time=ts")
    parser.add_argument("--until", type=_share, default=1.0, metavar="SHARE", help="first share of the events, by time")
    parser.add_argument("--snapshot-dir", help="where the snapshot goes (default: SNAPSHOT_DIR)")
    parser.add_argument("--device", default="auto", help="auto (a GPU when there is one), cpu, cuda, …")
    parser.add_argument("--seed", type=int, default=0, help="seed of random orders")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    return parser.parse_args(arguments)


def _column_map(text: str) -> ColumnMap:
    try:
        return ColumnMap.parse(text)
    except HistoryError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _share(text: str) -> float:
    share = float(text)
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError("a share is above 0 and at most 1")
    return share


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {name!r} cannot be used: {error}") from None
    return device


def _describe(history: History, pairs: Pairs, device: torch.device, snapshot_root: Path) -> None:
    for note in history.notes:
        _console.print(f"note: {note}")
    users, items = len(set(pairs.users.tolist())), len(set(pairs.items.tolist()))
    _console.print(
        f"{history.name}: {len(history):,} events, {len(pairs):,} positives of {users:,} users and {items:,} items, "
        f"metadata of {len(history.catalogue):,} items"
    )
    if history.times_s is None:
        way = "least squares and descent, no context (there are no times)"
    else:
        way = f"what serves the newest tenth best of {', '.join(map(str, PASSES))} kernel passes or mini-batches"
    _console.print(f"training: {way}, on {device}; snapshot in {snapshot_root}")


def _train_and_hand_over(
    options: argparse.Namespace,
    settings: InitialTrainingSettings,
    model: ModelSettings,
    history: History,
    pairs: Pairs,
    device: torch.device,
    snapshot_root: Path,
) -> int:
    started_s = time.monotonic()
    stores = _open_stores(settings)
    try:
        # Before the work: with a trainer alive all of it would be for nothing.
        epoch = epoch_above_snapshots(
            snapshot_root, stores.users.acquire_lease(f"{socket.gethostname()}:{os.getpid()}")
        )
        trained = _train(history, pairs, model, options.seed, device)
        learner = trained.learner
        _remember_the_rest(learner, history, PositiveRule(settings.positive_events))
        snapshots = next_generation(snapshot_root)
        write_first_snapshot(snapshots, learner, epoch)
        curve = snapshot_root / f"learning_curve-{snapshots.generation:06d}.csv"
        picture = write_curve(trained.curve, trained.choice, curve)
        complete = publish(
            learner,
            history.catalogue,
            stores,
            epoch=epoch,
            clock=SystemClock(),
            metrics=RecordingMetrics(open_metrics(settings.metrics_url)),
        )
    finally:
        for store in (stores.items, stores.users, stores.log):
            store.close()
    _console.print(f"chosen: {trained.choice}; {len(learner.users):,} users, {len(learner.items):,} items")
    _console.print(f"snapshot: {snapshots.directory}; learning curve: {curve} and {picture.name}")
    _console.print(
        "published; the trainer gives the index its table" if complete else "not all is published: the trainer will"
    )
    _console.print(f"done in {time.monotonic() - started_s:.0f} s")
    return 0


def _open_stores(settings: InitialTrainingSettings) -> Stores:
    timeout_s = settings.store_timeout_ms / 1000
    return Stores(
        log=open_event_log(settings.events_url, timeout_s=timeout_s),
        users=open_user_writer(settings.users_url, timeout_s=timeout_s),
        items=open_item_writer(settings.items_url, timeout_s=timeout_s),
    )


def _train(history: History, pairs: Pairs, model: ModelSettings, seed: int, device: torch.device) -> Trained:
    columns = (TextColumn("{task.description:<32}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=_console) as progress:

        def reporting(stage: str) -> _Bars:
            return _Bars(progress, stage)

        if history.times_s is None:
            recipe, merges, curve = without_time.choose_recipe(
                pairs, model, seed=seed, device=device, report=reporting("choosing")
            )
            learner = without_time.train_recipe(
                pairs, model, recipe, merges, seed=seed, device=device, report=reporting("training")
            )
            return Trained(learner, f"{recipe.sweeps} sweeps, {recipe.epochs} epochs", curve)
        choice, curve = choose(pairs, model, seed=seed, device=device, report=reporting("choosing"))
        learner = train(pairs, model, choice, seed=seed, device=device, report=reporting("training"))
        return Trained(learner, str(choice), curve)


class _Bars:
    """One progress bar per step of a stage."""

    def __init__(self, progress: Progress, stage: str) -> None:
        self._progress, self._stage = progress, stage
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, what: str, done: float) -> None:
        """Show how much of a step is done, 0 to 1."""
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(f"{self._stage}: {what}", total=1.0)
        self._progress.update(self._tasks[what], completed=done)


def _remember_the_rest(learner: Learner, history: History, rule: PositiveRule) -> None:
    """Mark as seen what was consumed without being a positive, and as hidden what was rejected, as the trainer does."""
    rest = history.select(history.strengths(rule) == 0)
    for user, item, kind in zip(rest.users.tolist(), rest.items.tolist(), rest.types.tolist(), strict=True):
        user_row, item_row = learner.add_user(rest.user_ids[user]), learner.add_item(rest.item_ids[item])
        learner.mark_seen(user_row, item_row)
        if rest.type_names[kind] in NEGATIVE_TYPES:
            learner.hide(user_row, item_row)


if __name__ == "__main__":
    sys.exit(main())
