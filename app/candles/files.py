"""Recorded candles from a parquet or CSV file: refused with a reason unless they are what they claim to be.

Columns: ``open_time`` (ms UTC, or a timestamp), ``open, high, low, close, volume``. A minute may be absent: what uses
the candles states how long a gap it bears. Anything else that would put a wrong number into a window is refused. What a
file would take in memory is known, from its size and its own tables, before any of it is unpacked.
"""

from __future__ import annotations

from os import SEEK_END
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet

from app.errors import CandleFileInvalid
from app.types import MINUTE_MS, Candles, iso

FIRST_TIME_MS = 1_000_000_000_000
END_OF_TIME_MS = 10_000_000_000_000
"""September 2001 to November 2286: in seconds, micro- or nanoseconds every time of trading lies outside."""
COLUMNS = ("open_time", "open", "high", "low", "close", "volume")

MOST_BYTES = 2**30
MOST_ROWS = 10_000_000
"""Nineteen years of minutes. As CSV they take up to 0.8 GB."""
MOST_COLUMNS = 256
MOST_ROW_GROUPS = 20_000
MOST_FOOTER_BYTES = 2**26
MOST_TIMES_PACKED = 100
UNPACKED_FREE_BYTES = 64 * 2**20
"""A parquet file may unpack to so many times its size, beside what is never worth a refusal. Candles compress to a
third; only made-up ones, and decompression bombs, beyond a fiftieth."""
_ROW_BYTES = 8 * len(COLUMNS)
_HEADER_BYTES = 2**16


def read_candles(path: Path) -> Candles:
    """The candles of a ``.parquet`` or ``.csv`` file, checked.

    Raises `CandleFileInvalid` with the first thing that is wrong and what to do about it.
    """
    table = _read_table(path)
    open_time, *others = (_column(path, table, name) for name in COLUMNS)
    if np.any(open_time != np.floor(open_time)):
        raise CandleFileInvalid(f"{path}: open_time must be whole milliseconds UTC")
    # Beyond int64 there is no telling one wrong time from another.
    far_ms = float(2**62)
    candles = Candles(np.clip(open_time, -far_ms, far_ms).astype(np.int64), *others)
    check_candles(candles, str(path))
    return candles


def check_candles(candles: Candles, source: str) -> None:
    """Raise `CandleFileInvalid` unless the candles are sorted, unique, minute-aligned, positive and consistent."""
    if len(candles) < 2:
        raise CandleFileInvalid(f"{source} holds {len(candles)} candles: at least two are needed")
    steps = np.diff(candles.open_time_ms)
    times = candles.open_time_ms
    foreign = (times < FIRST_TIME_MS) | (times >= END_OF_TIME_MS)
    if foreign.any():
        row = int(np.argmax(foreign))
        raise CandleFileInvalid(
            f"{source}: row {row}: open_time {times[row]} is not a time in milliseconds UTC"
            f"{_other_unit(int(times[row]))}"
        )
    complaints = (
        (candles.open_time_ms % MINUTE_MS != 0, "is not on a whole minute (one-minute candles, ms UTC)"),
        (np.append(False, steps < 0), "is earlier than the row before it: sort the file by open_time"),
        (np.append(False, steps == 0), "stands twice: remove duplicate rows"),
        (
            (np.minimum.reduce([candles.open, candles.high, candles.low, candles.close]) <= 0),
            "has a price that is not positive",
        ),
        (
            (candles.high < np.maximum(candles.open, candles.close))
            | (candles.low > np.minimum(candles.open, candles.close)),
            "has a high or low that does not enclose open and close",
        ),
        (candles.volume < 0, "has a negative volume"),
    )
    for bad, words in complaints:
        if bad.any():
            row = int(np.argmax(bad))
            when = iso(int(candles.open_time_ms[row]))
            raise CandleFileInvalid(f"{source}: row {row} ({when}) {words}")


def _read_table(path: Path) -> Any:
    """The columns of `COLUMNS`, and no others."""
    if path.is_dir():
        raise CandleFileInvalid(f"{path} is a folder, not a candle file")
    if not path.is_file():
        raise CandleFileInvalid(f"{path} does not exist, or is no file")
    readers = {".parquet": _read_parquet, ".csv": _read_csv}
    read = readers.get(path.suffix.lower())
    if read is None:
        raise CandleFileInvalid(f"{path}: candle files end in .parquet or .csv")
    try:
        with path.open("rb") as file:
            _at_most(path, "bytes", path.stat().st_size, MOST_BYTES)
            return read(path, file)
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise CandleFileInvalid(f"{path} cannot be read as {path.suffix}: {_first_line(error)}") from error


def _read_parquet(path: Path, file: BinaryIO) -> Any:
    _at_most(path, "bytes of tables at its end", _footer_bytes(file), MOST_FOOTER_BYTES)
    with pa_parquet.ParquetFile(file) as parquet:
        told = parquet.metadata
        _at_most(path, "columns", told.num_columns, MOST_COLUMNS)
        _at_most(path, "rows", told.num_rows, MOST_ROWS)
        _at_most(path, "row groups", told.num_row_groups, MOST_ROW_GROUPS)
        schema = parquet.schema_arrow
        _check_names(path, schema.names)
        for name in COLUMNS:
            _check_type(path, name, schema.field(name).type)
        unpacked = max(told.num_rows * _ROW_BYTES, _unpacked_bytes(told))
        bearable = UNPACKED_FREE_BYTES + MOST_TIMES_PACKED * path.stat().st_size
        _at_most(path, "bytes once it is unpacked", unpacked, bearable)
        return parquet.read(columns=list(COLUMNS))


def _footer_bytes(file: BinaryIO) -> int:
    """Of a parquet file's tables, by its last words; the file is wound back."""
    file.seek(max(0, file.seek(0, SEEK_END) - 8))
    length = int.from_bytes(file.read(4), "little")
    file.seek(0)
    return length


def _unpacked_bytes(told: Any) -> int:
    """Of all columns, as the file's own tables say.

    What they say of a single column is not asked for: where that contradicts itself pyarrow ends the process.
    """
    return sum(max(0, told.row_group(number).total_byte_size) for number in range(told.num_row_groups))


def _read_csv(path: Path, file: BinaryIO) -> Any:
    header = file.readline(_HEADER_BYTES)
    _at_most(path, "columns", header.count(b",") + 1, MOST_COLUMNS)
    _at_most(path, "rows", _count_lines(file), MOST_ROWS)
    with pa_csv.open_csv(path) as reader:
        _check_names(path, reader.schema.names)
    return pa_csv.read_csv(path, convert_options=pa_csv.ConvertOptions(include_columns=list(COLUMNS)))


def _count_lines(file: BinaryIO) -> int:
    """Those that begin in the rest of the file, by either kind of line end."""
    feeds = returns = 0
    while chunk := file.read(2**20):
        feeds += chunk.count(b"\n")
        returns += chunk.count(b"\r")
    return max(feeds, returns)


def _at_most(path: Path, what: str, found: int, most: int) -> None:
    if found > most:
        raise CandleFileInvalid(f"{path} has {found:,} {what}; at most {most:,} are read")


def _check_names(path: Path, names: list[str]) -> None:
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        found = _printable(", ".join(names)[:120]) or "none"
        raise CandleFileInvalid(f"{path} has no column {missing[0]!r}: it needs {', '.join(COLUMNS)}, but has {found}")
    twice = [name for name in COLUMNS if names.count(name) > 1]
    if twice:
        raise CandleFileInvalid(f"{path} has the column {twice[0]!r} more than once")


def _check_type(path: Path, name: str, kind: Any) -> None:
    is_time = name == "open_time" and pa.types.is_timestamp(kind)
    if not (is_time or pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        shown = _printable(str(kind)[:80])
        raise CandleFileInvalid(f"{path}: column {name} holds {shown}, not integers or floats: convert it")


def _column(path: Path, table: Any, name: str) -> np.ndarray[Any, Any]:
    column = table.column(name)
    _check_type(path, name, column.type)
    if pa.types.is_timestamp(column.type):
        column = _milliseconds(path, column)
    values = np.asarray(column.to_numpy(), dtype=np.float64)
    bad = ~np.isfinite(values)
    if bad.any():
        raise CandleFileInvalid(
            f"{path}: column {name} has {int(bad.sum())} empty, NaN or infinite values, the first in row "
            f"{int(np.argmax(bad))}: leave such minutes out, gaps are understood"
        )
    return values


def _milliseconds(path: Path, column: Any) -> Any:
    """Timestamps, UTC where they name no zone, as ms."""
    try:
        return column.cast(pa.timestamp("ms", column.type.tz)).cast(pa.int64())
    except pa.ArrowException as error:
        raise CandleFileInvalid(f"{path}: open_time must be whole milliseconds UTC: {_first_line(error)}") from error


def _other_unit(time: int) -> str:
    """A guess for people at what a time that is not in milliseconds is in."""
    for unit, as_ms in (("seconds", time * 1_000), ("microseconds", time // 1_000), ("nanoseconds", time // 1_000_000)):
        if FIRST_TIME_MS <= as_ms < END_OF_TIME_MS:
            return f": it looks like {unit}, convert it"
    return ""


def _first_line(error: BaseException) -> str:
    return _printable((str(error) or type(error).__name__).splitlines()[0][:200])


def _printable(text: str) -> str:
    return text if text.isprintable() else ascii(text)
