"""How long until each process serves, with a million users and a hundred thousand items?

``python -m benchmarks.start [--quick]``

A snapshot of that size is written first, with topic ``items`` and the item store beside it, as a trainer that was
stopped leaves them. Then, three times, the shipped processes are started one after another and killed: the faiss server
until it can be written to; the trainer until the index holds every item and the serving state is published; the
recommender until its first personal list. Files lie in the page cache. Prints a table and, last, one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.loop import free_ports
from benchmarks.start_world import write_world
from benchmarks.verdict import Bar, conclude
from demo import processes
from demo.stack import stores_of
from stores.adapters import open_item_reader
from stores.ports import StoreUnavailable

USERS, ITEMS, REPETITIONS = 1_000_000, 100_000, 3
PATIENCE_S = 60.0
LOOK_EVERY_S = 0.01
BARS_S = {"faiss": 2.0, "trainer": 10.0, "recommender": 2.0}


@contextmanager
def started(name: str, options: str, env: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start one process of the Procfile, and kill it with all its children."""
    lines = dict(line.split(": ", 1) for line in (processes.ROOT / "Procfile").read_text().splitlines() if line)
    with log.open("ab") as output:
        process = subprocess.Popen(
            lines[name] + options, shell=True, cwd=processes.ROOT, env=dict(env), stdout=output, stderr=output,
            start_new_session=True,
        )  # fmt: skip
        try:
            yield process
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def seconds_until(holds: Callable[[], bool], process: subprocess.Popen[bytes], began_s: float) -> float:
    """Return the seconds from ``began_s`` until something holds. Raises ``TimeoutError``, also when it ended before."""
    while not holds():
        if process.poll() is not None or time.monotonic() > began_s + PATIENCE_S:
            raise TimeoutError("a process ended, or was not ready in time")
        time.sleep(LOOK_EVERY_S)
    return time.monotonic() - began_s


def answer_of(url: str) -> dict[str, Any]:
    """Return what a server answers; nothing while it does not, or not with 200."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers={"Accept": "application/json"})) as response:
            return dict(json.load(response))
    except (urllib.error.URLError, ConnectionError):
        return {}


def published_version(items_url: str) -> int:
    """Return the version of the serving state in the item store, 0 before there is one."""

    async def ask() -> int:
        reader = open_item_reader(items_url)
        try:
            state = await reader.serving_state()
        finally:
            await reader.close()
        return state.version if state else 0

    try:
        return asyncio.run(ask())
    except StoreUnavailable:
        return 0


def peak_mib(pid: int) -> int:
    """Return the most memory that a process has had."""
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) // 1024


def one_start(env: Mapping[str, str], items: int, log: Path) -> dict[str, float]:
    """Start all three, one after another; return the seconds of each and the trainer's memory."""
    index_port, port = free_ports(2)
    index, recommender = f"http://127.0.0.1:{index_port}", f"http://127.0.0.1:{port}"
    env = {**env, "INDEX_URL": index}
    figures: dict[str, float] = {}
    began_s = time.monotonic()
    with started("faiss", f" --bind 127.0.0.1:{index_port}", env, log) as faiss:
        figures["faiss"] = seconds_until(lambda: bool(answer_of(f"{index}/healthz")), faiss, began_s)
        before, began_s = published_version(env["ITEMS_URL"]), time.monotonic()
        with started("trainer", "", env, log) as trainer:
            seconds_until(lambda: answer_of(f"{index}/v1/status").get("items", 0) >= items, trainer, began_s)
            published = lambda: published_version(env["ITEMS_URL"]) > before  # noqa: E731
            figures["trainer"] = seconds_until(published, trainer, began_s)
            figures["trainer_peak_mib"] = peak_mib(trainer.pid)
            began_s = time.monotonic()
            with started("recommender", f" --bind 127.0.0.1:{port}", env, log) as serving:
                asked = f"{recommender}/v1/recommendations?user_id=user-17&k=10"
                personal = lambda: answer_of(asked).get("source") == "personal"  # noqa: E731
                figures["recommender"] = seconds_until(personal, serving, began_s)
    return figures


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit code: 0 also where a bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.start", description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="a twentieth of the size, once")
    options = parser.parse_args(arguments)
    scale, repetitions = (20, 1) if options.quick else (1, REPETITIONS)
    users, items = USERS // scale, ITEMS // scale
    with tempfile.TemporaryDirectory() as folder:
        state, log = Path(folder), Path(folder) / "services.log"
        env = processes.environment(state, os.environ, stores_of("embedded", state))
        write_world(env, users, items)
        snapshot_mib = sum(path.stat().st_size for path in state.glob("snapshots/*/*")) >> 20
        try:
            starts = [one_start(env, items, log) for _ in range(repetitions)]
        except TimeoutError:
            print(log.read_text()[-3000:], file=sys.stderr)
            raise
    figures = {name: round(median(start[name] for start in starts), 2) for name in starts[0]}
    table = Table("process", "seconds to ready, median", "least", "most")
    for name in BARS_S:
        seconds = [start[name] for start in starts]
        table.add_row(name, f"{median(seconds):.2f}", f"{min(seconds):.2f}", f"{max(seconds):.2f}")
    peak = f"the trainer takes {figures['trainer_peak_mib']:.0f} MiB at most"
    table.title = f"{users:,} users, {items:,} items, a snapshot of {snapshot_mib} MiB; {peak}"
    Console(width=120).print(table)
    bars = [Bar(f"{name}_ready_s", figures[name], at_most=bar) for name, bar in BARS_S.items()]
    settings = {"users": users, "items": items, "stack": "embedded", "repetitions": repetitions}
    conclude("start", figures | {"snapshot_mib": snapshot_mib}, bars, settings, ("torch", "faiss-cpu", "falcon"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
