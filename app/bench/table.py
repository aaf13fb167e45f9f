"""Figures as text: aligned columns for a terminal, the same as Markdown for a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Cell = Callable[[Mapping[str, Any]], str]
NONE = "–"

PROVING_COLUMNS: Mapping[str, Cell] = {
    "": lambda row: str(row["name"]),
    "parameters": lambda row: f"{row['parameters']:,}",
    "constraints or rows": lambda row: _size(row),
    "setup s": lambda row: seconds(row["setup_s"]),
    "witness s": lambda row: seconds(row["witness_s"]),
    "prove s": lambda row: f"{seconds(row['prove_s'])} ({'–'.join(seconds(at) for at in row['prove_spread_s'])})",
    "verify ms": lambda row: f"{row['verify_ms']:.0f}",
    "peak MiB": lambda row: f"{row['peak_mib']:,.0f}",
    "proof B": lambda row: f"{row['proof_bytes']:,}",
    "calldata B": lambda row: f"{row['calldata_bytes']:,}",
    "verify gas": lambda row: f"{row['verify_gas']:,}",
}


def seconds(value: float) -> str:
    """Two significant digits below ten, so that a tenth of a second can be told from a fifth."""
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def proving_table(document: Mapping[str, Any]) -> str:
    """The document of `bench_proving` for people: table, remarks, what follows from them."""
    rows, machine = document["rows"], document["machine"]
    cells = [_cells(row, PROVING_COLUMNS) for row in rows]
    notes = [f"{row['name']}: {row['title']}; {row['note']}" for row in rows if row["note"]]
    said = [
        f"{row['name']}: of {row['agreement']['windows']} windows {row['agreement']['same_class']:.0%} have the float "
        f"network's class, outputs differ by at most {row['agreement']['largest_difference']:.2g}"
        for row in rows
        if row["agreement"]
    ]
    ratios = [
        f"{name.replace('_', ' ')}: {value:,.3g}" if value < 1e4 else f"{name.replace('_', ' ')}: {value:,.0f}"
        for name, value in document["compared"].items()
        if value is not None
    ]
    where = (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_mib'] / 1024:.0f} GiB, "
        f"Python {machine['python']}, ezkl {machine['ezkl']}"
    )
    parts = [aligned(list(PROVING_COLUMNS), cells), "\n".join(notes + said), "\n".join(ratios), where]
    return "\n\n".join(part for part in parts if part)


def aligned(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The first column to the left, numbers to the right."""
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads))]
    return "\n".join(_line(row, widths) for row in (heads, *rows))


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = ["---", *("---:" for _ in heads[1:])]
    return "\n".join("| " + " | ".join(row) + " |" for row in (heads, rule, *rows))


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
    return "  ".join(cells).rstrip()


def _cells(row: Mapping[str, Any], columns: Mapping[str, Cell]) -> list[str]:
    """A row that failed shows its name alone."""
    if row["prove_s"] is None:
        return [str(row["name"]), *(NONE for _ in range(len(columns) - 1))]
    return [cell(row) for cell in columns.values()]


def _size(row: Mapping[str, Any]) -> str:
    if row["rows"] is None:
        return f"{row['constraints']:,}"
    return f"{row['rows']:,} (k={row['logrows']})"
