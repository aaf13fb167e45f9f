"""What the API tells of attempts, joint proofs and alarms, on a database of its own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import get_args

import pytest
from fastapi.testclient import TestClient

from app.clock import Clock
from app.features.variation import INPUTS
from app.settings import Settings
from app.steps.prove import ProveOutcome
from app.types import Attempt, AttemptOutcome, Prediction, PredictionId, Proof, iso
from app.web.application import create_web
from app.web.reading import Reader
from app.web.schemas import AttemptOut
from app.wiring import Application, application

NAME = "btc-usdt-4h"
FEED = f"/v1/feeds/{NAME}"
_minutes_ago = itertools.count(100, -1)
OBSERVATION = tuple((index * 37) % 257 - 128 for index in range(INPUTS))


@pytest.fixture(scope="module")
def own_settings(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    database = f"sqlite:///{tmp_path_factory.mktemp('shown') / 'veriregime.db'}"
    return Settings(**(settings.model_dump() | {"database_url": database}), _env_file=None)  # type: ignore[call-arg]


@pytest.fixture(scope="module")
def shown(own_settings: Settings) -> Iterator[Application]:
    """The service without a market or a chain; its minute began a second ago and does not end."""
    with application(own_settings, clock=Clock(market_start_ms=1_757_937_601_000, speed=0)) as wired:
        yield wired


@pytest.fixture(scope="module")
def client(shown: Application) -> Iterator[TestClient]:
    with TestClient(create_web(shown)) as client:
        yield client


@pytest.fixture
def predict(shown: Application, make_prediction: Callable[..., Prediction]) -> Callable[..., Prediction]:
    """Store a window, newer than all before, of which the network said what it says, or so much more."""
    served = shown.pipeline.feeds[NAME]
    low, high, ln_vol = served.network.forecast(OBSERVATION).outputs

    def store_one(off: float = 0.0) -> Prediction:
        made = make_prediction(
            window_end_ms=shown.clock.last_minute_ms() - 60_000 * next(_minutes_ago),
            model_id=served.model.model_id,
            observation=OBSERVATION,
            network_outputs=(low, high + off, ln_vol),
        )
        with shown.database.unit_of_work() as store:
            assert store.predictions.add(made, queued_at_ms=1)
        return made

    return store_one


@pytest.fixture
def disagreeing(shown: Application, predict: Callable[..., Prediction]) -> Iterator[Prediction]:
    """A window whose real proof says something else than its network is said to have said; cleared afterwards."""
    made = predict(off=1.0)
    assert shown.pipeline.prove_next() is ProveOutcome.DISAGREEMENT
    yield made
    with shown.database.unit_of_work() as store:
        store.disagreements.clear(made.id, 1)


def test_no_chain__is_said_wherever_one_would_be_told_of(client: TestClient) -> None:
    answer = client.get(f"{FEED}/update")
    assert (answer.status_code, answer.json()["type"]) == (404, "no-chain")
    assert "VERIREGIME_RPC_URLS" in answer.json()["detail"]
    assert client.get(FEED).json()["chain"] is None
    ready = client.get("/readyz").json()
    assert (ready["attesting"], ready["publishing"]) == (None, None)


def alarms_of_metrics(client: TestClient) -> str:
    (line,) = [line for line in client.get("/metrics").text.splitlines() if line.startswith("veriregime_alarms{")]
    return line


def test_feed__without_a_disagreement__has_no_alarm(client: TestClient) -> None:
    assert client.get(FEED).json()["alarms"] == []
    assert client.get("/readyz").json()["alarms"] == 0
    assert alarms_of_metrics(client) == f'veriregime_alarms{{feed="{NAME}"}} 0.0'


def test_disagreement__shows_in_its_feed_readiness_and_metrics(client: TestClient, disagreeing: Prediction) -> None:
    (alarm,) = client.get(FEED).json()["alarms"]
    assert (alarm["prediction_id"], alarm["window_end"]) == (disagreeing.id, iso(disagreeing.window_end_ms))
    assert alarm["reason"].endswith("tolerances apart")
    assert client.get("/v1/feeds").json()["feeds"][0]["alarms"] == [alarm]
    assert client.get("/readyz").json()["alarms"] == 1
    assert alarms_of_metrics(client) == f'veriregime_alarms{{feed="{NAME}"}} 1.0'


def test_disagreement__is_never_served_and_says_why(client: TestClient, disagreeing: Prediction) -> None:
    newest = client.get(f"{FEED}/latest", params={"proved": False}).json()
    assert (newest["id"], newest["status"]) == (disagreeing.id, "failed")
    assert client.get(f"{FEED}/latest").json().get("id") != disagreeing.id
    proof = client.get(f"/v1/predictions/{disagreeing.id}/proof")
    assert proof.status_code == 409
    assert "tolerances apart" in proof.json()["detail"]
    assert client.get(f"/v1/predictions/{disagreeing.id}/bundle").status_code == 409
    body = client.get(f"/v1/predictions/{disagreeing.id}").json()
    assert (body["status"], body["proof"], body["calldata"]) == ("failed", None, None)
    assert [attempt["outcome"] for attempt in body["attempts"]] == ["disagreed"]


def test_disagreement__that_was_cleared__is_no_alarm(
    client: TestClient, shown: Application, disagreeing: Prediction
) -> None:
    with shown.database.unit_of_work() as store:
        assert store.disagreements.clear(disagreeing.id, 99)
    assert client.get(FEED).json()["alarms"] == []
    assert client.get("/readyz").json()["alarms"] == 0
    assert alarms_of_metrics(client) == f'veriregime_alarms{{feed="{NAME}"}} 0.0'


@pytest.fixture
def tried(shown: Application, predict: Callable[..., Prediction]) -> Prediction:
    """A window proved at the second attempt."""
    made = predict()
    died = Attempt(made.id, 1, AttemptOutcome.DIED, "it died", "host:1", 1, 0.5, None, None, None, at_ms=1)
    with shown.database.unit_of_work() as store:
        store.attempts.add(died)
    assert shown.pipeline.prove_next() is ProveOutcome.PROVED
    return made


def test_attempts__of_a_prediction__are_told_with_their_seconds_oldest_first(
    client: TestClient, tried: Prediction
) -> None:
    first, second = client.get(f"/v1/predictions/{tried.id}").json()["attempts"]
    assert first == {
        "attempt": 1,
        "outcome": "died",
        "reason": "it died",
        "prover": "host:1",
        "windows": 1,
        "queue_seconds": 0.5,
        "witness_seconds": None,
        "prove_seconds": None,
        "verify_seconds": None,
        "at": "1970-01-01T00:00:00.001Z",
    }
    assert (second["outcome"], second["reason"]) == ("proved", None)
    assert min(second[f"{step}_seconds"] for step in ("queue", "witness", "prove", "verify")) > 0


def test_latest__tells_attempts_where_they_are_asked_for(client: TestClient, tried: Prediction) -> None:
    assert "attempts" not in client.get(f"{FEED}/latest").json()
    latest = client.get(f"{FEED}/latest", params={"include": "attempts"})
    assert (latest.json()["id"], len(latest.json()["attempts"])) == (tried.id, 2)


def test_latest__another_attempt__changes_the_etag(client: TestClient, shown: Application, tried: Prediction) -> None:
    asked = {"include": "attempts"}
    before = client.get(f"{FEED}/latest", params=asked).headers["etag"]
    late = Attempt(tried.id, 3, AttemptOutcome.ERROR, "late", "host:1", 1, None, None, None, None, at_ms=2)
    with shown.database.unit_of_work() as store:
        store.attempts.add(late)
    after = client.get(f"{FEED}/latest", params=asked, headers={"If-None-Match": before})
    assert after.status_code == 200
    assert after.json()["attempts"][-1]["reason"] == "late"


def test_outcomes__that_there_are__can_all_be_told() -> None:
    assert set(get_args(AttemptOut.model_fields["outcome"].annotation)) == set(AttemptOutcome)


def test_proof__of_several_windows__tells_place_and_members(
    shown: Application, make_proof: Callable[..., Proof]
) -> None:
    members = (PredictionId("ab" * 16), PredictionId("cd" * 16), None)
    told = Reader(shown).proof(make_proof(members=members, slot=1), 0)
    assert (told.slot, told.members) == (1, list(members))


@pytest.mark.parametrize("kind", ["the one in use", "one that nothing is proved under"])
def test_proof__under_a_development_or_a_forgotten_srs__says_development(
    shown: Application, make_proof: Callable[..., Proof], kind: str
) -> None:
    keys = shown.pipeline.feeds[NAME].keys
    srs_hash = keys.srs_hash if kind == "the one in use" else "ab" * 32
    assert Reader(shown).proof(make_proof(srs_hash=srs_hash), 0).srs_development


def test_proof__under_an_srs_that_the_operator_trusts__says_so(
    own_settings: Settings, shown: Application, make_proof: Callable[..., Proof]
) -> None:
    srs_hash = shown.pipeline.feeds[NAME].keys.srs_hash
    trusting = own_settings.model_copy(update={"trusted_srs": (srs_hash,)})
    with application(trusting, clock=shown.clock) as wired:
        assert not Reader(wired).proof(make_proof(srs_hash=srs_hash), 0).srs_development
        assert not TestClient(create_web(wired)).get(FEED).json()["srs"]["development"]
