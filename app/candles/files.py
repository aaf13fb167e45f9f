"""Recorded candles from a parquet or CSV file: refused with a reason unless they are what they claim to be.

Columns: ``open_time`` (ms UTC, or a timestamp), ``open, high, low, close, volume``. A minute may be absent: what uses
the candles states how long a gap it bears. Anything else that would put a wrong number into a window is refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

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


def read_candles(path: Path) -> Candles:
    """The candles of a ``.parquet`` or ``.csv`` file, checked.

    Raises `CandleFileInvalid` with the first thing that is wrong and what to do about it.
    """
    table = _read_table(path)
    missing = [name for name in COLUMNS if name not in table.column_names]
    if missing:
        found = ", ".join(table.column_names)[:120] or "none"
        raise CandleFileInvalid(f"{path} has no column {missing[0]!r}: it needs {', '.join(COLUMNS)}, but has {found}")
    twice = [name for name in COLUMNS if table.column_names.count(name) > 1]
    if twice:
        raise CandleFileInvalid(f"{path} has the column {twice[0]!r} more than once")
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
    try:
        if path.is_dir():
            raise CandleFileInvalid(f"{path} is a folder, not a candle file")
        if not path.is_file():
            raise CandleFileInvalid(f"{path} does not exist")
        match path.suffix.lower():
            case ".parquet":
                # Columns come from the file alone, not from folders named like key=value.
                return pa_parquet.read_table(path, partitioning=None)
            case ".csv":
                return pa_csv.read_csv(path)
    except (pa.ArrowException, OSError) as error:
        raise CandleFileInvalid(f"{path} cannot be read as {path.suffix}: {_first_line(error)}") from error
    raise CandleFileInvalid(f"{path}: candle files end in .parquet or .csv")


def _column(path: Path, table: Any, name: str) -> np.ndarray[Any, Any]:
    column = table.column(name)
    if name == "open_time" and pa.types.is_timestamp(column.type):
        column = _milliseconds(path, column)
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise CandleFileInvalid(f"{path}: column {name} holds {column.type}, not integers or floats: convert it")
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
    return (str(error) or type(error).__name__).splitlines()[0][:200]
