"""Bytes on disk of everything that is stored, as docs/scaling.md states them, indexes included."""

from __future__ import annotations

from collections.abc import Mapping

SQLITE_BYTES: Mapping[str, int] = {
    "prediction": 5_300,
    "signature": 360,
    "commitment": 270,
    "transaction": 4_300,
    "round": 290,
    "outcome": 390,
    "event": 440,
    "candle": 85,
}
"""A prediction with its proof, job and attempt; each attester's answer; a transaction; each forecast in it; …"""

POSTGRESQL_BYTES: Mapping[str, int] = {
    "prediction": 5_300,
    "signature": 470,
    "commitment": 390,
    "transaction": 3_700,
    "round": 450,
    "outcome": 400,
    "event": 460,
    "candle": 200,
}
"""The same rows copied over, and a tenth more for what updates of a prediction leave until it is vacuumed."""

BYTES: Mapping[str, Mapping[str, int]] = {"sqlite": SQLITE_BYTES, "postgresql": POSTGRESQL_BYTES}


def growth(rows: Mapping[str, float], bytes_each: Mapping[str, int]) -> float:
    """Bytes that so many new rows of each kind take."""
    return sum(count * bytes_each[kind] for kind, count in rows.items())
