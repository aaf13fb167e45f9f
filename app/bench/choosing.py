"""Which candidate the circuit search picks: a rule on figures alone, so that everybody can apply it to the table.

Among the circuits that agree with the float network, hold every input, bind their inputs and cost no more gas than
agreed, the one that proves fastest. What is as fast within the noise of a measurement is decided by gas, and what costs
as much within its noise stays as it was released. For several windows in one proof it is the other way round: gas is
what they are joined for, so the cheapest is picked among those that are fast enough.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

LEAST_AGREEMENT = 0.995
MOST_GAS = 430_000
"""Of one transaction with a single window's proof."""
MOST_GAS_PER_WINDOW = 65_000
"""With ten windows in it."""
MOST_SECONDS_JOINT = 2.5
"""What a proof of ten windows may take."""
TIE = 1.05
"""Times as long as the fastest is still as fast."""
GAS_NOISE = 1_000
"""Gas of one circuit differs from proof to proof by how many of its bytes are zero."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What the rule looks at. ``gas_limit`` is what a transaction may cost.

    ``least_prove_s`` is the fastest proof: whatever else runs on a machine only adds to it, and not to all alike.
    How far ``median_prove_s`` lies above it shows the noise.
    """

    name: str
    least_prove_s: float
    median_prove_s: float
    verify_gas: int | None
    agreement: float
    binds_inputs: bool
    holds_every_input: bool
    deployable: bool
    gas_limit: int = MOST_GAS


@dataclass(frozen=True, slots=True)
class Choice:
    picked: str
    reason: str
    released_is_as_good: bool
    """The released circuit is the picked one, or its fastest proof is no slower than a usual one of the picked."""


def objections(candidate: Measured) -> list[str]:
    """Why a candidate cannot be picked; nothing when it can."""
    found = {
        f"agreement {candidate.agreement:.1%} is below {LEAST_AGREEMENT:.1%}": candidate.agreement < LEAST_AGREEMENT,
        "some inputs could not be proved": not candidate.holds_every_input,
        "inputs are not bound": not candidate.binds_inputs,
        f"gas is above {candidate.gas_limit:,}": (candidate.verify_gas or 0) > candidate.gas_limit,
        "the verifier is too large to deploy": not candidate.deployable,
    }
    return [objection for objection, holds in found.items() if holds]


def near_fastest(candidates: Iterable[Measured], within: float) -> list[Measured]:
    """Those that could be picked and take at most ``within`` times as long as the fastest of them."""
    eligible = [candidate for candidate in candidates if not objections(candidate)]
    least = min((candidate.least_prove_s for candidate in eligible), default=0.0)
    return [candidate for candidate in eligible if candidate.least_prove_s <= within * least]


def choose_joint(candidates: Sequence[Measured], released: str) -> Choice | None:
    """The pick for several windows in one proof, and why; none when nothing can be picked."""
    fast = [one for one in candidates if not objections(one) and one.median_prove_s <= MOST_SECONDS_JOINT]
    if not fast:
        return None
    least_gas = min(one.verify_gas or 0 for one in fast)
    cheap = [one for one in fast if (one.verify_gas or 0) <= least_gas + GAS_NOISE]
    best = min(cheap, key=lambda one: (one.name != released, one.least_prove_s))
    reason = f"{best.verify_gas:,} gas is the least among those that take at most {MOST_SECONDS_JOINT} s"
    return Choice(best.name, reason, best.name == released)


def choose(candidates: Sequence[Measured], released: str) -> Choice | None:
    """The pick for one window, and why; none when nothing can be picked."""
    tied = near_fastest(candidates, TIE)
    if not tied:
        return None
    fastest = min(tied, key=lambda candidate: candidate.least_prove_s)
    least_gas = min(candidate.verify_gas or 0 for candidate in tied)
    cheap = [candidate for candidate in tied if (candidate.verify_gas or 0) <= least_gas + GAS_NOISE]
    best = min(cheap, key=lambda candidate: (candidate.name != released, candidate.least_prove_s))
    reason = f"{best.least_prove_s:.3f} s for its fastest proof is the least among those that can be picked"
    if best is not fastest:
        cheaper = (best.verify_gas or 0) + GAS_NOISE < (fastest.verify_gas or 0)
        reason = (
            f"{best.least_prove_s:.3f} s for its fastest proof is within {TIE - 1:.0%} of the least, "
            f"{fastest.least_prove_s:.3f} s of {fastest.name}, and {best.verify_gas:,} gas is "
            f"{'less than' if cheaper else 'the same as'} its {fastest.verify_gas:,}"
        )
    as_good = any(
        candidate.name == released and not objections(candidate) and candidate.least_prove_s <= best.median_prove_s
        for candidate in candidates
    )
    return Choice(best.name, reason, as_good)
