"""Where does the time of an answer, and of a learned event, go? A profile of each process while it works.

``python -m benchmarks.where [--quick]``

``py-spy`` samples the main threads of the recommender and the index under the load of ``benchmarks.serve``, and that of
the trainer while it learns the world of ``benchmarks.trainer``: the shipped defaults, real processes, looked at from
outside some hundred times a second. What is shown is the share of the samples in which a function of this project,
with all that it calls, was at work; those below 2 % are left out. Samples of an event loop alone do not count: it waits
most of that time. Nothing is compared and there is no bar: it is where to look first.
Prints a tree per process and, last, one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import aiohttp
from rich.console import Console
from rich.table import Table

from benchmarks import serve, trainer
from benchmarks.loop import Loop, running
from benchmarks.process_time import processes_listening
from benchmarks.stream_world import StreamWorld
from benchmarks.verdict import conclude
from demo.client import RecommenderClient

RATE_PER_S, SECONDS, QUICK_SECONDS = 250, 20, 5
LEAST_SHARE, LOOK_EVERY_S = 0.02, 0.2
# The trainer is looked at when its machine code is loaded and its tables have grown.
EVENTS, QUICK_EVENTS, LEARNED_BEFORE = 600_000, 150_000, 0.05
_MAIN_THREAD = "_run_module_as_main"
_ROOMS = ("recommender_server/", "faiss_server/", "incremental_training/", "models/", "stores/")
# As py-spy writes a frame: function (file:line).
_FRAME = re.compile(r"(.+) \((.+):\d+\)")


class Calls:
    """What was called from one place: ``count`` samples in all, ``calls`` by function of this project."""

    def __init__(self) -> None:
        self.count = 0
        self.calls: dict[str, Calls] = {}

    def add(self, functions: Iterable[str], count: int) -> None:
        """Add samples with these functions on the stack, outermost first."""
        self.count += count
        place = self
        for function in functions:
            place = place.calls.setdefault(function, Calls())
            place.count += count

    def rows(self, total: int, depth: int = 0) -> Iterator[tuple[int, str, float]]:
        """Yield depth, function and its share of ``total``, what takes longest first."""
        for function, calls in sorted(self.calls.items(), key=lambda pair: -pair[1].count):
            if calls.count >= LEAST_SHARE * total:
                yield depth, function, calls.count / total
                yield from calls.rows(total, depth + 1)


def read(samples: str) -> Calls:
    """Read what py-spy wrote, a stack and a count per line, as far as it is of a main thread at work."""
    tree = Calls()
    for line in samples.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        if frames[0].startswith(_MAIN_THREAD) and "asyncio/runners.py" not in frames[-1]:
            found = [_FRAME.fullmatch(frame) for frame in frames]
            tree.add([f"{one[1]} ({one[2]})" for one in found if one and one[2].startswith(_ROOMS)], int(count))
    return tree


def sampled(pids: Mapping[str, int], seconds: int, folder: Path) -> dict[str, Calls]:
    """Sample these processes at the same time."""
    program = str(Path(sys.executable).with_name("py-spy"))
    options = ["--rate", str(RATE_PER_S), "--duration", str(seconds), "--format", "raw"]
    spies = [
        subprocess.Popen(
            [program, "record", *options, "--output", str(folder / name), "--pid", str(pid)],
            stdout=subprocess.DEVNULL,
        )
        for name, pid in pids.items()
    ]
    for spy in spies:
        if spy.wait():
            raise RuntimeError("py-spy could not look into a process; it may need more rights here")
    return {name: read((folder / name).read_text()) for name in pids}


def of_serving(quick: bool, folder: Path) -> dict[str, Calls]:
    """Sample the recommender and the index while they answer as fast as they can."""
    size, seconds = (serve.QUICK, QUICK_SECONDS) if quick else (serve.WHOLE, SECONDS)
    with running("embedded") as loop:
        asyncio.run(serve.teach(loop, size))
        contestant = serve.ours(loop, size)
        serve.load(contestant, 2)
        recommender, index = map(worker_at, contestant.ports)
        with ThreadPoolExecutor(1) as beside:
            loaded = beside.submit(serve.load, contestant, seconds + 2)
            found = sampled({"recommender": recommender, "index": index}, seconds, folder)
            loaded.result()
    return found


def of_learning(quick: bool, folder: Path) -> dict[str, Calls]:
    """Sample the trainer while it catches up with a full log."""
    world = StreamWorld(trainer.USERS, trainer.CATALOGUE, QUICK_EVENTS if quick else EVENTS)
    with running("embedded", first=trainer.Filled(world)) as loop:
        asyncio.run(until_learned(loop, int(LEARNED_BEFORE * world.events)))
        return sampled({"trainer": loop.services.pids()["trainer"]}, QUICK_SECONDS if quick else SECONDS, folder)


async def until_learned(loop: Loop, events: int) -> None:
    """Wait until the trainer has seen so many events. Raises ``TimeoutError``."""
    async with (
        asyncio.timeout(trainer.START_S),
        aiohttp.ClientSession(loop.recommender_url, timeout=aiohttp.ClientTimeout(total=10.0)) as session,
    ):
        client = RecommenderClient(session)
        while ((await client.status() or {}).get("trainer") or {}).get("report", {}).get("events_seen", 0) < events:
            await asyncio.sleep(LOOK_EVERY_S)


def worker_at(port: int) -> int:
    """Return the process that answers on a port: of those that share it, the one that was forked last."""
    return max(processes_listening(port))


def show(name: str, tree: Calls) -> None:
    """Print the tree of one process."""
    table = Table("share", "in", title=f"{name}: {tree.count} samples")
    for depth, function, share in tree.rows(tree.count):
        table.add_row(f"{share:.1%}", "  " * depth + function)
    Console(width=120).print(table)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.where", description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="small worlds, seconds of sampling")
    options = parser.parse_args(arguments)
    if shutil.which("wrk") is None:
        print("wrk is missing: apt-get install wrk, or https://github.com/wg/wrk", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        trees = of_serving(options.quick, Path(folder)) | of_learning(options.quick, Path(folder))
    for name, tree in trees.items():
        show(name, tree)
    figures = {
        name: {
            "samples": tree.count,
            "shares": [(depth, function, round(share, 3)) for depth, function, share in tree.rows(tree.count)],
        }
        for name, tree in trees.items()
    }
    conclude("where", figures, [], {"rate_per_s": RATE_PER_S, "least_share": LEAST_SHARE}, ("py-spy", "numba"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
