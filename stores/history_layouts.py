"""Recognising the files people have: which one holds the events, and what its columns mean."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path

from stores.history_columns import (
    ColumnMap,
    HistoryError,
    first_row,
    is_parquet,
)

UNDERSTOOD = """understood are, as a folder, a file or a .zip, plain or .gz:
  MovieLens 100K (u.data), 1M and 10M (ratings.dat), latest and later (ratings.csv)
  Taste Profile triplets (train_triplets.txt)
  Book-Crossing (book_history.dat)
  uuid|sourceprodid|userevent|clicked_epoch|ontology|price, with or without that first line
  any CSV, TSV or Parquet log with columns of usual names (user_id, item_id, timestamp, type, rating, …)
  any other one with a column map: user=COLUMN,item=COLUMN,time=COLUMN[,type=COLUMN][,value=COLUMN]"""

_RATINGS = ["user", "item", "rating", "time"]
_RATING_MAP = ColumnMap(user="user", item="item", value="rating", time="time")
_PIPES = ["uuid", "sourceprodid", "userevent", "clicked_epoch", "ontology", "price"]


@dataclass(frozen=True)
class _Known:
    """Files recognised by name; ``header``: the column names, ``None`` when the file has them."""

    name: str
    pattern: str
    columns: ColumnMap
    header: list[str] | None


_KNOWN = (
    _Known("MovieLens 100K", r"u\.data", _RATING_MAP, _RATINGS),
    _Known("MovieLens", r"ratings\.dat", _RATING_MAP, _RATINGS),
    _Known(
        "Taste Profile",
        r".*triplets.*\.(txt|tsv|csv)",
        ColumnMap(user="user", item="song", value="count", type_name="play"),
        ["user", "song", "count"],
    ),
    _Known("Book-Crossing", r"book_history\.dat", ColumnMap(user="user", item="item"), None),
)

# Usual names, lower case and without punctuation, best first.
_USUAL = {
    "user": ["userid", "user", "uuid", "visitorid", "customerid", "uid", "memberid", "sessionid"],
    "item": ["itemid", "item", "movieid", "sourceprodid", "productid", "articleid", "clickarticleid", "songid", "sku"],
    "time": [
        "timestamp",
        "timestamps",
        "time",
        "eventtime",
        "clickedepoch",
        "clicktimestamp",
        "ts",
        "datetime",
        "date",
    ],
    "type": ["eventtype", "type", "event", "userevent", "action"],
    "value": ["rating", "value", "score", "stars"],
    "title": ["title", "itemtitle"],
    "category": ["category", "ontology", "categorycode"],
    "price": ["price"],
}


@dataclass(frozen=True)
class Layout:
    """Where the events lie, what their columns mean (``header``: names the file lacks), and the folder around them."""

    name: str
    events: Traversable
    columns: ColumnMap
    header: list[str] | None
    folder: Traversable | None
    notes: tuple[str, ...] = ()


def find_layout(path: Path, columns: ColumnMap | None) -> Layout:
    """Recognise a folder, a file or a zip; ``columns`` overrules what a file's columns are taken for.

    Raises ``HistoryError`` saying what would be understood.
    """
    if not path.exists():
        raise HistoryError(f"{path} does not exist")
    for folder, files in _places(path):
        layout = _among(folder, files, columns)
        if layout is not None:
            return layout
    raise HistoryError(f"{path} holds no events that are understood; {UNDERSTOOD}")


def _places(path: Path) -> Iterator[tuple[Traversable | None, list[Traversable]]]:
    """Yield where to look: the file itself, or the folder (or zip) and then the folders directly in it."""
    if path.is_file() and not zipfile.is_zipfile(path):
        yield path.parent, [path]
        return
    root: Traversable = zipfile.Path(path) if path.is_file() else path
    inside = sorted(root.iterdir(), key=lambda entry: entry.name)
    yield root, [entry for entry in inside if entry.is_file()]
    for entry in inside:
        if entry.is_dir():
            yield entry, sorted((file for file in entry.iterdir() if file.is_file()), key=lambda file: file.name)
        elif path.is_dir() and entry.name.endswith(".zip"):
            yield from _places(path / entry.name)


def _among(folder: Traversable | None, files: list[Traversable], columns: ColumnMap | None) -> Layout | None:
    for known in _KNOWN if columns is None else ():
        for file in files:
            if re.fullmatch(known.pattern + r"(\.gz)?", file.name):
                return Layout(known.name, file, known.columns, known.header, folder)
    # A folder may hold other tables: ratings.csv is the events of every later MovieLens; else one file must fit.
    ratings = [file for file in files if re.fullmatch(r"ratings\.csv(\.gz)?", file.name)]
    fitting = []
    for file in ratings or files:
        named = columns is not None and len(files) == 1  # a file of any name, by whoever knows its columns
        if (
            named
            or is_parquet(file)
            or file.name.removesuffix(".gz").endswith((".csv", ".tsv", ".txt", ".dat", ".log", ".psv"))
        ):
            found = _by_header(file, folder, columns)
            if found is not None:
                fitting.append(found)
    if len(fitting) > 1:
        raise HistoryError(
            f"{folder} holds {len(fitting)} logs ({', '.join(found.events.name for found in fitting)}): name the file"
        )
    return fitting[0] if fitting else None


def _by_header(file: Traversable, folder: Traversable | None, columns: ColumnMap | None) -> Layout | None:
    separator, names = first_row(file)
    if columns is not None:
        if set(columns.named().values()) <= set(names):
            return Layout(file.name, file, columns, None, folder)
        if isinstance(file, Path) and folder == file.parent and not set(columns.named().values()) & set(names):
            return None
        missing = sorted(set(columns.named().values()) - set(names))
        raise HistoryError(f"{file} has no column {', '.join(missing)}; its columns are {', '.join(names)}")
    if separator == "|" and len(names) == len(_PIPES) and not set(names) & set(_PIPES):
        return Layout(file.name, file, _usual(_PIPES), _PIPES, folder)  # type: ignore[arg-type]
    found = _usual(names)
    if found is None:
        return None
    is_movielens = {"userId", "movieId", "rating"} <= set(names)
    return Layout("MovieLens" if is_movielens else file.name, file, found, None, folder)


def _usual(names: list[str]) -> ColumnMap | None:
    """Guess a column map from usual names; ``None`` when user or item cannot be told."""
    plain = {re.sub(r"[^a-z]", "", name.lower()): name for name in reversed(names)}
    guess = {meaning: next((plain[word] for word in words if word in plain), None) for meaning, words in _USUAL.items()}
    if guess["user"] is None or guess["item"] is None:
        return None
    return ColumnMap(**guess)  # type: ignore[arg-type]
