"""What is known about the items of a history: titles, categories and plots, from the log itself and files beside it."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator
from importlib.resources.abc import Traversable

import numpy as np

from models.items import Item
from stores.history_columns import Columns, decode_text, open_bytes
from stores.history_layouts import Layout

# The flags at the end of a line of u.item, in order.
_GENRES = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"),
    *("Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)


def items_of(layout: Layout, table: Columns) -> dict[str, Item]:
    """Return what is known about items: from columns of the log (the last row counts) and from files beside it."""
    catalogue = dict(_items_in_columns(table)) if table.extra else {}
    if layout.folder is None:
        return catalogue
    readers: tuple[tuple[str, Callable[[Traversable], Iterator[Item]]], ...] = (
        (r"u\.item", _u_item),
        (r"movies\.dat", _movies_dat),
        (r"movies\.csv", _movies_csv),
        (r"items_info\.dat", _books),
    )
    files = sorted((entry for entry in layout.folder.iterdir() if entry.is_file()), key=lambda file: file.name)
    for pattern, reader in readers:
        for file in files:
            if re.fullmatch(pattern + r"(\.gz)?", file.name):
                catalogue.update((item.item_id, item) for item in reader(file) if item.item_id)
    # Ids of the catalogue that share nothing with the events belong to other data in the same folder.
    if catalogue.keys().isdisjoint(table.item_ids):
        return {}
    for file in files:
        if re.fullmatch(r".*plots.*\.(csv|dat)(\.gz)?", file.name):
            _add_plots(file, catalogue)
    return catalogue


def _items_in_columns(table: Columns) -> Iterator[tuple[str, Item]]:
    last = np.full(len(table.item_ids), -1, np.int64)
    known = np.flatnonzero(table.items >= 0)
    last[table.items[known]] = known
    columns = {name: column.take(last[last >= 0]).to_pylist() for name, column in table.extra.items()}
    for place, code in enumerate(np.flatnonzero(last >= 0)):
        fields = {name: _text(values[place]) for name, values in columns.items()}
        try:
            price = float(fields.get("price") or "nan")
        except ValueError:
            price = float("nan")
        item_id = table.item_ids[code]
        yield (
            item_id,
            Item(
                item_id=item_id,
                title=fields.get("title") or "",
                category=fields.get("category") or None,
                price=price if np.isfinite(price) else None,
            ),
        )


def _text(value: object) -> str:
    return "" if value is None else decode_text(value) if isinstance(value, bytes) else str(value)


def _rows(file: Traversable, separator: str) -> Iterator[list[str]]:
    with open_bytes(file) as stream:
        text = decode_text(stream.read())
    if separator == ",":
        yield from csv.reader(io.StringIO(text))
    else:
        yield from (line.split(separator) for line in text.splitlines())


def _movie(item_id: str, title: str, genres: list[str]) -> Item:
    year = re.search(r"\((\d{4})\)\s*$", title)
    return Item(
        item_id=item_id.strip(),
        title=title.strip(),
        category="|".join(genre for genre in genres if genre and not genre.startswith("(no genres")) or None,
        attributes={"year": int(year[1])} if year else {},
    )


def _u_item(file: Traversable) -> Iterator[Item]:
    for row in _rows(file, "|"):
        if len(row) >= 24:
            yield _movie(row[0], row[1], [genre for genre, flag in zip(_GENRES, row[5:24], strict=True) if flag == "1"])


def _movies_dat(file: Traversable) -> Iterator[Item]:
    for row in _rows(file, "::"):
        if len(row) >= 3:
            yield _movie(row[0], row[1], row[2].split("|"))


def _movies_csv(file: Traversable) -> Iterator[Item]:
    for row in _rows(file, ","):
        if len(row) >= 3 and row[0] not in ("movieId", "Id"):
            yield _movie(row[0], row[1], row[2].split("|"))


def _books(file: Traversable) -> Iterator[Item]:
    for row in _rows(file, "\t"):
        if len(row) >= 6 and row[0] != "Book_ID":
            attributes = {"author": row[3], "year": int(row[4]) if row[4].isdigit() else None, "publisher": row[5]}
            known = {name: value for name, value in attributes.items() if value}
            yield Item(item_id=row[0], title=row[2], attributes=known)


def _add_plots(file: Traversable, catalogue: dict[str, Item]) -> None:
    """Put plots into the items' text; ``.dat``: id::title::…::director::writer::actors::plot::poster."""
    is_csv = file.name.removesuffix(".gz").endswith(".csv")
    place: dict[str, int] = {}
    for row in _rows(file, "," if is_csv else "::"):
        if is_csv and not place:
            place = {name: column for column, name in enumerate(row)}
            if not {"movieId", "plot"} <= place.keys():
                return
            continue
        item_column, plot_column = (place["movieId"], place["plot"]) if is_csv else (0, 9)
        item = catalogue.get(row[item_column]) if len(row) > max(item_column, plot_column) else None
        if item is None or not row[plot_column] or row[plot_column] == "N/A":
            continue
        people = {"director": row[6], "actors": row[8]} if not is_csv else {}
        attributes = item.attributes | {name: value for name, value in people.items() if value and value != "N/A"}
        catalogue[item.item_id] = _with(item, row[plot_column], attributes)


def _with(item: Item, text: str, attributes: dict[str, object]) -> Item:
    return Item(item.item_id, item.title, item.category, item.price, text, attributes, item.available)
