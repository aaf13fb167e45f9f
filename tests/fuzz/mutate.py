"""How inputs are spoilt: by their structure where it can be seen, else byte by byte. All by the random source given."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from random import Random
from typing import Any

import pyarrow as pa

from tests.fuzz.seeds import candle_parquet, candle_table

_RAW = re.compile(r'"@raw ([^"]*)"')
_NAME = re.compile(r'"[a-z_]+": ')
_NUMBERS = (
    "0", "-0", "-1", "1.5", "2147483648", "9007199254740993", "9223372036854775808", "-9223372036854775809",
    "1e308", "-1e308", "5e-324", "1e999", "NaN", "Infinity", "-Infinity", "253402300799999", "253402300800000",
    "00", "1e", "0x10", "1" * 128, "9" * 129, "7" * 5000, "0." + "3" * 120, "1e-99999999999999",
)  # fmt: skip
_STRINGS = (
    "", "\x00", "\ud800", "\U0001f9ff", "٢٠٢٥-٠٩-١٥T١٢:٠٠:٠٠Z", "9999-12-31T23:59:59.999Z", "0000-01-01T00:00:00Z",
    "2025-02-30T00:00:00Z", "2025-09-15T24:00:00Z", "2025-09-15T12:00:60Z", "../../etc/passwd", "/dev/zero", "a\nb",
    "@long", "@deep", "0x", "0x" + "ff" * 32, "0x" + "00" * 64, "f" * 64, "0" * 64, "nan", "1", "true", "'; --",
    "BTC/USDT", "btc-usdt-4h", "%s%n{0}", "veriregime-bundle/3",
)  # fmt: skip
_CELLS = (
    *_NUMBERS,
    "",
    " ",
    '"',
    '"a',
    '""',
    "a",
    "\x00",
    "2025-09-15 12:00:00",
    "2025-09-15T12:00:00Z",
    "null",
    "-",
    ",",
)
_KINDS = (
    "int8", "uint8", "int32", "uint64", "float16", "float32", "bool", "string", "binary", "null", "date32",
    "time64[us]", "duration[ms]", "timestamp[s]", "timestamp[ms]", "timestamp[us, tz=UTC]",
    "timestamp[ns, tz=Asia/Tokyo]", "decimal", "dictionary", "list", "struct",
)  # fmt: skip

Tree = Any
Mutation = Callable[[bytes, Random], bytes]


def mutate_bytes(raw: bytes, rng: Random) -> bytes:
    """A few bytes changed, removed, doubled or put in, towards the end as often as anywhere."""
    spoilt = bytearray(raw or b"{")
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(len(spoilt)) if rng.random() < 0.5 else max(0, len(spoilt) - 1 - rng.randrange(400))
        length = rng.choice((1, 1, 4, 30))
        match rng.randrange(4):
            case 0:
                spoilt[at] = rng.randrange(256)
            case 1:
                del spoilt[at : at + length]
            case 2:
                spoilt[at:at] = spoilt[at : at + length] * rng.choice((1, 2, 50))
            case 3:
                spoilt[at:at] = rng.randbytes(length)
        spoilt = spoilt or bytearray(b"0")
    return bytes(spoilt)


def mutate_bundle(raw: bytes, rng: Random) -> bytes:
    try:
        tree = json.loads(raw)
    except (ValueError, RecursionError):
        return mutate_bytes(raw, rng)
    if not isinstance(tree, dict) or rng.random() < 0.1:
        return mutate_bytes(raw, rng)
    for _ in range(rng.choice((1, 1, 1, 1, 1, 2, 5))):
        _change_somewhere(tree, rng)
    text = _RAW.sub(lambda found: found[1], json.dumps(tree, ensure_ascii=rng.random() < 0.9))
    names = _NAME.findall(text) if rng.random() < 0.05 else []
    if names:
        name = rng.choice(names)
        text = text.replace(name, f"{name}{rng.choice(_NUMBERS)},{name}", 1)
    return text.encode("utf-8", "surrogatepass")


def _change_somewhere(tree: Tree, rng: Random) -> None:
    """One value of an object or a list is replaced, removed, doubled or moved, down a path drawn at random."""
    here = tree
    while True:
        places = list(here) if isinstance(here, dict) else list(range(len(here)))
        if not places:
            return
        place = rng.choice(places)
        below = here[place]
        if isinstance(below, dict | list) and below and rng.random() < 0.8:
            here = below
            continue
        _change(here, place, rng)
        return


def _change(here: Tree, place: Any, rng: Random) -> None:
    below = here[place]
    if isinstance(below, str) and below.startswith("@week") and rng.random() < 0.8:
        here[place] = f"{below} {rng.choice((0, 1, 10_080, 10_079, rng.randrange(10_081)))} {rng.randrange(6)} "
        here[place] += rng.choice(
            (*_NUMBERS, str(rng.uniform(0, 2e5)), str(1_757_332_740_000 + 60_000 * rng.randrange(99)))
        )
        return
    match rng.randrange(14):
        case 3:
            del here[place]
        case 4:
            if isinstance(here, list):
                here[place:place] = [below] * rng.choice((1, 2, 70, 5000 if isinstance(below, int | float) else 20))
            else:
                here[rng.choice((*_STRINGS, "extra", "proof", "x" * 80))] = below
        case 5:
            for _ in range(rng.choice((1, 3, 10, 300))):
                below = [below]
            here[place] = below
        case 6 | 7:
            here[place] = rng.choice([None, True, {}, [], [[]], {"a": {}}, f"@raw {rng.choice(_NUMBERS)}"])
        case _:
            here[place] = _other(below, rng)


def _other(value: Tree, rng: Random) -> Tree:
    """Of the same kind, and in form, most of the time."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, str) and value and rng.random() < 0.8:
        at = rng.randrange(len(value))
        return value[:at] + rng.choice("0123456789abcdef" * 3 + "zZx/-.:\x00é") + value[at + 1 :]
    if isinstance(value, int | float) and rng.random() < 0.8:
        return value + rng.choice((1, -1, 60_000, -60_000, 0.5, 1e-9)) if rng.random() < 0.7 else -value
    return rng.choice(_STRINGS) if isinstance(value, str) else f"@raw {rng.choice(_NUMBERS)}"


def mutate_csv(raw: bytes, rng: Random) -> bytes:
    if rng.random() < 0.25:
        return mutate_bytes(raw, rng)
    rows = [line.split(",") for line in raw.decode("latin-1").split("\n")]
    for _ in range(rng.choice((1, 1, 2, 6))):
        at = rng.randrange(len(rows))
        cell = rng.randrange(len(rows[at]))
        match rng.randrange(7):
            case 0 | 1:
                rows[at][cell] = rng.choice(_CELLS)
            case 2:
                rows[at][cell : cell + 1] = []
            case 3:
                rows[at][cell:cell] = [rng.choice(_CELLS)] * rng.choice((1, 1, 400))
            case 4:
                rows[at:at] = [list(rows[at])] * rng.choice((1, 1, 50))
            case 5:
                rows[at], rows[0] = rows[0], rows[at]
            case 6:
                rows[at : at + 1] = []
        rows = [row or [""] for row in rows] or [[""]]
    end = rng.choice(("\n", "\n", "\n", "\r\n", "\r", "\n\n"))
    return (rng.choice(("", "", "", "\xef\xbb\xbf", "\xff\xfe")) + end.join(map(",".join, rows))).encode(
        "latin-1", "replace"
    )


def mutate_parquet(raw: bytes, rng: Random) -> bytes:
    """Bytes of a file, its tables at the end above all, or a new file with other columns."""
    return mutate_bytes(raw, rng) if rng.random() < 0.7 else made_parquet(rng)


def made_parquet(rng: Random) -> bytes:
    """A sound file, of columns that may not be candles'."""
    table: dict[str, Any] = {name: pa.array(values) for name, values in candle_table(rng.choice((0, 1, 3, 8))).items()}
    for _ in range(rng.choice((0, 1, 1, 3))):
        name = rng.choice((*table, "more", "a\nb", "\U0001f9ff", "x" * 5000))
        table[name] = _column(rng.choice(_KINDS), len(table["open"]), rng)
    if rng.random() < 0.2:
        del table[rng.choice(list(table))]
    return candle_parquet(
        table,
        compression=rng.choice(("none", "snappy", "zstd", "gzip", "brotli", "lz4")),
        use_dictionary=rng.random() < 0.5,
        data_page_version=rng.choice(("1.0", "2.0")),
        row_group_size=rng.choice((1, 3, 1000)),
        write_page_checksum=rng.random() < 0.2,
    )


def _column(kind: str, rows: int, rng: Random) -> Any:
    match kind:
        case "decimal":
            return pa.nulls(rows, pa.decimal128(12, 2))
        case "dictionary":
            return pa.array(["a"] * rows).dictionary_encode()
        case "list":
            return pa.array([[1.0]] * rows, pa.list_(pa.float64()))
        case "struct":
            return pa.array([{"open": 1.0}] * rows, pa.struct({"open": pa.float64()}))
        case "float16" | "float32":
            return pa.array([rng.choice((0.0, 1.0, float("nan"), float("inf")))] * rows).cast(kind)
    stamps = [rng.choice((0, 1, 60, 100, None))] * rows
    try:
        return pa.array(stamps).cast(pa.type_for_alias(kind)) if "tz" not in kind else _zoned(stamps, kind)
    except (pa.ArrowException, ValueError):
        return pa.nulls(rows)


def _zoned(stamps: list[int | None], kind: str) -> Any:
    unit, _, zone = kind.removeprefix("timestamp[").removesuffix("]").partition(", tz=")
    return pa.array(stamps, pa.timestamp(unit, zone))
