"""What becomes of transactions that were stored: mined, stuck, replaced, lost."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from app.chain.rounds import Publication
from app.errors import ChainUnavailable, FeesTooHigh
from app.metrics import Metrics
from app.steps.publishing import SubmitOutcome
from app.steps.submit import SubmitStep
from app.store.database import Database
from app.types import MINUTE_MS, Prediction, Status, Submission, TransactionState

LATE_MS = 16 * MINUTE_MS
"""After the window's end, and beyond the oracle's limit."""
Attested = Callable[..., Prediction]
MakeSubmit = Callable[..., SubmitStep]


@pytest.fixture
def on_its_way(make_submit: MakeSubmit, attested: Attested) -> Prediction:
    """A prediction whose transaction was sent two seconds after its window's end."""
    made = attested()
    assert make_submit().next() is SubmitOutcome.SENT
    return made


@pytest.fixture
def step(make_submit: MakeSubmit) -> SubmitStep:
    return make_submit()


@pytest.fixture
def patient(make_submit: MakeSubmit) -> SubmitStep:
    """Three blocks settle a transaction for it."""
    return make_submit(confirmations=3)


def status(database: Database, prediction: Prediction) -> Status:
    with database.unit_of_work(write=False) as store:
        found = store.predictions.get(prediction.id)
    assert found is not None
    return found.status


def submission(database: Database, prediction: Prediction) -> Submission | None:
    with database.unit_of_work(write=False) as store:
        return store.submissions.of([prediction.id]).get(prediction.id)


def waiting_long(times: dict[str, float]) -> None:
    times["wall_ms"] += 45_000


def run(step: SubmitStep, count: int) -> list[SubmitOutcome]:
    return [step.next() for _ in range(count)]


def test_sent__in_no_block__is_pending_and_not_sent_twice(step: SubmitStep, on_its_way: Prediction, chain: Any) -> None:
    assert run(step, 2) == [SubmitOutcome.PENDING] * 2
    assert len(chain.sent) == 1


def test_sent__dropped_by_the_node__is_handed_over_again(step: SubmitStep, on_its_way: Prediction, chain: Any) -> None:
    chain.pool = []
    assert step.next() is SubmitOutcome.PENDING
    assert (len(chain.sent), len(chain.signed)) == (2, 1)


def test_mined__one_block_is_enough__is_confirmed_with_its_gas(
    step: SubmitStep, on_its_way: Prediction, chain: Any, sqlite_database: Database, metrics: Metrics
) -> None:
    chain.mine(chain.sent[0])
    assert run(step, 2) == [SubmitOutcome.CONFIRMED, SubmitOutcome.IDLE]
    assert status(sqlite_database, on_its_way) is Status.CONFIRMED
    assert metrics.registry.get_sample_value("veriregime_submission_gas_sum") == 501_234


def test_mined__three_blocks_are_asked_for__is_included_first_and_confirmed_with_the_third(
    patient: SubmitStep, on_its_way: Prediction, chain: Any, sqlite_database: Database
) -> None:
    chain.mine(chain.sent[0])
    assert run(patient, 2) == [SubmitOutcome.INCLUDED, SubmitOutcome.IDLE]
    chain.pass_blocks(1)
    assert patient.next() is SubmitOutcome.IDLE
    assert status(sqlite_database, on_its_way) is Status.SUBMITTED
    chain.pass_blocks(1)
    assert patient.next() is SubmitOutcome.CONFIRMED
    assert status(sqlite_database, on_its_way) is Status.CONFIRMED


def test_mined__failed__is_reverted_and_not_tried_again(
    step: SubmitStep, on_its_way: Prediction, chain: Any, sqlite_database: Database
) -> None:
    chain.mine(chain.sent[0], succeeded=False)
    assert run(step, 2) == [SubmitOutcome.REVERTED, SubmitOutcome.IDLE]
    found = submission(sqlite_database, on_its_way)
    assert found is not None
    assert (found.state, status(sqlite_database, on_its_way)) == (TransactionState.REVERTED, Status.SUBMITTED)


def test_mined__failed_because_somebody_else_was_first__is_confirmed_as_theirs(
    step: SubmitStep, on_its_way: Prediction, chain: Any, rounds: Any, sqlite_database: Database
) -> None:
    theirs = Publication("0x" + "77" * 32, len(chain.blocks))
    chain.pass_blocks(1)
    chain.mine(chain.sent[0], succeeded=False)
    rounds.published[on_its_way.window_end_ms] = theirs
    chain.mined[theirs.tx_hash] = chain.mined[chain.sent[0].tx_hash]
    assert run(step, 2) == [SubmitOutcome.REVERTED, SubmitOutcome.IDLE]
    found = submission(sqlite_database, on_its_way)
    assert found is not None
    assert (found.ours, found.tx_hash, found.block_number) == (False, theirs.tx_hash, theirs.block_number)
    assert status(sqlite_database, on_its_way) is Status.CONFIRMED


def test_stuck__before_its_time__is_not_replaced(
    step: SubmitStep, on_its_way: Prediction, chain: Any, times: dict[str, float]
) -> None:
    times["wall_ms"] += 44_999
    assert (step.next(), len(chain.signed)) == (SubmitOutcome.PENDING, 1)


def test_stuck__is_replaced_with_the_same_call_and_nonce_for_higher_fees(
    step: SubmitStep, on_its_way: Prediction, chain: Any, times: dict[str, float], sqlite_database: Database
) -> None:
    waiting_long(times)
    assert run(step, 2) == [SubmitOutcome.REPLACED, SubmitOutcome.PENDING]
    first, second = chain.sent
    assert (second.nonce, second.contract) == (first.nonce, first.contract)
    assert second.raw.partition(b":")[2] == first.raw.partition(b":")[2]
    assert second.max_fee_wei > first.max_fee_wei
    found = submission(sqlite_database, on_its_way)
    assert found is not None
    assert found.tx_hash == second.tx_hash


def test_stuck__its_replacement__is_stored_before_it_is_sent(
    step: SubmitStep, on_its_way: Prediction, chain: Any, times: dict[str, float], sqlite_database: Database
) -> None:
    waiting_long(times)
    seen: list[Submission | None] = []
    chain.before_send = lambda: seen.append(submission(sqlite_database, on_its_way))
    step.next()
    assert [one.tx_hash for one in seen if one] == [chain.signed[1].tx_hash]


def test_stuck__replaced_by_another_process_meanwhile__sends_nothing(
    step: SubmitStep, on_its_way: Prediction, chain: Any, times: dict[str, float], sqlite_database: Database
) -> None:
    again, first = chain.again, chain.sent[0]

    def again_too_late(*terms: Any) -> Any:
        other = again(*terms)
        with sqlite_database.unit_of_work() as store:
            assert store.submissions.replace(first, other, int(times["wall_ms"]))
        return again(*terms)

    chain.again = again_too_late
    waiting_long(times)
    assert (step.next(), len(chain.sent)) == (SubmitOutcome.TAKEN, 1)


@pytest.mark.parametrize("mined", [0, 1, 2], ids=["the first", "the second", "the newest"])
@pytest.mark.parametrize("blocks", [1, 3])
def test_stuck__any_attempt_gets_in__is_the_one_that_counts(
    make_submit: MakeSubmit,
    on_its_way: Prediction,
    chain: Any,
    times: dict[str, float],
    sqlite_database: Database,
    mined: int,
    blocks: int,
) -> None:
    step = make_submit(confirmations=blocks)
    for _ in range(2):
        waiting_long(times)
        assert step.next() is SubmitOutcome.REPLACED
    chain.mine(chain.sent[mined])
    outcomes = run(step, 2)
    chain.pass_blocks(2)
    outcomes += run(step, 2)
    idle = SubmitOutcome.IDLE
    expected = [SubmitOutcome.CONFIRMED, idle, idle, idle]
    assert outcomes == (expected if blocks == 1 else [SubmitOutcome.INCLUDED, idle, SubmitOutcome.CONFIRMED, idle])
    found = submission(sqlite_database, on_its_way)
    assert found is not None
    assert (found.tx_hash, status(sqlite_database, on_its_way)) == (chain.sent[mined].tx_hash, Status.CONFIRMED)


def test_stuck__fees_beyond_the_caps__what_the_node_never_had_is_handed_over_as_it_is(
    make_submit: MakeSubmit, attested: Attested, chain: Any, times: dict[str, float]
) -> None:
    attested()
    chain.troubles["send"] = ChainUnavailable("away")
    make_submit().next()
    chain.troubles = {"fees": FeesTooHigh("too dear")}
    waiting_long(times)
    assert make_submit().next() is SubmitOutcome.FEES_TOO_HIGH
    assert chain.pool == chain.signed


def test_stuck__older_than_the_oracle_takes__is_cancelled(
    make_submit: MakeSubmit, on_its_way: Prediction, chain: Any, times: dict[str, float], sqlite_database: Database
) -> None:
    waiting_long(times)
    step = make_submit(LATE_MS)
    assert step.next() is SubmitOutcome.REPLACED
    assert (chain.sent[1].contract, chain.sent[1].nonce) == (chain.address, chain.sent[0].nonce)
    chain.mine(chain.sent[1])
    assert run(step, 2) == [SubmitOutcome.CANCELLED, SubmitOutcome.IDLE]
    assert (status(sqlite_database, on_its_way), submission(sqlite_database, on_its_way)) == (Status.PROVED, None)


def test_stuck__a_cancellation_that_is_stuck_too__is_replaced_by_another(
    make_submit: MakeSubmit, on_its_way: Prediction, chain: Any, times: dict[str, float]
) -> None:
    step = make_submit(LATE_MS)
    for _ in range(2):
        waiting_long(times)
        assert step.next() is SubmitOutcome.REPLACED
    assert [one.contract for one in chain.sent[1:]] == [chain.address] * 2


@pytest.mark.parametrize("blocks", [1, 3])
def test_stuck__gets_in_although_it_was_to_be_cancelled__is_confirmed(
    make_submit: MakeSubmit,
    on_its_way: Prediction,
    chain: Any,
    times: dict[str, float],
    sqlite_database: Database,
    blocks: int,
) -> None:
    waiting_long(times)
    step = make_submit(LATE_MS, confirmations=blocks)
    step.next()
    chain.mine(chain.sent[0])
    chain.pass_blocks(2)
    assert run(step, 2) == [SubmitOutcome.CONFIRMED, SubmitOutcome.IDLE]
    assert status(sqlite_database, on_its_way) is Status.CONFIRMED


def test_cancelled__not_deep_yet__leaves_the_prediction_alone_until_it_is(
    make_submit: MakeSubmit, on_its_way: Prediction, chain: Any, times: dict[str, float], sqlite_database: Database
) -> None:
    waiting_long(times)
    step = make_submit(LATE_MS, confirmations=3)
    step.next()
    chain.mine(chain.sent[1])
    assert run(step, 2) == [SubmitOutcome.INCLUDED, SubmitOutcome.IDLE]
    assert status(sqlite_database, on_its_way) is Status.SUBMITTED
    chain.pass_blocks(2)
    assert step.next() is SubmitOutcome.CANCELLED
    assert status(sqlite_database, on_its_way) is Status.PROVED


def test_lost__something_else_used_its_nonce__is_sent_anew(
    step: SubmitStep, on_its_way: Prediction, chain: Any, sqlite_database: Database
) -> None:
    chain.mine(chain.sign("0xelsewhere", b"", 0, chain.sent[0].nonce, chain.fees()))
    assert step.next() is SubmitOutcome.FORGOTTEN
    assert (status(sqlite_database, on_its_way), submission(sqlite_database, on_its_way)) == (Status.PROVED, None)
    assert step.next() is SubmitOutcome.SENT
    assert chain.sent[-1].nonce == chain.sent[0].nonce + 1


def test_lost__but_its_receipt_only_shows_late__is_not_forgotten(
    step: SubmitStep, on_its_way: Prediction, chain: Any
) -> None:
    chain.mine(chain.sent[0])
    chain.hidden_for = 5
    assert step.next() is SubmitOutcome.CONFIRMED


def test_never_sent__and_too_old_by_now__is_forgotten_and_not_sent_anew(
    make_submit: MakeSubmit, attested: Attested, chain: Any, sqlite_database: Database
) -> None:
    made = attested()
    chain.troubles["send"] = ChainUnavailable("away")
    make_submit().next()
    chain.troubles.clear()
    step = make_submit(LATE_MS)
    assert run(step, 2) == [SubmitOutcome.FORGOTTEN, SubmitOutcome.IDLE]
    assert (chain.sent, status(sqlite_database, made)) == ([], Status.PROVED)


def test_chain_away__keeps_what_is_on_its_way(step: SubmitStep, on_its_way: Prediction, chain: Any) -> None:
    chain.troubles["receipt"] = ChainUnavailable("away")
    assert step.next() is SubmitOutcome.CHAIN_UNAVAILABLE
    chain.troubles.clear()
    chain.mine(chain.sent[0])
    assert step.next() is SubmitOutcome.CONFIRMED


def test_logs__of_a_whole_life__say_each_thing_once(
    patient: SubmitStep,
    on_its_way: Prediction,
    chain: Any,
    times: dict[str, float],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    waiting_long(times)
    run(patient, 3)
    chain.mine(chain.sent[1])
    run(patient, 3)
    chain.pass_blocks(2)
    run(patient, 3)
    first, second = (one.tx_hash for one in chain.sent)
    assert [record.getMessage() for record in caplog.records] == [
        f"transaction {first} is stuck: replaced by {second} at 4e-08 gwei",
        f"transaction {second} in block 100: accepted, 501234 gas",
    ]
