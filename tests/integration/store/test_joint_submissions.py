"""One transaction that carries the predictions of a joint proof."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from app.inference.network import forecast_from
from app.store.database import Database
from app.types import Prediction, PredictionId, Proof, Receipt, SignedTransaction, Status, TransactionState

CHAIN_ID = 31337
SENDER = "0x" + "aa" * 20
FORECAST = forecast_from((0, 1, -1))
Members = list[PredictionId]


def signed(number: int = 1, nonce: int = 7) -> SignedTransaction:
    raw = bytes([number]) * 300
    return SignedTransaction(CHAIN_ID, "0x" + "11" * 20, SENDER, nonce, f"0x{number:064x}", raw, 20 + number, 2)


@pytest.fixture
def joint(database: Database, make_prediction: Callable[..., Prediction], make_proof: Callable[..., Proof]) -> Members:
    """Three predictions of a proof with four places; in the order of their ids, which is not that of the places."""
    made = [make_prediction(feed=f"coin{number}-usdt-4h") for number in range(3)]
    ids = sorted((prediction.id for prediction in made), reverse=True)
    with database.unit_of_work() as store:
        for prediction in made:
            store.predictions.add(prediction)
        store.jobs.lease_together("me", 0, 1_000, made[0].model_id, least=3, most=4)
        for slot, prediction_id in enumerate(ids):
            proof = make_proof(instances=tuple(range(12)), members=(*ids, None), slot=slot)
            assert store.jobs.finish(prediction_id, "me", proof, FORECAST, 77)
    return sorted(ids)


def statuses(database: Database, members: Members) -> list[Status]:
    with database.unit_of_work(write=False) as store:
        found = [store.predictions.get(prediction_id) for prediction_id in members]
    return [one.status for one in found if one]


def record(database: Database, members: Members, transaction: SignedTransaction) -> bool:
    with database.unit_of_work() as store:
        return store.submissions.record(members, transaction, 5)


def test_proof__of_several_windows__comes_back_with_its_place_and_members(
    database: Database, joint: Members, make_proof: Callable[..., Proof]
) -> None:
    members = (*reversed(joint), None)
    with database.unit_of_work(write=False) as store:
        proofs = [store.predictions.proof(prediction_id) for prediction_id in reversed(joint)]
    assert proofs == [(make_proof(instances=tuple(range(12)), members=members, slot=slot), 77) for slot in range(3)]
    assert [proof.outputs for proof, _ in filter(None, proofs)] == [(0, 1, 2), (3, 4, 5), (6, 7, 8)]


@pytest.mark.parametrize("asked", [0, 1, 2])
def test_proved_with__of_any_member__is_all_of_them_in_one_order(
    database: Database, joint: Members, asked: int
) -> None:
    with database.unit_of_work(write=False) as store:
        assert store.predictions.proved_with(joint[asked]) == joint


def test_proved_with__of_a_proof_of_its_own__is_itself(
    database: Database, joint: Members, predict: Callable[..., Prediction], make_proof: Callable[..., Proof]
) -> None:
    alone = predict(1)
    with database.unit_of_work() as store:
        store.jobs.lease("me", 0, 1_000, 5)
        store.jobs.finish(alone.id, "me", make_proof(), FORECAST, 77)
        assert store.predictions.proved_with(alone.id) == [alone.id]


def test_proved_with__a_member_that_lost_its_lease_and_was_proved_alone__is_without_it(
    database: Database, make_prediction: Callable[..., Prediction], make_proof: Callable[..., Proof]
) -> None:
    kept, lost = (make_prediction(feed=feed) for feed in ("btc-usdt-4h", "eth-usdt-4h"))
    members = (kept.id, lost.id)
    with database.unit_of_work() as store:
        for prediction in (kept, lost):
            store.predictions.add(prediction)
        store.jobs.lease_together("me", 0, 1_000, kept.model_id, least=2, most=2)
        store.jobs.finish(kept.id, "me", make_proof(members=members, slot=0), FORECAST, 77)
        assert store.jobs.lease("you", 2_000, 1_000, 5)
        assert store.jobs.finish(lost.id, "you", make_proof(proof=b"\1" * 2_000), FORECAST, 78)
        assert store.predictions.proved_with(kept.id) == [kept.id]
        assert store.predictions.proved_with(lost.id) == [lost.id]


def hangs_on(database: Database, members: Members) -> list[str]:
    with database.unit_of_work(write=False) as store:
        found = store.submissions.of(members)
    return [found[one].tx_hash for one in members if one in found]


def test_record__shows_in_every_member(database: Database, joint: Members) -> None:
    assert record(database, joint, signed())
    assert statuses(database, joint) == [Status.SUBMITTED] * 3
    assert hangs_on(database, joint) == [signed().tx_hash] * 3


def test_record__one_member_has_a_transaction_already__is_refused_and_changes_nothing(
    database: Database, joint: Members
) -> None:
    with database.unit_of_work() as store:
        store.submissions.published_by_others(joint[1], CHAIN_ID, "0x" + "11" * 20, "0x" + "77" * 32, 5)
    assert not record(database, joint, signed(1))
    assert statuses(database, joint) == [Status.PROVED, Status.CONFIRMED, Status.PROVED]
    with database.unit_of_work(write=False) as store:
        assert store.submissions.sent(CHAIN_ID, SENDER) == []


def test_window_ends__are_those_of_every_member(database: Database, joint: Members, window_end_ms: int) -> None:
    record(database, joint, signed())
    with database.unit_of_work(write=False) as store:
        assert store.submissions.window_ends(signed().tx_hash) == [window_end_ms] * 3


@pytest.mark.parametrize("mined", [1, 2], ids=["the first attempt", "the second"])
def test_include__one_of_two_attempts__takes_every_member_along(database: Database, joint: Members, mined: int) -> None:
    record(database, joint, signed(1))
    with database.unit_of_work() as store:
        store.submissions.replace(signed(1), signed(2), 6)
        store.submissions.include(signed(mined), Receipt(True, 12, "0x" + "12" * 32, 585_466, signed(mined).tx_hash))
    assert hangs_on(database, joint) == [signed(mined).tx_hash] * 3


@pytest.mark.parametrize(
    ("succeeded", "state", "status"),
    [
        (True, TransactionState.CONFIRMED, Status.CONFIRMED),
        (False, TransactionState.REVERTED, Status.SUBMITTED),
    ],
    ids=["accepted", "reverted"],
)
def test_settle__settles_every_member(
    database: Database, joint: Members, succeeded: bool, state: TransactionState, status: Status
) -> None:
    record(database, joint, signed())
    with database.unit_of_work() as store:
        store.submissions.settle(signed(), Receipt(succeeded, 12, "0x" + "12" * 32, 585_466, signed().tx_hash))
    with database.unit_of_work(write=False) as store:
        found = store.submissions.of(joint).values()
        assert [(one.state, one.gas_used) for one in found] == [(state, 585_466)] * 3
    assert statuses(database, joint) == [status] * 3


def test_forget__makes_every_member_ready_to_be_sent_anew(database: Database, joint: Members) -> None:
    record(database, joint, signed(1))
    with database.unit_of_work() as store:
        store.submissions.forget(signed(1))
    assert statuses(database, joint) == [Status.PROVED] * 3
    assert hangs_on(database, joint) == []
    assert record(database, joint, signed(2))
