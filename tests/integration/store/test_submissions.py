from __future__ import annotations

from collections.abc import Callable

import pytest

from app.inference.network import forecast_from
from app.store.database import Database
from app.types import (
    Prediction,
    Proof,
    Receipt,
    SignedTransaction,
    Status,
    Submission,
    SubmissionState,
)

CHAIN_ID = 31337
ACCEPTED = Receipt(succeeded=True, block_number=12, gas_used=345_678)
REVERTED = Receipt(succeeded=False, block_number=13, gas_used=21_000)
Predict = Callable[..., Prediction]


@pytest.fixture
def proved(database: Database, predict: Predict, make_proof: Callable[..., Proof]) -> Predict:
    """Store a prediction with its proof."""

    def prove(minute: int = 0) -> Prediction:
        made = predict(minute)
        with database.unit_of_work() as store:
            store.jobs.lease("me", 0, 1_000, 5)
            assert store.jobs.finish(made.id, "me", make_proof(), forecast_from((0, 1, -1)), 77)
        return made

    return prove


def signed(number: int = 1, chain_id: int = CHAIN_ID) -> SignedTransaction:
    return SignedTransaction(
        chain_id=chain_id, contract="0x" + "11" * 20, tx_hash=f"0x{number:064x}", raw=bytes([number]) * 300
    )


def record(database: Database, prediction: Prediction, transaction: SignedTransaction, now_ms: int = 5) -> None:
    with database.unit_of_work() as store:
        store.submissions.record([prediction.id], transaction, now_ms)


def confirm(database: Database, prediction: Prediction, receipt: Receipt) -> None:
    with database.unit_of_work() as store:
        sent = store.submissions.of([prediction.id])[prediction.id]
        store.submissions.confirm(sent.tx_hash, receipt)


def unconfirmed(database: Database, chain_id: int = CHAIN_ID) -> Submission | None:
    with database.unit_of_work(write=False) as store:
        return store.submissions.unconfirmed(chain_id)


def next_proved(database: Database, since_ms: int = 0) -> str | None:
    with database.unit_of_work(write=False) as store:
        return store.submissions.next_proved(since_ms)


def status(database: Database, prediction: Prediction) -> Status:
    with database.unit_of_work(write=False) as store:
        found = store.predictions.get(prediction.id)
    assert found is not None
    return found.status


def test_next_proved__nothing_proved__is_none(database: Database, predict: Predict) -> None:
    predict()
    assert next_proved(database) is None


def test_next_proved__several__is_the_newest_window(database: Database, proved: Predict) -> None:
    newest = [proved(0), proved(1)][-1]
    assert next_proved(database) == newest.id


def test_next_proved__since__is_exclusive(database: Database, proved: Predict) -> None:
    made = proved()
    assert next_proved(database, made.window_end_ms - 1) == made.id
    assert next_proved(database, made.window_end_ms) is None


def test_next_proved__submitted_ones__are_passed_over(database: Database, proved: Predict) -> None:
    older, newer = proved(0), proved(1)
    record(database, newer, signed())
    assert next_proved(database) == older.id


def test_record__says_that_the_prediction_is_submitted(database: Database, proved: Predict) -> None:
    made = proved()
    record(database, made, signed())
    assert status(database, made) is Status.SUBMITTED


def test_record__the_signed_bytes__come_back_exactly(database: Database, proved: Predict) -> None:
    made, transaction = proved(), signed(200)
    record(database, made, transaction)
    assert unconfirmed(database) == Submission(
        prediction_id=made.id,
        chain_id=CHAIN_ID,
        contract=transaction.contract,
        tx_hash=transaction.tx_hash,
        raw=transaction.raw,
        state=SubmissionState.SENT,
        block_number=None,
        gas_used=None,
        sent_at_ms=5,
    )


def test_record__a_second_transaction_for_one_chain__is_not_stored(database: Database, proved: Predict) -> None:
    made = proved()
    with database.unit_of_work() as store:
        assert store.submissions.record([made.id], signed(1), 5)
        assert not store.submissions.record([made.id], signed(2), 5)
        assert store.submissions.of([made.id])[made.id].tx_hash == signed(1).tx_hash


def test_unconfirmed__several__is_the_oldest(database: Database, proved: Predict) -> None:
    later, earlier = proved(0), proved(1)
    record(database, later, signed(1), now_ms=20)
    record(database, earlier, signed(2), now_ms=10)
    oldest = unconfirmed(database)
    assert oldest is not None
    assert oldest.prediction_id == earlier.id


def test_unconfirmed__on_another_chain__is_none(database: Database, proved: Predict) -> None:
    record(database, proved(), signed())
    assert unconfirmed(database, chain_id=1) is None


def test_confirm__accepted__is_confirmed_with_block_and_gas(database: Database, proved: Predict) -> None:
    made = proved()
    record(database, made, signed())
    confirm(database, made, ACCEPTED)
    with database.unit_of_work(write=False) as store:
        found = store.submissions.of([made.id])[made.id]
    assert (found.state, found.block_number, found.gas_used) == (SubmissionState.CONFIRMED, 12, 345_678)
    assert status(database, made) is Status.CONFIRMED


def test_confirm__reverted__says_so_and_keeps_the_forecast_served(database: Database, proved: Predict) -> None:
    made = proved()
    record(database, made, signed())
    confirm(database, made, REVERTED)
    with database.unit_of_work(write=False) as store:
        assert store.submissions.of([made.id])[made.id].state is SubmissionState.REVERTED
        assert store.predictions.latest(made.feed) is not None


def test_confirm__reverted__is_not_submitted_again(database: Database, proved: Predict) -> None:
    made = proved()
    record(database, made, signed())
    confirm(database, made, REVERTED)
    assert next_proved(database) is None


@pytest.mark.parametrize("receipt", [ACCEPTED, REVERTED], ids=["accepted", "reverted"])
def test_confirm__settles_the_transaction(database: Database, proved: Predict, receipt: Receipt) -> None:
    made = proved()
    record(database, made, signed())
    confirm(database, made, receipt)
    assert unconfirmed(database) is None


def test_forget__makes_the_proof_ready_to_be_sent_anew(database: Database, proved: Predict) -> None:
    made = proved()
    record(database, made, signed(1))
    with database.unit_of_work() as store:
        store.submissions.forget(signed(1).tx_hash)
    assert (next_proved(database), unconfirmed(database)) == (made.id, None)
    record(database, made, signed(2))


def test_of__predictions_without_transaction__are_left_out(database: Database, proved: Predict) -> None:
    sent, unsent = proved(0), proved(1)
    record(database, sent, signed())
    with database.unit_of_work(write=False) as store:
        assert set(store.submissions.of([sent.id, unsent.id])) == {sent.id}


def test_of__two_chains__is_the_newest_transaction(database: Database, proved: Predict) -> None:
    made = proved()
    record(database, made, signed(1), now_ms=20)
    record(database, made, signed(2, chain_id=1), now_ms=10)
    with database.unit_of_work(write=False) as store:
        assert store.submissions.of([made.id])[made.id].tx_hash == signed(1).tx_hash
