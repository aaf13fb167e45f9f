from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.inference.network import forecast_from
from app.store.database import Database
from app.types import Prediction, Proof, ProofJob, Status

Predict = Callable[..., Prediction]
FORECAST = forecast_from((0.0, 1.0, -1.0))
LEASE_MS = 100


def lease(database: Database, owner: str = "me", now_ms: int = 0, max_attempts: int = 3) -> ProofJob | None:
    with database.unit_of_work() as store:
        return store.jobs.lease(owner, now_ms, LEASE_MS, max_attempts)


def stored(database: Database, prediction: Prediction) -> Prediction:
    with database.unit_of_work(write=False) as store:
        found = store.predictions.get(prediction.id)
    assert found is not None
    return found


@pytest.fixture
def finish(database: Database, make_proof: Callable[..., Proof]) -> Callable[[Prediction, str], bool]:
    def finish_one(prediction: Prediction, owner: str) -> bool:
        with database.unit_of_work() as store:
            return store.jobs.finish(prediction.id, owner, make_proof(), FORECAST, 77)

    return finish_one


def test_lease__nothing_waits__is_none(database: Database) -> None:
    assert lease(database) is None


def test_lease__carries_what_a_prover_needs(database: Database, predict: Predict) -> None:
    made = predict()
    assert lease(database) == ProofJob(
        prediction_id=made.id,
        feed=made.feed,
        window_end_ms=made.window_end_ms,
        model_id=made.model_id,
        observation=made.observation,
        network_outputs=made.network_outputs,
        attempt=1,
        queue_seconds=None,
    )


def test_lease__says_that_the_prediction_is_being_proved(database: Database, predict: Predict) -> None:
    made = predict()
    lease(database)
    assert stored(database, made).status is Status.PROVING


def test_lease__several_wait__is_the_newest_window_first(database: Database, predict: Predict) -> None:
    ends = [predict(minute).window_end_ms for minute in (1, 3, 2)]
    leased = [lease(database) for _ in ends]
    assert [job.window_end_ms for job in leased if job] == sorted(ends, reverse=True)


def test_lease__taken_already__is_none_for_another(database: Database, predict: Predict) -> None:
    predict()
    lease(database, "me")
    assert lease(database, "you") is None


def test_lease__by_many_threads_at_once__gives_each_job_to_one(database: Database, predict: Predict) -> None:
    made = {predict(minute).id for minute in range(12)}
    together = threading.Barrier(4)

    def work(owner: str) -> list[ProofJob]:
        together.wait()
        return [job for job in iter(lambda: lease(database, owner), None) if job]

    with ThreadPoolExecutor(4) as pool:
        leased = [job.prediction_id for jobs in pool.map(work, "abcd") for job in jobs]
    assert len(leased) == 12
    assert set(leased) == made


def test_lease__not_yet_lapsed__stays_with_its_owner(database: Database, predict: Predict) -> None:
    predict()
    lease(database, "me", now_ms=0)
    assert lease(database, "you", now_ms=LEASE_MS - 1) is None


def test_lease__lapsed__is_taken_up_as_the_next_attempt(database: Database, predict: Predict) -> None:
    made = predict()
    lease(database, "me", now_ms=0)
    again = lease(database, "you", now_ms=LEASE_MS)
    assert again is not None
    assert (again.prediction_id, again.attempt) == (made.id, 2)


def test_finish__by_the_holder__is_proved(
    database: Database, predict: Predict, finish: Callable[[Prediction, str], bool]
) -> None:
    made = predict()
    lease(database, "me")
    assert finish(made, "me")
    assert stored(database, made).status is Status.PROVED


def test_finish__by_somebody_else__is_refused_and_changes_nothing(
    database: Database, predict: Predict, finish: Callable[[Prediction, str], bool]
) -> None:
    made = predict()
    lease(database, "me")
    assert not finish(made, "you")
    assert stored(database, made).status is Status.PROVING


def test_finish__by_a_holder_whose_lease_was_taken_over__is_refused(
    database: Database, predict: Predict, finish: Callable[[Prediction, str], bool]
) -> None:
    made = predict()
    lease(database, "me", now_ms=0)
    lease(database, "you", now_ms=LEASE_MS)
    assert (finish(made, "me"), finish(made, "you")) == (False, True)


def test_finish__after_the_lapse_but_before_anybody_took_over__is_accepted(
    database: Database, predict: Predict, finish: Callable[[Prediction, str], bool]
) -> None:
    made = predict()
    lease(database, "me", now_ms=0)
    assert finish(made, "me")
    assert lease(database, "you", now_ms=LEASE_MS) is None


def test_finish__twice__is_recorded_once(
    database: Database, predict: Predict, finish: Callable[[Prediction, str], bool]
) -> None:
    made = predict()
    lease(database, "me")
    assert (finish(made, "me"), finish(made, "me")) == (True, False)


def test_finish__without_a_lease__is_refused(predict: Predict, finish: Callable[[Prediction, str], bool]) -> None:
    assert not finish(predict(), "me")


def retry(database: Database, prediction: Prediction, owner: str = "me", now_ms: int = 0) -> bool:
    with database.unit_of_work() as store:
        return store.jobs.retry(prediction.id, owner, "the prover died", now_ms)


def test_retry__before_the_pause_is_over__is_not_leased(database: Database, predict: Predict) -> None:
    made = predict()
    lease(database)
    assert retry(database, made)
    assert lease(database, now_ms=999) is None


def test_retry__after_the_pause__is_leased_as_the_next_attempt(database: Database, predict: Predict) -> None:
    made = predict()
    lease(database)
    retry(database, made)
    again = lease(database, now_ms=1_000)
    assert again is not None
    assert again.attempt == 2


def test_retry__in_the_meantime__the_prediction_waits(database: Database, predict: Predict) -> None:
    made = predict()
    lease(database)
    retry(database, made)
    assert stored(database, made).status is Status.PREDICTED


def test_retry__by_somebody_else__is_refused(database: Database, predict: Predict) -> None:
    made = predict()
    lease(database, "me")
    assert not retry(database, made, "you")


def test_lease__failed_too_often__gives_up_with_the_last_reason(database: Database, predict: Predict) -> None:
    made = predict()
    for attempt in range(2):
        lease(database, now_ms=2_000 * attempt, max_attempts=2)
        retry(database, made, now_ms=2_000 * attempt)
    assert lease(database, now_ms=9_000, max_attempts=2) is None
    found = stored(database, made)
    assert (found.status, found.failure) == (Status.FAILED, "given up after 2 attempts: the prover died")


def test_lease__lapsed_too_often__gives_up_because_nobody_came_back(database: Database, predict: Predict) -> None:
    made = predict()
    lease(database, now_ms=0, max_attempts=1)
    assert lease(database, now_ms=LEASE_MS, max_attempts=1) is None
    assert stored(database, made).failure == "given up after 1 attempts: the prover never came back"


def test_lease__an_older_job_given_up__the_next_is_leased(database: Database, predict: Predict) -> None:
    predict(5)
    lease(database, now_ms=0, max_attempts=1)
    waiting = predict(1)
    job = lease(database, now_ms=LEASE_MS, max_attempts=1)
    assert job is not None
    assert job.prediction_id == waiting.id


def test_give_up__by_the_holder__fails_with_the_reason_for_good(database: Database, predict: Predict) -> None:
    made = predict()
    lease(database)
    with database.unit_of_work() as store:
        assert store.jobs.give_up(made.id, "me", "they disagree")
    assert (stored(database, made).status, stored(database, made).failure) == (Status.FAILED, "they disagree")
    assert lease(database, now_ms=10**9) is None


def test_give_up__by_somebody_else__is_refused(database: Database, predict: Predict) -> None:
    made = predict()
    lease(database, "me")
    with database.unit_of_work() as store:
        assert not store.jobs.give_up(made.id, "you", "they disagree")
    assert stored(database, made).status is Status.PROVING


def test_owners__are_those_who_hold_a_lease(database: Database, predict: Predict) -> None:
    for minute in range(4):
        predict(minute)
    for owner in ("me", "me", "you"):
        lease(database, owner)
    with database.unit_of_work(write=False) as store:
        assert sorted(store.jobs.owners()) == ["me", "you"]


def test_free__of_an_owner_that_is_gone__makes_its_jobs_leasable_at_once(database: Database, predict: Predict) -> None:
    for minute in range(3):
        predict(minute)
    for owner in ("gone", "gone", "here"):
        lease(database, owner)
    with database.unit_of_work() as store:
        assert store.jobs.free("gone") == 2
    leased = [job for job in iter(lambda: lease(database, "me"), None) if job]
    assert [job.attempt for job in leased] == [2, 2]


def test_free__an_owner_without_jobs__frees_none(database: Database, predict: Predict) -> None:
    predict()
    lease(database, "me")
    with database.unit_of_work() as store:
        assert store.jobs.free("you") == 0


def test_free__in_the_meantime__the_prediction_waits(database: Database, predict: Predict) -> None:
    made = predict()
    lease(database, "gone")
    with database.unit_of_work() as store:
        store.jobs.free("gone")
    assert stored(database, made).status is Status.PREDICTED


def test_waiting__counts_queued_and_leased_but_not_finished_jobs(
    database: Database, predict: Predict, finish: Callable[[Prediction, str], bool]
) -> None:
    predict(0)
    predict(1)
    newest = predict(2)
    lease(database)
    finish(newest, "me")
    lease(database)
    with database.unit_of_work(write=False) as store:
        assert store.jobs.waiting() == 2
