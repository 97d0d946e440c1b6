"""The CPU time of servers, from ``/proc``: of whoever listens on a port, and of all processes of the same session."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")
_LISTENING = "0A"
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def sessions_listening(ports: Iterable[int]) -> set[int]:
    """Return the sessions of the processes that listen on these ports. Raises ``LookupError``."""
    wanted = {port: inode for port, inode in _inodes().items() if port in set(ports)}
    if missing := set(ports) - set(wanted):
        raise LookupError(f"nobody listens on {sorted(missing)}")
    sessions: dict[str, int] = {}
    for process in _processes():
        for inode in _held(process) & set(wanted.values()):
            sessions[inode] = int(_fields(process)[3])
    if missing := {port for port, inode in wanted.items() if inode not in sessions}:
        raise LookupError(f"whoever listens on {sorted(missing)} is somebody else's process")
    return set(sessions.values())


def processes_listening(port: int) -> list[int]:
    """Return the processes that listen on a port, those forked from one another among them. Raises ``LookupError``."""
    inode = _inodes().get(port)
    found = [int(process.name) for process in _processes() if inode in _held(process)]
    if not found:
        raise LookupError(f"nobody of ours listens on {port}")
    return found


def cpu_s(sessions: set[int]) -> float:
    """Return the CPU time that all living processes of these sessions, and their ended children, have used."""
    ticks = 0
    for process in _processes():
        try:
            fields = _fields(process)
        except OSError:  # it has just ended
            continue
        if int(fields[3]) in sessions:
            ticks += sum(map(int, fields[11:15]))
    return ticks / _TICKS_PER_S


def _processes() -> list[Path]:
    return [path for path in _PROC.iterdir() if path.name.isdigit()]


def _held(process: Path) -> set[str]:
    held = set()
    with suppress(OSError):  # somebody else's, or gone
        for descriptor in (process / "fd").iterdir():
            with suppress(OSError):  # closed since
                held.add(str(descriptor.readlink()))
    return held


def _fields(process: Path) -> list[str]:
    # What stands in brackets is a name with anything in it; the state follows it.
    return (process / "stat").read_text().rpartition(")")[2].split()


def _inodes() -> dict[int, str]:
    """Return, by port, the socket that listens there, in the form that descriptors show it."""
    found = {}
    for table in ("tcp", "tcp6"):
        for line in (_PROC / "net" / table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTENING:
                found[int(fields[1].rpartition(":")[2], 16)] = f"socket:[{fields[9]}]"
    return found
