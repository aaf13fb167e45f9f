"""Two of three, over HTTP, with real proofs and the oracle's own registry."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from app.chain.abi import contract_abi
from app.chain.attestation import digest, feed_id, input_commitment
from app.chain.rpc import Rpc
from app.errors import Misconfigured
from app.metrics import Metrics
from app.settings import Settings
from app.steps.attest import AttestOutcome, AttestStep
from app.steps.attester_client import AttesterClient, Question
from app.steps.update import claim_of
from app.store.attestations import enough
from app.store.database import Database
from app.types import Attestation, AttestationOutcome, Claim, OracleAt, Prediction, Proof
from app.wiring import Application, attester

FEED = "btc-usdt-4h"
NOBODY = "http://127.0.0.1:1"


@pytest.fixture
def oracle(app: Application) -> OracleAt:
    assert app.pipeline.target is not None
    return app.pipeline.target.oracle


@pytest.fixture
def asking(app: Application, service_database: Database) -> Callable[..., AttestStep]:
    """The service's step, with attesters at these URLs."""

    def make(*urls: str, limit_s: float = 10) -> AttestStep:
        assert app.pipeline.target is not None
        clients = [AttesterClient(url, limit_s) for url in urls]
        reader = app.pipeline.target.reader
        return AttestStep([FEED], service_database, app.clock, Metrics(), reader, clients, time_limit_s=limit_s)

    return make


@pytest.fixture
def question(service_database: Database, proved: tuple[Prediction, Proof], oracle: OracleAt) -> Question:
    prediction, proof = proved
    with service_database.unit_of_work(write=False) as store:
        return Question(oracle, claim_of(store, prediction, proof), (prediction.observation,))


def told(database: Database, prediction: Prediction, oracle: OracleAt) -> dict[str, Attestation]:
    with database.unit_of_work(write=False) as store:
        return {answer.attester: answer for answer in store.attestations.of(prediction.id, oracle)}


@pytest.mark.parametrize("joint", [False, True])
def test_digest__is_the_one_of_the_contract(app: Application, oracle: OracleAt, joint: bool) -> None:
    windows = ((FEED, 1_757_937_600_000), ("eth-usdt-4h", 1_757_937_540_000))[: 2 if joint else 1]
    claim = Claim(windows, app.pipeline.feeds[FEED].model.model_id, b"\x07" * 32, joint)
    subject: list[Any] = [(feed_id(feed), end_ms // 1000) for feed, end_ms in windows]
    arguments = [subject] if joint else [*subject[0]]
    name = "jointAttestationDigest" if joint else "attestationDigest"
    rpc = Rpc([str(url) for url in app.settings.rpc_urls])
    found = rpc.ask(
        lambda eth: (
            eth.contract(address=oracle.contract, abi=contract_abi("VolatilityOracle"))  # type: ignore[call-overload]
            .functions[name](*arguments, bytes.fromhex(claim.model_id), claim.input_commitment)
            .call()
        )
    )
    assert bytes(found) == digest(oracle, claim)


def test_two_who_see_the_same_market__sign(
    asking: Callable[..., AttestStep],
    attesters: list[Any],
    proved: tuple[Prediction, Proof],
    service_database: Database,
    oracle: OracleAt,
) -> None:
    assert asking(attesters[0].url, attesters[1].url).next() is AttestOutcome.ATTESTED
    answers = told(service_database, proved[0], oracle)
    signatures = enough(list(answers.values()), 2)
    assert {one.signer for one in signatures} == {running.role.judge.account.address for running in attesters[:2]}


def test_one_who_sees_another_market__refuses_and_the_others_are_enough(
    asking: Callable[..., AttestStep],
    attesters: list[Any],
    proved: tuple[Prediction, Proof],
    service_database: Database,
    oracle: OracleAt,
    question: Question,
) -> None:
    refused = AttesterClient(attesters[2].url, 10).ask(question)
    assert refused.outcome is AttestationOutcome.REFUSED
    assert refused.reason is not None
    assert refused.reason.startswith("inputs-differ: btc-usdt-4h: input ")
    assert asking(*(running.url for running in attesters)).next() is AttestOutcome.ATTESTED


def test_one_is_down__the_feed_goes_on(
    asking: Callable[..., AttestStep], attesters: list[Any], proved: tuple[Prediction, Proof]
) -> None:
    assert asking(NOBODY, attesters[0].url, attesters[1].url).next() is AttestOutcome.ATTESTED


def test_two_are_down__nothing_is_signed_and_it_alarms(
    asking: Callable[..., AttestStep],
    attesters: list[Any],
    proved: tuple[Prediction, Proof],
    service_database: Database,
    oracle: OracleAt,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert asking(NOBODY, "http://127.0.0.1:2", attesters[0].url).next() is AttestOutcome.SHORT
    answers = told(service_database, proved[0], oracle)
    assert enough(list(answers.values()), 2) == []
    assert answers[NOBODY].outcome is AttestationOutcome.UNREACHABLE
    assert [record for record in caplog.records if record.levelno == logging.ERROR and "ALARM" in record.message]


def test_inputs_that_the_proof_does_not_commit_to__are_not_signed(attesters: list[Any], question: Question) -> None:
    shown = list(question.observations[0])
    shown[0] += 1 if shown[0] < 512 else -1
    answer = AttesterClient(attesters[0].url, 10).ask(Question(question.oracle, question.claim, (tuple(shown),)))
    assert (answer.reason or "").startswith("commitment-differs")


def test_second_commitment_of_a_window__is_not_signed(
    app: Application, attesters: list[Any], question: Question
) -> None:
    """The same inputs but for a unit, honestly committed to."""
    client = AttesterClient(attesters[0].url, 10)
    assert client.ask(question).outcome is AttestationOutcome.SIGNED
    values = list(question.observations[0])
    values[0] += 1 if values[0] < 512 else -1
    commitment = input_commitment(app.pool.commit(app.pipeline.feeds[FEED].keys, values))
    other = Claim(question.claim.windows, question.claim.model_id, commitment, joint=False)
    second = client.ask(Question(question.oracle, other, (tuple(values),)))
    assert (second.outcome, (second.reason or "").partition(":")[0]) == (AttestationOutcome.REFUSED, "already-signed")
    assert client.ask(question) == client.ask(question)


def test_warm_attester__answers_within_a_second(attesters: list[Any], question: Question) -> None:
    client = AttesterClient(attesters[1].url, 10)
    assert client.ask(question).outcome is AttestationOutcome.SIGNED
    response = requests.post(f"{attesters[1].url}/v1/attest", json=question.body(), timeout=5)
    assert response.status_code == 200
    assert response.elapsed.total_seconds() < 1


def test_attester__with_another_srs_than_the_registry__does_not_start(
    attester_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    other = attester_settings(var_dir=tmp_path / "var")
    with pytest.raises(Misconfigured, match="the registry pins the SRS"), attester(other):
        pass


@pytest.mark.parametrize(
    ("missing", "setting"),
    [({"attester_key": None}, "VERIREGIME_ATTESTER_KEY_FILE"), ({"rpc_urls": ()}, "VERIREGIME_RPC_URLS")],
)
def test_attester__without_what_it_needs__says_which_setting(
    attester_settings: Callable[..., Settings], missing: dict[str, Any], setting: str
) -> None:
    with pytest.raises(Misconfigured, match=setting), attester(attester_settings(**missing)):
        pass
