"""The rule of the circuit search: from figures to a pick."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.bench.choosing import MOST_GAS, Measured, choose, choose_joint, near_fastest, objections

RELEASED = Measured(
    name="released",
    least_prove_s=0.20,
    median_prove_s=0.21,
    verify_gas=416_000,
    agreement=1.0,
    binds_inputs=True,
    holds_every_input=True,
    deployable=True,
)


def picked(*others: Measured) -> str | None:
    choice = choose([RELEASED, *others], "released")
    return choice.picked if choice else None


def test_choose__clearly_faster_candidate__is_picked() -> None:
    assert picked(replace(RELEASED, name="fast", least_prove_s=0.15)) == "fast"


@pytest.mark.parametrize(
    "flaw",
    [
        {"agreement": 0.9949},
        {"verify_gas": MOST_GAS + 1},
        {"verify_gas": None, "deployable": False},
        {"binds_inputs": False},
        {"holds_every_input": False},
    ],
)
def test_choose__faster_candidate_with_a_flaw__is_passed_over(flaw: dict[str, object]) -> None:
    assert picked(replace(RELEASED, name="fast", least_prove_s=0.15, **flaw)) == "released"  # type: ignore[arg-type]


def test_choose__tie_within_five_percent__is_decided_by_gas() -> None:
    slower_and_cheaper = replace(RELEASED, name="cheap", least_prove_s=0.209, verify_gas=400_000)
    assert picked(slower_and_cheaper) == "cheap"


def test_choose__cheaper_but_six_percent_slower__is_no_tie() -> None:
    assert picked(replace(RELEASED, name="cheap", least_prove_s=0.212, verify_gas=400_000)) == "released"


def test_choose__tie_with_gas_within_its_noise__stays_as_released() -> None:
    assert picked(replace(RELEASED, name="same", least_prove_s=0.195, verify_gas=415_900)) == "released"


def test_choose__released_no_slower_than_a_usual_proof_of_the_pick__is_as_good() -> None:
    choice = choose([RELEASED, replace(RELEASED, name="fast", least_prove_s=0.18, median_prove_s=0.2)], "released")
    assert choice is not None
    assert (choice.picked, choice.released_is_as_good) == ("fast", True)


def test_choose__released_slower_than_a_usual_proof_of_the_pick__is_not_as_good() -> None:
    choice = choose([RELEASED, replace(RELEASED, name="fast", least_prove_s=0.18, median_prove_s=0.19)], "released")
    assert choice is not None
    assert not choice.released_is_as_good


def test_choose_joint__cheaper_but_slower__is_picked_while_it_is_fast_enough() -> None:
    cheap = replace(RELEASED, name="cheap", least_prove_s=2.0, median_prove_s=2.5, verify_gas=400_000)
    slow = replace(cheap, name="slow", median_prove_s=2.51, verify_gas=300_000)
    choice = choose_joint([RELEASED, cheap, slow], "released")
    assert choice is not None
    assert (choice.picked, choice.released_is_as_good) == ("cheap", False)


def test_choose_joint__same_gas_within_its_noise__stays_as_released() -> None:
    choice = choose_joint([replace(RELEASED, name="fast", least_prove_s=0.1, verify_gas=415_100), RELEASED], "released")
    assert choice is not None
    assert (choice.picked, choice.released_is_as_good) == ("released", True)


def test_choose__nothing_eligible__is_no_choice() -> None:
    assert choose([replace(RELEASED, agreement=0.5)], "released") is None


def test_objections__agreement_and_gas_at_their_limits__are_none() -> None:
    assert objections(replace(RELEASED, agreement=0.995, verify_gas=MOST_GAS)) == []


def test_objections__several_flaws__are_all_named() -> None:
    assert len(objections(replace(RELEASED, agreement=0.9, binds_inputs=False))) == 2


def test_near_fastest__fast_but_flawed_candidate__does_not_set_the_pace() -> None:
    flawed = replace(RELEASED, name="flawed", least_prove_s=0.01, binds_inputs=False)
    assert near_fastest([RELEASED, flawed], 1.05) == [RELEASED]
