"""A server as a process of its own session, found again by later commands through its pid file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from services.server import CannotInstall, NotHealthy, Server, ensure_installed

_LOOK_EVERY_S = 0.1
_KILL_TIMEOUT_S = 10.0
_TAIL_BYTES = 3000


class CannotStart(Exception):
    """The server ended, or was not healthy in time; the text holds the end of its log."""


class LocalProcess:
    """Starts and stops one server; its pid file, log and data are below ``state / server.name``.

    A pid alone may belong to a stranger after a reboot or a long time: beside it stands when that process began, and
    a process that began at another moment is not ours.
    """

    def __init__(self, server: Server, *, cache: Path, state: Path) -> None:
        self.server = server
        self._cache, self._data = cache.absolute(), state.absolute() / server.name
        self.log = self._data / "server.log"
        self._pid_file = self._data / "pid"

    def start(self) -> None:
        """Install what is missing and start the process, which outlives this one; nothing when it runs.

        Raises ``CannotInstall``, and ``CannotStart`` when something else answers on the port.
        """
        ensure_installed(self.server, self._cache)
        if self.pid() is not None:
            return
        with suppress(NotHealthy):
            version = self.server.healthy()
            raise CannotStart(f"{self.server.name}: another server ({version}) has port {self.server.port} already")
        self._data.mkdir(parents=True, exist_ok=True)
        self.server.prepare(self._cache, self._data)
        with self.log.open("ab") as log:
            try:
                process = subprocess.Popen(
                    self.server.command(self._cache, self._data),
                    cwd=self._data,
                    env={**os.environ, **self.server.environment(self._cache, self._data)},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            except OSError as error:
                raise CannotInstall(f"{self.server.name}: {error}") from error
        self._pid_file.write_text(json.dumps({"pid": process.pid, "began": _began(process.pid)}))
        # The process is to be found by its file, by whoever comes; Popen would warn that it still runs.
        process.returncode = 0

    def wait_healthy(self) -> str:
        """Return the version once the server answers. Raises ``CannotStart``."""
        give_up_s = time.monotonic() + self.server.start_timeout_s
        while True:
            try:
                version = self.server.healthy()
            except NotHealthy as error:
                reason = str(error)
            else:
                # Ours and not a stranger's, who may have been faster with the port.
                if self.pid() is not None:
                    return version
                reason = "another server answers on its port"
            if self.pid() is None or time.monotonic() > give_up_s:
                ended = "ended" if self.pid() is None else f"not healthy after {self.server.start_timeout_s:.0f} s"
                raise CannotStart(f"{self.server.name}: {ended} ({reason}); {self.log}:\n{self._tail()}")
            time.sleep(_LOOK_EVERY_S)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL to what has not ended in time. Safe to repeat."""
        self._signal(signal.SIGTERM, self.server.stop_timeout_s)
        self.kill()

    def kill(self) -> None:
        """kill -9 of everything that the server started. Safe to repeat."""
        if not self._signal(signal.SIGKILL, _KILL_TIMEOUT_S):
            raise CannotStart(f"{self.server.name}: process {self.pid()} survives SIGKILL")
        self._pid_file.unlink(missing_ok=True)

    def pid(self) -> int | None:
        """Return the id of the process, ``None`` when it does not run."""
        try:
            noted = json.loads(self._pid_file.read_text())
            pid, began = int(noted["pid"]), noted["began"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        with suppress(ChildProcessError):
            # Our own child would stay a zombie.
            os.waitpid(pid, os.WNOHANG)
        return pid if began is not None and _began(pid) == began else None

    def _signal(self, number: signal.Signals, timeout_s: float) -> bool:
        """Signal the process group; say whether the process has ended within the time."""
        pid = self.pid()
        if pid is None:
            return True
        with suppress(ProcessLookupError):
            os.killpg(pid, number)
        give_up_s = time.monotonic() + timeout_s
        while self.pid() is not None:
            if time.monotonic() > give_up_s:
                return False
            time.sleep(_LOOK_EVERY_S / 5)
        return True

    def _tail(self) -> str:
        with suppress(OSError):
            return self.log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace")
        return ""


def _began(pid: int) -> str | None:
    """Return when the process began, in whatever form the system tells it; ``None``: it does not live."""
    if Path("/proc/self/stat").exists():
        try:
            # What stands in brackets is a name with anything in it; the third field follows it.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in "ZX" else fields[19]
    done = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, since = done.stdout.strip().partition(" ")
    return since.strip() if state and "Z" not in state else None
