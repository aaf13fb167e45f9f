"""What stays of every try at a proof, and of a window where network and circuit disagree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from app.errors import ProofRejected, ProofTimedOut, ProverDied, ProverOutOfMemory, ProverUnavailable, ProvingFailed
from app.features.variation import CANDLES_NEEDED
from app.steps.prove import ProofStep, ProveOutcome, ProvingPolicy
from app.store.database import Database
from app.types import MINUTE_MS, Attempt, AttemptOutcome, Candles, Disagreement, Prediction, Proof, Sources

Predict = Callable[..., Prediction]
ScriptedPool = Any


def attempts(database: Database, prediction: Prediction) -> list[Attempt]:
    with database.unit_of_work(write=False) as store:
        return store.attempts.of(prediction.id)


def test_attempt__that_proves__is_kept_with_all_its_seconds(
    step: ProofStep, predict: Predict, sqlite_database: Database, policy: ProvingPolicy, wall: list[int]
) -> None:
    made = predict(queued_at_ms=wall[0] - 1_500)
    step.next()
    assert attempts(sqlite_database, made) == [
        Attempt(
            prediction_id=made.id,
            number=1,
            outcome=AttemptOutcome.PROVED,
            reason=None,
            owner=policy.owner,
            windows=1,
            queue_seconds=1.5,
            witness_seconds=0.0125,
            prove_seconds=0.25,
            verify_seconds=0.0625,
            at_ms=wall[0],
        )
    ]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ProofTimedOut("killed after 30 s"), AttemptOutcome.TIMED_OUT),
        (ProverOutOfMemory("killed at 800 MiB"), AttemptOutcome.OUT_OF_MEMORY),
        (ProverDied("the prover process ended with code -9"), AttemptOutcome.DIED),
        (ProofRejected("it does not verify"), AttemptOutcome.ERROR),
        (ProverUnavailable("no scheduler answers"), AttemptOutcome.UNAVAILABLE),
        (ProvingFailed("ezkl could not prove"), AttemptOutcome.ERROR),
    ],
    ids=lambda value: str(value) if isinstance(value, AttemptOutcome) else type(value).__name__,
)
def test_attempt__that_fails__is_kept_by_its_kind_with_the_reason_and_no_seconds(
    step: ProofStep,
    pool: ScriptedPool,
    predict: Predict,
    sqlite_database: Database,
    error: ProvingFailed,
    outcome: AttemptOutcome,
) -> None:
    pool.answer = error
    made = predict()
    step.next()
    (tried,) = attempts(sqlite_database, made)
    assert (tried.outcome, tried.reason, tried.windows) == (outcome, str(error), 1)
    assert (tried.witness_seconds, tried.prove_seconds, tried.verify_seconds) == (None, None, None)


def test_attempt__that_disagrees__is_kept_with_the_seconds_of_its_proof(
    step: ProofStep,
    pool: ScriptedPool,
    proof_off_by: Callable[..., Proof],
    predict: Predict,
    sqlite_database: Database,
) -> None:
    pool.answer = proof_off_by(3)
    made = predict()
    step.next()
    (tried,) = attempts(sqlite_database, made)
    assert (tried.outcome, tried.prove_seconds) == (AttemptOutcome.DISAGREED, 0.25)
    assert tried.reason is not None
    assert tried.reason.endswith("are 3.0 tolerances apart")


def test_attempts__of_one_window__are_numbered_in_order_and_wait_from_their_own_start(
    step: ProofStep,
    pool: ScriptedPool,
    proof_off_by: Callable[..., Proof],
    predict: Predict,
    sqlite_database: Database,
    wall: list[int],
) -> None:
    made = predict(queued_at_ms=wall[0])
    for answer in (ProverDied(), ProofTimedOut(), proof_off_by(0)):
        pool.answer = answer
        step.next()
        wall[0] += 1_250
    told = [(tried.number, tried.outcome, tried.queue_seconds) for tried in attempts(sqlite_database, made)]
    assert told == [
        (1, AttemptOutcome.DIED, 0.0),
        (2, AttemptOutcome.TIMED_OUT, 0.25),
        (3, AttemptOutcome.PROVED, 0.25),
    ]


def test_attempt__that_reached_no_prover__is_kept_but_does_not_count(
    step: ProofStep,
    pool: ScriptedPool,
    proof_off_by: Callable[..., Proof],
    predict: Predict,
    sqlite_database: Database,
    policy: ProvingPolicy,
    wall: list[int],
) -> None:
    made = predict()
    pool.answer = ProverUnavailable("no scheduler answers")
    for _ in range(2 * policy.max_attempts):
        assert step.next() is ProveOutcome.WILL_RETRY
        wall[0] += 1_000
    pool.answer = proof_off_by(0)
    assert step.next() is ProveOutcome.PROVED
    told = [(tried.number, tried.outcome) for tried in attempts(sqlite_database, made)]
    assert told == [(1, AttemptOutcome.UNAVAILABLE)] * 2 * policy.max_attempts + [(1, AttemptOutcome.PROVED)]


@pytest.mark.parametrize("answer", [None, ProverDied()], ids=["proved", "died"])
def test_attempt__whose_lease_was_lost__leaves_nothing(
    step: ProofStep,
    pool: ScriptedPool,
    predict: Predict,
    sqlite_database: Database,
    taken_over: Callable[[], None],
    answer: ProvingFailed | None,
) -> None:
    pool.answer, pool.meanwhile = answer or pool.answer, taken_over
    made = predict()
    step.next()
    assert attempts(sqlite_database, made) == []


@pytest.fixture
def disagreeing(
    step: ProofStep,
    pool: ScriptedPool,
    proof_off_by: Callable[..., Proof],
    predict: Predict,
    make_candles: Callable[..., Candles],
    sqlite_database: Database,
) -> Prediction:
    """A window of a stored week, and of the minutes around it, whose circuit said something else."""
    made = predict(sources=Sources({"binance": "BTC/USDT"}, {}, as_of=1))
    candles = make_candles(CANDLES_NEEDED + 10, end_ms=made.window_end_ms + 5 * MINUTE_MS)
    with sqlite_database.unit_of_work() as store:
        store.candles.add("binance", "BTC/USDT", candles)
    pool.answer = proof_off_by(3)
    assert step.next() is ProveOutcome.DISAGREEMENT
    return made


def test_disagreement__is_an_open_alarm_of_its_feed(disagreeing: Prediction, sqlite_database: Database) -> None:
    with sqlite_database.unit_of_work(write=False) as store:
        (alarm,) = store.disagreements.open(disagreeing.feed)
        failed = store.predictions.get(disagreeing.id)
    assert failed is not None
    assert alarm == Disagreement(
        prediction_id=disagreeing.id,
        feed=disagreeing.feed,
        window_end_ms=disagreeing.window_end_ms,
        reason=failed.failure or "",
        cleared_at_ms=None,
    )


def test_disagreement__keeps_the_candles_of_its_window_and_no_others(
    disagreeing: Prediction, sqlite_database: Database
) -> None:
    with sqlite_database.unit_of_work(write=False) as store:
        kept = store.disagreements.window(disagreeing.id)
    assert kept is not None
    rows = kept["candles"]["binance"]
    assert list(kept["candles"]) == ["binance"]
    assert len(rows) == CANDLES_NEEDED
    assert rows[-1][0] == disagreeing.window_end_ms - MINUTE_MS


def test_disagreement__keeps_what_was_seen_said_and_proved(
    disagreeing: Prediction, pool: ScriptedPool, sqlite_database: Database
) -> None:
    with sqlite_database.unit_of_work(write=False) as store:
        kept = store.disagreements.window(disagreeing.id)
    assert kept is not None
    assert tuple(kept["observation"]) == disagreeing.observation
    assert tuple(kept["network_outputs"]) == disagreeing.network_outputs
    assert tuple(kept["circuit_outputs"]) == tuple(kept["instances"]) == pool.answer.instances
    assert (kept["model_id"], kept["proof"]) == (disagreeing.model_id, "0x" + pool.answer.proof.hex())
    assert (kept["vk_hash"], kept["srs_hash"]) == (pool.answer.vk_hash, pool.answer.srs_hash)


def test_disagreement__whose_lease_was_lost__is_left_to_the_new_owner(
    step: ProofStep,
    pool: ScriptedPool,
    proof_off_by: Callable[..., Proof],
    predict: Predict,
    sqlite_database: Database,
    taken_over: Callable[[], None],
) -> None:
    pool.answer, pool.meanwhile = proof_off_by(3), taken_over
    predict()
    step.next()
    with sqlite_database.unit_of_work(write=False) as store:
        assert (store.disagreements.all(), store.jobs.owners()) == ([], ["other:2"])
