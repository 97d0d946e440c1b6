"""Reading event logs column by column: CSV, TSV and any other separated text, plain or .gz, and Parquet."""

from __future__ import annotations

import gzip
import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources.abc import Traversable
from typing import IO, Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from models.events import BadEvent, checked_id

_NUMBER = r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$"
_DATES = [day + clock for day in ("%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y") for clock in (" %H:%M:%S", " %H:%M", "")]
_SEPARATORS = ("::", "\t", "|", ";", ",")
# A median timestamp from this value on cannot be in the unit before: 1e11 seconds lie in the year 5138, 1e11
# milliseconds in 1973.
_UNITS = ((1e17, 1e-9), (1e14, 1e-6), (1e11, 1e-3))


class HistoryError(Exception):
    """The data cannot be used; the message says why and what would be understood."""


class ColumnMap(msgspec.Struct, frozen=True):
    """Which column of an event log means what.

    ``type`` and ``value`` may be absent: an event is then of type ``type_name``, or a ``rating`` when it has a value.
    ``time`` may be epoch seconds, milliseconds, microseconds or nanoseconds (told apart by their size), RFC 3339 text,
    dates such as 12/31/2010 8:26, or any increasing number.
    """

    user: str
    item: str
    time: str | None = None
    type: str | None = None
    value: str | None = None
    title: str | None = None
    category: str | None = None
    price: str | None = None
    type_name: str | None = None

    @classmethod
    def parse(cls, text: str) -> ColumnMap:
        """Read ``user=uuid,item=sku,time=ts``. Raises ``HistoryError`` naming what is wrong."""
        pairs = dict(part.strip().partition("=")[::2] for part in text.split(",") if part.strip())
        known = cls.__struct_fields__
        unknown = sorted(set(pairs) - set(known))
        if unknown or not {"user", "item"} <= set(pairs) or not all(pairs.values()):
            raise HistoryError(
                f"cannot read column map {text!r}: write user=COLUMN,item=COLUMN and, where there are any, "
                f"{', '.join(f'{name}=COLUMN' for name in known[2:-1])}, type_name=WORD"
            )
        return cls(**pairs)

    def named(self) -> dict[str, str]:
        """Return the columns it names, by meaning."""
        return {name: column for name in self.__struct_fields__[:-1] if (column := getattr(self, name))}

    def describe(self) -> str:
        """Return the map in one line."""
        return "read as " + ", ".join(f"{name}={column}" for name, column in self.named().items())


@dataclass(frozen=True)
class Columns:
    """An event log as read, in file order; a code of −1 marks an id that cannot be one, ``bad`` a bad time or value.

    ``extra``: the text of the columns that describe items (title, category, price), by meaning.
    """

    user_ids: list[str]
    item_ids: list[str]
    type_names: list[str]
    users: NDArray[np.int32]
    items: NDArray[np.int32]
    types: NDArray[np.int32]
    values: NDArray[np.float32]
    times_s: NDArray[np.float64] | None
    bad: NDArray[np.bool_]
    skipped_rows: int
    extra: dict[str, Any]


@contextmanager
def open_bytes(path: Traversable) -> Iterator[IO[bytes]]:
    """Open a file for the length of a ``with``, unpacked when its name ends in .gz; it may lie inside a zip."""
    with path.open("rb") as stream:
        if path.name.endswith(".gz"):
            with gzip.GzipFile(fileobj=stream) as unpacked:
                yield unpacked  # type: ignore[misc]
        else:
            yield stream


def is_parquet(path: Traversable) -> bool:
    """Tell by its name whether a file is Parquet."""
    return path.name.endswith((".parquet", ".pq"))


def first_row(path: Traversable) -> tuple[str, list[str]]:
    """Return the separator of a text file and the fields of its first line; a Parquet file's column names.

    The first of ``::``, tab, ``|``, ``;``, ``,`` that occurs is the separator. Raises ``HistoryError``.
    """
    try:
        if is_parquet(path):
            with open_bytes(path) as stream:
                return "", pyarrow.parquet.read_schema(stream).names
        with open_bytes(path) as stream:
            line = stream.readline(65_536).decode("utf-8-sig", "replace").rstrip("\r\n")
    except (OSError, EOFError, pa.ArrowException) as error:
        raise HistoryError(f"{path} cannot be read: {error}") from None
    separator = next((separator for separator in _SEPARATORS if separator in line), "")
    return separator, [name.strip().strip('"') for name in line.split(separator)] if separator else [line]


def read_columns(path: Traversable, columns: ColumnMap, header: Sequence[str] | None) -> Columns:
    """Read what the map names. ``header``: column names when the file has none. Raises ``HistoryError``."""
    table, skipped_rows = _read_table(path, list(dict.fromkeys(columns.named().values())), header)
    users, user_ids = _encode_ids(table[columns.user])
    items, item_ids = _encode_ids(table[columns.item])
    bad = np.zeros(len(users), bool)
    values = np.full(len(users), np.nan, np.float32)
    if columns.value:
        numbers, faulty = _numbers(table[columns.value])
        values, bad = numbers.astype(np.float32), bad | faulty
    times_s = None
    if columns.time:
        times_s = _times_s(table[columns.time])
        bad |= ~(np.isfinite(times_s) & (times_s >= 0))
    if columns.type:
        types, type_names = _encode_ids(table[columns.type])
    else:
        types = np.zeros(len(users), np.int32)
        type_names = [columns.type_name or ("rating" if columns.value else "click")]
    extra = {name: table[column] for name in ("title", "category", "price") if (column := columns.named().get(name))}
    return Columns(user_ids, item_ids, type_names, users, items, types, values, times_s, bad, skipped_rows, extra)


def decode_text(value: bytes) -> str:
    """Return text of either common encoding: UTF-8, and Latin-1 for what is not UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _read_table(path: Traversable, wanted: list[str], header: Sequence[str] | None) -> tuple[Any, int]:
    separator, names = first_row(path)
    missing = sorted(set(wanted) - set(header or names))
    if missing:
        raise HistoryError(f"{path} has no column {', '.join(missing)}; its columns are {', '.join(header or names)}")
    skipped: list[Any] = []

    def skip(row: Any) -> str:
        skipped.append(row)
        return "skip"

    try:
        with open_bytes(path) as stream:
            if is_parquet(path):
                return pyarrow.parquet.read_table(stream, columns=wanted), 0
            # Arrow knows one-byte separators only.
            source = io.BytesIO(stream.read().replace(b"::", b"\x1f")) if separator == "::" else stream
            table = pyarrow.csv.read_csv(
                source,
                read_options=pyarrow.csv.ReadOptions(column_names=header, block_size=1 << 24),
                parse_options=pyarrow.csv.ParseOptions(
                    delimiter="\x1f" if separator == "::" else separator or ",",
                    quote_char='"' if separator in (",", ";") else False,
                    invalid_row_handler=skip,
                ),
                # Bytes: a bad character or number is then the fault of its row, not of the file.
                convert_options=pyarrow.csv.ConvertOptions(
                    include_columns=wanted,
                    column_types=dict.fromkeys(wanted, pa.binary()),
                ),
            )
    except (OSError, EOFError, pa.ArrowException) as error:
        raise HistoryError(f"{path} cannot be read: {error}") from None
    return table, len(skipped)


def _encode_ids(column: Any) -> tuple[NDArray[np.int32], list[str]]:
    """Return (n,) codes and the distinct ids in order of first sight; what cannot be an id has code −1."""
    encoded = pc.dictionary_encode(_whole(column).combine_chunks())
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    ids: list[str] = []
    renumbered = np.full(len(encoded.dictionary) + 1, -1, np.int32)
    seen: dict[str, int] = {}
    for code, value in enumerate(encoded.dictionary.to_pylist()):
        try:
            text = checked_id("id", decode_text(value).strip() if isinstance(value, bytes) else value)
        except BadEvent:
            continue
        # Two spellings of one id, such as " 7" and "7", are one id.
        renumbered[code] = seen.setdefault(text, len(ids))
        if renumbered[code] == len(ids):
            ids.append(text)
    codes = np.asarray(pc.fill_null(encoded.indices, len(renumbered) - 1))
    return renumbered[codes], ids


def _whole(column: Any) -> Any:
    """Return a column of ids with whole numbers as such: tables keep them as floats as soon as one is missing."""
    if pa.types.is_floating(column.type):
        fits = pc.and_(pc.is_finite(column), pc.equal(pc.floor(column), column))
        return pc.if_else(fits, column, None).cast(pa.int64(), safe=False)
    return column.cast(pa.string()) if pa.types.is_decimal(column.type) else column


def _numbers(column: Any) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return (n,) numbers, NaN where there is none, and where something stands that is no finite number."""
    column = column.combine_chunks()
    absent = column.is_null()
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = column.cast(pa.binary())
    if pa.types.is_binary(column.type):
        absent = pc.or_kleene(absent, pc.equal(pc.binary_length(column), 0))
        fits = pc.match_substring_regex(column, _NUMBER)
        column = pc.ascii_trim_whitespace(pc.if_else(fits, column, None).cast(pa.string()))
        # Arrow's parser takes no leading plus.
        column = pc.replace_substring_regex(column, r"^\+", "")
    numbers = np.asarray(pc.fill_null(column.cast(pa.float64(), safe=False), np.nan), np.float64)
    return numbers, ~np.isfinite(numbers) & ~np.asarray(pc.fill_null(absent, True))


def _times_s(column: Any) -> NDArray[np.float64]:
    """Return (n,) epoch seconds, NaN where no time can be read."""
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        return _arrow_times_s(column.combine_chunks())
    numbers, faulty = _numbers(column)
    if faulty.mean() > 0.5:
        times_s = np.array([_text_time_s(value) for value in column.to_pylist()], np.float64)
        return times_s if np.isfinite(times_s).any() else _dates_s(column)
    known = numbers[np.isfinite(numbers)]
    middle = float(np.median(known)) if len(known) else 0.0
    scale = next((scale for limit, scale in _UNITS if middle >= limit), 1.0)
    return numbers * scale


def _arrow_times_s(column: Any) -> NDArray[np.float64]:
    ticks = column.cast(pa.timestamp("us", tz=getattr(column.type, "tz", None)), safe=False).cast(pa.int64())
    return np.asarray(pc.fill_null(ticks.cast(pa.float64()), np.nan), np.float64) / 1e6


def _dates_s(column: Any) -> NDArray[np.float64]:
    """Read dates as people write them, by whichever form fits most: 12/31/2010 8:26 goes before 31/12/2010 8:26."""
    text = pc.ascii_trim_whitespace(
        pa.array([decode_text(v) if isinstance(v, bytes) else v for v in column.to_pylist()])
    )
    read = [_arrow_times_s(pc.strptime(text, form, "s", error_is_null=True)) for form in _DATES]
    return max(read, key=lambda times_s: np.isfinite(times_s).sum())


def _text_time_s(value: bytes | str | None) -> float:
    """Read ISO 8601 text; without a zone it is UTC; NaN when it is no time."""
    text = decode_text(value) if isinstance(value, bytes) else value or ""
    try:
        moment = datetime.fromisoformat(text.strip().removesuffix(" UTC"))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return math.nan
