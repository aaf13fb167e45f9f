from __future__ import annotations

import numpy as np
import pytest

from app.bench.candidates import RELEASED, SETTINGS, Candidate, chosen, joint_candidates, single_candidates
from app.errors import BadInput
from app.training.circuit import Weights


@pytest.mark.parametrize("candidates", [single_candidates(), joint_candidates()], ids=["single", "joint"])
def test_candidates__names__are_unique_and_begin_with_the_released_one(candidates: tuple[Candidate, ...]) -> None:
    names = [candidate.name for candidate in candidates]
    assert names[0] == RELEASED
    assert len(set(names)) == len(names)


def test_candidates__for_one_window__cover_every_factor() -> None:
    changed = {key for candidate in single_candidates() for key in candidate.changes}
    assert changed == {
        "input_scale",
        "param_scale",
        "decomp_base",
        "decomp_legs",
        "num_inner_cols",
        "disable_freivalds",
        "ignore_range_check_inputs_outputs",
        "scale_rebase_multiplier",
        "input_visibility",
    }


def test_chosen__names__keep_the_released_one_to_compare_with() -> None:
    assert [candidate.name for candidate in chosen(single_candidates(), ["cols2"])] == [RELEASED, "cols2"]


def test_chosen__unknown_name__lists_the_known_ones() -> None:
    with pytest.raises(BadInput, match="no candidate 'cols9': choose among released, in5"):
        chosen(single_candidates(), ["cols9"])


def test_candidate__private_inputs__are_not_bound() -> None:
    by_name = {candidate.name: candidate for candidate in single_candidates()}
    assert not by_name["private"].binds_inputs
    assert by_name["hashed"].binds_inputs


@pytest.mark.parametrize(("base", "legs", "holds"), [(256, 3, True), (128, 3, False)])
def test_candidate__largest_sum_beside_its_digits__says_whether_every_input_can_be_proved(
    base: int, legs: int, holds: bool
) -> None:
    """One input of up to 4 and a weight of 10 make 4·2⁷ · 10·2¹⁰ = 5.2 million; 256³/2 is 8.4 million."""
    weights = Weights(np.full((1, 1), -10.0), np.zeros(1), np.zeros((1, 3)), np.zeros(3))
    candidate = Candidate("any", {"decomp_base": base, "decomp_legs": legs}, SETTINGS)
    assert candidate.holds(weights, np.asarray([4.0])) is holds
