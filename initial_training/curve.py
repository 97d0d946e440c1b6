"""The learning curve: what each candidate reached on the held-out slice, as numbers and as a picture."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator


class CurvePoint(NamedTuple):
    """A candidate after it has gone through the history ``step`` times.

    ``loss``: mean training loss of the step, where there is one. ``recall10``, ``ndcg10``: of what would be served, on
    the held-out slice, where it was measured.
    """

    candidate: str
    step: int
    loss: float | None
    recall10: float | None
    ndcg10: float | None


def write_curve(points: Sequence[CurvePoint], chosen: str, csv_path: Path) -> Path:
    """Write the curve as CSV and, beside it, as PNG; return the path of the picture. Safe to repeat."""
    csv_path.parent.mkdir(parents=True, exist_ok=True)
    with csv_path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(CurvePoint._fields)
        writer.writerows(points)
    picture = csv_path.with_suffix(".png")
    _draw(points, chosen).savefig(picture, dpi=120)
    return picture


def _draw(points: Sequence[CurvePoint], chosen: str) -> Figure:
    # A Figure of its own, without pyplot: no display is looked for and no global state is left behind.
    figure = Figure(figsize=(9, 4), layout="constrained")
    panels = {"NDCG@10 of what is served, held out": "ndcg10", "mean training loss": "loss"}
    colours = {name: f"C{number}" for number, name in enumerate(dict.fromkeys(point.candidate for point in points))}
    for axes, (label, name) in zip(figure.subplots(1, 2), panels.items(), strict=True):
        for candidate, colour in colours.items():
            known = [(point.step, getattr(point, name)) for point in points if point.candidate == candidate]
            known = [(step, value) for step, value in known if value is not None]
            if known:
                axes.plot(*zip(*known, strict=True), marker="o", markersize=4, color=colour, label=candidate)
        axes.set(xlabel="times the history was gone through", ylabel=label)
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if axes.lines:
            axes.legend(frameon=False)
    figure.suptitle(f"chosen: {chosen}")
    return figure
