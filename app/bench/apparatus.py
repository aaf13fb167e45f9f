"""What every row of the benchmark is measured with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from app.bench.circuits import Effort, Workshop
from app.bench.inputs import Windows
from app.inference.release import ReleasedModel


@dataclass(frozen=True, slots=True)
class Bench:
    """The released model, its windows, the workshop. ``repeats`` is instead of each row's own number of proofs."""

    model: ReleasedModel
    classic_folder: Path
    contracts_dir: Path
    cache_dir: Path
    windows: Windows
    workshop: Workshop
    repeats: int | None

    def effort(self, repeats: int, warm_ups: int, **limits: int) -> Effort:
        return Effort(self.repeats or repeats, warm_ups, **limits)
