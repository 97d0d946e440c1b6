"""The same servers as containers, where a Docker engine answers."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from services.local_process import CannotStart

_COMPOSE_FILE = Path(__file__).resolve().parents[1] / "docker" / "compose.yaml"
# One container holds all of Graphite.
_IN_ONE = {"carbon": "graphite", "statsd": "graphite"}
_ASK_TIMEOUT_S = 10.0
_UP_TIMEOUT_S = 1200.0


def engine_answers() -> bool:
    """Say whether containers can be started here; a client without an engine cannot."""
    command = ["docker", "info", "--format", "{{.ServerVersion}}"]
    try:
        return subprocess.run(command, capture_output=True, timeout=_ASK_TIMEOUT_S, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def up(names: Sequence[str]) -> None:
    """Start the containers of these servers and wait until they are healthy. Raises ``CannotStart``."""
    _compose("up", "--detach", "--wait", *_containers(names))


def down(names: Sequence[str]) -> None:
    """Stop the containers of these servers; their volumes stay. Raises ``CannotStart``."""
    _compose("stop", *_containers(names))


def _containers(names: Sequence[str]) -> list[str]:
    """Return what compose calls them; the applications in the same file are left alone."""
    return list(dict.fromkeys(_IN_ONE.get(name, name) for name in names))


def _compose(*arguments: str) -> None:
    command = ("docker", "compose", "-f", str(_COMPOSE_FILE), "--profile", "infra", "--profile", "monitoring")
    try:
        code = subprocess.run([*command, *arguments], timeout=_UP_TIMEOUT_S, check=False).returncode
    except subprocess.TimeoutExpired:
        raise CannotStart(f"docker compose {arguments[0]} took longer than {_UP_TIMEOUT_S:.0f} s") from None
    if code != 0:
        raise CannotStart(f"docker compose {arguments[0]} ended with code {code}")
