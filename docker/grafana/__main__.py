"""Write the boards and rules that Grafana provisions: ``python -m docker.grafana`` (part of ``make docs``)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from docker.grafana.alerts import rules_file
from docker.grafana.boards import BOARDS

FOLDER = Path(__file__).resolve().parent


def provisioned() -> dict[Path, str]:
    """Return every generated file and what it holds."""
    files: dict[Path, Any] = {FOLDER / "dashboards" / f"{board.uid}.json": board.json() for board in BOARDS}
    files[FOLDER / "provisioning" / "alerting" / "rules.json"] = rules_file()
    return {path: json.dumps(content, indent=1) + "\n" for path, content in files.items()}


def main() -> None:
    """Write them; boards that are no more are removed."""
    files = provisioned()
    for path in (FOLDER / "dashboards").glob("*.json"):
        if path not in files:
            path.unlink()
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()
