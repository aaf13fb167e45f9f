"""Every proof that was stored, verified anew."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any

from app.inference.network import dequantise, forecast_from
from tests.chaos.invariants.look import Look
from tests.rig.ground import Ground

_RELATIVE = 1e-12


@dataclass(slots=True)
class EveryProofVerifies:
    """Under our keys, over a commitment to the stored observation, and for the very numbers that are served."""

    ground: Ground
    name: str = "every proved row verifies"
    verified: set[str] = field(default_factory=set)

    def violations(self, look: Look) -> list[str]:
        odd = look.rows(
            "SELECT p.id, p.status, q.prediction_id FROM predictions p LEFT JOIN proofs q ON q.prediction_id = p.id "
            "WHERE (p.status IN ('proved', 'submitted', 'confirmed')) <> (q.prediction_id IS NOT NULL)"
        )
        words = [f"{row.id} is {row.status} and has {'a' if row.prediction_id else 'no'} proof" for row in odd]
        return words + self._new(look)

    def _new(self, look: Look) -> list[str]:
        ids = [row.prediction_id for row in look.rows("SELECT prediction_id FROM proofs")]
        found = []
        for one in (one for one in ids if one not in self.verified):
            row = look.row(
                "SELECT q.proof, q.instances, q.vk_hash, p.observation, p.p_high, p.vol_annualised, p.regime "
                "FROM proofs q JOIN predictions p ON p.id = q.prediction_id WHERE p.id = :id",
                id=one,
            )
            if (wrong := self._wrong(row)) is None:
                self.verified.add(one)
            else:
                found.append(f"the proof of {one}: {wrong}")
        return found

    def _wrong(self, row: Any) -> str | None:
        ground, proof = self.ground, bytes(row.proof)
        instances, observation = _numbers(row.instances), _numbers(row.observation)
        if row.vk_hash != ground.keys.vk_hash:
            return "it is of another verifying key"
        if not ground.pool.verify(ground.keys, proof, instances):
            return "it does not verify"
        if ground.pool.commit(ground.keys, observation) != proof[:64]:
            return "its commitment is not the one of the observation"
        proved = forecast_from(dequantise(instances, ground.model.output_scale))
        same = math.isclose(proved.p_high, row.p_high, rel_tol=_RELATIVE) and math.isclose(
            proved.vol_annualised, row.vol_annualised, rel_tol=_RELATIVE
        )
        return None if same and proved.regime == row.regime else "other numbers are served than it proves"


def _numbers(stored: Any) -> tuple[int, ...]:
    """A column of JSON: SQLite gives its text."""
    return tuple(json.loads(stored) if isinstance(stored, str) else stored)
