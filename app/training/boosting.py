"""The door to LightGBM: a machine without the OpenMP runtime is told what it lacks, and trees come out reproducible."""

from __future__ import annotations

from typing import Any

from app.errors import ToolMissing
from app.training.threads import MOST_THREADS

try:
    import lightgbm
except OSError as error:
    raise ToolMissing(
        "LightGBM needs the OpenMP runtime libgomp: install libgomp1 (Debian, Ubuntu), libgomp (Fedora, Alpine)"
    ) from error

__all__ = ["MOST_THREADS", "lightgbm", "reproducible"]


def reproducible(objective: str, seed: int, threads: int) -> dict[str, Any]:
    """The parameters with which the same data and seed give the same trees, whatever the number of threads."""
    return {
        "objective": objective,
        "seed": seed,
        "num_threads": threads,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }
