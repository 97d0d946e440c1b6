import gzip
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.events import DEFAULT_POSITIVES, EventDecoder, PositiveRule
from stores.history import ColumnMap, HistoryError, load_history

RULE = PositiveRule(DEFAULT_POSITIVES)


def events_of(history):
    return [history.event(position) for position in range(len(history))]


def write(path, text, encoding="utf-8"):
    data = text.encode(encoding)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def test_movielens_latest_as_csv_gz_with_titles_and_plots(tmp_path):
    write(tmp_path / "ratings.csv.gz", "userId,movieId,rating,timestamp\n1,10,4.5,200\n2,10,3.0,100\n1,11,4.4,200\n")
    write(
        tmp_path / "movies.csv.gz", 'movieId,title,genres\n10,"American, The (1995)",Comedy|Drama\n11,X,(no genres)\n'
    )
    write(tmp_path / "tagged_plots.csv", ',movieId,plot,tag\n0,10,"A man, alone.",drama\n1,99,unknown,x\n')
    history = load_history(tmp_path)
    assert events_of(history) == [
        {"user_id": "2", "item_id": "10", "type": "rating", "value": 3.0, "timestamp": 100.0},
        {"user_id": "1", "item_id": "10", "type": "rating", "value": 4.5, "timestamp": 200.0},
        {"user_id": "1", "item_id": "11", "type": "rating", "value": 4.4, "timestamp": 200.0},
    ]
    american = history.catalogue["10"]
    assert (american.title, american.category) == ("American, The (1995)", "Comedy|Drama")
    assert (american.text, american.attributes) == ("A man, alone.", {"year": 1995})
    assert history.catalogue["11"].category is None
    assert history.strengths(RULE).tolist() == [0.0, 1.0, 1.0]


def test_movielens_1m_is_latin_1_and_its_plots_bring_people(tmp_path):
    write(tmp_path / "ratings.dat", "1::7::5::978300760\n1::8::1::978300761\n")
    write(tmp_path / "movies.dat", "7::Misérables, Les (1995)::Drama|Musical\n8::B (1990)::War\n", "latin-1")
    write(
        tmp_path / "movies_plots.dat",
        "7::t::1995::PG::d::g::Jo Li::w::An Actor::N/A::p\n8::t::1::PG::d::g::N/A::w::Y::Plot.::p\n",
    )
    history = load_history(tmp_path)
    assert [event["value"] for event in events_of(history)] == [5.0, 1.0]
    assert history.catalogue["7"].title == "Misérables, Les (1995)"
    assert history.catalogue["7"].text is None
    assert history.catalogue["8"].text == "Plot."
    assert history.catalogue["8"].attributes == {"year": 1990, "actors": "Y"}


def test_movielens_100k(tmp_path):
    write(tmp_path / "u.data", "196\t242\t3\t881250949\n186\t302\t4\t891717742\n")
    flags = "|".join("1" if place in (1, 5) else "0" for place in range(19))
    write(tmp_path / "u.item", f"242|Kolya (1996)|24-Jan-1997||http://x|{flags}\n", "latin-1")
    history = load_history(tmp_path)
    assert history.name == "MovieLens 100K"
    assert len(history) == 2
    assert history.catalogue["242"].category == "Action|Comedy"


def test_a_folder_inside_a_zip_and_a_zip_inside_a_folder(tmp_path):
    with zipfile.ZipFile(tmp_path / "ml-latest-small.zip", "w") as archive:
        archive.writestr("ml-latest-small/ratings.csv", "userId,movieId,rating,timestamp\n1,10,4.5,200\n")
        archive.writestr("ml-latest-small/movies.csv", "movieId,title,genres\n10,A,War\n")
        archive.writestr("ml-latest-small/README.txt", "user item\n")
    for path in (tmp_path, tmp_path / "ml-latest-small.zip"):
        history = load_history(path)
        assert (len(history), history.catalogue["10"].title) == (1, "A")


def test_data_without_time_can_train_but_not_be_split(tmp_path):
    write(tmp_path / "train_triplets.txt", "b80344\tSOAKIMP\t1\nb80344\tSOBBMDR\t12\n")
    history = load_history(tmp_path)
    assert history.times_s is None
    assert "batch training only" in " ".join(history.notes)
    assert history.event(1) == {"user_id": "b80344", "item_id": "SOBBMDR", "type": "play", "value": 12.0}
    assert [len(part) for part in history.split(1.0)] == [2, 0]
    with pytest.raises(HistoryError, match="no time column"):
        history.split(0.5)


def test_book_crossing_has_titles_and_no_time(tmp_path):
    write(tmp_path / "book_history.dat", "user\titem\taccessed\n1\t152\t1\n")
    write(tmp_path / "book_ratings.dat", "user\titem\trating\n1\t152\t7.0\n")
    write(tmp_path / "items_info.dat", "Book_ID\tISBN\tTitle\tA\tY\tP\n152\t00\tDecision\tD'Este\t1991\tHarper\t\n")
    history = load_history(tmp_path)
    assert (len(history), history.times_s) == (1, None)
    assert history.catalogue["152"].attributes == {"author": "D'Este", "year": 1991, "publisher": "Harper"}


PIPES = "uuid|sourceprodid|userevent|clicked_epoch|ontology|price\n"


@pytest.mark.parametrize("first_line", [PIPES, ""])
def test_the_pipe_separated_layout_with_and_without_its_first_line(tmp_path, first_line):
    write(
        tmp_path / "clicks.csv", first_line + "u-1|77|pageView|1506826800026|Shoes|19.9\nu-1|78|buy|1506826800027||x\n"
    )
    history = load_history(tmp_path / "clicks.csv")
    assert [(event["type"], event["timestamp"]) for event in events_of(history)] == [
        ("pageView", pytest.approx(1506826800.026)),
        ("buy", pytest.approx(1506826800.027)),
    ]
    assert (history.catalogue["77"].category, history.catalogue["77"].price) == ("Shoes", 19.9)
    assert history.catalogue["78"].price is None
    assert history.strengths(RULE).tolist() == [0.5, 1.0]


@pytest.mark.parametrize("unit", [1, 1_000, 1_000_000, 1_000_000_000])
def test_the_unit_of_time_is_told_by_its_size(tmp_path, unit):
    write(tmp_path / "log.tsv", f"who\twhat\twhen\na\tb\t{1_700_000_000 * unit}\n")
    history = load_history(tmp_path, ColumnMap.parse("user=who,item=what,time=when"))
    assert history.event(0) == {"user_id": "a", "item_id": "b", "type": "click", "timestamp": 1_700_000_000.0}


def test_iso_times_and_their_zones(tmp_path):
    write(
        tmp_path / "log.csv",
        "user_id,item_id,timestamp\na,1,2024-01-01T02:00:00+02:00\n"
        "b,1,2024-01-01 00:00:01 UTC\nc,1,2024-01-02\nd,1,no\n",
    )
    history = load_history(tmp_path)
    assert (history.times_s - 1_704_067_200).tolist() == [0.0, 1.0, 86_400.0]
    assert history.bad_rows == 1


def test_parquet_with_whole_numbers_and_arrow_times(tmp_path):
    table = pa.table({"u": [3, 1, None], "i": [7, 7, 7], "t": pa.array([2_000, 1_000, 0], pa.timestamp("ms"))})
    pyarrow.parquet.write_table(table, tmp_path / "log.parquet")
    history = load_history(tmp_path / "log.parquet", ColumnMap(user="u", item="i", time="t"))
    assert [(event["user_id"], event["timestamp"]) for event in events_of(history)] == [("1", 1.0), ("3", 2.0)]
    assert history.bad_rows == 1


def test_rows_that_are_no_events_are_counted_and_their_neighbours_kept(tmp_path):
    write(
        tmp_path / "log.csv",
        "user_id,item_id,rating,timestamp\na,1,4,1\n,1,4,2\nb,,4,3\nc,1,many,4\nd,1,4,soon\ne,1,4\n"
        + "x" * 300
        + ",1,4,5\nf,1,,6\ng,1,nan,7\nh,1,4,-1\n",
    )
    history = load_history(tmp_path)
    assert [event["user_id"] for event in events_of(history)] == ["a", "f"]
    assert "value" not in history.event(1)
    assert history.bad_rows == 8
    assert "8 rows are no events" in " ".join(history.notes)


def test_events_of_one_time_keep_the_order_of_their_file(tmp_path):
    rows = [(f"u{position}", 1000 - position // 50) for position in range(500)]
    write(tmp_path / "log.csv", "user_id,item_id,timestamp\n" + "".join(f"{user},i,{time}\n" for user, time in rows))
    expected = [user for user, _ in sorted(rows, key=lambda row: row[1])]
    assert [event["user_id"] for event in events_of(load_history(tmp_path))] == expected


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("notes.csv", "a,b\n1,2\n", "understood are"),
        ("picture.png", "PNG", "understood are"),
        ("log.csv", "user_id,item_id,timestamp\n,,\n", "none of its 1 rows is an event"),
        ("ratings.csv.gz", None, "cannot be read"),
    ],
)
def test_a_file_that_is_nothing_of_these(tmp_path, name, text, says):
    path = tmp_path / name
    path.write_bytes(b"not a gzip file") if text is None else write(path, text)
    with pytest.raises(HistoryError, match=says):
        load_history(path)


def test_a_folder_of_nothing_and_a_path_of_nothing(tmp_path):
    with pytest.raises(HistoryError, match="understood are"):
        load_history(tmp_path)
    with pytest.raises(HistoryError, match="does not exist"):
        load_history(tmp_path / "absent")


@pytest.mark.parametrize("text", ["user=a", "user=a,item=b,colour=c", "user=,item=b", ""])
def test_a_column_map_that_cannot_be_read(text):
    with pytest.raises(HistoryError, match="write user=COLUMN"):
        ColumnMap.parse(text)


def test_a_column_map_that_does_not_fit_names_the_columns_there_are(tmp_path):
    write(tmp_path / "log.csv", "who,what\na,b\n")
    with pytest.raises(HistoryError, match="no column when; its columns are who, what"):
        load_history(tmp_path / "log.csv", ColumnMap(user="who", item="what", time="when"))


def test_a_file_of_any_name_by_its_columns(tmp_path):
    columns = ColumnMap(user="who", item="what", time="when")
    for name in ("events", "events.gz", "events.2024"):
        (event,) = events_of(load_history(write(tmp_path / name, "who,what,when\na,b,7\n"), columns))
        assert (event["user_id"], event["item_id"], event["timestamp"]) == ("a", "b", 7.0)


def test_ids_that_became_fractions_because_one_is_missing(tmp_path):
    table = pa.table(
        {
            "user": pa.array([1.0, None, 3.0, 4.5, float("nan"), 6.0]),
            "item": pa.array([5, 6, 7, 8, 9, 10]).cast(pa.decimal128(20, 0)),
        }
    )
    pa.parquet.write_table(table, tmp_path / "log.parquet")
    history = load_history(tmp_path)
    assert [(event["user_id"], event["item_id"]) for event in events_of(history)] == [
        ("1", "5"),
        ("3", "7"),
        ("6", "10"),
    ]
    assert history.bad_rows == 3


def test_categories_and_large_text_of_parquet(tmp_path):
    table = pa.table(
        {
            "user": pa.array(["ü", "b,c", "ü"]).dictionary_encode(),
            "item": pa.array(["x", "y", "z"], pa.large_string()),
            "rating": pa.array(["4", "5", None]).dictionary_encode(),
        }
    )
    pa.parquet.write_table(table, tmp_path / "log.parquet")
    events = events_of(load_history(tmp_path))
    assert [event["user_id"] for event in events] == ["ü", "b,c", "ü"]
    assert [event.get("value") for event in events] == [4.0, 5.0, None]


@pytest.mark.parametrize(
    ("late", "early"),
    [
        ("12/31/2010 8:26", "1/2/2010 23:00"),
        ("31/12/2010 08:26:01", "2/11/2010 23:00:00"),
        ("31.12.2010", "01.11.2010"),
        ("3/1/2010", "1/2/2010"),  # either way round: the month first
    ],
)
def test_dates_as_people_write_them(tmp_path, late, early):
    write(tmp_path / "log.csv", f"user,item,date\na,x,{late}\nb,y,{early}\n")
    first, second = events_of(load_history(tmp_path))
    assert (first["user_id"], second["user_id"]) == ("b", "a")
    assert 1.26e9 < first["timestamp"] < second["timestamp"] < 1.3e9


@given(
    rows=st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(1, 10), st.integers(0, 50)), min_size=1, max_size=60
    ),
    share=st.floats(0, 1),
)
def test_every_event_survives_loading_splitting_and_decoding(tmp_path_factory, rows, share):
    path = tmp_path_factory.mktemp("log") / "ratings.csv"
    write(path, "userId,movieId,rating,timestamp\n" + "".join(f"{u},{i},{v / 2},{t}\n" for u, i, v, t in rows))
    history = load_history(path)
    first, rest = history.split(share)
    events = events_of(first) + events_of(rest)
    expected = [(str(u), str(i), v / 2, float(t)) for u, i, v, t in sorted(rows, key=lambda row: row[3])]
    assert [(e["user_id"], e["item_id"], e["value"], e["timestamp"]) for e in events] == expected
    decoder = EventDecoder(RULE)
    strengths = [decoder.validate(e, default_event_id="x", arrival_s=1e9).strength for e in events]
    assert np.allclose(history.strengths(RULE), strengths)
