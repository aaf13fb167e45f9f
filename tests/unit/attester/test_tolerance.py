"""How close is close enough."""

from __future__ import annotations

import pytest

from app.attester.tolerance import Tolerance, meaning, units_by_part
from app.features.variation import INPUTS, VARIATION_INPUTS
from app.types import Forecast, Regime

OWN = tuple(range(INPUTS))


def shifted(index: int, units: int) -> tuple[int, ...]:
    return tuple(value + units * (i == index) for i, value in enumerate(OWN))


def forecast(p_high: float = 0.5, vol_annualised: float = 0.4) -> Forecast:
    return Forecast(Regime.LOW, p_high, vol_annualised, (0.0, 0.0, 0.0))


@pytest.mark.parametrize(
    ("index", "units"),
    [(0, 128), (1, 96), (2, 64), (3, 48), (9, 32), (10, 48), (29, 48), (30, 32), (65, 32), (66, 0), (84, 0)],
)
def test_input__at_its_tolerance__is_close_enough_and_one_unit_further_is_not(index: int, units: int) -> None:
    tolerance = Tolerance()
    assert tolerance.units(index, 7) == units
    for sign in (1, -1):
        assert tolerance.inputs_differ(OWN, shifted(index, sign * units), 7) is None
        assert f"tolerance {units}" in (tolerance.inputs_differ(OWN, shifted(index, sign * (units + 1)), 7) or "")


def test_tolerance__of_a_finer_scale__is_as_many_more_units() -> None:
    assert Tolerance().units(0, 10) == 8 * Tolerance().units(0, 7)


def test_several_inputs_too_far__the_furthest_is_named() -> None:
    proposed = list(shifted(3, 60))
    proposed[40] += 100
    assert "input 40 " in (Tolerance().inputs_differ(OWN, proposed, 7) or "")


@pytest.mark.parametrize(
    ("proposed", "words"),
    [
        (forecast(), None),
        (forecast(vol_annualised=0.44), None),
        (forecast(vol_annualised=0.443), "volatility"),
        (forecast(vol_annualised=0.361), "volatility"),
        (forecast(p_high=0.599), None),
        (forecast(p_high=0.601), "probability of high"),
        (forecast(p_high=0.399), "probability of high"),
    ],
)
def test_forecast__is_held_to_a_tenth(proposed: Forecast, words: str | None) -> None:
    found = Tolerance().forecasts_differ(forecast(), proposed)
    assert found is None if words is None else (found or "").startswith(words)


def test_meaning__of_every_input__is_one_of_its_own() -> None:
    assert len({meaning(index) for index in range(INPUTS)}) == INPUTS == len(units_by_part(Tolerance(), 7))
    assert meaning(10) == "level of the 60 minutes that began 300 minutes before the end"
    assert meaning(VARIATION_INPUTS + 6) == "clock: Monday"
