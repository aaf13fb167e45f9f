"""The figures of ``veriregime bench soak`` as a person reads them."""

from __future__ import annotations

from typing import Any

from app.bench.table import NONE, aligned


def as_text(found: dict[str, Any]) -> str:
    return "\n\n".join((_run(found), _roles(found), _database(found), _windows(found), _verdicts(found)))


def _run(found: dict[str, Any]) -> str:
    return (
        f"{found['hours']:g} hours of the market at {found['speed']:g} times real time, {len(found['feeds'])} feed(s); "
        f"{found['looks']} looks after a warm-up of {found['warm_up_s']} of {found['wall_s']} s"
    )


def _roles(found: dict[str, Any]) -> str:
    heads = ["", "MiB first", "last", "largest", "change", "by line", "files", "threads", "processes", "cores"]
    rows = []
    for role, figures in found["roles"].items():
        memory = figures["memory"]
        counts = [
            f"{figures[name]['first']:.0f} → {figures[name]['last']:.0f}" for name in ("files", "threads", "processes")
        ]
        rows.append(
            [
                role,
                *(f"{memory[name]:.1f}" for name in ("first_mib", "last_mib", "largest_mib")),
                f"{memory['change']:+.1%}",
                f"{memory['line_change']:+.1%}",
                *counts,
                NONE if figures["cores"] is None else f"{figures['cores']:.2f}",
            ]
        )
    told = "first and last: medians of the quarters of what counts; by line: rise of the Theil-Sen line over all of it"
    return f"{aligned(heads, rows)}\n{told}"


def _database(found: dict[str, Any]) -> str:
    database = found["database"]
    rows = [
        [
            kind,
            f"{one['rows']:,}",
            NONE if one["bytes_each"] is None else f"{one['bytes_each']:,}",
            f"{one['documented']:,}",
        ]
        for kind, one in database["kinds"].items()
    ]
    return (
        f"{aligned(['row', 'new', 'bytes each', 'documented'], rows)}\n"
        f"database: {database['file_mib']:.1f} MiB with its log, grown by {database['grown_bytes']:,} bytes, "
        f"{database['against_documented']:.2f} of what is documented for these rows"
    )


def _windows(found: dict[str, Any]) -> str:
    windows = found["windows"]
    said = f"{windows['windows']:,} windows, {windows['missed']} missed"
    for name in ("stored", "proved"):
        spread = windows[f"{name}_s"]
        if spread:
            said += (
                f"; {name} after {spread['median']:.2f} s, p95 {spread['p95']:.2f} s, at most {spread['largest']:.2f} s"
            )
    return said


def _verdicts(found: dict[str, Any]) -> str:
    return "\n".join(f"{'yes' if holds else 'NO '}  {what}" for what, holds in found["verdicts"].items())
