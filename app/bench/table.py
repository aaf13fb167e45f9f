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
    "verify gas": lambda row: NONE if row["verify_gas"] is None else f"{row['verify_gas']:,}",
}
CIRCUIT_COLUMNS: Mapping[str, Cell] = {
    "candidate": lambda row: str(row["name"]),
    "rows": lambda row: f"{row['rows']:,}",
    "k": lambda row: str(row["logrows"]),
    "prove s": PROVING_COLUMNS["prove s"],
    "peak MiB": PROVING_COLUMNS["peak MiB"],
    "proof B": PROVING_COLUMNS["proof B"],
    "calldata B": PROVING_COLUMNS["calldata B"],
    "verify gas": PROVING_COLUMNS["verify gas"],
    "same class": lambda row: f"{row['same_class']:.1%}",
    "off by": lambda row: f"{row['largest_difference']:.1e}",
    "objections": lambda row: "; ".join(row["objections"]) or "none",
}


ORACLE_COLUMNS: Mapping[str, Cell] = {
    "windows": lambda row: str(row["windows"]),
    "signatures": lambda row: str(row["signatures"]),
    "storage": lambda row: "reserved" if row["reserved"] else "not reserved",
    "calldata B": PROVING_COLUMNS["calldata B"],
    "first gas": lambda row: f"{row['first_gas']:,}",
    "gas": lambda row: f"{row['gas']:,}",
    "gas a window": lambda row: f"{row['gas_per_window']:,.0f}",
}


def seconds(value: float) -> str:
    """Two significant digits below ten, so that a tenth of a second can be told from a fifth."""
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def oracle_table(document: Mapping[str, Any]) -> str:
    """The document of `bench_oracle` for people."""
    cells = [[cell(row) for cell in ORACLE_COLUMNS.values()] for row in document["updates"]]
    return aligned(list(ORACLE_COLUMNS), cells)


def proving_table(document: Mapping[str, Any]) -> str:
    """The document of `bench_proving` for people: table, remarks, what follows from them."""
    rows = document["rows"]
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
    parts = [aligned(list(PROVING_COLUMNS), cells), "\n".join(notes + said), "\n".join(ratios), _where(document)]
    return "\n\n".join(part for part in parts if part)


def circuit_table(document: Mapping[str, Any], *, as_markdown: bool = False) -> str:
    """The document of `search_circuits` for people, or for a file."""
    rows = [_cells(row, CIRCUIT_COLUMNS) for row in document["candidates"]]
    failed = [f"{row['name']}: {row['failure']}" for row in document["candidates"] if row["failure"]]
    table = (markdown if as_markdown else aligned)(list(CIRCUIT_COLUMNS), rows)
    subject = (
        f"{document['joint_windows']} windows in a proof" if document["joint_windows"] > 1 else "a window in a proof"
    )
    told = (
        f"{subject.capitalize()}; every proof verified, the last one by its contract. Class and outputs of the circuit "
        f"beside the float network's on {document['windows']} windows of the {document['market']} market."
    )
    return "\n\n".join(part for part in (told, table, "\n".join(failed), _verdict(document), _where(document)) if part)


def _verdict(document: Mapping[str, Any]) -> str:
    choice = document["choice"]
    if choice is None:
        return "Nothing can be picked."
    standing = {
        True: "The released settings are the pick, or as fast within the noise.",
        False: "The released settings are not as good.",
    }[choice["released_is_as_good"]]
    return f"Picked: {choice['picked']}, as {choice['reason']}. {standing}"


def _where(document: Mapping[str, Any]) -> str:
    machine = document["machine"]
    return (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_mib'] / 1024:.0f} GiB, "
        f"Python {machine['python']}, ezkl {machine['ezkl']}"
    )


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
