"""``veriregime bench proving``: every kind of proof measured in one run on one machine, in one table."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from app.bench.apparatus import Bench
from app.bench.circuits import Workshop
from app.bench.figures import MIB
from app.bench.gas import own_chain
from app.bench.inputs import market_windows
from app.bench.rows import ROWS, TEN, Row, as_json
from app.errors import BadInput, OracleError
from app.features.variation import VariationSpec
from app.inference.release import ReleasedModel
from app.progress import watched
from app.proving.cores import usable_cores
from app.proving.engine import EZKL_VERSION
from app.training.evaluate import CLASSIC

WINDOWS = 5 * TEN
"""Different windows to prove: five proofs of ten."""


def chosen_rows(only: Sequence[str] | None, rows: Sequence[Row] = ROWS) -> tuple[Row, ...]:
    """The rows of these names in the table's order; all without names. Raises `BadInput` for a name that is none."""
    if only is None:
        return tuple(rows)
    names = [row.name for row in rows]
    for name in only:
        if name not in names:
            raise BadInput(f"there is no row {name!r}: choose among {', '.join(names)}")
    return tuple(row for row in rows if row.name in only)


def bench_proving(
    model: ReleasedModel,
    rows: Sequence[Row],
    *,
    models_dir: Path,
    contracts_dir: Path,
    cache_dir: Path,
    repeats: int | None,
) -> dict[str, Any]:
    """The JSON document: ``rows``, ``machine``, ``compared``.

    A row that fails has a ``note`` and no figures; the others are measured all the same. Raises `ToolMissing` when
    there is no chain to send proofs to.
    """
    windows = market_windows(VariationSpec.from_manifest(model.manifest["observation"]), WINDOWS)
    measured = []
    with own_chain(contracts_dir) as chain:
        for row in rows:
            with watched(row.name) as say:
                bench = Bench(
                    model=model,
                    classic_folder=models_dir / CLASSIC,
                    contracts_dir=contracts_dir,
                    cache_dir=cache_dir,
                    windows=windows,
                    workshop=Workshop(cache_dir / "srs", chain, say),
                    repeats=repeats,
                )
                measured.append(_measured(row, bench))
    return {"rows": measured, "machine": machine(), "compared": compared(measured)}


def has_failed(row: Mapping[str, Any]) -> bool:
    return row["prove_s"] is None


def machine() -> dict[str, Any]:
    """What the figures depend on besides the code."""
    return {
        "processor": _processor(),
        "cores": usable_cores(),
        "memory_mib": psutil.virtual_memory().total // MIB,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "ezkl": EZKL_VERSION,
    }


def compared(rows: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Ratios of the run's own figures; null where a row is missing or failed."""
    by_name = {row["name"]: row for row in rows if not has_failed(row)}

    def ratio(figure: str, above: str, below: str) -> float | None:
        one, other = (by_name.get(name, {}).get(figure) for name in (above, below))
        return one / other if one is not None and other else None

    ten = by_name.get("ten-feeds")
    return {
        "production_over_classic_defaults": ratio("prove_s", "classic-defaults", "production"),
        "production_over_classic_tuned": ratio("prove_s", "classic-tuned", "production"),
        "mlp_over_cnn": ratio("prove_s", "cnn-teacher", "classic-tuned"),
        "groth16_seconds_over_production": ratio("prove_s", "groth16-peer", "production"),
        "groth16_gas_over_production": ratio("verify_gas", "groth16-peer", "production"),
        "ten_feeds_seconds_per_window": ten["prove_s"] / ten["windows"] if ten else None,
        "ten_feeds_gas_per_window": ten["verify_gas"] / ten["windows"] if ten and ten["verify_gas"] else None,
    }


def _measured(row: Row, bench: Bench) -> dict[str, Any]:
    try:
        return as_json(row, row.measure(bench), None)
    except OracleError as error:
        return as_json(row, None, str(error))


def _processor() -> str:
    """The kernel's name for the processor; elsewhere Python's."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"
