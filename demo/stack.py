"""What the demo runs on: embedded stores in files, or the servers of a deployment, started where they are not up."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from services.registered import SERVERS

STACKS = ("embedded", "full")


class NoServers(Exception):
    """The servers that the full stack needs could not be started; what is missing has been printed."""


def folder_of(stack: str) -> Path:
    """Return where the demo on this stack keeps its state; each stack keeps its own, so that two can be compared."""
    return Path("data/demo" if stack == "embedded" else "data/demo-full")


def stores_of(stack: str, demo: Path) -> dict[str, str]:
    """Return the URLs of the stores as settings, the servers behind them being up. Raises ``NoServers``.

    On servers a run has topics, a database and keys of its own, whose name stays in ``demo`` for when it goes on.
    """
    if stack == "embedded":
        return {f"{name.upper()}_URL": f"sqlite:///{demo}/{name}.db" for name in ("events", "users", "items")}
    if subprocess.call([sys.executable, "-m", "services", "up"]) != 0:
        raise NoServers
    noted = demo / "space"
    if not noted.exists():
        noted.write_text(f"demo-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}")
    return {server.variable: server().url_of(noted.read_text()) for server in SERVERS}
