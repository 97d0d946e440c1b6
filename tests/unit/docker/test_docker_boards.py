"""Boards and alert rules: the committed files are the generated ones, and every query is of declared metrics."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from typing import Any

import pytest

from docker.grafana.__main__ import FOLDER, provisioned
from docker.grafana.alerts import RULES
from docker.grafana.boards import BOARDS
from docker.grafana.check import questions, unanswered
from stores.metric_catalogue import CATALOGUE, GRAPHITE_STATS, STATSD_PREFIX, graphite_alias_path, graphite_path

FUNCTIONS = {
    *("alias", "aliasByNode", "groupByNode", "sumSeries", "maxSeries", "diffSeries", "divideSeries"),
    *("movingSum", "timeShift", "consolidateBy"),
}


def _declared_paths() -> list[str]:
    """Return the path of everything that can be in Graphite, with * for every label."""
    paths = []
    for metric in CATALOGUE.values():
        for stat in GRAPHITE_STATS[metric.kind] or ("",):
            paths.append(graphite_path(metric.name, stat=stat))
            if metric.alias:
                paths.append(graphite_alias_path(metric.name, stat))
    return paths


def _committed_queries() -> list[tuple[str, str]]:
    """Return (file, query) as the files say it, whoever wrote them."""
    found: list[tuple[str, str]] = []

    def search(name: str, node: Any) -> None:
        if isinstance(node, dict):
            if isinstance(node.get("target"), str):
                found.append((name, node["target"]))
            for value in node.values():
                search(name, value)
        elif isinstance(node, list):
            for value in node:
                search(name, value)

    for path in [*FOLDER.glob("dashboards/*.json"), *FOLDER.glob("provisioning/alerting/*.json")]:
        search(path.name, json.loads(path.read_text()))
    return found


def _paths(query: str) -> list[str]:
    return re.findall(r"stats\.[A-Za-z0-9_.*-]+", re.sub(r"'[^']*'", "", query))


def test_the_committed_files_are_the_generated_ones() -> None:
    files = provisioned()
    there = {*FOLDER.glob("dashboards/*"), *FOLDER.glob("provisioning/alerting/*")}
    assert there == set(files), "run `make docs`"
    assert all(path.read_text() == text for path, text in files.items()), "run `make docs`"


def test_every_query_is_of_declared_metrics() -> None:
    declared = _declared_paths()
    queries = _committed_queries()
    assert len(queries) == len(list(questions()))
    wrong = []
    for file, query in queries:
        paths = _paths(query)
        assert paths, query
        wrong += [
            f"{file}: {path}"
            for path in paths
            if not any(len(path.split(".")) == len(known.split(".")) and fnmatchcase(path, known) for known in declared)
        ]
    assert not wrong, "\n".join(wrong)


def test_queries_are_well_formed() -> None:
    for _, query in _committed_queries():
        bare = re.sub(r"'[^']*'", "", query)
        assert bare.count("(") == bare.count(")"), query
        assert query.count("'") % 2 == 0, query
        assert set(re.findall(r"(\w+)\(", bare)) <= FUNCTIONS, query


def test_labels_that_are_named_by_place_are_labels() -> None:
    for _, query in _committed_queries():
        for path, place in re.findall(r"(?:alias|group)ByNode\(([^,]+), (\d+)", query):
            elements = path.split(".")
            assert elements[2] == STATSD_PREFIX
            metric = CATALOGUE[elements[3]]
            assert 4 <= int(place) < 4 + len(metric.labels), query


def test_what_the_issue_asks_for_is_shown() -> None:
    shown = " ".join(query for _, query in _committed_queries())
    needed = [
        *("events_learned", "learned_freshness_seconds", "own_freshness_seconds", "lag_events", "snapshot_age_seconds"),
        *("outbox_rows", "table_size", "table_growths", "recall_at_10", "precision_at_10", "served_hit_rate"),
        *("served_hit_rate_by_position", "recommendations", "request_seconds", "index_search_seconds", "learn_seconds"),
        *("dead_letters", "breaker_state", "events_by_type", "ratings", "category_popularity", "top_item_popularity"),
        "served_below_popularity",
    ]
    missing = [name for name in needed if f".{STATSD_PREFIX}.{name}" not in shown]
    assert not missing
    aliases = [metric.name for metric in CATALOGUE.values() if metric.alias]
    assert aliases
    assert all(graphite_alias_path(name) in shown for name in aliases)


def test_places_on_a_board_do_not_overlap() -> None:
    for board in BOARDS:
        taken: set[tuple[int, int]] = set()
        ids = [panel["id"] for panel in board.json()["panels"]]
        assert len(set(ids)) == len(ids)
        for panel in board.json()["panels"]:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert max(x for x, _ in cells) < 24
            assert not cells & taken, panel.get("title")
            taken |= cells


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.uid)
def test_a_rule_is_about_numbers_that_it_has(rule: Any) -> None:
    described = rule.json()
    names = {entry["refId"] for entry in described["data"]}
    assert set(re.findall(r"\$(\w+)", rule.condition)) == set(rule.queries)
    assert described["condition"] in names
    for entry in described["data"]:
        assert entry["model"]["refId"] == entry["refId"]
        if entry["model"].get("type") == "reduce":
            assert entry["model"]["expression"] in names
    for query in rule.queries.values():
        assert ("consolidateBy" in query.expression()) == (query.reducer == "sum")


def test_a_graphite_that_is_not_there_is_no_pass() -> None:
    assert len(unanswered("http://127.0.0.1:9", 60)) == len(list(questions()))


# What each rule sees of a system that is well, and of one that is not.
WELL_AND_ILL = {
    "trainer-silent": ({"flushes": 300}, {"flushes": 0}),
    "lag-grows": ({"growth": -20, "lag": 40}, {"growth": 5000, "lag": 9000}),
    "snapshot-old": ({"age": 9000, "events": 0}, {"age": 301, "events": 1}),
    "dead-letters": ({"letters": 3}, {"letters": 11}),
    "events-lost": ({"lost": 0}, {"lost": 1}),
    "not-above-popularity": ({"below": 0}, {"below": 1}),
    "outcomes-missing": ({"answers": 900, "learned": 4000, "hits": 380}, {"answers": 900, "learned": 4000, "hits": 0}),
    "dependency-left-alone": ({"worst": 1}, {"worst": 2}),
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.uid)
def test_a_rule_fires_when_something_is_wrong_and_not_before(rule: Any) -> None:
    for numbers, fires in zip(WELL_AND_ILL[rule.uid], (False, True), strict=True):
        formula = re.sub(r"\$(\w+)", lambda name, numbers=numbers: str(numbers[name[1]]), rule.condition)
        assert re.fullmatch(r"[\d<>=&. -]+", formula)
        assert eval(formula.replace("&&", " and ")) is fires, formula
