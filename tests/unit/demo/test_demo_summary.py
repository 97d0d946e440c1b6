import json

import pytest

from demo.freshness import Freshness
from demo.replay import Progress
from demo.summary import learning_faults, process_faults, summarise, write_summary

ASKED_FOR = [
    *(
        "events_accepted",
        "events_learned",
        "non_positives",
        "repeats",
    ),
    *(
        "duplicates",
        "dead_letters",
        "users",
        "items",
    ),
    *(
        "user_growths",
        "item_growths",
        "recall10_served",
        "recall10_model",
    ),
    *(
        "recall10_popularity",
        "freshness_own_p50_ms",
        "freshness_own_p99_ms",
        "freshness_learned_p50_ms",
    ),
    *(
        "freshness_learned_p99_ms",
        "recommendations_served",
        "errors_5xx",
        "stack",
    ),
    *("learner_sha256", "install_seconds", "seconds"),
]
COUNTERS = {"events_learned": 80, "non_positives": 10, "repeats": 6, "duplicates": 3, "dead_letters": 1}
SIZES = {"users": 5, "items": 50, "user_growths": 1, "item_growths": 2}
RECALL = {"served": 0.123456, "popularity": 0.05, "popularity_decayed": 0.06}
STATUS = {
    "trainer": {"report": {**COUNTERS, **SIZES, "recall10": RECALL, "scored": 20}},
    "answers_by_source": {"personal": 7, "popular": 2},
    "answers_5xx": 0,
}
CLEAN = {"faiss": 0, "recommender": 0, "trainer": 0}


def summary_of(status=STATUS, errors_5xx=0, has_oracle=False, accepted=100):
    progress = Progress("data", 0.5, 200, scored=20, hits=3, oracle_hits=9, ends={0: accepted})
    freshness = Freshness(client=None)
    freshness.own_s = [0.001, 0.002, 0.003]
    return summarise(
        progress,
        status,
        freshness,
        errors_5xx=errors_5xx,
        has_oracle=has_oracle,
        stack="embedded",
        learner_sha256="abc",
        install_seconds=None,
        seconds=12.34,
    )


def test_it_has_every_figure_that_was_asked_for():
    summary = summary_of()
    assert list(summary) == ASKED_FOR
    assert summary["events_accepted"] == 100
    assert summary["recall10_served"] == 0.15
    assert summary["recall10_model"] == 0.1235
    assert summary["recall10_popularity"] == 0.05
    assert summary["freshness_own_p50_ms"] == 2.0
    assert summary["freshness_learned_p50_ms"] is None
    assert summary["recommendations_served"] == 9


def test_the_oracle_is_named_only_where_the_truth_is_known():
    assert "recall10_oracle" not in summary_of()
    assert summary_of(has_oracle=True)["recall10_oracle"] == 0.45


def test_a_good_run_has_no_faults():
    assert learning_faults(summary_of()) == []
    assert process_faults(CLEAN) == []


@pytest.mark.parametrize("code", [1, -9, None])
def test_a_process_that_did_not_end_cleanly_is_a_fault(code):
    assert ["trainer" in fault for fault in process_faults(CLEAN | {"trainer": code})] == [True]


def test_no_process_at_all_is_a_fault():
    assert process_faults({}) == ["no process ran"]


@pytest.mark.parametrize("accepted", [99, 101])
def test_events_that_do_not_add_up_are_a_fault(accepted):
    faults = learning_faults(summary_of(accepted=accepted))
    assert len(faults) == 1
    assert "do not add up" in faults[0]


@pytest.mark.parametrize("report", [{}, {**COUNTERS, "events_learned": 0}])
def test_a_run_that_learned_nothing_is_a_fault(report):
    summary = summary_of(status={"trainer": {"report": report}})
    assert learning_faults(summary) == ["nothing was learned"]


def test_a_recommender_that_never_answered_makes_a_summary_all_the_same():
    assert summary_of(status={})["events_learned"] is None


def test_errors_are_those_of_whoever_saw_more():
    assert summary_of(errors_5xx=2)["errors_5xx"] == 2
    assert summary_of(status=STATUS | {"answers_5xx": 4}, errors_5xx=2)["errors_5xx"] == 4


def test_it_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "summary.json"
    write_summary(path, summary_of())
    with pytest.raises(TypeError):
        write_summary(path, {"events_learned": object()})
    assert json.loads(path.read_text()) == summary_of()
