"""How far a proposal may be from what the attester sees itself. Figures and their reasons: docs/attester.md.

Two venues never show the same minute to the last digit, so levels are allowed to differ a little, those of few minutes
more than those of many. All of them pushed to their limit in one direction would still move a forecast, so the forecast
itself is held as well: that bounds what a dishonest proposer can gain. The clock is the same for everyone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from app.features.variation import CYCLES, INPUTS, PARTS, VARIATION_INPUTS
from app.types import Forecast

_BY_MINUTES = MappingProxyType({5: 1.0, 10: 0.75, 20: 0.5, 30: 0.375, 45: 0.375, 60: 0.375, 240: 0.25})
_OTHER_MINUTES = 0.375
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Largest honest differences. ``levels`` is in training deviations, by the minutes that a level is a mean of."""

    levels: Mapping[int, float] = field(default_factory=lambda: _BY_MINUTES)
    volatility: float = 0.10
    """Of the forecast, as |ln(proposed / own)|."""
    p_high: float = 0.10
    """Of the forecast, as a difference."""

    def units(self, index: int, input_scale: int) -> int:
        """What input ``index`` may differ by, in the circuit's integers."""
        if index >= VARIATION_INPUTS:
            return 0
        _, minutes = PARTS[index]
        return round(self.levels.get(minutes, _OTHER_MINUTES) * (1 << input_scale))

    def inputs_differ(self, own: Sequence[int], proposed: Sequence[int], input_scale: int) -> str | None:
        """The input that is furthest beyond its tolerance, in words; none when all are within."""
        worst, index = 0.0, -1
        for i, (ours, theirs) in enumerate(zip(own, proposed, strict=True)):
            apart, allowed = abs(ours - theirs), self.units(i, input_scale)
            if apart > allowed and apart / max(allowed, 1) > worst:
                worst, index = apart / max(allowed, 1), i
        if index < 0:
            return None
        return (
            f"input {index} ({meaning(index)}): own {own[index]}, proposed {proposed[index]}, "
            f"tolerance {self.units(index, input_scale)}"
        )

    def forecasts_differ(self, own: Forecast, proposed: Forecast) -> str | None:
        """How the forecast from the proposed inputs is too far from our own, in words; none when it is not."""
        if abs(math.log(proposed.vol_annualised / own.vol_annualised)) > self.volatility:
            return (
                f"volatility: own inputs give {own.vol_annualised:.4f}, the proposed {proposed.vol_annualised:.4f}, "
                f"tolerance {self.volatility:.0%}"
            )
        if abs(proposed.p_high - own.p_high) > self.p_high:
            return (
                f"probability of high: own inputs give {own.p_high:.4f}, the proposed {proposed.p_high:.4f}, "
                f"tolerance {self.p_high:.2f}"
            )
        return None


def meaning(index: int) -> str:
    """What an input of `app.features.variation` is, in words."""
    if index < VARIATION_INPUTS:
        start, minutes = PARTS[index]
        if start == minutes:
            return f"level of the last {minutes} minutes"
        return f"level of the {minutes} minutes that began {start} minutes before the end"
    waves = [f"{wave} of {cycle} cycles a day" for cycle in CYCLES for wave in ("sine", "cosine")]
    names = [*waves, *_WEEKDAYS, *(f"{wave} at weekends" for wave in waves)]
    return f"clock: {names[index - VARIATION_INPUTS]}"


def units_by_part(tolerance: Tolerance, input_scale: int) -> dict[str, int]:
    """The table of tolerances for people: what an input means, and by how many units it may differ."""
    return {meaning(index): tolerance.units(index, input_scale) for index in range(INPUTS)}
