"""The service collects signatures: from whom, for what, and what it says when there are too few."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from app.chain.account import Account
from app.chain.attestation import input_commitment, sign, signer_of
from app.chain.registry import Panel
from app.clock import Clock
from app.errors import ChainUnavailable
from app.inference.network import forecast_from
from app.metrics import Metrics
from app.steps.attest import AttestOutcome, AttestStep, OwnAttester
from app.steps.attester_client import Answer, Question
from app.store.attestations import enough
from app.store.database import Database
from app.types import (
    Attestation,
    AttestationOutcome,
    Claim,
    OracleAt,
    Prediction,
    Proof,
    Status,
)

FEED, OTHER = "btc-usdt-4h", "eth-usdt-4h"
ORACLE = OracleAt(31337, "0x5FbDB2315678afecb367f032d93F642f64180aa3")
ACCOUNTS = [Account.from_secret("0x" + f"{number:02x}" * 32, None, "attester") for number in (1, 2, 3)]
REFUSED = Answer(AttestationOutcome.REFUSED, None, "inputs-differ: input 3")
AWAY = Answer(AttestationOutcome.UNREACHABLE, None, "no answer: ConnectionError")


class ScriptedReader:
    oracle = ORACLE

    def __init__(self, threshold: int) -> None:
        self.signers = tuple(account.address for account in ACCOUNTS)
        self.threshold = threshold
        self.away = False

    def panel(self) -> Panel:
        if self.away:
            raise ChainUnavailable("nobody answers")
        return Panel(self.signers, self.threshold)

    def submission_limit_s(self) -> int:
        return 900


class ScriptedAttester:
    """Signs with its account unless it is told to say something else; remembers what it was asked."""

    def __init__(self, number: int) -> None:
        self.name = f"http://attester-{number}"
        self.host = f"attester-{number}"
        self.account = ACCOUNTS[number]
        self.says: Answer | Exception | None = None
        self.asked: list[Question] = []
        self.goes_on = threading.Event()
        self.goes_on.set()

    def ask(self, question: Question) -> Answer:
        self.asked.append(question)
        self.goes_on.wait(5)
        if isinstance(self.says, Exception):
            raise self.says
        signed = sign(self.account, question.oracle, question.claim)
        return self.says or Answer(AttestationOutcome.SIGNED, signed, None)


@pytest.fixture
def attesters() -> list[ScriptedAttester]:
    return [ScriptedAttester(number) for number in range(3)]


@pytest.fixture
def reader() -> ScriptedReader:
    return ScriptedReader(threshold=2)


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    now = [1_000_000]
    monkeypatch.setattr("app.steps.attest.wall_ms", lambda: now[0])
    return now


@pytest.fixture
def asking(
    sqlite_database: Database, metrics: Metrics, reader: Any, attesters: Any, window_end_ms: int, wall: list[int]
) -> AttestStep:
    clock = Clock(market_start_ms=window_end_ms + 2_000, speed=0)
    return AttestStep([FEED, OTHER], sqlite_database, clock, metrics, reader, attesters, time_limit_s=0.3)


@pytest.fixture
def proved(
    sqlite_database: Database, predict: Callable[..., Prediction], make_proof: Callable[..., Proof]
) -> Callable[..., Prediction]:
    """A stored prediction with its proof, or several with a joint one; gives the first."""

    def make(*feeds: str, window_end_ms: int | None = None, fails: str | None = None) -> Prediction:
        more = {} if window_end_ms is None else {"window_end_ms": window_end_ms}
        made = [predict(feed=feed, **more) for feed in feeds or (FEED,)]
        members = (*(one.id for one in made), *[None] * (10 - len(made))) if len(made) > 1 else ()
        proof = make_proof(members=members, instances=(-1, 1, 1) * max(1, len(members)))
        with sqlite_database.unit_of_work() as store:
            for slot, one in enumerate(made):
                job = store.jobs.lease("host:1", 1, 35_000, 3, feeds=[one.feed])
                assert job is not None
                assert job.prediction_id == one.id
                if one.feed == fails:
                    store.jobs.give_up(one.id, "host:1", "disagrees")
                else:
                    forecast = forecast_from((0.0, 1.0, -1.0))
                    assert store.jobs.finish(one.id, "host:1", replace(proof, slot=slot), forecast, 1)
        return made[0]

    return make


def answers(database: Database, prediction: Prediction) -> dict[str, Attestation]:
    with database.unit_of_work(write=False) as store:
        return {answer.attester: answer for answer in store.attestations.of(prediction.id, ORACLE)}


def until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.01)


def test_proof__is_signed_by_as_many_as_the_oracle_wants(
    asking: AttestStep, proved: Callable[..., Prediction], sqlite_database: Database, attesters: list[ScriptedAttester]
) -> None:
    prediction = proved()
    assert asking.next() is AttestOutcome.ATTESTED
    claim = attesters[0].asked[0].claim
    assert claim.windows == ((FEED, prediction.window_end_ms),)
    assert (claim.model_id, claim.joint) == (prediction.model_id, False)
    assert claim.input_commitment == input_commitment(bytes(range(64)))
    assert attesters[0].asked[0].observations == (prediction.observation,)
    signatures = enough(list(answers(sqlite_database, prediction).values()), 2)
    assert {signer_of(ORACLE, claim, one) == one.signer for one in signatures} == {True}
    assert len({one.signer for one in signatures}) == 2
    assert asking.next() is AttestOutcome.IDLE


def test_without_an_oracle__nobody_is_asked(
    sqlite_database: Database, metrics: Metrics, attesters: Any, proved: Callable[..., Prediction]
) -> None:
    proved()
    step = AttestStep([FEED], sqlite_database, Clock(), metrics, None, attesters)
    assert step.next() is AttestOutcome.NO_ORACLE
    assert attesters[0].asked == []


def test_chain_away__is_said(asking: AttestStep, proved: Callable[..., Prediction], reader: ScriptedReader) -> None:
    proved()
    reader.away = True
    assert asking.next() is AttestOutcome.CHAIN_UNAVAILABLE


def test_window__older_than_the_oracle_takes__is_left_alone(
    asking: AttestStep, proved: Callable[..., Prediction], window_end_ms: int
) -> None:
    proved(window_end_ms=window_end_ms - 15 * 60_000)
    assert asking.next() is AttestOutcome.IDLE


def test_joint_proof__is_one_claim_with_a_row_for_each_of_its_windows(
    asking: AttestStep, proved: Callable[..., Prediction], sqlite_database: Database, attesters: list[ScriptedAttester]
) -> None:
    first = proved(OTHER, FEED)
    assert asking.next() is AttestOutcome.ATTESTED
    claim = attesters[0].asked[0].claim
    assert claim.windows == ((OTHER, first.window_end_ms), (FEED, first.window_end_ms))
    assert claim.joint
    with sqlite_database.unit_of_work(write=False) as store:
        both = store.attestations.newest_proved([FEED, OTHER], 0)
        rows = [[answer.signature for answer in store.attestations.of(one, ORACLE)] for one in both]
    assert len(both) == 2
    assert rows[0] == rows[1]
    assert asking.next() is AttestOutcome.IDLE


def test_joint_proof__with_a_window_that_was_given_up__is_not_attested(
    asking: AttestStep, proved: Callable[..., Prediction], attesters: list[ScriptedAttester]
) -> None:
    proved(OTHER, FEED, fails=FEED)
    assert asking.next() is AttestOutcome.IDLE
    assert attesters[0].asked == []


def test_one_of_three_refuses__the_others_are_enough_and_the_refusal_is_kept(
    asking: AttestStep,
    proved: Callable[..., Prediction],
    sqlite_database: Database,
    attesters: list[ScriptedAttester],
    caplog: pytest.LogCaptureFixture,
) -> None:
    prediction = proved()
    attesters[1].says = REFUSED
    assert asking.next() is AttestOutcome.ATTESTED
    until(lambda: "http://attester-1" in answers(sqlite_database, prediction))
    kept = answers(sqlite_database, prediction)["http://attester-1"]
    assert (kept.outcome, kept.reason) == (AttestationOutcome.REFUSED, REFUSED.reason)
    until(lambda: "attester http://attester-1 refused (inputs-differ: input 3)" in caplog.text)


def test_one_of_three_does_not_answer__nobody_waits_for_it_and_its_late_answer_is_kept(
    asking: AttestStep, proved: Callable[..., Prediction], sqlite_database: Database, attesters: list[ScriptedAttester]
) -> None:
    prediction = proved()
    attesters[0].goes_on.clear()
    started = time.monotonic()
    assert asking.next() is AttestOutcome.ATTESTED
    assert time.monotonic() - started < 0.3
    assert attesters[0].name not in answers(sqlite_database, prediction)
    attesters[0].goes_on.set()
    until(lambda: attesters[0].name in answers(sqlite_database, prediction))
    assert answers(sqlite_database, prediction)[attesters[0].name].outcome is AttestationOutcome.SIGNED


def test_too_few_answer_in_time__is_short_and_alarms_once_with_who_said_what(
    asking: AttestStep,
    proved: Callable[..., Prediction],
    attesters: list[ScriptedAttester],
    caplog: pytest.LogCaptureFixture,
    wall: list[int],
) -> None:
    proved()
    attesters[0].says, attesters[1].says = REFUSED, AWAY
    assert asking.next() is AttestOutcome.SHORT
    wall[0] += 5_000
    assert asking.next() is AttestOutcome.SHORT
    (alarm,) = [record.message for record in caplog.records if record.levelno == logging.ERROR]
    assert "fewer than 2 signatures" in alarm
    assert "attester-0 refused (inputs-differ: input 3)" in alarm
    assert "attester-1 unreachable" in alarm
    assert "attester-2 signed" in alarm


def test_asked_again__are_after_a_pause_those_that_could_not_be_reached(
    asking: AttestStep, proved: Callable[..., Prediction], attesters: list[ScriptedAttester], wall: list[int]
) -> None:
    proved()
    attesters[0].says, attesters[1].says = REFUSED, AWAY
    assert asking.next() is AttestOutcome.SHORT
    wall[0] += 4_999
    assert asking.next() is AttestOutcome.IDLE
    wall[0] += 1
    attesters[1].says = None
    assert asking.next() is AttestOutcome.ATTESTED
    assert [len(attester.asked) for attester in attesters] == [1, 2, 1]


def test_time_limit__ends_the_question_and_says_who_was_late(
    asking: AttestStep, proved: Callable[..., Prediction], sqlite_database: Database, attesters: list[ScriptedAttester]
) -> None:
    prediction = proved()
    for attester in attesters[:2]:
        attester.goes_on.clear()
    assert asking.next() is AttestOutcome.SHORT
    assert answers(sqlite_database, prediction)[attesters[0].name].reason == "no answer within 0.3 s"
    for attester in attesters[:2]:
        attester.goes_on.set()
    until(lambda: len(enough(list(answers(sqlite_database, prediction).values()), 3)) == 3)
    assert asking.next() is AttestOutcome.IDLE


def test_signature__of_somebody_who_is_no_attester__does_not_count(
    asking: AttestStep,
    proved: Callable[..., Prediction],
    sqlite_database: Database,
    reader: ScriptedReader,
    attesters: list[ScriptedAttester],
) -> None:
    prediction = proved()
    reader.signers = reader.signers[1:]
    reader.threshold = 3
    assert asking.next() is AttestOutcome.SHORT
    found = answers(sqlite_database, prediction)[attesters[0].name]
    assert (found.outcome, found.signature) == (AttestationOutcome.INVALID, None)
    assert "is not an attester of the oracle" in (found.reason or "")


def test_one_key_behind_two_attesters__counts_once(
    asking: AttestStep, proved: Callable[..., Prediction], attesters: list[ScriptedAttester]
) -> None:
    proved()
    attesters[0].account = attesters[1].account
    attesters[2].says = AWAY
    assert asking.next() is AttestOutcome.SHORT


def test_attester__that_meets_a_bug__does_not_take_the_others_with_it(
    asking: AttestStep, proved: Callable[..., Prediction], attesters: list[ScriptedAttester]
) -> None:
    proved()
    attesters[0].says = RuntimeError("bug")
    assert asking.next() is AttestOutcome.ATTESTED


def test_newer_window__is_asked_for_before_an_older_one_again(
    asking: AttestStep, proved: Callable[..., Prediction], attesters: list[ScriptedAttester], window_end_ms: int
) -> None:
    proved()
    attesters[0].says = attesters[1].says = AWAY
    assert asking.next() is AttestOutcome.SHORT
    newer = proved(window_end_ms=window_end_ms + 60_000)
    attesters[0].says = None
    assert asking.next() is AttestOutcome.ATTESTED
    assert attesters[2].asked[-1].claim.windows == ((FEED, newer.window_end_ms),)
    assert asking.next() is AttestOutcome.IDLE


def test_sent_prediction__is_left_alone(
    asking: AttestStep, proved: Callable[..., Prediction], sqlite_database: Database
) -> None:
    prediction = proved()
    with sqlite_database.unit_of_work() as store:
        store.jobs._connection.exec_driver_sql(
            "UPDATE predictions SET status = ? WHERE id = ?", (Status.SUBMITTED.value, prediction.id)
        )
    assert asking.next() is AttestOutcome.IDLE


def test_own_key__signs_and_keeps_the_journal(
    sqlite_database: Database,
    metrics: Metrics,
    proved: Callable[..., Prediction],
    reader: Any,
    window_end_ms: int,
) -> None:
    own = OwnAttester(sqlite_database, ACCOUNTS[0])
    clock = Clock(market_start_ms=window_end_ms + 2_000, speed=0)
    reader.threshold = 1
    prediction = proved()
    assert AttestStep([FEED], sqlite_database, clock, metrics, reader, [own]).next() is AttestOutcome.ATTESTED
    windows = ((prediction.feed, prediction.window_end_ms),)
    other = Claim(windows, prediction.model_id, b"\x77" * 32, joint=False)
    refused = own.ask(Question(ORACLE, other, (prediction.observation,)))
    assert refused.outcome is AttestationOutcome.REFUSED
    assert (refused.reason or "").startswith("already-signed")


def test_no_attester_at_all__is_short_and_says_what_to_set(
    sqlite_database: Database,
    metrics: Metrics,
    proved: Callable[..., Prediction],
    reader: Any,
    window_end_ms: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    proved()
    clock = Clock(market_start_ms=window_end_ms + 2_000, speed=0)
    assert AttestStep([FEED], sqlite_database, clock, metrics, reader).next() is AttestOutcome.SHORT
    assert "VERIREGIME_ATTESTERS" in caplog.text


def test_answers__are_counted_by_host_and_outcome(
    asking: AttestStep, proved: Callable[..., Prediction], metrics: Metrics, attesters: list[ScriptedAttester]
) -> None:
    proved()
    attesters[0].says = attesters[1].says = REFUSED
    assert asking.next() is AttestOutcome.SHORT
    said = metrics.exposition().decode()
    assert 'veriregime_attestations_total{attester="attester-0",outcome="refused"} 1.0' in said
    assert 'veriregime_attestations_total{attester="attester-2",outcome="signed"} 1.0' in said


def test_stopped__a_late_answer_is_not_recorded(
    asking: AttestStep, proved: Callable[..., Prediction], sqlite_database: Database, attesters: list[ScriptedAttester]
) -> None:
    prediction = proved()
    attesters[0].goes_on.clear()
    assert asking.next() is AttestOutcome.ATTESTED
    asking.stop()
    attesters[0].goes_on.set()
    time.sleep(0.05)
    assert attesters[0].name not in answers(sqlite_database, prediction)
