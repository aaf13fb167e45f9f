from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.audit.bundle import (
    Bundle,
    BundleAttested,
    BundleJoint,
    BundleSignature,
    instance_word,
    make_bundle,
    parse_bundle,
)
from app.errors import BundleMalformed, BundleOutOfForm, BundleTooLarge, CandlesGone
from app.features.variation import CANDLES_NEEDED, candles_digest
from app.types import SCALAR_FIELD, Candles, Prediction, Proof, Status

LIMIT = 1 << 20
JsonObject = dict[str, Any]
Refusal = Callable[..., str]

any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture
def candles(make_candles: Callable[..., Candles]) -> dict[str, Candles]:
    return {"binance": make_candles(6), "kraken": make_candles(5, seed=1)}


@pytest.fixture
def prediction(make_prediction: Callable[..., Prediction], candles: dict[str, Candles]) -> Prediction:
    return make_prediction(candles_sha256=candles_digest(candles), status=Status.PROVED)


@pytest.fixture
def bundle(prediction: Prediction, candles: dict[str, Candles], make_proof: Callable[..., Proof]) -> Bundle:
    proved_at_ms = prediction.predicted_at_ms + 250
    return make_bundle(
        prediction,
        make_proof(),
        proved_at_ms,
        candles,
        circuit_hash="ef" * 32,
        ezkl_version="23.0.5",
        srs_development=True,
    )


@pytest.fixture
def loose(bundle: Bundle) -> JsonObject:
    """The bundle as plain JSON, to be spoilt."""
    whole: JsonObject = json.loads(bundle.model_dump_json())
    return whole


@pytest.fixture
def refusal() -> Refusal:
    """Why a spoilt bundle is out of form."""

    def reason(spoilt: JsonObject) -> str:
        with pytest.raises(BundleOutOfForm) as caught:
            parse_bundle(json.dumps(spoilt).encode(), LIMIT)
        return str(caught.value)

    return reason


def test_parse_bundle__of_what_was_written__is_the_same(bundle: Bundle) -> None:
    assert parse_bundle(bundle.model_dump_json().encode(), LIMIT) == bundle


def test_parse_bundle__of_what_was_written__keeps_its_digest(bundle: Bundle) -> None:
    assert parse_bundle(bundle.model_dump_json().encode(), LIMIT).digest() == bundle.sha256


def test_parse_bundle__largest_size__is_read(bundle: Bundle) -> None:
    raw = bundle.model_dump_json().encode()
    assert parse_bundle(raw, len(raw)) == bundle


def test_parse_bundle__one_byte_too_many__is_refused_with_both_sizes(bundle: Bundle) -> None:
    raw = bundle.model_dump_json().encode()
    with pytest.raises(BundleTooLarge, match=rf"has {len(raw):,} bytes; at most {len(raw) - 1:,} are read"):
        parse_bundle(raw, len(raw) - 1)


def test_parse_bundle__too_large_and_not_json__is_refused_for_its_size() -> None:
    with pytest.raises(BundleTooLarge):
        parse_bundle(b"\xff" * 11, 10)


@pytest.mark.parametrize(
    "raw",
    [b"", b"hello", b"\xff\xfe", b'{"format":', b"[" * 100_000, b'{"a":' * 100_000],
    ids=["empty", "words", "binary", "cut-off", "deep-lists", "deep-objects"],
)
def test_parse_bundle__not_json__is_no_bundle(raw: bytes) -> None:
    with pytest.raises(BundleMalformed) as caught:
        parse_bundle(raw, LIMIT)
    assert type(caught.value) is BundleMalformed


@pytest.mark.parametrize("raw", [b"[]", b"{}", b"null", b"7", b'"bundle"', b'{"format": "veriregime-model/1"}'])
def test_parse_bundle__other_json__is_no_bundle(raw: bytes) -> None:
    with pytest.raises(BundleMalformed, match=r"this is no veriregime-bundle/4 file") as caught:
        parse_bundle(raw, LIMIT)
    assert type(caught.value) is BundleMalformed


def test_parse_bundle__another_format__is_no_bundle(loose: JsonObject) -> None:
    loose["format"] = "veriregime-bundle/3"
    with pytest.raises(BundleMalformed, match="this is no veriregime-bundle/4 file"):
        parse_bundle(json.dumps(loose).encode(), LIMIT)


@pytest.mark.parametrize("field", sorted(set(Bundle.model_fields) - {"format"}))
def test_parse_bundle__missing_field__is_named(loose: JsonObject, refusal: Refusal, field: str) -> None:
    del loose[field]
    assert refusal(loose) == f"{field}: Field required"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("field", ["p_high", "vol_annualised"])
def test_parse_bundle__not_a_finite_number__is_out_of_form(
    loose: JsonObject, refusal: Refusal, field: str, value: float
) -> None:
    loose[field] = value
    assert refusal(loose) == f"{field}: Input should be a finite number"


def test_parse_bundle__nan_price__is_out_of_form(loose: JsonObject, refusal: Refusal) -> None:
    loose["candles"]["kraken"][2][4] = float("nan")
    assert refusal(loose) == "candles.kraken.2.4: Input should be a finite number"


def test_parse_bundle__number_beyond_doubles__is_out_of_form(bundle: Bundle) -> None:
    raw = bundle.model_dump_json().replace(f'"p_high":{bundle.p_high}', '"p_high":1e999')
    with pytest.raises(BundleOutOfForm, match="p_high"):
        parse_bundle(raw.encode(), LIMIT)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", 7),
        ("id", "AB" * 16),
        ("id", "ab" * 16 + "\n"),
        ("feed", ""),
        ("feed", "BTC"),
        ("feed", "x" * 65),
        ("feed", "../etc"),
        ("window_end", 1_757_937_600_000),
        ("window_end", "2025-09-15 12:00:00"),
        ("window_end", "2025-09-15T12:00:00+00:00"),
        ("model_id", "ab"),
        ("regime", "middling"),
        ("regime", None),
        ("p_high", "0.5"),
        ("p_high", True),
        ("vol_annualised", None),
        ("markets", None),
        ("markets", {}),
        ("markets", {"binance": "BTCUSDT"}),
        ("markets", {"binance": "btc/usdt"}),
        ("markets", {"binance": "BTC/USDT:USDT"}),
        ("markets", {"BINANCE": "BTC/USDT"}),
        ("markets", {f"venue{number}": "BTC/USDT" for number in range(17)}),
        ("quorum", 0),
        ("quorum", 17),
        ("quorum", 2.0),
        ("quorum", True),
        ("quorum", None),
        ("candles", []),
        ("candles", {}),
        ("candles", {"binance": "none"}),
        ("candles", {"BINANCE": []}),
        ("candles", {f"venue{number}": [] for number in range(17)}),
        ("observation", "[]"),
        ("observation", [1.5]),
        ("observation", ["1"]),
        ("observation", [True]),
        ("observation", [0] * 4097),
        ("network_outputs", [None]),
        ("network_outputs", [0.0] * 65),
        ("outputs", [0.5]),
        ("outputs", [0] * 65),
        ("proof", "0x00"),
        ("sha256", None),
    ],
)
def test_parse_bundle__wrong_type_or_form__is_named(
    loose: JsonObject, refusal: Refusal, field: str, value: object
) -> None:
    loose[field] = value
    assert refusal(loose).startswith(field)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("proof", "00"),
        ("proof", "0x0"),
        ("proof", "0xGG"),
        ("proof", "0x" + "00" * 65_536),
        ("instances", ["0x00"]),
        ("instances", ["0x" + "00" * 32] * 193),
        ("commitment", "0x" + "00" * 63),
        ("vk_hash", "0x" + "00" * 31),
        ("srs_hash", ""),
        ("circuit_hash", None),
        ("ezkl_version", "2" * 33),
    ],
)
def test_parse_bundle__wrong_form_in_the_proof__is_named(
    loose: JsonObject, refusal: Refusal, field: str, value: object
) -> None:
    loose["proof"][field] = value
    assert refusal(loose).startswith(f"proof.{field}")


@pytest.mark.parametrize("row", [[0, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1, 1], [0.5, 1, 1, 1, 1, 1], ["0", 1, 1, 1, 1, 1]])
def test_parse_bundle__row_that_is_no_candle__is_named(loose: JsonObject, refusal: Refusal, row: list[object]) -> None:
    loose["candles"]["binance"][1] = row
    assert refusal(loose).startswith("candles.binance.1")


def test_parse_bundle__more_rows_than_a_window_has__are_refused(loose: JsonObject, refusal: Refusal) -> None:
    loose["candles"]["binance"] = [[0, 1, 1, 1, 1, 1]] * (CANDLES_NEEDED + 1)
    assert refusal(loose).startswith("candles.binance: List should have at most 10081 items")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("observation", 2**31 + 1),
        ("observation", -(2**63)),
        ("outputs", SCALAR_FIELD // 2 + 1),
        ("outputs", -(10**100)),
    ],
)
def test_parse_bundle__integer_out_of_range__is_refused(
    loose: JsonObject, refusal: Refusal, field: str, value: int
) -> None:
    loose[field] = [value]
    assert refusal(loose).startswith(f"{field}.0")


@pytest.mark.parametrize("digits", [129, 10_000])
def test_parse_bundle__integer_of_more_digits_than_any__is_refused(bundle: Bundle, digits: int) -> None:
    raw = bundle.model_dump_json().replace('"outputs":[', '"outputs":[' + "9" * digits + ",")
    with pytest.raises(BundleMalformed, match=f"it has {digits:,} digits in a number"):
        parse_bundle(raw.encode(), LIMIT)


def test_parse_bundle__candle_time_beyond_the_calendar__is_refused(loose: JsonObject, refusal: Refusal) -> None:
    loose["candles"]["binance"][-1][0] = 60_000 * 10**13
    assert refusal(loose).startswith("candles.binance")


def test_parse_bundle__name_of_many_kilobytes__is_shown_in_a_short_line(loose: JsonObject, refusal: Refusal) -> None:
    loose["proof"]["x" * 50_000] = 0
    assert len(refusal(loose)) < 200


def test_parse_bundle__largest_field_integers__are_read(loose: JsonObject) -> None:
    loose["outputs"] = [SCALAR_FIELD // 2, -(SCALAR_FIELD // 2)]
    assert parse_bundle(json.dumps(loose).encode(), LIMIT).outputs == loose["outputs"]


@pytest.mark.parametrize("path", [(), ("proof",)], ids=["bundle", "proof"])
def test_parse_bundle__extra_field__is_refused_by_name(
    loose: JsonObject, refusal: Refusal, path: tuple[str, ...]
) -> None:
    inner = loose
    for part in path:
        inner = inner[part]
    inner["signature"] = "0x00"
    assert refusal(loose) == ".".join([*path, "signature"]) + ": Extra inputs are not permitted"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(field=st.sampled_from(sorted(Bundle.model_fields)), value=any_json)
def test_parse_bundle__anything_in_any_field__is_a_bundle_or_malformed(
    loose: JsonObject, field: str, value: object
) -> None:
    raw = json.dumps({**loose, field: value}).encode()
    try:
        parsed = parse_bundle(raw, LIMIT)
    except BundleMalformed:
        return
    assert json.loads(parsed.model_dump_json())[field] == value


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_parse_bundle__any_bytes__are_no_bundle(raw: bytes) -> None:
    with pytest.raises(BundleMalformed):
        parse_bundle(raw, LIMIT)


OTHER_VALUES = {
    "id": "0" * 32,
    "feed": "eth-usdt-4h",
    "window_end": "2025-09-15T12:01:00Z",
    "model_id": "00" * 32,
    "regime": "low",
    "p_high": 0.3,
    "vol_annualised": 0.3333333333333334,
    "markets": {"binance": "BTC/USD", "kraken": "BTC/USDT"},
    "quorum": 1,
    "candles": {},
    "candles_sha256": "00" * 32,
    "observation": [-384, 0, 7, 383],
    "network_outputs": [-0.25, 0.1, -1.0],
    "outputs": [0, 0, 0],
    "joint": BundleJoint(slot=0, observations=[[-384, 0, 7, 384]]),
    "attested": BundleAttested(
        chain_id=1,
        oracle="0x" + "11" * 20,
        windows=[("btc-usdt-4h", "2025-09-15T12:00:00Z")],
        signatures=[BundleSignature(signer="0x" + "22" * 20, r="0x" + "33" * 32, vs="0x" + "44" * 32)],
    ),
    "predicted_at": "2025-09-15T12:00:00Z",
    "proved_at": "2025-09-15T12:00:00Z",
}
OTHER_PROOF_VALUES = {
    "proof": "0x00",
    "instances": [],
    "commitment": "0x" + "00" * 64,
    "vk_hash": "00" * 32,
    "srs_hash": "00" * 32,
    "srs_development": False,
    "circuit_hash": "00" * 32,
    "ezkl_version": "23.0.6",
}


@pytest.mark.parametrize("field", OTHER_VALUES)
def test_digest__another_value_of_any_field__is_another(bundle: Bundle, field: str) -> None:
    assert bundle.model_copy(update={field: OTHER_VALUES[field]}).digest() != bundle.digest()


@pytest.mark.parametrize("field", OTHER_PROOF_VALUES)
def test_digest__another_value_of_any_field_of_the_proof__is_another(bundle: Bundle, field: str) -> None:
    other = bundle.proof.model_copy(update={field: OTHER_PROOF_VALUES[field]})
    assert bundle.model_copy(update={"proof": other}).digest() != bundle.digest()


def test_digest__every_field_but_two__is_tried_above(bundle: Bundle) -> None:
    assert set(Bundle.model_fields) - set(OTHER_VALUES) == {"format", "proof", "sha256"}
    assert set(type(bundle.proof).model_fields) == set(OTHER_PROOF_VALUES)


def test_digest__of_a_made_bundle__is_the_one_it_states(bundle: Bundle) -> None:
    assert bundle.digest() == bundle.sha256


def test_digest__the_stated_digest__does_not_enter_it(bundle: Bundle) -> None:
    assert bundle.model_copy(update={"sha256": "00" * 32}).digest() == bundle.digest()


def test_make_bundle__candles_as_stored__are_in_it_row_by_row(bundle: Bundle, candles: dict[str, Candles]) -> None:
    found = {venue: [list(row) for row in rows] for venue, rows in bundle.candles.items()}
    assert found == {venue: part.rows() for venue, part in candles.items()}


def test_make_bundle__markets_and_quorum__are_those_of_the_prediction(bundle: Bundle, prediction: Prediction) -> None:
    assert (bundle.markets, bundle.quorum) == (prediction.sources.markets, prediction.quorum)


def test_make_bundle__instances__are_field_words_of_the_outputs(bundle: Bundle) -> None:
    assert bundle.proof.instances == [instance_word(value) for value in bundle.outputs]


def test_make_bundle__other_candles_than_predicted_from__is_refused(
    prediction: Prediction, candles: dict[str, Candles], make_proof: Callable[..., Proof]
) -> None:
    with pytest.raises(CandlesGone):
        make_bundle(
            prediction,
            make_proof(),
            0,
            {"binance": candles["binance"]},
            circuit_hash="ef" * 32,
            ezkl_version="23.0.5",
            srs_development=True,
        )


@pytest.mark.parametrize(("value", "integer"), [(0, 0), (5, 5), (-1, SCALAR_FIELD - 1)])
def test_instance_word__is_32_bytes_of_the_field_element(value: int, integer: int) -> None:
    assert instance_word(value) == "0x" + integer.to_bytes(32, "big").hex()
