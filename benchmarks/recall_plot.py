"""The picture of recall over a stream."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray

POINTS = 50
# What is served stands out; the others are told apart by colour and by the order of the legend.
COLOURS = ("#d62728", "#1f77b4", "#17becf", "#9467bd", "#7f7f7f", "#bcbd22", "#2ca02c", "#e377c2", "#8c564b", "#ff7f0e")


def draw_recall(path: Path, title: str, hits: Mapping[str, NDArray[np.bool_]]) -> None:
    """Draw recall@10 of each method along the scored positives, (scored,) hits each, into a PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure, axes = plt.subplots(figsize=(9, 5), layout="constrained")
    scored = len(next(iter(hits.values())))
    edges = np.linspace(0, scored, min(POINTS, scored) + 1).astype(int)
    middles = (edges[:-1] + edges[1:]) / 2
    by_mean = sorted(hits, key=lambda name: float(-hits[name].mean()))
    for name, colour in zip(hits, COLOURS, strict=True):
        means = [hits[name][start:end].mean() for start, end in pairwise(edges.tolist())]
        width = 2.5 if name == "served" else 1.2
        label = f"{name} {hits[name].mean():.3f}"
        axes.plot(middles, means, color=colour, linewidth=width, label=label, zorder=3 if name == "served" else 2)
    handles = dict(zip(hits, axes.lines, strict=True))
    axes.legend(
        handles=[handles[name] for name in by_mean], loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False
    )
    axes.set(xlabel="scored positives, in order of time", ylabel="recall@10", title=title, xlim=(0, scored))
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)
