"""How a panel and a board become Grafana's JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

DATASOURCE = {"type": "graphite", "uid": "graphite"}
# A row of a board is 24 columns wide.
COLUMNS, HEIGHT = 24, 8


@dataclass(frozen=True)
class Panel:
    """One panel.

    ``targets``: Graphite's queries. ``unit``: one of Grafana's. ``about``: what a reader must know. ``kind``: ``bars``
    shows the newest value of every series, ``lines`` the course, ``areas`` the course stacked. ``link``: (title, URL).
    """

    title: str
    targets: tuple[str, ...]
    unit: str = "short"
    about: str = ""
    kind: Literal["lines", "areas", "steps", "bars"] = "lines"
    columns: int = 8
    most: float | None = None
    link: tuple[str, str] | None = None


@dataclass(frozen=True)
class Board:
    """One dashboard; ``uid`` is its address and the name of its file. ``rows``: (title, panels)."""

    uid: str
    title: str
    rows: tuple[tuple[str, tuple[Panel, ...]], ...]

    def panels(self) -> list[Panel]:
        """Return all panels."""
        return [panel for _, panels in self.rows for panel in panels]

    def json(self) -> dict[str, Any]:
        """Return what Grafana reads."""
        return {
            "uid": self.uid,
            "title": self.title,
            "tags": ["recommender"],
            "schemaVersion": 39,
            "editable": False,
            "timezone": "browser",
            "refresh": "10s",
            "time": {"from": "now-30m", "to": "now"},
            "panels": self._placed(),
            "links": [_link("dashboards", "Other boards", tags=["recommender"], asDropdown=True, keepTime=True)],
        }

    def _placed(self) -> list[dict[str, Any]]:
        placed: list[dict[str, Any]] = []
        y = 0
        for title, panels in self.rows:
            place = {"x": 0, "y": y, "w": COLUMNS, "h": 1}
            row = {"id": len(placed) + 1, "type": "row", "title": title, "gridPos": place}
            placed.append({**row, "collapsed": False, "panels": []})
            x, y = 0, y + 1
            for panel in panels:
                if x + panel.columns > COLUMNS:
                    x, y = 0, y + HEIGHT
                place = {"x": x, "y": y, "w": panel.columns, "h": HEIGHT}
                placed.append({"id": len(placed) + 1, "gridPos": place, **_panel(panel)})
                x += panel.columns
            y += HEIGHT
        return placed


def queries(targets: Sequence[str]) -> list[dict[str, Any]]:
    """Return the queries of a panel, named A, B, …"""
    return [
        {"refId": chr(ord("A") + number), "datasource": DATASOURCE, "target": target, "textEditor": True}
        for number, target in enumerate(targets)
    ]


def _link(kind: str, title: str, **more: Any) -> dict[str, Any]:
    without = {"icon": "", "tooltip": "", "tags": [], "asDropdown": False, "targetBlank": False}
    return {"type": kind, "title": title, **without, "includeVars": False, "keepTime": False, **more}


def _panel(panel: Panel) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0} if panel.unit != "none" else {}
    if panel.most is not None:
        defaults["max"] = panel.most
    options: dict[str, Any] = {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    if panel.kind == "bars":
        options = {"reduceOptions": {"calcs": ["lastNotNull"]}, "orientation": "horizontal", "displayMode": "basic"}
    else:
        defaults["custom"] = {
            "lineWidth": 1,
            "spanNulls": 60_000,
            "fillOpacity": 40 if panel.kind == "areas" else 0,
            "lineInterpolation": "stepAfter" if panel.kind == "steps" else "linear",
            "stacking": {"mode": "normal" if panel.kind == "areas" else "none"},
        }
    described = {
        "title": panel.title,
        "type": "bargauge" if panel.kind == "bars" else "timeseries",
        "datasource": DATASOURCE,
        "targets": queries(panel.targets),
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
    }
    if panel.about:
        described["description"] = panel.about
    if panel.link:
        described["links"] = [_link("link", panel.link[0], url=panel.link[1], targetBlank=True)]
    return described
