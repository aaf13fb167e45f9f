"""The part of a bundle that tells of a proof of several windows."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from app.audit.bundle import MOST_WINDOWS, Bundle, instance_word, make_bundle, parse_bundle
from app.errors import BundleOutOfForm
from app.features.variation import candles_digest
from app.types import Candles, Prediction, PredictionId, Proof, Status

LIMIT = 1 << 24
OTHER = (1, -2, 3, -4)
JsonObject = dict[str, Any]


@pytest.fixture
def bundle(
    make_prediction: Callable[..., Prediction],
    make_candles: Callable[..., Candles],
    make_proof: Callable[..., Proof],
) -> Bundle:
    """Of the window in the second of three places, the last of which is empty."""
    candles = {"binance": make_candles(6)}
    prediction = make_prediction(candles_sha256=candles_digest(candles), status=Status.PROVED)
    return make_bundle(
        prediction,
        make_proof(instances=tuple(range(9)), members=(PredictionId("ab" * 16), prediction.id, None), slot=1),
        prediction.predicted_at_ms + 250,
        candles,
        circuit_hash="ef" * 32,
        ezkl_version="23.0.5",
        srs_development=True,
        observations=(OTHER, prediction.observation, None),
    )


@pytest.fixture
def loose(bundle: Bundle) -> JsonObject:
    whole: JsonObject = json.loads(bundle.model_dump_json())
    return whole


def test_make_bundle__joint__holds_the_inputs_of_every_place(bundle: Bundle) -> None:
    assert bundle.joint is not None
    assert (bundle.joint.slot, bundle.joint.observations) == (1, [list(OTHER), bundle.observation, None])


def test_make_bundle__joint__states_the_outputs_of_its_place_and_all_instances(bundle: Bundle) -> None:
    assert bundle.outputs == [3, 4, 5]
    assert bundle.proof.instances == [instance_word(value) for value in range(9)]


def test_parse_bundle__joint__is_the_same_with_the_same_digest(bundle: Bundle) -> None:
    read = parse_bundle(bundle.model_dump_json().encode(), LIMIT)
    assert (read, read.digest()) == (bundle, bundle.sha256)


def test_parse_bundle__as_many_places_as_there_can_be__is_read(loose: JsonObject) -> None:
    loose["joint"] = {"slot": MOST_WINDOWS - 1, "observations": [None] * MOST_WINDOWS}
    assert parse_bundle(json.dumps(loose).encode(), LIMIT).joint is not None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("slot", -1),
        ("slot", MOST_WINDOWS),
        ("slot", 0.0),
        ("slot", True),
        ("slot", None),
        ("observations", []),
        ("observations", [[0]] * (MOST_WINDOWS + 1)),
        ("observations", [[0] * 4097]),
        ("observations", [[2**31 + 1]]),
        ("observations", [[1.5]]),
        ("observations", [["1"]]),
        ("observations", [0]),
        ("observations", None),
        ("members", []),
    ],
)
def test_parse_bundle__joint_out_of_form__is_named(loose: JsonObject, field: str, value: object) -> None:
    loose["joint"][field] = value
    with pytest.raises(BundleOutOfForm, match=rf"^joint\.{field}"):
        parse_bundle(json.dumps(loose).encode(), LIMIT)


@pytest.mark.parametrize("joint", [{}, {"slot": 0}, {"observations": [None]}, [], 7, "joint"])
def test_parse_bundle__joint_incomplete_or_of_another_kind__is_named(loose: JsonObject, joint: object) -> None:
    loose["joint"] = joint
    with pytest.raises(BundleOutOfForm, match=r"^joint"):
        parse_bundle(json.dumps(loose).encode(), LIMIT)


@pytest.mark.parametrize(
    "change",
    [
        lambda joint: joint.update(slot=0),
        lambda joint: joint["observations"].reverse(),
        lambda joint: joint["observations"][0].__setitem__(0, 2),
        lambda joint: joint["observations"].__setitem__(2, [0, 0, 0, 0]),
    ],
    ids=["the place", "the order", "another's input", "zeros in an empty place"],
)
def test_digest__of_another_joint_part__is_another(
    bundle: Bundle, loose: JsonObject, change: Callable[[JsonObject], object]
) -> None:
    change(loose["joint"])
    assert parse_bundle(json.dumps(loose).encode(), LIMIT).digest() != bundle.sha256
