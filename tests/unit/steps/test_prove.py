from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from app.errors import ProofRejected, ProofTimedOut, ProverDied, ProvingFailed
from app.inference.network import dequantise, forecast_from
from app.inference.release import ReleasedModel
from app.metrics import Metrics
from app.steps.prove import ProofStep, ProveOutcome, ProvingPolicy
from app.steps.served import ServedFeed
from app.store.database import Database
from app.types import ModelId, Prediction, Proof, Regime, Status

NETWORK_OUTPUTS = (0.25, 0.25, -1.0)
Predict = Callable[..., Prediction]
ScriptedPool = Any


def stored(database: Database, prediction: Prediction) -> Prediction:
    with database.unit_of_work(write=False) as store:
        found = store.predictions.get(prediction.id)
    assert found is not None
    return found


def counted(metrics: Metrics, outcome: ProveOutcome) -> float | None:
    return metrics.registry.get_sample_value("veriregime_proofs_total", {"outcome": outcome})


def test_next__nothing_waits__is_idle(step: ProofStep, pool: ScriptedPool) -> None:
    assert (step.next(), pool.asked) == (ProveOutcome.IDLE, [])


def test_next__a_window_waits__proves_its_observation_with_the_keys_of_its_feed(
    step: ProofStep, pool: ScriptedPool, predict: Predict, served: ServedFeed
) -> None:
    made = predict()
    assert step.next() is ProveOutcome.PROVED
    assert pool.asked == [(served.keys, made.observation)]


def test_next__proved__serves_what_the_circuit_says_from_then_on(
    step: ProofStep, pool: ScriptedPool, predict: Predict, sqlite_database: Database, model: ReleasedModel
) -> None:
    made = predict()
    step.next()
    assert isinstance(pool.answer, Proof)
    circuit = forecast_from(dequantise(pool.answer.instances, model.output_scale))
    found = stored(sqlite_database, made)
    assert (found.status, found.regime, found.p_high, found.vol_annualised) == (
        Status.PROVED,
        Regime.HIGH,
        circuit.p_high,
        circuit.vol_annualised,
    )
    assert forecast_from(NETWORK_OUTPUTS).regime is Regime.LOW


def test_next__proved__stores_the_proof_at_the_markets_time(
    step: ProofStep, pool: ScriptedPool, predict: Predict, sqlite_database: Database
) -> None:
    made = predict()
    step.next()
    with sqlite_database.unit_of_work(write=False) as store:
        found = store.predictions.proof(made.id)
    assert found is not None
    proof, proved_at_ms = found
    assert (proof, proved_at_ms // 60_000) == (pool.answer, made.window_end_ms // 60_000)


def test_next__proved__is_counted_and_timed(step: ProofStep, predict: Predict, metrics: Metrics) -> None:
    predict()
    step.next()
    assert counted(metrics, ProveOutcome.PROVED) == 1
    assert metrics.registry.get_sample_value("veriregime_proof_step_seconds_sum", {"step": "prove"}) == 0.25


def test_next__several_wait__proves_the_newest_first(
    step: ProofStep, predict: Predict, sqlite_database: Database, window_end_ms: int
) -> None:
    older, newer = predict(), predict(window_end_ms=window_end_ms + 60_000)
    step.next()
    assert (stored(sqlite_database, older).status, stored(sqlite_database, newer).status) == (
        Status.PREDICTED,
        Status.PROVED,
    )


@pytest.mark.parametrize("tolerances", [1.01, -1.01, 1e6])
def test_next__circuit_beyond_the_tolerance__fails_and_is_never_served(
    step: ProofStep,
    pool: ScriptedPool,
    proof_off_by: Callable[[float], Proof],
    predict: Predict,
    sqlite_database: Database,
    tolerances: float,
) -> None:
    pool.answer = proof_off_by(tolerances)
    made = predict()
    assert step.next() is ProveOutcome.DISAGREEMENT
    with sqlite_database.unit_of_work(write=False) as store:
        assert (store.predictions.latest(made.feed), store.predictions.proof(made.id)) == (None, None)


def test_next__disagreement__is_the_failure_of_the_prediction(
    step: ProofStep,
    pool: ScriptedPool,
    proof_off_by: Callable[[float], Proof],
    predict: Predict,
    sqlite_database: Database,
) -> None:
    pool.answer = proof_off_by(3)
    made = predict()
    step.next()
    found = stored(sqlite_database, made)
    assert found.status is Status.FAILED
    assert found.failure is not None
    assert found.failure.endswith("are 3.0 tolerances apart")


def test_next__disagreement__raises_the_alarm_once(
    step: ProofStep, pool: ScriptedPool, proof_off_by: Callable[[float], Proof], predict: Predict, metrics: Metrics
) -> None:
    pool.answer = proof_off_by(3)
    predict()
    outcomes = [step.next(), step.next()]
    alarms = metrics.registry.get_sample_value("veriregime_disagreements_total", {"feed": "btc-usdt-4h"})
    assert (outcomes, alarms) == ([ProveOutcome.DISAGREEMENT, ProveOutcome.IDLE], 1)


FAILURES = [ProofTimedOut(), ProverDied(), ProofRejected(), ProvingFailed("out of memory")]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure.slug())
def test_next__proving_fails__is_tried_again_after_a_pause(
    step: ProofStep,
    pool: ScriptedPool,
    proof_off_by: Callable[[float], Proof],
    predict: Predict,
    wall: list[int],
    failure: ProvingFailed,
) -> None:
    pool.answer = failure
    predict()
    outcomes = [step.next(), step.next()]
    wall[0] += 1_000
    pool.answer = proof_off_by(0)
    assert [*outcomes, step.next()] == [ProveOutcome.WILL_RETRY, ProveOutcome.IDLE, ProveOutcome.PROVED]


def test_next__proving_fails_every_time__fails_with_the_reason(
    step: ProofStep,
    pool: ScriptedPool,
    predict: Predict,
    sqlite_database: Database,
    policy: ProvingPolicy,
    wall: list[int],
) -> None:
    pool.answer = ProofTimedOut("killed after 30 s")
    made = predict()
    for _ in range(policy.max_attempts + 1):
        step.next()
        wall[0] += 1_000
    found = stored(sqlite_database, made)
    assert (found.status, found.failure) == (Status.FAILED, "given up after 3 attempts: killed after 30 s")
    assert len(pool.asked) == policy.max_attempts


def test_next__lease_taken_over_meanwhile__is_lost_and_records_nothing(
    step: ProofStep, pool: ScriptedPool, predict: Predict, sqlite_database: Database, taken_over: Callable[[], None]
) -> None:
    made = predict()
    pool.meanwhile = taken_over
    assert step.next() is ProveOutcome.LEASE_LOST
    with sqlite_database.unit_of_work(write=False) as store:
        assert (store.predictions.proof(made.id), store.jobs.owners()) == (None, ["other:2"])


def test_next__failure_after_the_lease_was_taken_over__leaves_the_job_to_its_new_owner(
    step: ProofStep, pool: ScriptedPool, predict: Predict, sqlite_database: Database, taken_over: Callable[[], None]
) -> None:
    predict()
    pool.answer, pool.meanwhile = ProverDied(), taken_over
    step.next()
    with sqlite_database.unit_of_work(write=False) as store:
        assert store.jobs.owners() == ["other:2"]


def test_next__model_not_served_here__is_left_to_a_process_that_serves_it(
    step: ProofStep, pool: ScriptedPool, predict: Predict, sqlite_database: Database
) -> None:
    made = predict(model_id=ModelId("00" * 32))
    assert (step.next(), pool.asked) == (ProveOutcome.IDLE, [])
    assert stored(sqlite_database, made).status is Status.PREDICTED


def test_next__feed_not_served_here__is_left_to_a_process_that_serves_it(
    step: ProofStep, pool: ScriptedPool, predict: Predict, sqlite_database: Database
) -> None:
    made = predict(feed="eth-usdt-4h")
    assert (step.next(), pool.asked) == (ProveOutcome.IDLE, [])
    assert stored(sqlite_database, made).status is Status.PREDICTED


def test_next__unexpected_error__comes_out_and_leaves_the_lease_to_lapse(
    step: ProofStep,
    pool: ScriptedPool,
    proof_off_by: Callable[[float], Proof],
    predict: Predict,
    policy: ProvingPolicy,
    wall: list[int],
) -> None:
    pool.answer = MemoryError()
    predict()
    with pytest.raises(MemoryError):
        step.next()
    pool.answer = proof_off_by(0)
    before = step.next()
    wall[0] += policy.lease_ms
    assert (before, step.next()) == (ProveOutcome.IDLE, ProveOutcome.PROVED)


def test_free_jobs_of_the_dead__frees_theirs_and_nobody_elses(
    step: ProofStep,
    predict: Predict,
    sqlite_database: Database,
    policy: ProvingPolicy,
    wall: list[int],
    window_end_ms: int,
) -> None:
    for minute in range(2):
        predict(window_end_ms=window_end_ms + 60_000 * minute)
    with sqlite_database.unit_of_work() as store:
        for owner in ("dead", "alive"):
            store.jobs.lease(owner, wall[0], policy.lease_ms, policy.max_attempts)
    step.free_jobs_of_the_dead(lambda owner: owner == "alive")
    with sqlite_database.unit_of_work(write=False) as store:
        assert store.jobs.owners() == ["alive"]
    assert [step.next(), step.next()] == [ProveOutcome.PROVED, ProveOutcome.IDLE]
