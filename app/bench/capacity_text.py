"""The figures of ``veriregime bench capacity`` as a person reads them."""

from __future__ import annotations

from statistics import mean
from typing import Any

from app.bench.table import NONE, aligned


def as_text(found: dict[str, Any]) -> str:
    parts = [_constants(found["constants"]), _needs(found)]
    if "year" in found:
        year = found["year"]
        parts += [_proving(year), _updates(year), _disk(year), _compared(year)]
    return "\n\n".join(parts)


def _constants(constants: dict[str, Any]) -> str:
    rows = [
        ["proof on one core", f"{mean(constants['proof_s']):.3f} s"],
        ["proofs a second of processor time", f"{constants['proofs_per_core_s']:.2f}"],
        ["verification of a proof", f"{constants['verify_s']:.4f} s"],
        ["tick, from candles to stored", f"{mean(constants['tick_s']):.3f} s"],
        ["service, processor time of a window", f"{constants['window_cpu_s']:.3f} s"],
        ["attester, processor time of a window", f"{constants['attester_cpu_s']:.3f} s"],
        ["latest, answers a second of a process", f"{constants['api_per_s']:,.0f}"],
        ["gas of an update, and of ten in one", f"{constants['gas_single']:,}, {constants['gas_joint']:,}"],
    ]
    rows += [[f"bytes of each {kind}", _each(constants, kind)] for kind in next(iter(constants["bytes_each"].values()))]
    return f"{aligned(['constant', ''], rows)}\n{constants['machine']}, {constants['measured_at']}"


def _each(constants: dict[str, Any], kind: str) -> str:
    return ", ".join(f"{each[kind]:,} ({engine})" for engine, each in constants["bytes_each"].items())


def _needs(found: dict[str, Any]) -> str:
    plant, needs = found["plant"], found["needs"]
    asked = [
        [f"{venue}: questions a minute, limit", f"{one['questions']:,}, {one['limit']:,}"]
        for venue, one in needs["venues_per_minute"].items()
    ]
    apis = [
        [
            f"API processes for {int(rate):,} requests a second, behind a cache",
            f"{one['alone']}, {one['behind_a_cache']}",
        ]
        for rate, one in needs["api_replicas"].items()
    ]
    rows = [
        ["cores that prove, in the mean", f"{needs['proving_cores']:.2f}"],
        ["cores of pipelines", f"{needs['pipeline_cores']:.2f}"],
        ["cores of each attester", f"{needs['attester_cores_each']:.2f}"],
        ["last tick, last proof of a minute", f"{needs['last_tick_s']:.1f} s, {needs['last_proof_s']:.1f} s"],
        ["windows a minute that can be caught up with", f"{needs['catch_up_windows_a_minute']:,.0f}"],
        ["transactions a minute of one account", f"{needs['transactions_per_minute']:g}"],
        *asked,
        *apis,
    ]
    heads = [f"{plant['feeds']} feeds, {plant['provers']} provers, {plant['pipelines']} pipelines", ""]
    return aligned(heads, rows)


def _proving(year: dict[str, Any]) -> str:
    told = year["proving"]
    after, cores = told["proved_s"], told["proving_cores"]
    shares = ", ".join(f"{told[f'within_{limit}_s']:.3%} within {limit} s" for limit in (1, 5, 60))
    return (
        f"{year['days']} days, {told['windows']:,} windows: {told['skipped']:,} skipped for want of venues, "
        f"{told['shed']:,} shed, {told['proved_later']:,} proved after waiting for a later minute\n"
        f"of the others proved, once stored: {shares}; from the minute's end median {after['median']:.2f} s, "
        f"p99 {after['p99']:.2f} s\n"
        f"backlog at most {told['backlog_most']:,} windows, the longest wait {told['longest_wait_minutes']} minutes; "
        f"cores that proved {cores['mean']:.2f} in the mean, {cores['most']:.1f} at most"
    )


def _updates(year: dict[str, Any]) -> str:
    heads = ["policy", "", "rounds a feed and day", "transactions a day", "million gas a day", "minutes too full"]
    rows = [
        [
            row["policy"],
            row["mode"],
            f"{row['rounds_per_feed_and_day']:.1f}",
            f"{row['transactions_per_day']:,.0f}",
            f"{row['million_gas_per_day']:,.0f}",
            f"{row['minutes_with_more_due_than_blocks']:.1%}",
        ]
        for row in year["updates"]
    ]
    return aligned(heads, rows)


def _disk(year: dict[str, Any]) -> str:
    months = max(len(row["by_month"]) for row in year["disk_gib"])
    rows = [
        [f"{row['engine']}, {_kept(row['retention_days'])}", *(f"{gib:,.0f}" for gib in row["by_month"])]
        for row in year["disk_gib"]
    ]
    return aligned(["GiB at the end of month", *(str(month) for month in range(1, months + 1))], rows)


def _kept(days: int) -> str:
    return f"{days} days of predictions" if days else "all predictions"


def _compared(year: dict[str, Any]) -> str:
    rows = [
        [
            row["what"],
            f"{row['model']:,.2f}",
            f"{row['simulated']:,.2f}",
            NONE if row["ratio"] is None else f"{row['ratio']:.2f}",
        ]
        for row in year["compared"]
    ]
    return aligned(["", "formula", "simulated", "ratio"], rows)
