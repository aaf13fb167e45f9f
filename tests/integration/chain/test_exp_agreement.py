"""What contract, Python and mathematics say of the same outputs.

The bounds of the contract against the exact value are those of `contracts/src/libraries/Outputs.sol`. Python's floats
have 53 bits: `math.exp` and the few operations after it stay within 2**-50 of the exact value, relative.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import Any

import pytest
from eth_abi.abi import decode, encode
from eth_utils.crypto import keccak

from app.chain.compiler import Contract
from app.chain.rounds import Rounds
from app.chain.rpc import Rpc
from app.chain.updates import update_calldata
from app.inference.network import dequantise, forecast_from
from app.inference.release import ReleasedModel
from app.types import SCALAR_FIELD, Regime

CASES = 1000
MOST_LOGIT, LEAST_LN, MOST_LN = 64, -16, 8
PROBABILITY_WITHIN = Decimal("3e-18")
VOLATILITY_WITHIN, UNIT = Decimal("1e-18"), Decimal("1e-18")
PYTHON_WITHIN = Decimal(2) ** -50
_DECODE = keccak(text="decode(uint256[],uint8)")[:4]


@dataclass(frozen=True, slots=True)
class Decoded:
    high: tuple[bool, ...]
    probabilities: tuple[Decimal, ...]
    volatilities: tuple[Decimal, ...]


@pytest.fixture(scope="module")
def scale(model: ReleasedModel) -> int:
    return model.output_scale


@pytest.fixture(scope="module")
def outputs(scale: int) -> list[tuple[int, int, int]]:
    """Logits near each other and far apart, volatilities from one end to the other, and the ends themselves."""
    rng, one = random.Random(5), 1 << scale
    ends = [
        (low * one, high * one, ln * one)
        for low, high in ((-MOST_LOGIT, MOST_LOGIT), (MOST_LOGIT, -MOST_LOGIT), (0, 0), (1, 1))
        for ln in (LEAST_LN, 0, MOST_LN)
    ]
    ends += [(0, 1, -1), (0, -1, 1), (MOST_LOGIT * one, MOST_LOGIT * one - 1, 1)]
    reaches = [rng.choice((1, 8, MOST_LOGIT)) * one for _ in range(CASES - len(ends))]
    made = [
        (rng.randint(-reach, reach), rng.randint(-reach, reach), rng.randint(LEAST_LN * one, MOST_LN * one))
        for reach in reaches
    ]
    return ends + made


@pytest.fixture
def by_contract(chain: Any, harnesses: dict[str, Contract], outputs: list[tuple[int, int, int]], scale: int) -> Decoded:
    """All of them in one call."""
    elements = [value % SCALAR_FIELD for window in outputs for value in window]
    call = _DECODE + encode(["uint256[]", "uint8"], [elements, scale])
    answer = chain.call(chain.create(harnesses["OutputsHarness"]), call)
    assert answer.error is None
    high, probabilities, volatilities = decode(["bool[]", "uint256[]", "uint256[]"], answer.data)
    return Decoded(
        high,
        tuple(Decimal(value).scaleb(-18) for value in probabilities),
        tuple(Decimal(value).scaleb(-18) for value in volatilities),
    )


@pytest.fixture(scope="module")
def exact(outputs: list[tuple[int, int, int]], scale: int) -> Decoded:
    with localcontext(prec=50):
        one = Decimal(2) ** scale
        return Decoded(
            tuple(high > low for low, high, _ in outputs),
            tuple(1 / (1 + (Decimal(low - high) / one).exp()) for low, high, _ in outputs),
            tuple((Decimal(ln) / one).exp() for _, _, ln in outputs),
        )


@pytest.fixture(scope="module")
def by_python(outputs: list[tuple[int, int, int]], scale: int) -> Decoded:
    forecasts = [forecast_from(dequantise(window, scale)) for window in outputs]
    return Decoded(
        tuple(forecast.regime is Regime.HIGH for forecast in forecasts),
        tuple(Decimal(forecast.p_high) for forecast in forecasts),
        tuple(Decimal(forecast.vol_annualised) for forecast in forecasts),
    )


def test_regime__is_the_same_everywhere(by_contract: Decoded, by_python: Decoded, exact: Decoded) -> None:
    assert len(exact.high) == CASES
    assert by_contract.high == exact.high
    assert by_python.high == exact.high


def test_contract__is_within_its_bounds_of_the_exact_values(by_contract: Decoded, exact: Decoded) -> None:
    with localcontext(prec=50):
        p_off = max(abs(a - b) for a, b in zip(by_contract.probabilities, exact.probabilities, strict=True))
        units_off = max(
            abs(a - b) - VOLATILITY_WITHIN * b
            for a, b in zip(by_contract.volatilities, exact.volatilities, strict=True)
        )
    assert p_off <= PROBABILITY_WITHIN
    assert units_off <= UNIT


def test_python__agrees_with_the_contract_to_what_floats_hold(by_contract: Decoded, by_python: Decoded) -> None:
    with localcontext(prec=50):
        for ours, theirs in zip(by_python.probabilities, by_contract.probabilities, strict=True):
            assert abs(ours - theirs) <= PROBABILITY_WITHIN + PYTHON_WITHIN * ours
        for ours, theirs in zip(by_python.volatilities, by_contract.volatilities, strict=True):
            assert abs(ours - theirs) <= UNIT + (VOLATILITY_WITHIN + PYTHON_WITHIN) * ours


def test_chain__says_of_a_published_round_what_python_serves(
    chain: Any, windows: list[Any], signatures: Any, model: ReleasedModel
) -> None:
    """Of real outputs, through the real oracle."""
    made = windows[0]
    assert chain.send(
        chain.oracle.contract, update_calldata(made.claim, made.proof, signatures(made.claim, chain.oracle))
    ).succeeded
    served = forecast_from(dequantise(made.proof.outputs, model.output_scale))
    found = Rounds(Rpc([chain.url]), chain.oracle).newest("btc-usdt-4h")
    assert found is not None
    assert (found.regime, found.window_end_ms) == (served.regime, made.claim.windows[0][1])
    assert found.vol_annualised == pytest.approx(served.vol_annualised, rel=1e-15)
