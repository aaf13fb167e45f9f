"""Makes `contracts/test/fixture`: generated verifiers and real proofs for the tests of the contracts.

Run ``python -m tests.contracts.make_fixture`` from the project's root (`make fixture`), about half a minute. Everything
stands on development reference strings that are made here and thrown away, so each run gives other verifiers, and none
of them may ever be deployed for more than a test.
"""

from __future__ import annotations

import hashlib
import json
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

from eth_utils.crypto import keccak

import app.training  # noqa: F401  it decides how threads wait, before anything loads torch
from app.chain.compiler import compile_contract
from app.features.variation import CANDLES_NEEDED, INPUTS, VariationSpec, observe
from app.inference.network import dequantise, forecast_from
from app.inference.release import NETWORK, ReleasedModel, load_model
from app.proving.pool import Limits, ProverPool
from app.sim.market import SimulatedMarket
from app.training.circuit import OUTPUT_SCALE, SINGLE
from app.training.export import read_weights, write_circuit
from app.types import MINUTE_MS, SCALAR_FIELD, Feed, Keys, ModelId, Proof, Window

ROOT = Path(__file__).resolve().parents[2]
FIXTURE = ROOT / "contracts" / "test" / "fixture"
RELEASED = ROOT / "models" / "btc-usdt-4h-v3"

FIRST_MS = 1_757_937_600_000  # 2025-09-15T12:00:00Z
HOUR_MS = 60 * MINUTE_MS
FEEDS = tuple(f"{asset}-usdt-4h" for asset in ("btc", "eth", "sol", "xrp", "bnb", "ada", "ltc", "dot", "link", "avax"))
CASES = 1000
LIMITS = Limits(time_s=300, memory_mib=4096)


@dataclass(frozen=True, slots=True)
class Model:
    """What proves: keys of one window and, for the released model, of several."""

    model_id: ModelId
    keys: Keys
    joint_keys: Keys | None = None


def main() -> None:
    FIXTURE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="veriregime-fixture-") as scratch, ProverPool(1, LIMITS) as pool:
        make(Path(scratch), pool)


def make(scratch: Path, pool: ProverPool) -> None:
    release = load_model(RELEASED)
    released, another = released_model(release, pool, scratch), another_model(pool, scratch)
    spec = VariationSpec.from_manifest(release.manifest["observation"])
    document = {
        "note": "Made by tests/contracts/make_fixture.py on development reference strings: never deploy the verifiers.",
        "outputScale": OUTPUT_SCALE,
        "model": described(released),
        "another": described(another),
        "first": single(pool, released, spec, FIRST_MS),
        "second": single(pool, released, spec, FIRST_MS + HOUR_MS),
        "ofAnother": single(pool, another, spec, FIRST_MS),
        "two": joint(pool, released, spec, FEEDS[:2], FIRST_MS + 2 * HOUR_MS),
        "ten": joint(pool, released, spec, FEEDS, FIRST_MS + 3 * HOUR_MS),
    }
    for name, keys in (("Single", released.keys), ("Joint", released.joint_keys), ("Another", another.keys)):
        assert keys is not None
        write_verifier(name, keys.verifier_sol)
    (FIXTURE / "proofs.json").write_text(json.dumps(document, indent=1) + "\n")
    (FIXTURE / "decoded.json").write_text(json.dumps(exactly_decoded(CASES)) + "\n")


def released_model(release: ReleasedModel, pool: ProverPool, scratch: Path) -> Model:
    assert release.batch is not None
    keys = pool.serving_keys(scratch, release.circuit)
    return Model(release.model_id, keys, pool.serving_keys(scratch, release.batch))


def another_model(pool: ProverPool, scratch: Path) -> Model:
    """The released network with its bias towards high one unit larger: as near to it as another model can be."""
    integers = read_weights(RELEASED / NETWORK)
    bias = integers.output_bias.copy()
    bias[1] += 1
    circuit, _ = write_circuit(replace(integers, output_bias=bias).as_floats(), scratch, SINGLE)
    return Model(
        ModelId(hashlib.sha256(b"another:" + circuit.compiled.read_bytes()).hexdigest()),
        pool.serving_keys(scratch, circuit),
    )


def write_verifier(name: str, source: Path) -> None:
    """Source and creation code. Forge deploys the code: without its optimiser, as coverage wants it, the generated
    source does not compile.
    """
    target = FIXTURE / f"{name}Verifier.sol"
    target.write_bytes(source.read_bytes())
    target.with_suffix(".hex").write_text(compile_contract(ROOT / "contracts", target, "Halo2Verifier").bytecode)


def single(pool: ProverPool, model: Model, spec: VariationSpec, end_ms: int) -> dict[str, Any]:
    values = observation(spec, FEEDS[0], end_ms)
    return published(model, FEEDS[:1], end_ms, pool.prove(model.keys, values))


def joint(pool: ProverPool, model: Model, spec: VariationSpec, feeds: Sequence[str], end_ms: int) -> dict[str, Any]:
    """One proof of all the feeds' windows; the places after the last are zeros, as the service leaves them."""
    assert model.joint_keys is not None
    values = [value for feed in feeds for value in observation(spec, feed, end_ms)]
    values += [0] * (model.joint_keys.circuit.windows * INPUTS - len(values))
    return published(model, feeds, end_ms, pool.prove(model.joint_keys, values))


def observation(spec: VariationSpec, feed: str, end_ms: int) -> tuple[int, ...]:
    """Each feed looks at a simulated world of its own."""
    candles = SimulatedMarket(FEEDS.index(feed)).candles("BTC/USDT", end_ms - CANDLES_NEEDED * MINUTE_MS, end_ms)
    return observe(Window(Feed(feed, "BTC/USDT"), end_ms, {"simulated": candles}), spec).values


def published(model: Model, feeds: Sequence[str], end_ms: int, proof: Proof) -> dict[str, Any]:
    """An update without signatures, and what Python says of its outputs, with 18 decimals."""
    windows = [proof.instances[3 * place : 3 * place + 3] for place in range(len(feeds))]
    forecasts = [forecast_from(dequantise(window, OUTPUT_SCALE)) for window in windows]
    return {
        "feeds": list(feeds),
        "windowEnd": end_ms // 1000,
        "modelId": "0x" + model.model_id,
        "commitment": "0x" + keccak(proof.commitment).hex(),
        "proof": "0x" + proof.proof.hex(),
        "outputs": [str(value % SCALAR_FIELD) for value in proof.instances],
        "regimeHigh": [forecast.regime == "high" for forecast in forecasts],
        "probabilityHigh": [str(round(forecast.p_high * 10**18)) for forecast in forecasts],
        "volatility": [str(round(forecast.vol_annualised * 10**18)) for forecast in forecasts],
    }


def described(model: Model) -> dict[str, Any]:
    return {
        "modelId": "0x" + model.model_id,
        "srsHash": "0x" + model.keys.srs_hash,
        "vkHash": "0x" + model.keys.vk_hash,
        "jointVkHash": "0x" + (model.joint_keys.vk_hash if model.joint_keys else "00" * 32),
        "jointWindows": model.joint_keys.circuit.windows if model.joint_keys else 0,
    }


def exactly_decoded(count: int) -> dict[str, Any]:
    """Random outputs in the range that the contract accepts, with what they say rounded to 18 decimals."""
    rng = random.Random(0)
    one = 2**OUTPUT_SCALE
    logits = [[rng.randint(-reach * one, reach * one) for reach in rng.choices((1, 8, 64), k=2)] for _ in range(count)]
    ln_volatilities = [rng.choice((rng.randint(-4 * one, 2 * one), rng.randint(-16 * one, 8 * one))) for _ in logits]
    with localcontext(prec=50):
        probabilities = [1 / (1 + exact_exp(low - high)) for low, high in logits]
        volatilities = [exact_exp(value) for value in ln_volatilities]
        return {
            "logitLow": [low for low, _ in logits],
            "logitHigh": [high for _, high in logits],
            "lnVolatility": ln_volatilities,
            "probabilityHigh": [f"{value.scaleb(18):.0f}" for value in probabilities],
            "volatility": [f"{value.scaleb(18):.0f}" for value in volatilities],
        }


def exact_exp(output: int) -> Decimal:
    exponent: Decimal = Decimal(output) / 2**OUTPUT_SCALE
    return exponent.exp()


if __name__ == "__main__":
    main()
