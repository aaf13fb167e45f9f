"""What one proof, tick, row, request and update costs: the constants of the capacity model.

`app.bench.capacity_measuring` finds them here and now; a former run's JSON has them too. What belongs to others (how
long a venue takes to answer, how often it may be asked, how often a chain makes a block) is assumed, and stated.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from app.errors import BadInput

VENUE_SPACING_S: Mapping[str, float] = {"binance": 0.1, "coinbase": 0.1, "kraken": 1.0}
"""Seconds from one question of a process to its next: the round trip, or longer where the venue asks for it."""
VENUE_LIMIT_PER_MINUTE: Mapping[str, int] = {"binance": 3_000, "coinbase": 600, "kraken": 60}
"""Questions for candles that each takes from one address: weight 2 of 6,000; 10 a second; about one a second."""
BLOCK_S = 12.0
"""Between two blocks of Ethereum; a rollup is faster."""
SETTLE_S = 1.0
VENUES = 3
"""Of every feed, a majority of which is the quorum."""
SIGNATURES = 3
"""Attesters that are asked about every forecast."""
EVENTS_EACH = 2 + SIGNATURES + 1
"""Of a forecast that stays off the chain: made, proved, signed, judged."""
EVENTS_OF_UPDATE = 2
"""Sent, and settled."""
JOINT = 10
"""Windows that a joint proof takes at most."""


@dataclass(frozen=True, slots=True)
class Constants:
    """Seconds are of one core unless they say otherwise."""

    machine: str
    measured_at: str
    proof_s: tuple[float, ...]
    """From order to verified proof on one core, one after another: the distribution that is drawn from."""
    proofs_per_core_s: float
    """Proofs per second of processor time."""
    verify_s: float
    tick_s: tuple[float, ...]
    """Processor time of a service from a minute's candles to the stored prediction, one after another."""
    window_cpu_s: float
    """Processor time of a service for everything about a window but its proof: tick, signatures, update, judgement."""
    attester_cpu_s: float
    """Of one attester for a window."""
    api_per_s: float
    """Answers of `latest` per second of one API process."""
    bytes_each: Mapping[str, Mapping[str, int]]
    """By engine and kind of row, indexes included."""
    gas_single: int
    """Of an update of one window with two signatures, its round's storage paid ahead."""
    gas_joint: int
    """Of one of ten windows with three."""
    memory_mib: Mapping[str, float]
    """Of one process, by role."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Constants:
        """Raises `BadInput` where something is missing, or is no number."""
        try:
            values = {field.name: document[field.name] for field in fields(cls)}
            for name in ("proof_s", "tick_s"):
                values[name] = tuple(float(value) for value in values[name])
            found = cls(**values)
            positive = (found.proofs_per_core_s, found.api_per_s, *found.proof_s, *found.tick_s)
            if not (found.proof_s and found.tick_s and all(value > 0 for value in positive)):
                raise ValueError("figures must be positive")
        except (KeyError, TypeError, ValueError) as error:
            raise BadInput(f"these are no constants of `bench capacity --json`: {error}") from error
        return found


def read_constants(path: Path) -> Constants:
    """Of the JSON of a former run. Raises `BadInput`."""
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("constants"), dict):
        raise BadInput(f"{path} has no constants: write it with `veriregime bench capacity --json`")
    return Constants.from_json(document["constants"])
