from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest

from app.candles import files
from app.candles.files import COLUMNS, check_candles, read_candles
from app.errors import CandleFileInvalid
from app.types import MINUTE_MS, Candles, iso

Table = dict[str, Any]
SUFFIXES = [".parquet", ".csv"]
NAN = float("nan")
WINDOW_END_MS = 1_757_937_600_000
Refusal = Callable[..., str]


@pytest.fixture
def table(make_candles: Callable[..., Candles]) -> Table:
    """Four good minutes by column."""
    return dict(zip(COLUMNS, (list(column) for column in zip(*make_candles(4).rows(), strict=True)), strict=True))


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Table, str], Path]:
    def write_file(table: Table, suffix: str) -> Path:
        path = tmp_path / f"candles{suffix}"
        if suffix == ".parquet":
            pa_parquet.write_table(pa.table(table), path)
        else:
            with path.open("w", newline="") as file:
                csv.writer(file).writerows([table.keys(), *zip(*table.values(), strict=True)])
        return path

    return write_file


@pytest.fixture
def refusal(write: Callable[[Table, str], Path]) -> Callable[[Table, str], str]:
    """Why a file with this table is refused."""

    def reason(table: Table, suffix: str = ".parquet") -> str:
        with pytest.raises(CandleFileInvalid) as caught:
            read_candles(write(table, suffix))
        return str(caught.value)

    return reason


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_read_candles__any_floats__come_back_exactly(
    make_candles: Callable[..., Candles], write: Callable[[Table, str], Path], suffix: str
) -> None:
    walk = make_candles(500, level=0.1 + 0.2)
    low, close = walk.low + 1, walk.close + 1
    exact = Candles(walk.open_time_ms, walk.open + 1, walk.high + 1, low, close, volume=walk.volume / 3)
    columns = zip(*exact.rows(), strict=True)
    path = write(dict(zip(COLUMNS, map(list, columns), strict=True)), suffix)
    assert read_candles(path).digest() == exact.digest()


def test_read_candles__upper_case_suffix__is_understood(table: Table, write: Callable[[Table, str], Path]) -> None:
    path = write(table, ".csv")
    assert len(read_candles(path.rename(path.with_suffix(".CSV")))) == 4


def test_read_candles__further_columns__are_ignored(table: Table, write: Callable[[Table, str], Path]) -> None:
    assert len(read_candles(write({**table, "trades": [1, 2, 3, 4]}, ".csv"))) == 4


def test_read_candles__a_gap__is_allowed(table: Table, write: Callable[[Table, str], Path]) -> None:
    with_gap = {name: values[:1] + values[2:] for name, values in table.items()}
    assert len(read_candles(write(with_gap, ".parquet"))) == 3


@pytest.mark.parametrize(
    ("column", "row", "value", "reason"),
    [
        ("close", 2, NAN, "column close has 1 empty, NaN or infinite values, the first in row 2"),
        ("volume", 0, NAN, "column volume has 1 empty, NaN or infinite values, the first in row 0"),
        ("volume", 1, float("inf"), "column volume has 1 empty, NaN or infinite values, the first in row 1"),
        ("low", 2, float("-inf"), "column low has 1 empty, NaN or infinite values, the first in row 2"),
        ("high", 3, float("inf"), "column high has 1 empty, NaN or infinite values, the first in row 3"),
        ("low", 1, -1.0, "row 1 .* has a price that is not positive"),
        ("open", 1, 0.0, "row 1 .* has a price that is not positive"),
        ("high", 1, 1.0, "row 1 .* has a high or low that does not enclose open and close"),
        ("low", 2, 1e9, "row 2 .* has a high or low that does not enclose open and close"),
        ("volume", 3, -0.5, "row 3 .* has a negative volume"),
    ],
)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_read_candles__one_wrong_number__is_refused_with_its_row(
    table: Table, refusal: Callable[..., str], suffix: str, column: str, row: int, value: float, reason: str
) -> None:
    table[column][row] = value
    assert re.search(reason, refusal(table, suffix))


def test_read_candles__an_empty_cell__is_refused(table: Table, refusal: Callable[..., str]) -> None:
    table["close"][1] = None
    assert "column close has 1 empty, NaN or infinite values, the first in row 1" in refusal(table)


@pytest.mark.parametrize(
    ("minutes", "reason"),
    [
        ([0, 2, 1, 3], "row 2 .* is earlier than the row before it: sort the file"),
        ([0, 1, 1, 2], "row 2 .* stands twice: remove duplicate rows"),
        ([0, 1, 1.5, 2], "row 2 .* is not on a whole minute"),
    ],
    ids=["unsorted", "duplicate", "misaligned"],
)
def test_read_candles__wrong_times__are_refused_with_the_row(
    table: Table, refusal: Callable[..., str], window_end_ms: int, minutes: list[float], reason: str
) -> None:
    table["open_time"] = [int(window_end_ms + minute * MINUTE_MS) for minute in minutes]
    assert re.search(reason, refusal(table))


def test_read_candles__times_with_a_fraction__are_refused(table: Table, refusal: Callable[..., str]) -> None:
    table["open_time"] = [time + 0.5 for time in table["open_time"]]
    assert "open_time must be whole milliseconds UTC" in refusal(table)


@pytest.mark.parametrize(
    ("unit", "numerator", "denominator"),
    [("seconds", 1, 1_000), ("microseconds", 1_000, 1), ("nanoseconds", 1_000_000, 1)],
)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_read_candles__times_in_another_unit__are_refused_by_its_name(
    table: Table, refusal: Callable[..., str], suffix: str, unit: str, numerator: int, denominator: int
) -> None:
    table["open_time"] = [time * numerator // denominator for time in table["open_time"]]
    reason = refusal(table, suffix)
    assert f"is not a time in milliseconds UTC: it looks like {unit}, convert it" in reason


@pytest.mark.parametrize("time", [0, -1, 2**63, 2**64 - 1, 1e300, -1e300], ids=str)
def test_read_candles__time_that_is_none__is_refused(table: Table, refusal: Callable[..., str], time: float) -> None:
    kind = np.uint64 if isinstance(time, int) and time > 0 else np.float64
    reason = refusal({**table, "open_time": np.array([time, *table["open_time"][1:]], dtype=kind)})
    assert re.search(r"row 0: open_time -?\d+ is not a time in milliseconds UTC", reason)


@pytest.mark.parametrize("kind", [pa.uint64(), pa.float64(), pa.timestamp("ms"), pa.timestamp("us", "UTC")], ids=str)
def test_read_candles__times_of_another_type__are_converted(
    table: Table, write: Callable[..., Path], kind: pa.DataType
) -> None:
    times = table["open_time"]
    table["open_time"] = pa.array(times, pa.timestamp("ms") if pa.types.is_timestamp(kind) else pa.int64()).cast(kind)
    assert read_candles(write(table, ".parquet")).open_time_ms.tolist() == times


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_read_candles__datetime64__is_taken_as_utc(table: Table, write: Callable[..., Path], unit: str) -> None:
    times = table["open_time"]
    table["open_time"] = np.array(times, dtype="datetime64[ms]").astype(f"datetime64[{unit}]")
    assert read_candles(write(table, ".parquet")).open_time_ms.tolist() == times


def test_read_candles__timestamps_with_a_zone__are_the_same_moments(table: Table, write: Callable[..., Path]) -> None:
    times = table["open_time"]
    table["open_time"] = pa.array(times, pa.timestamp("ms", "America/New_York"))
    assert read_candles(write(table, ".parquet")).open_time_ms.tolist() == times


def test_read_candles__written_out_times_in_csv__are_understood(table: Table, write: Callable[..., Path]) -> None:
    times = table["open_time"]
    table["open_time"] = [iso(time).replace("T", " ").rstrip("Z") for time in times]
    assert read_candles(write(table, ".csv")).open_time_ms.tolist() == times


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_read_candles__timestamps_finer_than_milliseconds__are_refused(
    table: Table, refusal: Callable[..., str], suffix: str
) -> None:
    finer = [np.datetime64(time, "ms").astype("datetime64[us]") + 1 for time in table["open_time"]]
    table["open_time"] = np.array(finer) if suffix == ".parquet" else [str(time) for time in finer]
    assert "open_time must be whole milliseconds UTC" in refusal(table, suffix)


def test_read_candles__timestamp_that_is_empty__is_refused(table: Table, refusal: Callable[..., str]) -> None:
    table["open_time"] = pa.array([*table["open_time"][:3], None], pa.timestamp("ms"))
    assert "column open_time has 1 empty, NaN or infinite values, the first in row 3" in refusal(table)


@pytest.mark.parametrize("kind", [pa.bool_(), pa.null(), pa.string(), pa.decimal128(12, 2), pa.date32()], ids=str)
@pytest.mark.parametrize("column", ["open_time", "close", "volume"])
def test_read_candles__column_of_no_numbers__is_refused_by_its_type(
    table: Table, refusal: Callable[..., str], column: str, kind: pa.DataType
) -> None:
    table[column] = pa.nulls(4, kind)
    assert f"column {column} holds {kind}, not integers or floats: convert it" in refusal(table)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_read_candles__shuffled_rows__are_refused(table: Table, refusal: Callable[..., str], suffix: str) -> None:
    shuffled = {name: [values[row] for row in (3, 0, 2, 1)] for name, values in table.items()}
    assert "is earlier than the row before it: sort the file by open_time" in refusal(shuffled, suffix)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_read_candles__capitalised_columns__are_refused_and_shown(
    table: Table, refusal: Callable[..., str], suffix: str
) -> None:
    reason = refusal({name.capitalize(): values for name, values in table.items()}, suffix)
    assert "has no column 'open_time'" in reason
    assert reason.endswith("but has Open_time, Open, High, Low, Close, Volume")


def test_read_candles__parquet_without_columns__is_refused(tmp_path: Path) -> None:
    pa_parquet.write_table(pa.table({}), tmp_path / "candles.parquet")
    with pytest.raises(CandleFileInvalid, match=r"has no column 'open_time': .* but has none"):
        read_candles(tmp_path / "candles.parquet")


def test_read_candles__folders_named_like_columns__add_none(table: Table, write: Callable[..., Path]) -> None:
    folder = write(table, ".parquet").parent / "close=7"
    folder.mkdir()
    path = write(table, ".parquet").rename(folder / "candles.parquet")
    assert read_candles(path).close.tolist() == table["close"]


def test_read_candles__times_in_microseconds_and_a_wrong_price__are_refused(
    table: Table, refusal: Callable[..., str]
) -> None:
    table["open_time"] = [time * 1000 for time in table["open_time"]]
    table["low"][1] = -1.0
    assert refusal(table)


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_read_candles__missing_column__is_refused_by_name(
    table: Table, refusal: Callable[..., str], suffix: str, column: str
) -> None:
    del table[column]
    assert f"has no column '{column}': it needs open_time, open, high, low, close, volume" in refusal(table, suffix)


def test_read_candles__a_column_twice__is_refused(tmp_path: Path) -> None:
    path = tmp_path / "candles.csv"
    path.write_text("open_time,open,high,low,close,volume,close\n0,1,1,1,1,1,1\n60000,1,1,1,1,1,1\n")
    with pytest.raises(CandleFileInvalid):
        read_candles(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_read_candles__words_for_prices__are_refused_by_column(
    table: Table, refusal: Callable[..., str], suffix: str
) -> None:
    table["open"] = ["a", "b", "c", "d"]
    assert "column open holds string, not integers or floats: convert it" in refusal(table, suffix)


@pytest.mark.parametrize("rows", [0, 1])
def test_read_candles__fewer_than_two_rows__are_refused(table: Table, refusal: Callable[..., str], rows: int) -> None:
    short = {name: np.asarray(values[:rows], dtype=float) for name, values in table.items()}
    assert f"holds {rows} candles: at least two are needed" in refusal(short)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("content", [b"", b"\x00\xff\x00\xff" * 50, b"Dear all,\n"], ids=["empty", "binary", "text"])
def test_read_candles__not_a_table__is_refused_in_one_line(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"candles{suffix}"
    path.write_bytes(content)
    with pytest.raises(CandleFileInvalid) as caught:
        read_candles(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["candles.json", "candles", "candles.csv.gz"])
def test_read_candles__another_suffix__is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("open_time,open\n")
    with pytest.raises(CandleFileInvalid, match=r"candle files end in \.parquet or \.csv"):
        read_candles(tmp_path / name)


def test_read_candles__no_such_file__is_refused(tmp_path: Path) -> None:
    with pytest.raises(CandleFileInvalid, match=r"nothing\.csv does not exist"):
        read_candles(tmp_path / "nothing.csv")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_read_candles__folder__is_refused_as_one(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"folder{suffix}").mkdir()
    with pytest.raises(CandleFileInvalid, match="is a folder, not a candle file"):
        read_candles(tmp_path / f"folder{suffix}")


def test_read_candles__bomb_of_one_value__is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    rows = 2_000_000
    zeros = pa.table({name: np.zeros(rows) for name in COLUMNS})
    pa_parquet.write_table(zeros, tmp_path / "bomb.parquet", compression="zstd")
    assert (tmp_path / "bomb.parquet").stat().st_size < 100_000
    with pytest.raises(CandleFileInvalid, match="has 96,000,000 bytes once it is unpacked"):
        read_candles(tmp_path / "bomb.parquet")


def test_read_candles__tables_that_contradict_each_other__are_refused_and_do_not_end_the_process(
    write: Callable[[Table, str], Path], table: Table
) -> None:
    """Found by `make fuzz`: a column that may not be empty, with a count of the values that are."""
    path = write(table, ".parquet")
    raw, may_be_empty = path.read_bytes(), b"\x25\x02\x18\x09open_time"
    assert raw.count(may_be_empty) == 1
    path.write_bytes(raw.replace(may_be_empty, b"\x25\x00\x18\x09open_time"))
    with pytest.raises(CandleFileInvalid, match=r"cannot be read as \.parquet: .*size mismatch"):
        read_candles(path)


@pytest.mark.parametrize(
    ("suffix", "bound", "most", "words"),
    [
        (".csv", "MOST_BYTES", 100, "bytes; at most 100 are read"),
        (".parquet", "MOST_BYTES", 100, "bytes; at most 100 are read"),
        (".csv", "MOST_ROWS", 3, "has 4 rows; at most 3 are read"),
        (".parquet", "MOST_ROWS", 3, "has 4 rows; at most 3 are read"),
        (".csv", "MOST_COLUMNS", 5, "has 6 columns; at most 5 are read"),
        (".parquet", "MOST_COLUMNS", 5, "has 6 columns; at most 5 are read"),
        (".parquet", "MOST_ROW_GROUPS", 0, "has 1 row groups; at most 0 are read"),
        (".parquet", "MOST_FOOTER_BYTES", 9, "bytes of tables at its end; at most 9 are read"),
    ],
)
def test_read_candles__beyond_a_bound__is_refused_by_it(
    monkeypatch: pytest.MonkeyPatch,
    table: Table,
    refusal: Callable[[Table, str], str],
    suffix: str,
    bound: str,
    most: int,
    words: str,
) -> None:
    monkeypatch.setattr(files, bound, most)
    assert words in refusal(table, suffix)


def test_bounds__ten_years_of_minutes__fit() -> None:
    minutes = 10 * 366 * 1440
    assert minutes < files.MOST_ROWS
    assert minutes * len(f"{WINDOW_END_MS},{'123456.78,' * 4}12345.67890") < files.MOST_BYTES


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_read_candles__device__is_no_file(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"zeros{suffix}").symlink_to("/dev/zero")
    with pytest.raises(CandleFileInvalid, match="or is no file"):
        read_candles(tmp_path / f"zeros{suffix}")


def test_read_candles__column_name_with_line_ends__is_refused_in_one_line(table: Table, refusal: Refusal) -> None:
    assert "\n" not in refusal({f"{name}\n": values for name, values in table.items()})


def test_check_candles__complaint__names_source_and_time() -> None:
    bad = Candles.from_rows([[1_757_937_600_000, 1, 1, 1, 1, 1], [1_757_937_660_000, 1, 1, 1, 1, -1]])
    with pytest.raises(CandleFileInvalid, match=r"^kraken: row 1 \(2025-09-15T12:01:00Z\) has a negative volume$"):
        check_candles(bad, "kraken")
