"""The figures behind the tolerances, made anew: ``pytest -m slow -s tests/unit/attester/test_tolerance_figures.py``.

There is no recording of two liquid venues over the same weeks. So a second venue is made from a recorded one: the same
prices with noise of so many basis points in every minute's close, as two venues differ by spread and by the second
of their last trade. The one recorded pair, of 2019, is thinly traded on one side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.attester.tolerance import Tolerance
from app.candles.files import read_candles
from app.features.returns import absolute_returns
from app.features.variation import PARTS, VARIATION_INPUTS, WINDOW_MINUTES, VariationSpec, quantise, variation_levels
from app.inference.network import Network, forecast_from
from app.inference.release import ReleasedModel
from app.types import MINUTE_MS, Candles, IntArray

DAYS, EVERY = 200, 211
TOLERANCE = Tolerance()
UNITS = np.asarray([TOLERANCE.units(index, 7) for index in range(VARIATION_INPUTS)])
CLIP = 512
KINDS = {
    **{f"last {minutes} min": [index] for index, (_, minutes) in enumerate(PARTS[:10])},
    "hours": list(range(10, 30)),
    "4 hours": list(range(30, 66)),
}


def noisy(candles: Candles, basis_points: float, seed: int) -> Candles:
    noise = np.random.default_rng(seed).normal(size=len(candles)) * basis_points * 1e-4
    return replace(candles, close=candles.close * np.exp(noise))


def observations(candles: Candles, spec: VariationSpec, ends_ms: IntArray, start_ms: int) -> tuple[IntArray, IntArray]:
    """Integers (n, inputs) of the windows, and which of them are complete."""
    returns = absolute_returns(candles, start_ms, int(ends_ms[-1]))
    levels, complete = variation_levels(returns, (ends_ms - start_ms) // MINUTE_MS)
    return quantise(levels, ends_ms, spec), complete


@pytest.fixture(scope="module")
def spec(model: ReleasedModel) -> VariationSpec:
    return VariationSpec.from_manifest(model.manifest["observation"])


@pytest.fixture(scope="module")
def network(model: ReleasedModel) -> Network:
    return Network(model)


@pytest.fixture(scope="module")
def seen(recorded_btc: Path, spec: VariationSpec) -> Callable[[float, int], IntArray]:
    """What a venue with so much noise shows of windows of the last 200 recorded days."""
    recorded = read_candles(recorded_btc)
    end_ms = int(recorded.open_time_ms[-1]) + MINUTE_MS
    start_ms = end_ms - DAYS * 1440 * MINUTE_MS
    part = recorded.between(start_ms - MINUTE_MS, end_ms)
    ends_ms = np.arange(start_ms + WINDOW_MINUTES * MINUTE_MS, end_ms, EVERY * MINUTE_MS)

    def look(basis_points: float, seed: int) -> IntArray:
        found, complete = observations(noisy(part, basis_points, seed), spec, ends_ms, start_ms)
        assert complete.all()
        return found

    return look


def accepted(network: Network, own: IntArray, proposed: IntArray) -> tuple[float, float]:
    """Share of windows within the tolerance of every input, and within that of the forecast as well."""
    inputs = np.asarray(
        [TOLERANCE.inputs_differ(a, b, 7) is None for a, b in zip(own.tolist(), proposed.tolist(), strict=True)]
    )
    forecasts = np.asarray(
        [
            TOLERANCE.forecasts_differ(forecast_from(a), forecast_from(b)) is None
            for a, b in zip(network.outputs(own), network.outputs(proposed), strict=True)
        ]
    )
    return float(inputs.mean()), float((inputs & forecasts).mean())


def told(name: str, network: Network, own: IntArray, proposed: IntArray) -> None:
    apart = np.abs(own - proposed)
    row = [f"{np.quantile(apart[:, kind], 0.99):.0f}" for kind in KINDS.values()]
    outputs, others = network.outputs(own), network.outputs(proposed)
    volatility = np.abs(outputs[:, 2] - others[:, 2])
    p_high = np.abs(_p_high(outputs) - _p_high(others))
    shares = accepted(network, own, proposed)
    print(f"\n{name}: {len(own)} windows, 99 % quantiles {dict(zip(KINDS, row, strict=True))}")
    print(f"  |ln vol| median {np.median(volatility):.3f}, 99 % {np.quantile(volatility, 0.99):.3f}", end="; ")
    print(f"p_high 99 % {np.quantile(p_high, 0.99):.3f}; signed {shares[1]:.2%} (inputs alone {shares[0]:.2%})")


def _p_high(outputs: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    return np.asarray(1 / (1 + np.exp(outputs[:, 0] - outputs[:, 1])))


def pushed(network: Network, own: IntArray, output: Callable[[np.ndarray], np.ndarray], sign: int) -> IntArray:  # type: ignore[type-arg]
    """Every input at its limit, in the direction that moves the output most by the network's slope there."""
    worst = own.copy()
    base = output(network.outputs(own))
    for index in range(VARIATION_INPUTS):
        shifted = own.copy()
        shifted[:, index] = np.clip(shifted[:, index] + UNITS[index], -CLIP, CLIP)
        step = np.sign(output(network.outputs(shifted)) - base).astype(np.int64) * sign
        worst[:, index] = np.clip(own[:, index] + step * UNITS[index], -CLIP, CLIP)
    return worst


def test_two_venues__with_half_a_basis_point_of_noise_each__agree_nearly_always(
    seen: Callable[[float, int], IntArray], network: Network
) -> None:
    inputs, both = accepted(network, seen(0.5, 1), seen(0.5, 2))
    assert inputs > 0.995
    assert both > 0.995


def test_every_input_at_its_limit__would_move_the_forecast_far__but_is_not_signed(
    seen: Callable[[float, int], IntArray], network: Network
) -> None:
    """What the guard on the forecast is for: without it a proposer could choose within these bounds."""
    own = seen(0.0, 0)[::20]
    for sign in (1, -1):
        worst = pushed(network, own, lambda outputs: outputs[:, 2], sign)
        inputs, both = accepted(network, own, worst)
        moved = np.abs(network.outputs(worst)[:, 2] - network.outputs(own)[:, 2])
        assert (inputs, both) == (1.0, 0.0)
        assert np.median(moved) > 3 * TOLERANCE.volatility


@pytest.mark.slow
def test_figures__of_the_guide(
    seen: Callable[[float, int], IntArray],
    network: Network,
    spec: VariationSpec,
    recorded_btc: Path,
) -> None:
    for basis_points in (0.25, 0.5, 1.0, 2.0):
        told(f"both with {basis_points} bp", network, seen(basis_points, 1), seen(basis_points, 2))
    for basis_points in (0.25, 0.5, 1.0):
        told(f"one with {basis_points} bp", network, seen(0.0, 0), seen(basis_points, 1))
    own = seen(0.0, 0)[::4]
    for sign in (1, -1):
        for name, output in (("ln vol", lambda o: o[:, 2]), ("p_high", _p_high)):
            moved = output(network.outputs(pushed(network, own, output, sign))) - output(network.outputs(own))
            low, middle, high = np.quantile(moved, [0.05, 0.5, 0.95])
            print(f"worst case, {name} pushed {sign:+d}: median {middle:+.3f}, 5 % {low:+.3f}, 95 % {high:+.3f}")
    binance, bitfinex = (
        read_candles(recorded_btc.parent / f"{name}_2019q4.parquet")
        for name in ("btcusdt_1m_binance", "btcusd_1m_bitfinex")
    )
    start_ms = max(int(binance.open_time_ms[0]), int(bitfinex.open_time_ms[0]))
    end_ms = min(int(binance.open_time_ms[-1]), int(bitfinex.open_time_ms[-1]))
    ends_ms = np.arange(start_ms + WINDOW_MINUTES * MINUTE_MS, end_ms, 61 * MINUTE_MS)
    (own, here), (other, there) = (observations(one, spec, ends_ms, start_ms) for one in (binance, bitfinex))
    told("Binance and Bitfinex, 2019", network, own[here & there], other[here & there])
    assert accepted(network, own[here & there], other[here & there])[1] < 0.05
