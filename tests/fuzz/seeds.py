"""Genuine inputs to start from: simulated candles, the released model, and where it is asked for a real proof."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet

from app.audit.bundle import Bundle, BundleAttested, make_bundle
from app.candles.files import COLUMNS
from app.chain.account import Account
from app.chain.attestation import input_commitment, sign
from app.features.variation import CANDLES_NEEDED, VariationSpec, candles_digest, observe
from app.inference.network import Network, dequantise, forecast_from
from app.inference.release import ReleasedModel
from app.proving.pool import Limits, ProverPool
from app.sim.market import SimulatedMarket
from app.types import (
    MINUTE_MS,
    Candles,
    Claim,
    Feed,
    OracleAt,
    Prediction,
    Proof,
    Regime,
    Sources,
    Status,
    Window,
    prediction_id,
)

FEED, SYMBOL = "btc-usdt-4h", "BTC/USDT"
WINDOW_END_MS = 1_757_937_600_000
_ORACLE = OracleAt(31_337, "0x" + "11" * 20)
_WEEK = re.compile(rb'"@week([^"]*)"')


@cache
def simulated(minutes: int) -> Candles:
    """The last minutes before `WINDOW_END_MS`."""
    return SimulatedMarket(seed=3).candles(SYMBOL, WINDOW_END_MS - minutes * MINUTE_MS, WINDOW_END_MS)


def small_bundle(model: ReleasedModel) -> dict[str, Any]:
    """A bundle of a few minutes, in form only: nothing in it was computed. A few kilobytes."""
    candles = {"binance": simulated(6), "kraken": simulated(5)}
    prediction = _prediction(model, candles, observation=(0, 7, -384), outputs=(-0.25, 0.1, -1.1))
    proof = Proof(
        proof=bytes(range(256)),
        instances=(-33_554_432, 13_421_773, -147_454_000),
        commitment=bytes(64),
        vk_hash="12" * 32,
        srs_hash="34" * 32,
        witness_seconds=0,
        prove_seconds=0,
        verify_seconds=0,
        members=(prediction.id, None),
    )
    return _document(_bundle(model, prediction, proof, candles, observations=[prediction.observation, None]))


def genuine_bundle(model: ReleasedModel, var_dir: Path) -> Bundle:
    """A bundle that holds, of one venue, with a proof under the development SRS of ``var_dir``."""
    candles = {"binance": simulated(CANDLES_NEEDED)}
    window = Window(Feed(FEED, SYMBOL), WINDOW_END_MS, candles, quorum=1)
    observation = observe(window, VariationSpec.from_manifest(model.manifest["observation"])).values
    network = tuple(float(value) for value in Network(model).outputs(np.asarray([observation]))[0])
    with ProverPool(1, Limits()) as pool:
        proof = pool.prove(pool.serving_keys(var_dir, model.circuit), observation)
    return _bundle(model, _prediction(model, candles, observation, network, proof), proof, candles)


@dataclass(frozen=True, slots=True)
class Week:
    """The candles of a genuine bundle, kept out of the inputs that are mutated and put back in `expand`."""

    rows: list[list[Any]]

    def expand(self, raw: bytes) -> bytes:
        """``raw`` with the placeholders of `without_week` filled in, ``@week`` after the changes that it asks for.

        ``@week 7 2 1e999`` is the week with 1e999 for the value in column 2 of row 7.
        """
        found = _WEEK.search(raw)
        if found is None:
            return raw
        lines = [json.dumps(row) for row in self.rows]
        changes = found[1].decode("latin-1").split(" ")[1:]
        for row, column, value in zip(changes[::3], changes[1::3], changes[2::3], strict=False):
            if row.isdecimal() and column.isdecimal():
                cells = lines[int(row) % len(lines)].strip("[]").split(",")
                cells[int(column) % len(cells)] = value
                lines[int(row) % len(lines)] = f"[{','.join(cells)}]"
        text = f"[{','.join(lines)}]"
        return raw.replace(found[0], text.encode("latin-1")).replace(b"@digest", _digest(text).encode())


def without_week(bundle: Bundle) -> tuple[dict[str, Any], Week]:
    """A bundle in a few kilobytes, and what its placeholders stand for."""
    document = _document(bundle)
    (venue,) = document["candles"]
    week = Week(document["candles"][venue])
    return document | {"candles": {venue: "@week"}, "candles_sha256": "@digest"}, week


def candle_table(minutes: int = 8) -> dict[str, list[Any]]:
    """Columns by name."""
    candles = simulated(minutes)
    return {name: getattr(candles, name.replace("open_time", "open_time_ms")).tolist() for name in COLUMNS}


def candle_csv(table: Mapping[str, Any]) -> bytes:
    target = io.BytesIO()
    pa_csv.write_csv(pa.table(dict(table)), target)
    return target.getvalue()


def candle_parquet(table: Mapping[str, Any], **options: Any) -> bytes:
    target = io.BytesIO()
    pa_parquet.write_table(pa.table(dict(table)), target, **options)
    return target.getvalue()


def _document(bundle: Bundle) -> dict[str, Any]:
    whole: dict[str, Any] = json.loads(bundle.model_dump_json())
    return whole


def _digest(rows: str) -> str:
    """Of candles that may be none."""
    try:
        with np.errstate(all="ignore"):
            return candles_digest({"binance": Candles.from_rows(json.loads(rows))})
    except (ValueError, TypeError, OverflowError):
        return "00" * 32


def _prediction(
    model: ReleasedModel,
    candles: Mapping[str, Candles],
    observation: tuple[int, ...],
    outputs: tuple[float, ...],
    proof: Proof | None = None,
) -> Prediction:
    forecast = forecast_from(dequantise(proof.outputs, model.output_scale)) if proof else None
    return Prediction(
        id=prediction_id(FEED, WINDOW_END_MS, model.model_id),
        feed=FEED,
        window_end_ms=WINDOW_END_MS,
        model_id=model.model_id,
        status=Status.PROVED,
        failure=None,
        regime=forecast.regime if forecast else Regime.LOW,
        p_high=forecast.p_high if forecast else 0.25,
        vol_annualised=forecast.vol_annualised if forecast else 0.5,
        network_outputs=outputs,
        observation=observation,
        quorum=1,
        sources=Sources(dict.fromkeys(candles, SYMBOL), {}, as_of=1),
        candles_sha256=candles_digest(candles),
        predicted_at_ms=WINDOW_END_MS + 1_234,
    )


def _bundle(
    model: ReleasedModel,
    prediction: Prediction,
    proof: Proof,
    candles: Mapping[str, Candles],
    observations: list[tuple[int, ...] | None] | None = None,
) -> Bundle:
    claim = Claim(((FEED, WINDOW_END_MS),), model.model_id, input_commitment(proof.proof), joint=bool(proof.members))
    signature = sign(Account.from_secret("0x" + "22" * 32, None, "fuzz"), _ORACLE, claim)
    return make_bundle(
        prediction,
        proof,
        prediction.predicted_at_ms + 250,
        candles,
        circuit_hash=model.circuit.compiled_sha256,
        ezkl_version=model.manifest["ezkl_version"],
        srs_development=True,
        observations=observations or (),
        attested=BundleAttested.of(_ORACLE, claim, [signature]),
    )
