"""A prover that cannot keep up: the oldest windows are given up, and it shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from app.errors import ProofTimedOut
from app.metrics import Metrics
from app.steps.backlog import Backlog
from app.steps.prove import ProofStep, ProveOutcome, ProvingPolicy
from app.store.database import Database
from app.types import AttemptOutcome, ModelId, Prediction, Status

Predict = Callable[..., Prediction]
Minutes = Callable[..., list[Prediction]]
SLOW_S = 120.0
"""A window arrives each minute, so only the newest can be kept up with."""


@pytest.fixture
def minutes(predict: Predict, window_end_ms: int) -> Minutes:
    """Predictions of so many minutes, the oldest first."""
    return lambda count, **fields: [
        predict(window_end_ms=window_end_ms + 60_000 * minute, **fields) for minute in range(count)
    ]


@pytest.fixture
def statuses(sqlite_database: Database) -> Callable[[list[Prediction]], list[Status]]:
    def of(made: list[Prediction]) -> list[Status]:
        with sqlite_database.unit_of_work(write=False) as store:
            found = [store.predictions.get(one.id) for one in made]
        return [one.status for one in found if one]

    return of


@pytest.fixture
def slow(backlog: Backlog) -> None:
    backlog.add(SLOW_S, joint=False)


@pytest.mark.usefixtures("slow")
def test_next__too_slow__proves_the_newest_and_sheds_the_rest(
    step: ProofStep, minutes: Minutes, statuses: Callable[..., list[Status]]
) -> None:
    made = minutes(4)
    assert step.next() is ProveOutcome.PROVED
    assert statuses(made) == [Status.FAILED] * 3 + [Status.PROVED]


@pytest.mark.usefixtures("slow")
def test_next__too_slow__says_why_in_the_prediction_and_in_its_attempt(
    step: ProofStep, minutes: Minutes, sqlite_database: Database, policy: ProvingPolicy, wall: list[int]
) -> None:
    oldest, _ = minutes(2, queued_at_ms=wall[0] - 90_000)
    step.next()
    reason = (
        "shed: a window takes 120.00 s to prove and 1 are proved at once, "
        "so only the newest 1 that wait can be caught up with"
    )
    with sqlite_database.unit_of_work(write=False) as store:
        found, (attempt,) = store.predictions.get(oldest.id), store.attempts.of(oldest.id)
    assert found is not None
    assert (found.failure, attempt.reason) == (reason, reason)
    assert (attempt.outcome, attempt.number, attempt.queue_seconds) == (AttemptOutcome.SHED, 0, 90.0)
    assert (attempt.owner, attempt.prove_seconds) == (policy.owner, None)


@pytest.mark.usefixtures("slow")
def test_next__too_slow__counts_what_it_sheds(step: ProofStep, minutes: Minutes, metrics: Metrics) -> None:
    minutes(4)
    step.next()
    assert metrics.registry.get_sample_value("veriregime_proof_jobs_shed_total") == 3


@pytest.mark.usefixtures("slow")
def test_next__too_slow__leaves_what_others_are_proving(
    step: ProofStep, minutes: Minutes, statuses: Callable[..., list[Status]], sqlite_database: Database, wall: list[int]
) -> None:
    made = minutes(3)
    with sqlite_database.unit_of_work() as store:
        assert store.jobs.lease("other:2", wall[0], 35_000, 3)
    assert step.next() is ProveOutcome.PROVED
    assert statuses(made) == [Status.FAILED, Status.PROVED, Status.PROVING]


@pytest.mark.usefixtures("slow")
def test_next__too_slow__leaves_the_models_of_other_processes(
    step: ProofStep, minutes: Minutes, statuses: Callable[..., list[Status]]
) -> None:
    theirs = minutes(3, model_id=ModelId("00" * 32))
    minutes(2)
    step.next()
    assert statuses(theirs) == [Status.PREDICTED] * 3


def test_next__speed_unknown__sheds_nothing(
    step: ProofStep, minutes: Minutes, statuses: Callable[..., list[Status]]
) -> None:
    made = minutes(5)
    step.next()
    assert statuses(made) == [Status.PREDICTED] * 4 + [Status.PROVED]


@pytest.mark.usefixtures("slow")
def test_next__no_prover_at_the_moment__leaves_everything_waiting(
    step: ProofStep, pool: Any, minutes: Minutes, statuses: Callable[..., list[Status]]
) -> None:
    pool.slots = 0
    made = minutes(5)
    assert (step.next(), pool.asked) == (ProveOutcome.IDLE, [])
    assert statuses(made) == [Status.PREDICTED] * 5


def test_next__fast_enough__sheds_nothing(
    step: ProofStep, backlog: Backlog, minutes: Minutes, statuses: Callable[..., list[Status]]
) -> None:
    backlog.add(0.25, joint=False)
    made = minutes(5)
    step.next()
    assert Status.FAILED not in statuses(made)


def test_next__tries_that_fail__count_as_slow(step: ProofStep, backlog: Backlog, pool: Any, predict: Predict) -> None:
    pool.answer = ProofTimedOut()
    predict()
    step.next()
    assert backlog.seconds(joint=False) is not None


@pytest.mark.usefixtures("slow")
def test_next__within_five_seconds__does_not_look_again(
    step: ProofStep, minutes: Minutes, statuses: Callable[..., list[Status]]
) -> None:
    step.next()
    made = minutes(3)
    step.next()
    assert statuses(made) == [Status.PREDICTED] * 2 + [Status.PROVED]
