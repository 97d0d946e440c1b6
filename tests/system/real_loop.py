"""The three services as real processes on free ports, everything they keep below one folder."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
START_S = 60.0

# The servers must do without what only training needs.
BLOCKED = {"faiss_server": "torch,numba", "recommender_server": "torch,faiss,numba"}


class RealLoop:
    """Starts, kills and stops the services; ``environment`` adds settings to those of this loop."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.index_port, self.recommender_port = _free_ports(2)
        self.index_url = f"http://127.0.0.1:{self.index_port}"
        self.recommender_url = f"http://127.0.0.1:{self.recommender_port}"
        self._environment = {
            **os.environ,
            "EVENTS_URL": f"sqlite:///{folder}/events.db",
            "USERS_URL": f"sqlite:///{folder}/users.db",
            "ITEMS_URL": f"sqlite:///{folder}/items.db",
            "INDEX_URL": self.index_url,
            "SNAPSHOT_DIR": f"{folder}/snapshots",
            **environment,
        }
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, room: str, *arguments: str, **environment: str) -> None:
        """Start a room; its output goes to ``<room>.log``."""
        extra = dict(environment)
        if room in BLOCKED:
            extra |= {"BLOCKED_MODULES": BLOCKED[room], "PYTHONPATH": str(ROOT / "tests" / "system" / "blocked")}
            port = self.index_port if room == "faiss_server" else self.recommender_port
            arguments = ("--bind", f"127.0.0.1:{port}", *arguments)
        with (self.folder / f"{room}.log").open("ab") as log:
            self._processes[room] = subprocess.Popen(
                [sys.executable, "-m", room, *arguments],
                cwd=ROOT,
                env=self._environment | extra,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def start_all(self) -> None:
        """Start everything, the trainer from nothing, and wait until recommendations can be asked for."""
        self.start("faiss_server")
        self.start("recommender_server")
        self.start("incremental_training", "--from-nothing")
        self.wait(lambda: self.get("/readyz")[0] == 200, "the recommender is ready")
        self.wait(lambda: self.get("/v1/status")[1]["index"]["ready"], "the index is ready")

    def kill(self, room: str) -> None:
        """kill -9, of a server with its worker."""
        os.killpg(self._processes[room].pid, signal.SIGKILL)
        self._processes.pop(room).wait(START_S)

    def kill_master(self, room: str) -> None:
        """kill -9, of the process that was started and of none that it started itself."""
        self._processes[room].kill()
        self._processes.pop(room).wait(START_S)

    def is_running(self, room: str) -> bool:
        """Whether the process lives."""
        return room in self._processes and self._processes[room].poll() is None

    def stop(self, *rooms: str) -> dict[str, int]:
        """SIGTERM to these rooms, to all that run when none is named; return the exit codes."""
        chosen = {room: self._processes.pop(room) for room in rooms or tuple(self._processes)}
        for process in chosen.values():
            process.send_signal(signal.SIGTERM)
        codes = {}
        for room, process in chosen.items():
            try:
                codes[room] = process.wait(START_S)
            except subprocess.TimeoutExpired:
                process.kill()
                codes[room] = process.wait()
        return codes

    def wait(self, condition: Any, what: str, timeout_s: float = START_S) -> None:
        """Wait until ``condition()`` holds; fail with the logs when it does not, or when a process has ended."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            try:
                if condition():
                    return
            except (OSError, KeyError, TypeError, json.JSONDecodeError):
                pass
            ended = [room for room in self._processes if not self.is_running(room)]
            assert not ended and time.monotonic() < deadline_s, f"never came: {what}; ended: {ended}\n{self.logs()}"
            time.sleep(0.05)

    def get(self, path: str) -> tuple[int, Any]:
        """GET from the recommender: (status, decoded JSON)."""
        return self._ask(urllib.request.Request(self.recommender_url + path))

    def post(self, path: str, body: Any, method: str = "POST") -> tuple[int, Any]:
        """POST, or PUT, JSON to the recommender."""
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.recommender_url + path, json.dumps(body).encode(), headers, method=method)
        return self._ask(request)

    def _ask(self, request: urllib.request.Request) -> tuple[int, Any]:
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return response.status, json.loads(response.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    def logs(self) -> str:
        """Return what the processes printed last."""
        return "\n".join(f"--- {path.name}\n{path.read_text()[-3000:]}" for path in sorted(self.folder.glob("*.log")))


def _free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in held]
    for server in held:
        server.close()
    return ports
