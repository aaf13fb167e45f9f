"""The part of a bundle that tells who signed."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from app.audit.bundle import MOST_WINDOWS, Bundle, BundleAttested, make_bundle, parse_bundle
from app.errors import BundleOutOfForm
from app.features.variation import candles_digest
from app.types import AttesterSignature, Candles, Claim, ModelId, OracleAt, Prediction, Proof, Status

LIMIT = 1 << 24
ORACLE = OracleAt(31337, "0x5FbDB2315678afecb367f032d93F642f64180aa3")
SIGNATURES = [AttesterSignature("0x" + f"{one:02x}" * 20, bytes([one]) * 32, bytes([one + 9]) * 32) for one in (1, 2)]
JsonObject = dict[str, Any]


@pytest.fixture
def bundle(
    make_prediction: Callable[..., Prediction],
    make_candles: Callable[..., Candles],
    make_proof: Callable[..., Proof],
) -> Bundle:
    candles = {"binance": make_candles(6)}
    prediction = make_prediction(candles_sha256=candles_digest(candles), status=Status.PROVED)
    claim = Claim(((prediction.feed, prediction.window_end_ms),), ModelId("ab" * 32), b"\7" * 32, joint=False)
    return make_bundle(
        prediction,
        make_proof(),
        prediction.predicted_at_ms + 250,
        candles,
        circuit_hash="ef" * 32,
        ezkl_version="23.0.5",
        srs_development=True,
        attested=BundleAttested.of(ORACLE, claim, SIGNATURES),
    )


@pytest.fixture
def loose(bundle: Bundle) -> JsonObject:
    whole: JsonObject = json.loads(bundle.model_dump_json())
    return whole


def test_bundle__attested__holds_the_oracle_the_windows_and_every_signature(loose: JsonObject) -> None:
    assert loose["attested"] == {
        "chain_id": 31337,
        "oracle": ORACLE.contract,
        "windows": [["btc-usdt-4h", "2025-09-15T12:00:00Z"]],
        "signatures": [
            {"signer": one.signer, "r": "0x" + one.r.hex(), "vs": "0x" + one.vs.hex()} for one in SIGNATURES
        ],
    }


def test_parse_bundle__attested__is_the_same_with_the_same_digest(bundle: Bundle) -> None:
    read = parse_bundle(bundle.model_dump_json().encode(), LIMIT)
    assert (read, read.digest()) == (bundle, bundle.sha256)


def test_parse_bundle__as_many_windows_and_signatures_as_there_can_be__is_read(loose: JsonObject) -> None:
    attested = loose["attested"]
    attested["windows"] *= MOST_WINDOWS
    attested["signatures"] *= 32
    assert parse_bundle(json.dumps(loose).encode(), LIMIT).attested is not None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("chain_id", 0),
        ("chain_id", 2**63),
        ("chain_id", "31337"),
        ("chain_id", True),
        ("chain_id", None),
        ("oracle", "0x" + "11" * 19),
        ("oracle", "0x" + "zz" * 20),
        ("oracle", ORACLE.contract + "\n"),
        ("oracle", None),
        ("windows", []),
        ("windows", [["btc-usdt-4h"]]),
        ("windows", [["btc-usdt-4h", 1_757_937_600_000]]),
        ("windows", [["BTC", "2025-09-15T12:00:00Z"]]),
        ("windows", [["btc-usdt-4h", "2025-09-15T12:00:00Z"]] * (MOST_WINDOWS + 1)),
        ("windows", None),
        ("signatures", []),
        ("signatures", [None]),
        ("signatures", None),
        ("threshold", 2),
    ],
)
def test_parse_bundle__attested_out_of_form__is_named(loose: JsonObject, field: str, value: object) -> None:
    loose["attested"][field] = value
    with pytest.raises(BundleOutOfForm, match=rf"^attested\.{field}"):
        parse_bundle(json.dumps(loose).encode(), LIMIT)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("signer", "0x" + "11" * 21),
        ("signer", None),
        ("r", "0x" + "11" * 31),
        ("r", "0x" + "AA" * 32),
        ("vs", "0x" + "11" * 33),
        ("vs", 7),
        ("v", 27),
    ],
)
def test_parse_bundle__signature_out_of_form__is_named(loose: JsonObject, field: str, value: object) -> None:
    loose["attested"]["signatures"][1][field] = value
    with pytest.raises(BundleOutOfForm, match=rf"^attested\.signatures\.1\.{field}"):
        parse_bundle(json.dumps(loose).encode(), LIMIT)


@pytest.mark.parametrize("attested", [{}, [], 7, "attested"])
def test_parse_bundle__attested_incomplete_or_of_another_kind__is_named(loose: JsonObject, attested: object) -> None:
    loose["attested"] = attested
    with pytest.raises(BundleOutOfForm, match=r"^attested"):
        parse_bundle(json.dumps(loose).encode(), LIMIT)


@pytest.mark.parametrize(
    "change",
    [
        lambda whole: whole["attested"].update(chain_id=1),
        lambda whole: whole["attested"].update(oracle="0x" + "11" * 20),
        lambda whole: whole["attested"]["windows"][0].__setitem__(1, "2025-09-15T12:01:00Z"),
        lambda whole: whole["attested"]["signatures"].reverse(),
        lambda whole: whole["attested"]["signatures"].pop(),
        lambda whole: whole.update(attested=None),
    ],
    ids=["chain", "oracle", "window", "order", "one signature less", "none at all"],
)
def test_digest__of_another_attested_part__is_another(
    bundle: Bundle, loose: JsonObject, change: Callable[[JsonObject], object]
) -> None:
    before = copy.deepcopy(loose)
    change(loose)
    assert loose != before
    assert parse_bundle(json.dumps(loose).encode(), LIMIT).digest() != bundle.sha256
