import io

from rich.console import Console

from demo.freshness import Freshness
from demo.replay import Progress
from demo.view import View, figures, say_list

STATUS = {
    "trainer": {
        "report": {
            "events_learned": 1200,
            "learned_per_s": 99.6,
            "lag": 3,
            "recall10": {"served": 0.1246, "popularity": 0.0585, "popularity_decayed": 0.0636, "transitions": 0.095},
            "users": 610,
            "user_capacity": 1024,
            "user_growths": 2,
        }
    },
    "answers_by_source": {"personal": 3, "popular": 1},
    "answers_5xx": 0,
}


def console(width=100):
    return Console(file=io.StringIO(), width=width, markup=False, highlight=False, soft_wrap=True)


def shown(progress, status, freshness, has_oracle=False):
    return dict(figures(progress, status, freshness, accepted_per_s=400.0, has_oracle=has_oracle))


def test_before_anything_is_known_there_is_a_table_all_the_same():
    rows = shown(Progress("data", 0.5, 0), {}, Freshness(None))
    assert rows["recall@10 from outside"].startswith("served –")
    assert rows["users"] == "–"
    assert rows["answers"] == "none"


def test_what_is_known_is_shown():
    freshness = Freshness(None)
    freshness.own_s, freshness.learned_s = [0.010, 0.012], [0.040]
    progress = Progress("data", 0.5, 0, sent=5000, scored=100, hits=12, oracle_hits=40)
    rows = shown(progress, STATUS, freshness, has_oracle=True)
    assert rows["events"] == "5,000 accepted (400/s), 1,200 learned (100/s), lag 3"
    assert rows["recall@10 from outside"] == "served 0.120, oracle 0.400 (100 asked before the event)"
    assert "popularity 0.059, decayed popularity 0.064" in rows["recall@10 trainer"]
    assert rows["users"] == "610 of 1,024 rows, grown 2 times"
    assert rows["answers"] == "personal 75 %, popular 25 %"
    assert rows["event to answer"] == "own 11 ms (p99 12); learned and in the index 40 ms (p99 40)"


def test_titles_with_brackets_are_no_markup_and_long_ones_keep_to_a_line():
    out = console(width=40)
    items = [
        {"item_id": "1", "title": "[REC] (2007)", "reason": "popular now"},
        {"item_id": "2", "title": "Borat: " + "Cultural Learnings " * 5, "reason": "popular now"},
        {"item_id": "3", "title": "", "reason": "popular now"},
    ]
    say_list(out, "User [x]", {"source": "personal", "items": items}, before=["2"])
    lines = out.file.getvalue().splitlines()
    assert lines[1] == "User [x] (source: personal)"
    assert lines[2].startswith(" +  1. [REC] (2007)")
    assert lines[3].startswith("    2. Borat") and len(lines[3]) <= 40
    assert lines[4].startswith(" +  3. 3")
    assert len(lines) == 5


def test_where_there_is_no_terminal_lines_come_now_and_then():
    out = console()
    view = View(out, 0, 10)
    view.begin()
    for _ in range(3):
        view.show(Progress("data", 0.5, 5), STATUS, Freshness(None), accepted_per_s=1.0, has_oracle=False)
    view.end()
    assert out.file.getvalue().count("recall@10 trainer") == 1
