"""What a server is to the rest: something to install once, to start, to ask for its version, and to reach by a URL."""

from __future__ import annotations

import fcntl
import os
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, ClassVar

HOST = "127.0.0.1"
# Where servers are installed unless SERVICES_CACHE says otherwise.
_CACHE = Path.home() / ".cache" / "incremental-recommender"
_LOCK_TIMEOUT_S = 1200.0
_TAIL_LINES = 30


class CannotInstall(Exception):
    """The server cannot be installed here; the text says why and what would help."""


class NotHealthy(Exception):
    """The server does not answer as it should, yet or any more."""


class Server(ABC):
    """One server as one local process on loopback ports.

    A subclass names what it is and how to get, start and ask it; ``services.local_process`` does the rest. Another
    port makes another server, so that a test may have one of its own.

    Attributes
    ----------
    name : its folder below the state folder, and its name on the command line.
    variable : the setting that ``url`` goes into, such as ``EVENTS_URL``.
    pin : name and version of what is installed; its folder below the cache.
    start_timeout_s, stop_timeout_s : how long it may take to be healthy, and to end after SIGTERM.
    """

    name: ClassVar[str]
    variable: ClassVar[str]
    pin: ClassVar[str]
    default_port: ClassVar[int]
    start_timeout_s: ClassVar[float] = 60.0
    stop_timeout_s: ClassVar[float] = 30.0

    def __init__(self, port: int | None = None) -> None:
        self.port = self.default_port if port is None else port

    @property
    @abstractmethod
    def url(self) -> str:
        """What goes into ``variable``."""

    def url_of(self, space: str) -> str:
        """Return a URL that sees nothing of others on this server: topics, a database or keys of its own.

        ``space``: letters, digits and dashes. What keeps nothing that could be mixed up has one URL for all.
        """
        return self.url

    @abstractmethod
    def install(self, cache: Path) -> None:
        """Download or build into ``cache / pin``, pinned. Raises ``CannotInstall``.

        Called under a lock, and never again once it returned; what an interrupted call left behind must not hurt it.
        """

    def prepare(self, cache: Path, data: Path) -> None:  # noqa: B027
        """Write what the server wants to find in ``data`` before it starts; called before every start."""

    @abstractmethod
    def command(self, cache: Path, data: Path) -> list[str]:
        """Return the command that runs the server in the foreground, all it keeps below ``data``."""

    def environment(self, cache: Path, data: Path) -> Mapping[str, str]:
        """Return what the server's process sees in its environment beside ours."""
        return {}

    @abstractmethod
    def healthy(self) -> str:
        """Ask the server and return its version, within about two seconds. Raises ``NotHealthy``."""


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Return the folder, outside the repository, below which servers are installed."""
    return Path(environ.get("SERVICES_CACHE") or _CACHE)


def ensure_installed(server: Server, cache: Path) -> None:
    """Install the server unless that was done; processes that ask at once wait for the first. Raises ``CannotInstall``.

    The marker is written last: without it an installation does not count, so an interrupted one is done again.
    """
    marker = cache / server.pin / "installed"
    if marker.exists():
        return
    try:
        (cache / server.pin).mkdir(parents=True, exist_ok=True)
        with (cache / f"{server.pin}.lock").open("wb") as lock:
            _wait_for_lock(lock, server)
            if not marker.exists():
                server.install(cache)
                marker.touch()
    except OSError as error:
        raise CannotInstall(f"{server.name}: {error}") from error


def run_tool(
    command: Sequence[str], *, timeout_s: float, cwd: Path | None = None, environment: Mapping[str, str] | None = None
) -> str:
    """Run a tool of an installation to its end and return its output.

    Raises ``CannotInstall`` when it is missing, fails or is late, with the end of what it printed.
    """
    try:
        done = subprocess.run(
            list(command),
            cwd=cwd,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout_s,
            text=True,
            errors="replace",
        )
    except FileNotFoundError as error:
        raise CannotInstall(f"{command[0]} is not installed, and {' '.join(command)!r} needs it") from error
    except subprocess.TimeoutExpired as error:
        raise CannotInstall(f"{' '.join(command)!r} took longer than {timeout_s:.0f} s") from error
    if done.returncode != 0:
        tail = "\n".join(done.stdout.splitlines()[-_TAIL_LINES:])
        raise CannotInstall(f"{' '.join(command)!r} ended with code {done.returncode}:\n{tail}")
    return done.stdout


def _wait_for_lock(lock: IO[bytes], server: Server) -> None:
    give_up_s = time.monotonic() + _LOCK_TIMEOUT_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > give_up_s:
                raise CannotInstall(f"{server.name}: another process has been installing it for too long") from None
            time.sleep(0.2)
        else:
            return
