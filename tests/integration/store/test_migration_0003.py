"""The third schema, reached from a database of the second with transactions to a bare verifier, and left again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from app.inference.network import forecast_from
from app.store.database import Database
from app.types import (
    Attestation,
    AttestationOutcome,
    Claim,
    OracleAt,
    Prediction,
    Proof,
    Receipt,
    SignedTransaction,
    Status,
    TransactionState,
)

CHAIN_ID, VERIFIER, SENDER = 31337, "0x" + "11" * 20, "0x" + "aa" * 20
STATES = ("sent", "confirmed", "reverted", "joint", "joint")
STATUS_BEFORE = {"sent": Status.SUBMITTED, "reverted": Status.SUBMITTED}
Rows = list[dict[str, Any]]
Insert = Callable[..., None]


@pytest.fixture
def second_schema(at_revision: Callable[[str], Database]) -> Database:
    return at_revision("0002")


def tx_hash(state: str) -> str:
    return f"0x{STATES.index(state) + 1:064x}"


def submission_of_0002(prediction: Prediction, state: str) -> dict[str, Any]:
    mined = state != "sent"
    return {
        "prediction_id": prediction.id,
        "chain_id": CHAIN_ID,
        "contract": VERIFIER,
        "tx_hash": tx_hash(state),
        "raw_tx": state.encode(),
        "state": "confirmed" if state == "joint" else state,
        "block_number": 12 if mined else None,
        "gas_used": 345_678 if mined else None,
        "sent_at_ms": 9,
    }


@pytest.fixture
def filled(
    second_schema: Database,
    insert: Insert,
    make_prediction: Callable[..., Prediction],
    former_row: Callable[[Prediction], dict[str, Any]],
    window_end_ms: int,
) -> list[Prediction]:
    """A prediction for each of `STATES`, the last two in one transaction, written as the second version did."""
    made = [
        make_prediction(
            window_end_ms=window_end_ms + 60_000 * minute, status=STATUS_BEFORE.get(state, Status.CONFIRMED)
        )
        for minute, state in enumerate(STATES)
    ]
    insert("predictions", *map(former_row, made))
    insert("submissions", *map(submission_of_0002, made, STATES))
    return made


def statuses(connection: sa.Connection, predictions: list[Prediction]) -> list[Status]:
    found = {one["id"]: Status(one["status"]) for one in rows(connection, "predictions", "id")}
    return [found[one.id] for one in predictions]


def rows(connection: sa.Connection, table: str, order: str) -> Rows:
    found = connection.execute(sa.text(f"SELECT * FROM {table} ORDER BY {order}"))
    return [{name: value for name, value in row._mapping.items() if value is not None} for row in found]


def test_upgrade__what_was_settled__is_kept_and_what_was_on_its_way_goes_to_the_oracle_instead(
    second_schema: Database, connection: sa.Connection, filled: list[Prediction]
) -> None:
    second_schema.upgrade("0003")
    assert statuses(connection, filled) == [Status.PROVED, *[one.status for one in filled[1:]]]
    second_schema.upgrade()
    with second_schema.unit_of_work(write=False) as store:
        found = store.submissions.of([one.id for one in filled])
    assert [found[one.id].state if one.id in found else None for one in filled] == [
        None,
        TransactionState.CONFIRMED,
        TransactionState.REVERTED,
        TransactionState.CONFIRMED,
        TransactionState.CONFIRMED,
    ]
    assert {(one.block_number, one.gas_used, one.contract, one.ours) for one in found.values()} == {
        (12, 345_678, VERIFIER, True)
    }


@pytest.mark.usefixtures("filled")
def test_upgrade__transactions__are_one_for_each_hash_with_what_is_not_known_left_open(
    second_schema: Database, connection: sa.Connection
) -> None:
    second_schema.upgrade("0003")
    found = rows(connection, "transactions", "tx_hash")
    assert [(one["tx_hash"], one["state"], bytes(one["raw_tx"]), one["sent_at_ms"]) for one in found] == [
        (tx_hash("confirmed"), "confirmed", b"confirmed", 9),
        (tx_hash("reverted"), "reverted", b"reverted", 9),
        (tx_hash("joint"), "confirmed", b"joint", 9),
    ]
    assert {(one["sender"], one["nonce"], one["max_fee_wei"]) for one in found} == {("", -1, 0)}


def test_upgraded__takes_a_transaction_for_what_was_on_its_way(
    second_schema: Database, filled: list[Prediction]
) -> None:
    second_schema.upgrade()
    with second_schema.unit_of_work() as store:
        assert store.submissions.sent(CHAIN_ID, SENDER) == []
        assert store.submissions.record([filled[0].id], signed(50, nonce=0), 9)


def test_upgrade__joint_window_with_a_transaction_on_another_chain__keeps_both(
    second_schema: Database, connection: sa.Connection, insert: Insert, filled: list[Prediction]
) -> None:
    later = max(filled[-2:], key=lambda one: one.id)  # not the row that stands for the joint transaction
    elsewhere = submission_of_0002(later, "joint") | {"chain_id": 5, "tx_hash": "0x" + "ee" * 32}
    insert("submissions", elsewhere)
    second_schema.upgrade("0003")
    found = [(one["chain_id"], one["tx_hash"]) for one in rows(connection, "transactions", "tx_hash")][-2:]
    assert found == [(CHAIN_ID, tx_hash("joint")), (5, "0x" + "ee" * 32)]


def test_downgrade__of_an_upgraded_database__is_as_before_with_what_was_on_its_way(
    second_schema: Database, connection: sa.Connection, filled: list[Prediction]
) -> None:
    before = rows(connection, "submissions", "prediction_id")
    second_schema.upgrade("0003")
    second_schema.downgrade("0002")
    assert rows(connection, "submissions", "prediction_id") == before
    assert statuses(connection, filled) == [one.status for one in filled]
    gone = {"transactions", "attestations", "signed_commitments", "former_submissions"}
    assert not gone & set(sa.inspect(connection).get_table_names())


def test_downgrade__after_what_was_on_its_way_went_to_the_oracle__has_that_transaction(
    second_schema: Database, connection: sa.Connection, filled: list[Prediction]
) -> None:
    second_schema.upgrade()
    with second_schema.unit_of_work() as store:
        assert store.submissions.record([filled[0].id], signed(50, nonce=0), 9)
    second_schema.downgrade("0002")
    found = {one["prediction_id"]: one["tx_hash"] for one in rows(connection, "submissions", "prediction_id")}
    assert found[filled[0].id] == signed(50, nonce=0).tx_hash


def signed(number: int, nonce: int, raw: bytes = b"raw") -> SignedTransaction:
    return SignedTransaction(CHAIN_ID, VERIFIER, SENDER, nonce, f"0x{number:064x}", raw, 20, 2)


@pytest.fixture
def published(
    database: Database, predict: Callable[..., Prediction], make_proof: Callable[..., Proof]
) -> list[Prediction]:
    """One in a block, one sent after it, one brought by somebody else; with a row in every table of the third."""
    made = [predict(minute) for minute in range(3)]
    with database.unit_of_work() as store:
        for _ in made:
            job = store.jobs.lease("me", 0, 1_000, 5)
            assert job is not None
            store.jobs.finish(job.prediction_id, "me", make_proof(), forecast_from((0, 1, -1)), 77)
        store.submissions.record([made[0].id], signed(1, 0), 9)
        store.submissions.include(signed(1, 0), Receipt(True, 12, "0x" + "12" * 32, 500_000, signed(1, 0).tx_hash))
        store.submissions.record([made[1].id], signed(2, 1), 10)
        store.submissions.replace(signed(2, 1), signed(3, 1, b"more"), 11)
        store.submissions.published_by_others(made[2].id, CHAIN_ID, VERIFIER, "0x" + "77" * 32, 13)
        refused = Attestation(made[0].id, "own", AttestationOutcome.REFUSED, None, "why", 5)
        store.attestations.record([refused], OracleAt(CHAIN_ID, VERIFIER))
        window = ((made[0].feed, made[0].window_end_ms),)
        store.signed_commitments.bind(Claim(window, made[0].model_id, b"\7" * 32, joint=False), 5)
    return made


def test_downgrade__transactions__are_looked_for_again_and_what_others_published_is_proved(
    database: Database, connection: sa.Connection, published: list[Prediction]
) -> None:
    database.downgrade("0002")
    found = {one["prediction_id"]: one for one in rows(connection, "submissions", "prediction_id")}
    told = [(found[one.id]["state"], found[one.id]["tx_hash"], bytes(found[one.id]["raw_tx"])) for one in published[:2]]
    assert told == [("sent", signed(1, 0).tx_hash, b"raw"), ("sent", signed(3, 1).tx_hash, b"more")]
    assert set(found) == {one.id for one in published[:2]}
    assert statuses(connection, published) == [Status.SUBMITTED, Status.SUBMITTED, Status.PROVED]
