"""The same servers as containers, where a Docker engine answers."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from services.local_process import CannotStart

_COMPOSE_FILE = Path(__file__).resolve().parents[1] / "docker" / "compose.yaml"
_ASK_TIMEOUT_S = 10.0
_UP_TIMEOUT_S = 1200.0


def engine_answers() -> bool:
    """Say whether containers can be started here; a client without an engine cannot."""
    command = ["docker", "info", "--format", "{{.ServerVersion}}"]
    try:
        return subprocess.run(command, capture_output=True, timeout=_ASK_TIMEOUT_S, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def up() -> None:
    """Start the containers of the profile ``infra`` and wait until they are healthy. Raises ``CannotStart``."""
    _compose("up", "--detach", "--wait")


def down() -> None:
    """Stop and remove the containers; their volumes stay. Raises ``CannotStart``."""
    _compose("down")


def _compose(*arguments: str) -> None:
    command: Sequence[str] = ("docker", "compose", "-f", str(_COMPOSE_FILE), "--profile", "infra", *arguments)
    try:
        code = subprocess.run(command, timeout=_UP_TIMEOUT_S, check=False).returncode
    except subprocess.TimeoutExpired:
        raise CannotStart(f"{' '.join(command)} took longer than {_UP_TIMEOUT_S:.0f} s") from None
    if code != 0:
        raise CannotStart(f"{' '.join(command)} ended with code {code}")
