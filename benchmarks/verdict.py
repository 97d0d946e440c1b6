"""How every benchmark of speed ends: its bars on the screen, and one JSON object on the last line.

A bar is met or missed and never decides an exit code: on a busy machine it may be missed, and the figure is to be
read all the same.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Bar:
    """A figure that must be at least, or at most, so much. ``value`` is ``None`` when it could not be measured."""

    name: str
    value: float | None
    at_least: float | None = None
    at_most: float | None = None

    @property
    def met(self) -> bool:
        """Say whether the bar is met; a figure that is missing meets none."""
        if self.value is None:
            return False
        above = self.at_least is None or self.value >= self.at_least
        return bool(above and (self.at_most is None or self.value <= self.at_most))

    def __str__(self) -> str:
        limit = f"at least {self.at_least}" if self.at_least is not None else f"at most {self.at_most}"
        return f"{self.name}: {self.value} ({limit}): {'met' if self.met else 'MISSED'}"


def conclude(
    benchmark: str,
    figures: Mapping[str, Any],
    bars: Sequence[Bar],
    settings: Mapping[str, Any],
    packages: Sequence[str],
) -> None:
    """Print the bars and the JSON object. ``settings``: what it ran with; ``packages``: those whose versions count."""
    for bar in bars:
        print(bar)
    result = {
        "benchmark": benchmark,
        "commit": _commit(),
        "machine": {"cores": os.cpu_count(), "platform": platform.platform(), "python": platform.python_version()},
        "versions": {name: version(name) for name in packages},
        "settings": dict(settings),
        "figures": dict(figures),
        "bars": [asdict(bar) | {"met": bar.met} for bar in bars],
    }
    print(json.dumps(result), flush=True)


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
