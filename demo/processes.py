"""The processes of the loop: initial training, which ends, and the three services, which honcho keeps together."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[1]
RECOMMENDER_PORT, INDEX_PORT = 8000, 8001
# One positive in so many is scored, by the trainer and by the demo, which asks for a list before each of them.
EVALUATE_EVERY = 5
# honcho itself kills what has not ended 5 s after it was told to.
_STOP_TIMEOUT_S = 20.0
_START_TIMEOUT_S = 10.0
_ENTRY = re.compile(r"^\w+:", re.MULTILINE)
_STARTED = re.compile(r"(\w+)\.\d+ started \(pid=(\d+)\)")
_STOPPED = re.compile(r"(\w+)\.\d+ stopped \(rc=(-?\d+)\)")


def environment(demo: Path, environ: Mapping[str, str], stores: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of every process of the demo: the given one, with all state in ``stores`` and ``demo``."""
    own = {
        **stores,
        "INDEX_URL": f"http://127.0.0.1:{INDEX_PORT}",
        "SNAPSHOT_DIR": f"{demo}/snapshots",
        "EVALUATE_EVERY": str(EVALUATE_EVERY),
        "PYTHONUNBUFFERED": "1",
        # The Procfile says python and means this one.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{environ.get('PATH', '')}",
    }
    return {**environ, **own}


def ports_in_use() -> list[int]:
    """Return which of the ports of the demo something else listens on."""
    taken = []
    for port in (RECOMMENDER_PORT, INDEX_PORT):
        with socket.socket() as probe:
            probe.settimeout(1.0)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                taken.append(port)
    return taken


def lock(demo: Path) -> IO[bytes] | None:
    """Become the one demo on this state, for as long as the file returned stays open; ``None`` when another one is."""
    stream = (demo / "lock").open("wb")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        stream.close()
        return None
    return stream


def train(data: Path, columns: str, until: float, env: Mapping[str, str]) -> int:
    """Run initial training to its end, its progress bar on this terminal; return its exit code."""
    command = [sys.executable, "-m", "initial_training", "--data", str(data), "--until", str(until)]
    return subprocess.call([*command, *(["--columns", columns] if columns else [])], cwd=ROOT, env=dict(env))


class Services:
    """The services of the Procfile under honcho, in a session of their own, so that Ctrl-C reaches only the demo."""

    def __init__(self, env: Mapping[str, str], log: Path, procfile: Path = ROOT / "Procfile") -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = log
        self._expected = len(_ENTRY.findall(procfile.read_text()))
        self._output: IO[bytes] = log.open("wb")
        # No .env file: what the demo runs must not depend on what lies about.
        command = [sys.executable, "-m", "honcho", "start", "--no-colour", "-e", os.devnull, "-f", str(procfile)]
        self._honcho = subprocess.Popen(
            command,
            cwd=ROOT,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def alive(self) -> bool:
        """Say whether all of them run; when one ends, honcho ends the others."""
        return self._honcho.poll() is None

    def pids(self) -> dict[str, int]:
        """Return the process of each that has been started, by name."""
        return {name: int(pid) for name, pid in _STARTED.findall(self._text())}

    def stop(self) -> dict[str, int | None]:
        """Tell them to end, wait, and return their exit codes by name; ``None``: it did not say. Safe to repeat."""
        self._wait_for_start()
        if self._honcho.poll() is None:
            self._honcho.send_signal(signal.SIGTERM)
        try:
            self._honcho.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._kill()
        self._output.close()
        codes: dict[str, int | None] = {name: None for name, _ in _STARTED.findall(self._text())}
        codes.update({name: int(code) for name, code in _STOPPED.findall(self._text())})
        return codes

    def last_words(self, names: Collection[str], lines: int = 20) -> str:
        """Return the last lines of what these printed; of all of them when none is named."""
        printed = self._text().splitlines()
        theirs = [line for line in printed if not names or any(f" {name}." in line for name in names)]
        return "\n".join(theirs[-lines:])

    def _wait_for_start(self) -> None:
        """Let honcho get all of them on their way: told to end before, it fails and leaves them behind."""
        give_up_s = time.monotonic() + _START_TIMEOUT_S
        while self._honcho.poll() is None and len(_STARTED.findall(self._text())) < self._expected:
            if time.monotonic() > give_up_s:
                return
            time.sleep(0.02)

    def _kill(self) -> None:
        """End honcho and every process group that it named, by force."""
        for group in [self._honcho.pid, *(int(pid) for _, pid in _STARTED.findall(self._text()))]:
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        self._honcho.wait()

    def _text(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""
