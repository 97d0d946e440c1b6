"""The learning curve: what each candidate reached on the held-out slice, as numbers and as a picture."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure


class CurvePoint(NamedTuple):
    """A candidate after ``step`` passes, sweeps or epochs.

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
    quality, loss = figure.subplots(1, 2)
    for candidate in dict.fromkeys(point.candidate for point in points):
        own = [point for point in points if point.candidate == candidate]
        measured = [(point.step, point.ndcg10) for point in own if point.ndcg10 is not None]
        if measured:
            quality.plot(*zip(*measured, strict=True), marker="o", label=candidate)
        with_loss = [(point.step, point.loss) for point in own if point.loss is not None]
        if with_loss:
            loss.plot(*zip(*with_loss, strict=True), marker=".", label=candidate)
    quality.set(xlabel="passes, sweeps or epochs", ylabel="NDCG@10 of what is served", title=f"held out: {chosen}")
    loss.set(xlabel="sweeps or epochs", ylabel="mean loss", title="training")
    for axes in (quality, loss):
        axes.grid(alpha=0.3)
        axes.xaxis.get_major_locator().set_params(integer=True)
        if axes.lines:
            axes.legend(frameon=False, fontsize=8)
        else:
            axes.text(0.5, 0.5, "not measured", ha="center", va="center", transform=axes.transAxes, color="gray")
    return figure
