"""The item graph in arrays says exactly what ``models.ranking`` says with dictionaries."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import ranking
from recommender_server import item_graph
from recommender_server.item_graph import ItemGraph
from stores.ports import Edges

ITEMS = [f"i{n}" for n in range(12)]
items = st.sampled_from(ITEMS)
weights = st.floats(0.001, 50.0)
graphs = st.dictionaries(items, st.dictionaries(items, weights, max_size=8).map(lambda edges: list(edges.items())))
recents = st.lists(items, unique=True)
MERGE = [0.5, 0.1, 0.2, 0.7, 0.3, 0.4, 0.6]


def lifts_by_definition(recent, edges, without):
    found = ranking.transitions(recent, edges)
    t = np.array([found[item] for item in found], dtype=np.float64).reshape(-1, 2)
    values = ranking.lifts(*map(ranking.transition_feature, t.T), MERGE)
    return {item: value for item, value in zip(found, values.tolist(), strict=True) if item not in without}


def numbered(edges):
    return {item: Edges(pairs) for item, pairs in edges.items()}


@given(st.lists(st.tuples(recents, graphs, st.frozensets(items)), min_size=1, max_size=4))
def test_lifts_are_those_of_the_ranking(requests):
    graph = ItemGraph()  # one for all requests, as in the server
    around = [graph.around(recent, numbered(edges)) for recent, edges, _ in requests]
    lifts = [of.lifts(MERGE, without) for of, (_, _, without) in zip(around, requests, strict=True)]
    for (recent, edges, without), found in zip(requests, lifts, strict=True):
        expected = lifts_by_definition(recent, edges, without)
        assert dict(found.ranked()) == expected
        assert found.ranked() == sorted(expected.items(), key=lambda pair: (-pair[1], pair[0]))
        asked = [*ITEMS, "unknown"]
        assert found.of(asked).tolist() == [expected.get(item, 0.0) for item in asked]


@given(recents, graphs, st.integers(1, 13))
def test_the_strongest_are_apart_from_the_others(recent, edges, count):
    lifted = ItemGraph().around(recent, numbered(edges)).lifts(MERGE).strongest(count)
    expected = lifts_by_definition(recent, edges, ())
    assert len(lifted.item_ids) == min(count, len(expected))
    told, others = dict(zip(lifted.item_ids, lifted.lifts, strict=True)), dict(lifted.others.ranked())
    assert told | others == expected and not told.keys() & others.keys()
    assert lifted.others.largest == max(others.values(), default=0.0) <= min(told.values(), default=np.inf)


@given(recents, graphs)
def test_the_strongest_link_is_the_one_that_counts_most(recent, edges):
    decays = np.cumprod([1.0] + [ranking.TRANSITION_DECAY] * 19)
    links = ItemGraph().around(recent, numbered(edges)).strongest_links([*ITEMS[:9], "unknown"])
    for item in ITEMS[:9]:
        flows = [
            (decays[place] * dict(edges.get(other, [])).get(item, 0.0), -place) for place, other in enumerate(recent)
        ]
        flow, place = max(flows, default=(0.0, 0))
        assert links.get(item) == (recent[-place] if flow > 0 else None)


def test_edges_that_changed_count_as_they_are_now():
    graph = ItemGraph()
    for edges in ([("a", 1.0)], [("b", 2.0), ("a", 1.0)], []):
        found = dict(graph.around(["i1"], {"i1": Edges(edges)}).lifts(MERGE).ranked())
        assert found == lifts_by_definition(["i1"], {"i1": edges}, ())


def test_a_graph_that_forgets_everything_leaves_what_was_found(monkeypatch):
    monkeypatch.setattr(item_graph, "MOST_ITEMS", 2)
    graph, found = ItemGraph(), []
    for n in range(8):
        edges = {f"i{n}": Edges([(f"x{n}", 1.0), ("both", 2.0)])}
        found.append(graph.around([f"i{n}"], edges).lifts(MERGE))
    for n, lifts in enumerate(found):
        assert {item for item, _ in lifts.ranked()} == {f"x{n}", "both"}
        assert (lifts.of([f"x{n}", "both", "x99"]) > 0).tolist() == [True, True, False]


@pytest.mark.parametrize("recent", [[], ["unknown"]])
def test_nothing_leads_nowhere(recent):
    around = ItemGraph().around(recent, {})
    assert around.lifts(MERGE, ["i1"]).ranked() == []
    assert around.lifts(MERGE).strongest(5).others.largest == 0.0
    assert around.strongest_links(["i1"]) == {}
