"""Jobs of one minute leased together, and those that are given up because there are too many."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.inference.network import forecast_from
from app.store.database import Database
from app.types import AttemptOutcome, ModelId, Prediction, Proof, ProofJob, Status

Predict = Callable[..., Prediction]
MODEL, OTHER_MODEL = ModelId("ab" * 32), ModelId("ee" * 32)
LEASE_MS = 100


def lease_together(
    database: Database, owner: str = "me", *, least: int = 2, most: int = 10, now_ms: int = 0
) -> list[ProofJob]:
    with database.unit_of_work() as store:
        return store.jobs.lease_together(owner, now_ms, LEASE_MS, MODEL, least=least, most=most)


def lease(database: Database, owner: str = "me", now_ms: int = 0) -> ProofJob | None:
    with database.unit_of_work() as store:
        return store.jobs.lease(owner, now_ms, LEASE_MS, 3)


def gathering(database: Database) -> tuple[int, int] | None:
    with database.unit_of_work(write=False) as store:
        found = store.jobs.gathering(MODEL)
    return (len(set(found[0])), found[1]) if found else None


def shed(database: Database, keep: int, *models: str, now_ms: int = 9_000) -> int:
    with database.unit_of_work() as store:
        return store.jobs.shed(keep, "too many", models or [MODEL], "me", now_ms)


def stored(database: Database, prediction: Prediction) -> Prediction:
    with database.unit_of_work(write=False) as store:
        found = store.predictions.get(prediction.id)
    assert found is not None
    return found


@pytest.fixture
def minute(database: Database, make_prediction: Predict, window_end_ms: int) -> Callable[..., list[Prediction]]:
    """Store predictions of so many feeds for one minute, in the order of their ids."""

    def predict_all(feeds: int, minute: int = 0, queued_at_ms: int = 0, **fields: object) -> list[Prediction]:
        made = [
            make_prediction(feed=f"coin{number}-usdt-4h", window_end_ms=window_end_ms + minute * 60_000, **fields)
            for number in range(feeds)
        ]
        with database.unit_of_work() as store:
            for prediction in made:
                assert store.predictions.add(prediction, queued_at_ms)
        return sorted(made, key=lambda prediction: prediction.id)

    return predict_all


Minute = Callable[..., list[Prediction]]


def test_lease_together__nothing_waits__is_empty(database: Database) -> None:
    assert lease_together(database) == []


def test_lease_together__carries_what_a_prover_needs_of_each(database: Database, minute: Minute) -> None:
    made = minute(3, queued_at_ms=500)
    assert lease_together(database, now_ms=2_000) == [
        ProofJob(
            prediction_id=prediction.id,
            feed=prediction.feed,
            window_end_ms=prediction.window_end_ms,
            model_id=prediction.model_id,
            observation=prediction.observation,
            network_outputs=prediction.network_outputs,
            attempt=1,
            queue_seconds=1.5,
        )
        for prediction in made
    ]


def test_lease_together__says_that_each_is_being_proved(database: Database, minute: Minute) -> None:
    made = minute(2)
    lease_together(database)
    assert {stored(database, prediction).status for prediction in made} == {Status.PROVING}


def test_lease_together__is_the_newest_minute_only(database: Database, minute: Minute) -> None:
    minute(4)
    newest = minute(2, minute=1)
    assert [job.prediction_id for job in lease_together(database)] == [prediction.id for prediction in newest]


def test_lease_together__fewer_than_the_least__takes_none(database: Database, minute: Minute) -> None:
    made = minute(2)
    assert lease_together(database, least=3) == []
    assert {stored(database, prediction).status for prediction in made} == {Status.PREDICTED}


def test_lease_together__newest_minute_too_small__does_not_reach_back(database: Database, minute: Minute) -> None:
    minute(4)
    minute(1, minute=1)
    assert lease_together(database) == []


def test_lease_together__more_than_the_most__leaves_the_rest(database: Database, minute: Minute) -> None:
    made = minute(5)
    taken = [job.prediction_id for _ in range(2) for job in lease_together(database, most=3)]
    assert taken == [prediction.id for prediction in made]


def test_lease_together__of_another_model__are_left(database: Database, minute: Minute) -> None:
    minute(3, model_id=OTHER_MODEL)
    minute(1)
    assert lease_together(database) == []


def test_lease_together__leased_by_somebody__are_skipped(database: Database, minute: Minute) -> None:
    made = minute(3)
    alone = lease(database, "you")
    together = lease_together(database)
    assert alone is not None
    assert {job.prediction_id for job in together} == {prediction.id for prediction in made} - {alone.prediction_id}


def test_lease_together__a_second_attempt__is_not_taken(database: Database, minute: Minute) -> None:
    made = minute(2)
    lease_together(database)
    with database.unit_of_work() as store:
        for prediction in made:
            assert store.jobs.retry(prediction.id, "me", "it died", 0)
    assert lease_together(database, now_ms=5_000) == []
    assert lease(database, now_ms=5_000) is not None


def test_lease_together__lapsed__is_not_taken_together_again(database: Database, minute: Minute) -> None:
    minute(2)
    lease_together(database)
    assert lease_together(database, "you", now_ms=LEASE_MS) == []
    again = lease(database, "you", now_ms=LEASE_MS)
    assert again is not None
    assert again.attempt == 2


def test_lease_together__by_many_threads_at_once__gives_each_job_to_one(database: Database, minute: Minute) -> None:
    made = {prediction.id for number in range(4) for prediction in minute(4, minute=number)}
    together = threading.Barrier(4)

    def work(owner: str) -> list[ProofJob]:
        together.wait()
        joint = [job for _ in range(4) for job in lease_together(database, owner)]
        return joint + [job for job in iter(lambda: lease(database, owner), None) if job]

    with ThreadPoolExecutor(4) as pool:
        leased = [job.prediction_id for jobs in pool.map(work, "abcd") for job in jobs]
    assert len(leased) == 16
    assert set(leased) == made


def test_gathering__nothing_waits__is_none(database: Database) -> None:
    assert gathering(database) is None


def test_gathering__counts_the_newest_minute_since_its_first(database: Database, minute: Minute) -> None:
    minute(3, queued_at_ms=10)
    minute(1, minute=1, queued_at_ms=200)
    minute(2, minute=2, queued_at_ms=400)
    assert gathering(database) == (2, 400)


def test_gathering__since_is_when_the_first_of_them_came(database: Database, make_prediction: Predict) -> None:
    with database.unit_of_work() as store:
        for feed, queued_at_ms in (("a-usdt-4h", 700), ("b-usdt-4h", 500), ("c-usdt-4h", 600)):
            store.predictions.add(make_prediction(feed=feed), queued_at_ms)
    assert gathering(database) == (3, 500)


def test_gathering__other_models_and_leased_jobs__do_not_count(database: Database, minute: Minute) -> None:
    minute(3, model_id=OTHER_MODEL)
    minute(2)
    lease_together(database)
    assert gathering(database) is None


def test_gathering__a_second_attempt__is_not_waited_with(database: Database, minute: Minute) -> None:
    (made,) = minute(1)
    lease(database)
    with database.unit_of_work() as store:
        store.jobs.retry(made.id, "me", "it died", 0)
    assert gathering(database) is None


def test_shed__keeps_the_newest_and_fails_the_rest_with_the_reason(database: Database, minute: Minute) -> None:
    made = [prediction for number in range(5) for prediction in minute(1, minute=number)]
    assert shed(database, 2) == 3
    found = [stored(database, prediction) for prediction in made]
    assert [one.status for one in found] == [Status.FAILED] * 3 + [Status.PREDICTED] * 2
    assert {one.failure for one in found[:3]} == {"too many"}


def test_shed__leaves_an_attempt_that_says_how_long_it_waited(database: Database, minute: Minute) -> None:
    (made,) = minute(1, queued_at_ms=4_000)
    shed(database, 0, now_ms=9_000)
    with database.unit_of_work(write=False) as store:
        (attempt,) = store.attempts.of(made.id)
    assert (attempt.outcome, attempt.reason, attempt.owner) == (AttemptOutcome.SHED, "too many", "me")
    assert (attempt.number, attempt.queue_seconds, attempt.at_ms) == (0, 5.0, 9_000)


def test_shed__what_is_shed__is_never_leased(database: Database, minute: Minute) -> None:
    minute(3)
    shed(database, 0)
    assert lease(database, now_ms=10**9) is None
    with database.unit_of_work(write=False) as store:
        assert store.jobs.waiting() == 0


def test_shed__a_job_that_waits_for_its_next_attempt__is_shed_as_that_attempt(
    database: Database, minute: Minute
) -> None:
    (made,) = minute(1)
    lease(database)
    with database.unit_of_work() as store:
        store.jobs.retry(made.id, "me", "it died", 0)
    assert shed(database, 0) == 1
    with database.unit_of_work(write=False) as store:
        assert [attempt.number for attempt in store.attempts.of(made.id)] == [1]


def test_shed__leased_jobs__are_left_and_do_not_count(database: Database, minute: Minute) -> None:
    old, new = minute(1)[0], minute(1, minute=1)[0]
    lease(database, "you")
    assert shed(database, 1) == 0
    assert shed(database, 0) == 1
    assert (stored(database, old).status, stored(database, new).status) == (Status.FAILED, Status.PROVING)


def test_shed__other_models__are_left(database: Database, minute: Minute) -> None:
    theirs = minute(2, model_id=OTHER_MODEL)
    minute(2)
    assert shed(database, 0) == 2
    assert {stored(database, prediction).status for prediction in theirs} == {Status.PREDICTED}


def test_shed__fewer_than_are_kept__sheds_none(database: Database, minute: Minute) -> None:
    minute(2)
    assert shed(database, 2) == 0


def test_shed__proved_windows__are_left(database: Database, minute: Minute, make_proof: Callable[..., Proof]) -> None:
    (made,) = minute(1)
    lease(database)
    with database.unit_of_work() as store:
        store.jobs.finish(made.id, "me", make_proof(), forecast_from((0, 1, -1)), 77)
    assert shed(database, 0) == 0
    assert stored(database, made).status is Status.PROVED


def test_retry__that_was_no_attempt__may_be_taken_together_again(database: Database, minute: Minute) -> None:
    made = minute(2)
    lease_together(database)
    with database.unit_of_work() as store:
        for prediction in made:
            store.jobs.retry(prediction.id, "me", "no prover", 0, counts=False)
    assert lease_together(database, now_ms=999) == []
    assert [job.attempt for job in lease_together(database, now_ms=1_000)] == [1, 1]


def test_lease_together__feeds_that_another_process_serves__are_left_to_it(
    database: Database, minute: Callable[..., list[Prediction]]
) -> None:
    made = minute(3)
    mine = [made[0].feed, made[1].feed]
    with database.unit_of_work() as store:
        gathered = store.jobs.gathering(MODEL, mine)
        taken = store.jobs.lease_together("me", 0, LEASE_MS, MODEL, mine, least=2, most=10)
        assert store.jobs.shed(0, "too many", [MODEL], "me", 0, mine) == 0
    assert gathered is not None
    assert sorted(gathered[0]) == sorted(one.id for one in made[:2])
    assert sorted(job.feed for job in taken) == mine
    assert stored(database, made[2]).status is Status.PREDICTED
