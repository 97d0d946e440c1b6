"""Graphite's queries, made from the metric catalogue alone: a name that it does not declare raises ``KeyError``."""

from __future__ import annotations

from stores.metric_catalogue import CATALOGUE, graphite_alias_path, graphite_path

# stats . folder . prefix . name, and then the labels.
_FIRST_LABEL = 4


def named(title: str, metric: str, stat: str = "", **labels: str) -> str:
    """Return one series under a title."""
    return f"alias({graphite_path(metric, labels, stat)}, '{title}')"


def each(metric: str, label: str, stat: str = "", **labels: str) -> str:
    """Return a series per value of a label, under that value."""
    place = _FIRST_LABEL + CATALOGUE[metric].labels.index(label)
    return f"aliasByNode({graphite_path(metric, labels, stat)}, {place})"


def sum_by(metric: str, label: str, stat: str = "") -> str:
    """Return a series per value of a label, the sum over the values of the others."""
    place = _FIRST_LABEL + CATALOGUE[metric].labels.index(label)
    return f"groupByNode({graphite_path(metric, stat=stat)}, {place}, 'sum')"


def summed(title: str, metric: str, stat: str = "", **labels: str) -> str:
    """Return the sum over all label values that are not given."""
    return f"alias(sumSeries({graphite_path(metric, labels, stat)}), '{title}')"


def share(title: str, part: str, whole: str) -> str:
    """Return one counter as a share of another, over the last ten minutes, all label values together."""
    recent = [f"movingSum(sumSeries({graphite_path(name)}), '10min')" for name in (part, whole)]
    return f"alias(divideSeries({', '.join(recent)}), '{title}')"


def quantiles(title: str, metric: str, **labels: str) -> tuple[str, str]:
    """Return the median and the 99th percentile of a timing."""
    return (
        named(f"{title}, p50", metric, "upper_50", **labels),
        named(f"{title}, p99", metric, "upper_99", **labels),
    )


def original(metric: str) -> str:
    """Return a metric under the name that the original system gave it."""
    return f"alias({graphite_alias_path(metric)}, '{CATALOGUE[metric].alias}')"
