"""What the suite makes of the last lines of its benchmarks."""

import json

import numpy as np

from benchmarks import suite
from benchmarks.verdict import Bar, conclude


def test_a_bar_is_met_on_its_side_and_never_without_a_figure():
    assert Bar("a", 2.0, at_least=2.0).met and not Bar("a", 1.9, at_least=2.0).met
    assert Bar("a", 2.0, at_most=2.0).met and not Bar("a", 2.1, at_most=2.0).met
    assert not Bar("a", None, at_most=2.0).met


def test_only_a_last_line_that_is_an_object_is_an_answer(capsys):
    conclude("learn", {"x": 1}, [Bar("fast", np.float64(3.0), at_least=2.0)], {"k": 10}, ("numpy",))
    output = capsys.readouterr().out
    assert suite.last_line(output)["bars"][0]["met"] is True
    assert suite.last_line(output + "a warning\n") is None
    assert suite.last_line("") is None and suite.last_line("3\n") is None


def test_answers_of_several_runs_stand_together_on_the_page(tmp_path, monkeypatch):
    monkeypatch.setattr(suite, "RESULT", tmp_path / "latest.json")
    monkeypatch.setattr(suite, "PAGE", tmp_path / "performance.md")
    bar = {"name": "fast", "value": 1.0, "at_least": 2.0, "at_most": None, "met": False}
    suite.keep("serve --stack full", {"asks": "How many?", "seconds": 3.0, "table": "a table", "failed": "exit code 1"})
    suite.keep("learn", {"asks": "What cost?", "seconds": 2.0, "table": "t", "commit": "c1", "bars": [bar]})
    assert list(json.loads((tmp_path / "latest.json").read_text())) == ["learn", "serve --stack full"]
    page = (tmp_path / "performance.md").read_text()
    assert "| `learn` | fast | ≥ 2.0 | 1.0 | **missed** |" in page and "commit c1" in page
    assert "| `serve --stack full` | – | – | exit code 1 | **failed** |" in page
