"""``python -m demo``: the whole loop on this machine; ``make demo`` calls it."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
from rich.console import Console

from demo import processes
from demo.client import RecommenderClient, Unreachable
from demo.compare import learner_sha256
from demo.data import choose_data
from demo.freshness import Freshness
from demo.processes import ROOT, Services
from demo.replay import Progress, Replayer
from demo.run import OneUser, ServiceEnded, Watch, has_learned, replay, show_visitor
from demo.stack import STACKS, NoServers, folder_of, stores_of
from demo.stream import Stream
from demo.summary import learning_faults, process_faults, summarise, write_summary
from demo.view import View
from demo.world import true_ranks_beside
from models.event_settings import EventSettings
from models.events import PositiveRule
from models.settings import check_or_exit, exit_with, load
from stores.history import ColumnMap, History, HistoryError, load_history

ADDRESS = f"http://127.0.0.1:{processes.RECOMMENDER_PORT}"
# 0: ended as it should, 1: something failed, 2: called wrongly, 130: told to end before the stream was drained.
FAILED, INTERRUPTED = 1, 130


def main() -> int:
    """Run the demo; return the exit code."""
    options = _parse()
    # What is printed holds titles and paths, whose brackets are no markup.
    console = Console(markup=False, highlight=False, soft_wrap=True)
    os.chdir(ROOT)
    demo = folder_of(options.stack)
    demo.mkdir(parents=True, exist_ok=True)
    lock = processes.lock(demo)
    if lock is None:
        exit_with("another demo is running here; end it first")
    with lock:
        return _demo(options, console, demo)


def _demo(options: argparse.Namespace, console: Console, demo: Path) -> int:
    if ports := processes.ports_in_use():
        exit_with(
            f"something listens on port {' and '.join(map(str, ports))} already; the demo needs "
            f"{processes.RECOMMENDER_PORT} and {processes.INDEX_PORT}"
        )
    started_s = time.monotonic()
    check_or_exit(os.environ, EventSettings)
    settings = load(EventSettings, os.environ)
    progress, history = _progress_and_history(options, demo, console)
    try:
        env = processes.environment(demo, os.environ, stores_of(options.stack, demo))
    except NoServers:
        console.print("the full stack cannot be started", style="red")
        return FAILED
    cut = len(history.split(progress.share)[0])
    if not (demo / "replay.json").exists():
        code = processes.train(Path(progress.data), options.columns, progress.share, env)
        if code != 0:
            console.print(f"initial training ended with code {code}", style="red")
            return FAILED if code > 0 else INTERRUPTED
        progress.position = cut
        progress.save(demo / "replay.json")
    else:
        console.print(f"Going on where the last run stopped: event {progress.position:,} of {len(history):,}.")
    stream = Stream(history, cut, PositiveRule(settings.positive_events), processes.EVALUATE_EVERY)
    return _serve_and_replay(options, console, demo, env, stream, progress, started_s)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--once", action="store_true", help="end by itself when the stream is drained")
    parser.add_argument(
        "--data", default="", help="folder or file of past events (default: what is there, or MovieLens)"
    )
    parser.add_argument(
        "--stack", choices=STACKS, default=STACKS[0], help="files, or Kafka, MongoDB, Redis, StatsD and Graphite"
    )
    parser.add_argument("--columns", default="", help="column map such as user=uuid,item=sku,time=ts")
    parser.add_argument("--rate", type=_positive, default=400.0, help="events per second")
    parser.add_argument("--history-share", type=_share, default=0.5, help="share of the events to train on first")
    return parser.parse_args()


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError("must be above 0")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError("must be between 0 and 1")
    return value


def _progress_and_history(options: argparse.Namespace, demo: Path, console: Console) -> tuple[Progress, History]:
    progress = Progress.load(demo / "replay.json")
    if progress is not None and not options.data:
        options.data = progress.data
    try:
        data = choose_data(options.data, Path("data"), demo, console.print)
        history = load_history(data, ColumnMap.parse(options.columns) if options.columns else None)
        for note in history.notes:
            console.print(f"Note: {note}")
        if progress is None:
            progress = Progress(str(data), options.history_share, 0)
        elif Path(progress.data) != data or progress.share != options.history_share:
            exit_with(
                f"{demo} holds a run of {progress.data} with a history share of {progress.share}; "
                "`make reset` forgets it"
            )
        history.split(progress.share)
    except HistoryError as error:
        exit_with(str(error))
    console.print(f"{history.name}: {len(history):,} events of {len(history.user_ids):,} users")
    return progress, history


def _serve_and_replay(
    options: argparse.Namespace,
    console: Console,
    demo: Path,
    env: dict[str, str],
    stream: Stream,
    progress: Progress,
    started_s: float,
) -> int:
    services = Services(env, demo / "logs" / "services.log")
    nothing_left = progress.position >= stream.end
    try:
        outcome = asyncio.run(_replay(options, console, demo, services, stream, progress))
    finally:
        exit_codes = services.stop()
    faults = process_faults(exit_codes)
    failed = [name for name, code in exit_codes.items() if code != 0]
    if isinstance(outcome, str):
        console.print(f"\n{services.last_words(failed)}\n")
        console.print("\n".join([outcome, *faults]), style="red")
        return FAILED
    freshness, status, errors_5xx = outcome
    summary = summarise(
        progress,
        status,
        freshness,
        errors_5xx=errors_5xx,
        has_oracle=true_ranks_beside(Path(progress.data)) is not None,
        stack=options.stack,
        learner_sha256=learner_sha256(demo),
        install_seconds=_install_seconds(),
        seconds=time.monotonic() - started_s,
    )
    drained = progress.position >= stream.end and has_learned(status, progress.ends)
    if drained:
        faults += learning_faults(summary)
        if nothing_left:
            console.print("There was nothing left to replay: summary.json stays; `make reset` starts anew.")
        else:
            write_summary(demo / "summary.json", summary)
            console.print_json(data=summary)
    for fault in faults:
        console.print(fault, style="red")
    if faults:
        console.print(services.last_words(failed))
        return FAILED
    return 0 if drained or not options.once else INTERRUPTED


async def _replay(
    options: argparse.Namespace,
    console: Console,
    demo: Path,
    services: Services,
    stream: Stream,
    progress: Progress,
) -> tuple[Freshness, dict[str, Any], int] | str:
    """Return what was measured, or why it could not go on."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    view = View(console, stream.cut, stream.end)
    try:
        async with aiohttp.ClientSession(ADDRESS, timeout=aiohttp.ClientTimeout(total=5.0)) as session:
            client = RecommenderClient(session)
            watch = Watch(client, services, stop)
            await watch.until_ready()
            freshness = Freshness(client)
            user = OneUser(client, console, stream.busy_user(progress.position))
            shown = user.user_id or stream.some_user()
            replayer = Replayer(
                client,
                stream,
                progress,
                demo / "replay.json",
                rate=options.rate,
                true_ranks=true_ranks_beside(Path(progress.data)),
                freshness=freshness,
                on_accepted=user.follow,
            )
            if not stop.is_set():
                await show_visitor(client, stream, console)
                await user.before()
                console.print(f"\nOpen {ADDRESS}/ or {ADDRESS}/v1/recommendations?user_id={shown}\n")
                view.begin()
                await replay(watch, replayer, freshness, view, once=options.once)
            return freshness, watch.status, client.errors_5xx
    except (ServiceEnded, Unreachable) as error:
        return str(error)
    finally:
        view.end()


def _install_seconds() -> float | None:
    """Return how long ``make`` took to install, which it noted."""
    note = Path(sys.prefix) / "installed"
    try:
        return float(note.read_text())
    except (OSError, ValueError):
        return None


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
