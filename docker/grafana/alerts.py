"""The alert rules. Whom they reach (contact points, policies) is the business of whoever runs Grafana."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from stores.metric_catalogue import graphite_path

Reducer = Literal["last", "sum", "max"]


@dataclass(frozen=True)
class Query:
    """One number: what the reducer makes of the last ``minutes`` of a series. ``sum`` is for counters."""

    target: str
    reducer: Reducer = "last"
    minutes: int = 10

    def expression(self) -> str:
        """Return what Graphite is asked; averages of counts, which it makes of many points, would sum up to less."""
        return f"consolidateBy({self.target}, 'sum')" if self.reducer == "sum" else self.target


@dataclass(frozen=True)
class Rule:
    """A rule: ``condition`` is a formula over the names of ``queries``, as in ``$age > 300``."""

    uid: str
    title: str
    queries: Mapping[str, Query]
    condition: str
    minutes: int
    about: str

    def json(self) -> dict[str, Any]:
        """Return what Grafana reads."""
        data: list[dict[str, Any]] = []
        for name, query in self.queries.items():
            series = f"{name}_series"
            asked = {"refId": series, "target": query.expression(), "textEditor": True}
            made = {"refId": name, "type": "reduce", "expression": series, "reducer": query.reducer}
            seconds = {"from": query.minutes * 60, "to": 0}
            data += [
                {"refId": series, "datasourceUid": "graphite", "relativeTimeRange": seconds, "model": asked},
                _computed(made | {"settings": {"mode": "dropNN"}}),
            ]
        data.append(_computed({"refId": "condition", "type": "math", "expression": self.condition}))
        return {
            "uid": self.uid,
            "title": self.title,
            "condition": "condition",
            "for": f"{self.minutes}m",
            # Nothing was ever recorded: nothing runs yet.
            "noDataState": "OK",
            "execErrState": "Error",
            "labels": {"system": "recommender"},
            "annotations": {"summary": self.title, "description": self.about},
            "data": data,
        }


def _computed(model: dict[str, Any]) -> dict[str, Any]:
    return {
        "refId": model["refId"],
        "datasourceUid": "__expr__",
        "relativeTimeRange": {"from": 0, "to": 0},
        "model": model,
    }


def _all(metric: str) -> str:
    return f"sumSeries({graphite_path(metric)})"


_LAG = graphite_path("lag_events")

RULES = (
    Rule(
        "trainer-silent",
        "The trainer is silent",
        {"flushes": Query(graphite_path("flush_seconds", stat="count"), "sum", 5)},
        "$flushes < 1",
        2,
        "It flushes at least once a second; now it does not. Nothing is learned, and answers grow old.",
    ),
    Rule(
        "lag-grows",
        "The lag grows",
        {"growth": Query(f"diffSeries({_LAG}, timeShift({_LAG}, '10min'))"), "lag": Query(_LAG)},
        "$growth > 1000 && $lag > 1000",
        5,
        "More events come than are learned: see learn_seconds and flush_seconds, and the failures of stores.",
    ),
    Rule(
        "snapshot-old",
        "The newest snapshot is old",
        {
            "age": Query(graphite_path("snapshot_age_seconds")),
            "events": Query(graphite_path("events_accepted"), "sum"),
        },
        "$age > 300 && $events > 0",
        2,
        "Events come and no snapshot is finished: is the disk full? After a crash all of them are learned again.",
    ),
    Rule(
        "dead-letters",
        "Events are set aside",
        {"letters": Query(_all("dead_letters"), "sum")},
        "$letters > 10",
        0,
        "A producer sends what cannot be read. The dead letters hold reason, place and original bytes.",
    ),
    Rule(
        "events-lost",
        "Events were never learned",
        {"lost": Query(graphite_path("events_lost"), "sum", 60)},
        "$lost > 0",
        0,
        "The log dropped them before the trainer came to them, and it was told to go on (--on-gap=skip).",
    ),
    Rule(
        "not-above-popularity",
        "What is served is not above popularity",
        {"below": Query(graphite_path("served_below_popularity"))},
        "$below > 0",
        15,
        "recall@10 of what is served, over the newest scored positives, is no better than that of decayed popularity.",
    ),
    Rule(
        "outcomes-missing",
        "Lists are served and nothing comes of them",
        {
            "answers": Query(_all("recommendations"), "sum", 60),
            "learned": Query(graphite_path("events_learned"), "sum", 60),
            "hits": Query(_all("served_lists_hit"), "sum", 60),
        },
        "$answers > 500 && $learned > 500 && $hits < 1",
        5,
        "Not one item of a served list was taken up within an hour: is recommendations_served written, do ids agree?",
    ),
    Rule(
        "dependency-left-alone",
        "A circuit breaker stays open",
        {"worst": Query(f"maxSeries({graphite_path('breaker_state')})")},
        "$worst >= 2",
        2,
        "The recommender answers without a dependency that does not answer; the board says which.",
    ),
)


def rules_file() -> dict[str, Any]:
    """Return the file that Grafana provisions its rules from."""
    group = {"orgId": 1, "name": "recommender", "folder": "Recommender", "interval": "1m"}
    return {"apiVersion": 1, "groups": [group | {"rules": [rule.json() for rule in RULES]}]}
