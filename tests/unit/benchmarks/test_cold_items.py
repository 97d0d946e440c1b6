import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import cold_items
from initial_training.factorisation import Recipe

GENRES = ("drama", "comedy", "war", "western")


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """Forty users who like one genre each, and eighty films; the title says the same as the genre."""
    rng = np.random.default_rng(1)
    lines = ["user_id,item_id,title,category"]
    for user in range(40):
        for film in rng.permutation(80)[:50].tolist():
            if film % 4 == user % 4 or rng.random() < 0.05:
                lines.append(f"u{user},f{film},a {GENRES[film % 4]} film,{GENRES[film % 4]}")
    path = tmp_path_factory.mktemp("cold") / "log.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def last_line(capsys):
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_content_finds_who_likes_what_nobody_has_clicked(log, capsys):
    cold_items.main(["--data", str(log), "--factors", "8", "--seeds", "2"])
    result = last_line(capsys)
    recall = result["recall10"]
    assert result["fields"] == ["title", "category"] and len(result["seeds"]) == 2
    assert recall["all"] > 0.9 > recall["random"] + 0.1
    assert recall["category alone"] > 0.9 and recall["all"] > recall["popularity oracle"]
    assert (result["users"], result["items"], result["seeds"][0]["withheld"]) == (40, 80, 16)
    assert result["all_minus_oracle"][0] == pytest.approx(
        result["seeds"][0]["recall10"]["all"] - result["seeds"][0]["recall10"]["popularity oracle"]
    )


def test_only_the_fields_asked_for_count(log, capsys):
    data = cold_items.Catalogue.read(log).with_fields(["title"])
    assert {item.category for item in data.contents} == {None} and data.fields() == ["title"]
    with pytest.raises(SystemExit):
        cold_items.main(["--data", str(log), "--text", "plot"])
    assert "no item has plot; known are title, category" in capsys.readouterr().err


def test_nothing_about_the_withheld_items_is_learned(log):
    data = cold_items.Catalogue.read(log)
    withheld, others = np.arange(16), np.arange(16, 80)
    fewer = replace(data, users=data.users[data.items != 3], items=data.items[data.items != 3])
    recipe = Recipe(8, sweeps=1, epochs=1)
    one, other = (cold_items.Split(each, withheld, others, recipe, 0) for each in (data, fewer))
    assert np.array_equal(one.learned.users, other.learned.users)
    assert np.array_equal(one.learned.items, other.learned.items) and len(one.learned.items) == len(others)


def test_recall_is_hits_of_the_ten_best_divided_by_what_could_be_hit(log):
    data = cold_items.Catalogue.read(log)
    split = cold_items.Split(data, np.arange(16), np.arange(16, 80), Recipe(8, sweeps=1, epochs=0), 0)
    had = np.zeros((40, 16), bool)
    had[data.users[data.items < 16], data.items[data.items < 16]] = True
    own = had.sum(axis=1)
    assert split.recall(had.astype(float)) == 1.0
    assert split.recall(-had.astype(float)) == pytest.approx(
        np.mean([max(0, 10 - (16 - n)) / min(n, 10) for n in own if n])
    )
