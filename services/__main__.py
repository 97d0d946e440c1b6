"""``python -m services up|down|status|env [name …]``: the servers behind the deployed adapters, on this machine."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from services import docker_compose
from services.local_process import CannotStart, LocalProcess
from services.registered import SERVERS
from services.server import CannotInstall, NotHealthy, Server, cache_folder

_STATE = Path(__file__).resolve().parents[1] / "data" / "services"


def main() -> int:
    """Run one command; return the exit code: 0, or 1 when a server that was asked for is not there."""
    names = [server.name for server in SERVERS]
    parser = argparse.ArgumentParser(prog="python -m services", description=__doc__)
    parser.add_argument("action", choices=("up", "down", "status", "env"))
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(names)}; none: all of them")
    parser.add_argument("--tests", action="store_true", help="env: the names that the tests look for")
    options = parser.parse_args()
    if unknown := set(options.names) - set(names):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    cache = cache_folder(os.environ)
    chosen = [
        LocalProcess(kind(), cache=cache, state=_STATE) for kind in SERVERS if kind.name in (options.names or names)
    ]
    if options.action == "env":
        return _env([process.server for process in chosen], "_TEST" if options.tests else "")
    if options.action == "status":
        return _status(chosen)
    try:
        return _up(chosen) if options.action == "up" else _down(chosen)
    except CannotStart as error:
        print(error, file=sys.stderr)
        return 1


def _up(chosen: Sequence[LocalProcess]) -> int:
    if docker_compose.engine_answers():
        docker_compose.up([process.server.name for process in chosen])
        return _status(chosen)
    failed, started = [], []
    # All are on their way before the first is waited for.
    for process in chosen:
        if process.pid() is None and (version := _version(process.server)):
            print(f"{process.server.name}: {version} answers at {process.server.url}, not started from here")
            continue
        try:
            print(f"{process.server.name}: starting", flush=True)
            process.start()
            started.append(process)
        except (CannotInstall, CannotStart) as error:
            failed.append(str(error))
    for process in started:
        try:
            print(f"{process.server.name}: {process.wait_healthy()} at {process.server.url}", flush=True)
        except CannotStart as error:
            failed.append(str(error))
    for reason in failed:
        print(f"NOT AVAILABLE: {reason}", file=sys.stderr)
    return 1 if failed else 0


def _down(chosen: Sequence[LocalProcess]) -> int:
    for process in reversed(chosen):
        if process.pid() is not None:
            print(f"{process.server.name}: stopping", flush=True)
        process.stop()
    if docker_compose.engine_answers():
        docker_compose.down([process.server.name for process in chosen])
    return 0


def _status(chosen: Sequence[LocalProcess]) -> int:
    missing = 0
    for process in chosen:
        server, pid = process.server, process.pid()
        try:
            state = f"up    {server.healthy()} at {server.url}" + (f", pid {pid}" if pid else ", not started from here")
        except NotHealthy as error:
            missing += 1
            state = f"{'sick' if pid else 'down':<5} {error if pid else 'make services-up'}"
        print(f"{server.name:<10} {state}")
    return 1 if missing else 0


def _env(servers: Sequence[Server], suffix: str) -> int:
    """Print a line for every server that answers, for the shell: eval "$(python -m services env)"."""
    for server in servers:
        if _version(server):
            print(f"export {server.variable}{suffix}='{server.url}'")
    return 0


def _version(server: Server) -> str | None:
    """Return the version of a server that answers."""
    try:
        return server.healthy()
    except NotHealthy:
        return None


if __name__ == "__main__":
    sys.exit(main())
