"""Transactions of ours and what others published, on SQLite and on PostgreSQL."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from app.inference.network import forecast_from
from app.store.database import Database
from app.types import (
    Attestation,
    AttestationOutcome,
    AttesterSignature,
    OracleAt,
    Prediction,
    PredictionId,
    Proof,
    Receipt,
    SignedTransaction,
    Status,
    Submission,
    Transaction,
    TransactionState,
)

ORACLE = OracleAt(31337, "0x" + "11" * 20)
SENDER, OTHER = "0x" + "aa" * 20, "0x" + "bb" * 20
Predict = Callable[..., Prediction]
SENDING_PROCESS = """
import sys
from pathlib import Path
from app.store.database import Database
from app.types import SignedTransaction

url, migrations, prediction, number = sys.argv[1:]
database = Database(url, Path(migrations))
signed = SignedTransaction(31337, "0x" + "11" * 20, "0x" + "aa" * 20, 7, f"0x{int(number):064x}", b"raw", 20, 2)
print("ready", flush=True)
sys.stdin.readline()
with database.unit_of_work() as store:
    print(store.submissions.record([prediction], signed, 5))
"""


@pytest.fixture
def proved(database: Database, predict: Predict, make_proof: Callable[..., Proof]) -> Predict:
    """Store a prediction with its proof."""

    def prove(minute: int = 0, **fields: object) -> Prediction:
        made = predict(minute, **fields)
        with database.unit_of_work() as store:
            store.jobs.lease("me", 0, 1_000, 5)
            assert store.jobs.finish(made.id, "me", make_proof(), forecast_from((0, 1, -1)), 77)
        return made

    return prove


def signed(number: int = 1, nonce: int = 7, **other: object) -> SignedTransaction:
    made = SignedTransaction(
        chain_id=ORACLE.chain_id,
        contract=ORACLE.contract,
        sender=SENDER,
        nonce=nonce,
        tx_hash=f"0x{number:064x}",
        raw=bytes([number]) * 300,
        max_fee_wei=20 * 10**9 + number,
        max_tip_wei=10**9,
    )
    return replace(made, **other)  # type: ignore[arg-type]


def cancelling(number: int = 9, nonce: int = 7) -> SignedTransaction:
    return signed(number, nonce, contract=SENDER)


def receipt(of: SignedTransaction, block: int = 12, *, succeeded: bool = True) -> Receipt:
    return Receipt(succeeded, block, f"0x{block:064x}", 501_234, of.tx_hash)


def record(database: Database, made: Prediction, transaction: SignedTransaction, now_ms: int = 5) -> bool:
    with database.unit_of_work() as store:
        return store.submissions.record([made.id], transaction, now_ms)


def replaced(database: Database, before: SignedTransaction, after: SignedTransaction, now_ms: int = 6) -> bool:
    with database.unit_of_work() as store:
        return store.submissions.replace(before, after, now_ms)


def include(database: Database, transaction: SignedTransaction, block: int = 12) -> None:
    with database.unit_of_work() as store:
        store.submissions.include(transaction, receipt(transaction, block))


def settle(database: Database, transaction: SignedTransaction, *, succeeded: bool = True) -> TransactionState:
    with database.unit_of_work() as store:
        return store.submissions.settle(transaction, receipt(transaction, succeeded=succeeded))


def sent(database: Database, chain_id: int = ORACLE.chain_id, sender: str = SENDER) -> list[str]:
    with database.unit_of_work(write=False) as store:
        return [one.signed.tx_hash for one in store.submissions.sent(chain_id, sender)]


def attempts(database: Database, of: SignedTransaction) -> list[Transaction]:
    with database.unit_of_work(write=False) as store:
        return store.submissions.attempts(of)


def submission(database: Database, made: Prediction) -> Submission | None:
    with database.unit_of_work(write=False) as store:
        return store.submissions.of([made.id]).get(made.id)


def state(database: Database, made: Prediction) -> tuple[Status, str | None]:
    """The prediction's status, and the transaction that it hangs on."""
    with database.unit_of_work(write=False) as store:
        found = store.predictions.get(made.id)
    assert found is not None
    hangs_on = submission(database, made)
    return found.status, hangs_on.tx_hash if hangs_on else None


def test_record__what_was_signed__comes_back_exactly(database: Database, proved: Predict) -> None:
    made = proved()
    assert record(database, made, signed(200))
    assert attempts(database, signed(200)) == [
        Transaction(signed(200), TransactionState.SENT, None, None, None, sent_at_ms=5)
    ]
    assert submission(database, made) == Submission(
        made.id, ORACLE.chain_id, ORACLE.contract, signed(200).tx_hash, TransactionState.SENT, None, None, ours=True
    )
    assert state(database, made)[0] is Status.SUBMITTED


@pytest.mark.parametrize(
    ("second", "stored"),
    [
        (signed(2, nonce=7), False),
        (signed(2, nonce=8), False),
        (signed(2, nonce=7, sender=OTHER), True),
        (signed(2, nonce=7, chain_id=1), True),
    ],
    ids=["same nonce", "next nonce", "other sender", "other chain"],
)
def test_record__while_one_of_this_sender_is_in_no_block__is_refused(
    database: Database, proved: Predict, second: SignedTransaction, stored: bool
) -> None:
    first, other = proved(0), proved(1)
    record(database, first, signed(1))
    assert record(database, other, second) is stored
    assert state(database, other)[0] is (Status.SUBMITTED if stored else Status.PROVED)


def test_record__of_a_prediction_that_has_a_transaction__is_refused(database: Database, proved: Predict) -> None:
    made = proved()
    record(database, made, signed(1))
    assert not record(database, made, signed(2, sender=OTHER))
    assert state(database, made) == (Status.SUBMITTED, signed(1).tx_hash)
    assert attempts(database, signed(2, sender=OTHER)) == []


def test_record__while_one_is_in_a_block_that_is_not_deep__takes_the_next_nonce_only(
    database: Database, proved: Predict
) -> None:
    first, other = proved(0), proved(1)
    record(database, first, signed(1, nonce=7))
    include(database, signed(1, nonce=7))
    assert not record(database, other, signed(2, nonce=7))
    assert record(database, other, signed(3, nonce=8))


def test_record__by_two_processes_at_once__stores_one(
    database: Database, database_url: str, migrations: Path, proved: Predict
) -> None:
    made = [proved(0), proved(1)]
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", SENDING_PROCESS, database_url, str(migrations), one.id, str(number)],
                    cwd=migrations.parent,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for number, one in enumerate(made, start=1)
        ]
        assert [process.stdout.readline() for process in processes if process.stdout] == ["ready\n"] * 2
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        said = [process.communicate(timeout=60)[0].strip() for process in processes]
    assert sorted(said) == ["False", "True"]
    assert len(sent(database)) == 1


def test_sent__several_nonces__is_the_newest_attempt_of_each_lowest_nonce_first(
    database: Database, proved: Predict
) -> None:
    first, second = proved(0), proved(1)
    record(database, first, signed(1, nonce=7), now_ms=50)
    include(database, signed(1, nonce=7))
    record(database, second, signed(2, nonce=8))
    with database.unit_of_work() as store:
        store.submissions.vanished(signed(1))
    replaced(database, signed(2, nonce=8), signed(3, nonce=8))
    assert sent(database) == [signed(1).tx_hash, signed(3).tx_hash]


@pytest.mark.parametrize(("chain_id", "sender"), [(1, SENDER), (ORACLE.chain_id, OTHER)])
def test_sent__of_another_chain_or_account__is_none(
    database: Database, proved: Predict, chain_id: int, sender: str
) -> None:
    record(database, proved(), signed())
    assert sent(database, chain_id, sender) == []


def test_replace__the_prediction__hangs_on_the_new_attempt_and_both_are_looked_for(
    database: Database, proved: Predict
) -> None:
    made = proved()
    record(database, made, signed(1))
    assert replaced(database, signed(1), signed(2))
    assert state(database, made) == (Status.SUBMITTED, signed(2).tx_hash)
    assert [one.signed for one in attempts(database, signed(1))] == [signed(2), signed(1)]


def test_replace__by_nothing__leaves_the_prediction_on_the_attempt_that_carries_it(
    database: Database, proved: Predict
) -> None:
    made = proved()
    record(database, made, signed(1))
    assert replaced(database, signed(1), cancelling())
    assert state(database, made) == (Status.SUBMITTED, signed(1).tx_hash)
    assert sent(database) == [cancelling().tx_hash]


def test_replace__what_was_replaced_already__is_refused(database: Database, proved: Predict) -> None:
    made = proved()
    record(database, made, signed(1))
    replaced(database, signed(1), signed(2))
    assert not replaced(database, signed(1), signed(3))
    assert state(database, made)[1] == signed(2).tx_hash


def test_replace__what_is_in_a_block_already__is_refused(database: Database, proved: Predict) -> None:
    record(database, proved(), signed(1))
    include(database, signed(1))
    assert not replaced(database, signed(1), signed(2))


def test_include__an_older_attempt__takes_the_prediction_over(database: Database, proved: Predict) -> None:
    made = proved()
    record(database, made, signed(1))
    replaced(database, signed(1), signed(2))
    include(database, signed(1))
    found = submission(database, made)
    assert found is not None
    assert (found.tx_hash, found.state) == (signed(1).tx_hash, TransactionState.INCLUDED)
    assert (found.block_number, found.gas_used) == (12, 501_234)


@pytest.mark.parametrize("other", [signed(2), cancelling()], ids=["replaced", "cancelled"])
def test_include__the_other_attempts__are_left_alone_until_it_is_deep_enough(
    database: Database, proved: Predict, other: SignedTransaction
) -> None:
    record(database, proved(0), signed(1))
    replaced(database, signed(1), other)
    include(database, signed(1))
    assert sent(database) == []
    assert [one.signed for one in attempts(database, signed(1))] == [other]
    assert record(database, proved(1), signed(3, nonce=8))


def test_vanished__of_several_attempts__any_may_get_in_again(database: Database, proved: Predict) -> None:
    made = proved()
    record(database, made, signed(1))
    replaced(database, signed(1), signed(2))
    include(database, signed(1))
    with database.unit_of_work() as store:
        store.submissions.vanished(signed(1))
    assert len(sent(database)) == 1
    include(database, signed(2))
    assert state(database, made) == (Status.SUBMITTED, signed(2).tx_hash)


def test_settle__accepted__is_confirmed_and_the_other_attempts_are_gone(database: Database, proved: Predict) -> None:
    made = proved()
    record(database, made, signed(1))
    replaced(database, signed(1), signed(2))
    include(database, signed(2))
    assert settle(database, signed(2)) is TransactionState.CONFIRMED
    assert state(database, made) == (Status.CONFIRMED, signed(2).tx_hash)
    assert attempts(database, signed(1)) == []


def test_settle__reverted__says_so_is_still_served_and_not_sent_again(database: Database, proved: Predict) -> None:
    made = proved()
    record(database, made, signed(1))
    assert settle(database, signed(1), succeeded=False) is TransactionState.REVERTED
    found = submission(database, made)
    assert found is not None
    assert (found.state, found.block_number) == (TransactionState.REVERTED, 12)
    assert not record(database, made, signed(2, nonce=8))
    with database.unit_of_work(write=False) as store:
        assert store.predictions.latest(made.feed) is not None


def test_settle__reverted_in_another_block_after_it_was_confirmed__is_no_longer_confirmed(
    database: Database, proved: Predict
) -> None:
    made = proved()
    record(database, made, signed(1))
    settle(database, signed(1))
    include(database, signed(1), block=13)
    settle(database, signed(1), succeeded=False)
    assert state(database, made)[0] is Status.SUBMITTED


def test_settle__cancelled__frees_the_prediction_for_another_transaction(database: Database, proved: Predict) -> None:
    made = proved()
    record(database, made, signed(1))
    replaced(database, signed(1), cancelling())
    settle(database, cancelling())
    assert state(database, made) == (Status.PROVED, None)
    assert attempts(database, signed(1)) == []
    assert record(database, made, signed(3, nonce=8))


def test_settle__accepted_although_it_was_to_be_cancelled__is_confirmed(database: Database, proved: Predict) -> None:
    made = proved()
    record(database, made, signed(1))
    replaced(database, signed(1), cancelling())
    include(database, signed(1))
    settle(database, signed(1))
    assert state(database, made) == (Status.CONFIRMED, signed(1).tx_hash)


def test_vanished__a_confirmed_transaction__is_on_its_way_again_without_block_or_gas(
    database: Database, proved: Predict
) -> None:
    made = proved()
    record(database, made, signed(1))
    settle(database, signed(1))
    with database.unit_of_work() as store:
        store.submissions.vanished(signed(1))
    assert state(database, made) == (Status.SUBMITTED, signed(1).tx_hash)
    assert attempts(database, signed(1)) == [Transaction(signed(1), TransactionState.SENT, None, None, None, 5)]


def test_forget__every_attempt_goes_and_the_prediction_can_be_sent_anew(database: Database, proved: Predict) -> None:
    made = proved()
    record(database, made, signed(1))
    replaced(database, signed(1), signed(2))
    replaced(database, signed(2), cancelling())
    with database.unit_of_work() as store:
        store.submissions.forget(cancelling())
    assert (attempts(database, signed(1)), state(database, made)) == ([], (Status.PROVED, None))
    assert record(database, made, signed(3))


def test_forget__other_nonces__are_left_alone(database: Database, proved: Predict) -> None:
    lost, kept = proved(0), proved(1)
    record(database, lost, signed(1))
    record(database, kept, signed(2, sender=OTHER))
    with database.unit_of_work() as store:
        store.submissions.forget(signed(1))
    assert state(database, kept) == (Status.SUBMITTED, signed(2).tx_hash)


def next_nonce(database: Database, chain_id: int = ORACLE.chain_id, sender: str = SENDER) -> int:
    with database.unit_of_work(write=False) as store:
        return store.submissions.next_nonce(chain_id, sender)


def test_next_nonce__is_after_what_is_in_flight_and_no_longer_after_what_is_settled(
    database: Database, proved: Predict
) -> None:
    assert next_nonce(database) == 0
    record(database, proved(), signed(nonce=7))
    assert (next_nonce(database), next_nonce(database, 1), next_nonce(database, sender=OTHER)) == (8, 0, 0)
    include(database, signed(nonce=7))
    assert next_nonce(database) == 8
    settle(database, signed(nonce=7))
    assert next_nonce(database) == 0


def test_in_blocks__is_what_is_recent_or_not_deep_enough_lowest_block_first(
    database: Database, proved: Predict
) -> None:
    for number, block in ((1, 30), (2, 10), (3, 20)):
        transaction = signed(number, nonce=number)
        record(database, proved(number), transaction)
        include(database, transaction, block)
        if block != 10:
            with database.unit_of_work() as store:
                store.submissions.settle(transaction, receipt(transaction, block, succeeded=block == 20))
    record(database, proved(4), signed(4, nonce=4))
    with database.unit_of_work(write=False) as store:
        found = [store.submissions.in_blocks(ORACLE.chain_id, since) for since in (20, 21)]
        assert store.submissions.in_blocks(1, 0) == []
    assert [[one.block_number for one in part] for part in found] == [[10, 20, 30], [10, 30]]
    assert [one.block_hash for one in found[1]] == [f"0x{10:064x}", f"0x{30:064x}"]
    assert [one.state for one in found[0]] == [
        TransactionState.INCLUDED,
        TransactionState.CONFIRMED,
        TransactionState.REVERTED,
    ]


def test_window_ends__are_those_of_the_predictions_it_carries(database: Database, proved: Predict) -> None:
    made = proved()
    record(database, made, signed(1))
    replaced(database, signed(1), cancelling())
    with database.unit_of_work(write=False) as store:
        assert store.submissions.window_ends(signed(1).tx_hash) == [made.window_end_ms]
        assert store.submissions.window_ends(cancelling().tx_hash) == []


THEIRS = "0x" + "77" * 32


def by_others(database: Database, made: Prediction, block: int = 40) -> bool:
    with database.unit_of_work() as store:
        return store.submissions.published_by_others(made.id, ORACLE.chain_id, ORACLE.contract, THEIRS, block)


def test_published_by_others__is_confirmed_and_told_as_theirs(database: Database, proved: Predict) -> None:
    made = proved()
    assert by_others(database, made)
    assert state(database, made) == (Status.CONFIRMED, THEIRS)
    assert submission(database, made) == Submission(
        made.id, ORACLE.chain_id, ORACLE.contract, THEIRS, TransactionState.CONFIRMED, 40, None, ours=False
    )
    assert not record(database, made, signed(1))


def test_published_by_others__what_is_on_its_way_already__stays_ours(database: Database, proved: Predict) -> None:
    made = proved()
    record(database, made, signed(1))
    assert not by_others(database, made)
    assert state(database, made) == (Status.SUBMITTED, signed(1).tx_hash)


def test_by_others__is_what_they_published_from_a_block_on(database: Database, proved: Predict) -> None:
    early, late = proved(0), proved(1)
    record(database, proved(2), signed(1))
    by_others(database, early, 40)
    by_others(database, late, 41)
    with database.unit_of_work(write=False) as store:
        assert [one.prediction_id for one in store.submissions.by_others(ORACLE.chain_id, 41)] == [late.id]
        assert store.submissions.by_others(1, 0) == []


def test_withdraw__not_on_the_chain_after_all__can_be_sent(database: Database, proved: Predict) -> None:
    made = proved()
    by_others(database, made)
    with database.unit_of_work() as store:
        store.submissions.withdraw(made.id, ORACLE.chain_id)
    assert state(database, made) == (Status.PROVED, None)
    assert record(database, made, signed(1))


def sign_for(database: Database, made: Prediction, signers: Sequence[str], oracle: OracleAt = ORACLE) -> None:
    answers = [
        Attestation(
            made.id,
            f"http://{number}",
            AttestationOutcome.SIGNED,
            AttesterSignature(signer, b"\1" * 32, b"\2" * 32),
            None,
            5,
        )
        for number, signer in enumerate(signers)
    ]
    refused = Attestation(made.id, "http://refuses", AttestationOutcome.REFUSED, None, "inputs-differ", 5)
    with database.unit_of_work() as store:
        store.attestations.record([*answers, refused], oracle)


def newest_signed(database: Database, since_ms: int = 0, oracle: OracleAt = ORACLE) -> dict[str, PredictionId]:
    with database.unit_of_work(write=False) as store:
        return store.submissions.newest_signed(oracle, ["btc-usdt-4h", "eth-usdt-4h"], since_ms, threshold=2)


def test_newest_signed__is_each_feeds_newest_window_with_enough_signatures(database: Database, proved: Predict) -> None:
    old, new, lacking = proved(0), proved(1), proved(2)
    other, foreign = proved(0, feed="eth-usdt-4h"), proved(0, feed="sol-usdt-4h")
    for made in (new, old, other, foreign):  # newest first: the order of signing does not count
        sign_for(database, made, [SENDER, OTHER])
    sign_for(database, lacking, [SENDER])
    assert newest_signed(database) == {"btc-usdt-4h": new.id, "eth-usdt-4h": other.id}


def test_newest_signed__one_signer_asked_twice__counts_once(database: Database, proved: Predict) -> None:
    sign_for(database, proved(), [SENDER, SENDER])
    assert newest_signed(database) == {}


@pytest.mark.parametrize("oracle", [replace(ORACLE, chain_id=1), replace(ORACLE, contract="0x" + "22" * 20)])
def test_newest_signed__for_another_oracle__does_not_count(
    database: Database, proved: Predict, oracle: OracleAt
) -> None:
    sign_for(database, proved(), [SENDER, OTHER], oracle)
    assert newest_signed(database) == {}


def test_newest_signed__since__is_exclusive(database: Database, proved: Predict) -> None:
    made = proved()
    sign_for(database, made, [SENDER, OTHER])
    assert newest_signed(database, made.window_end_ms - 1) == {made.feed: made.id}
    assert newest_signed(database, made.window_end_ms) == {}


def test_newest_signed__sent_already__still_shadows_what_is_older(database: Database, proved: Predict) -> None:
    older, newer = proved(0), proved(1)
    for made in (older, newer):
        sign_for(database, made, [SENDER, OTHER])
    record(database, newer, signed(1))
    assert newest_signed(database) == {newer.feed: newer.id}


def test_of__predictions_without_transaction__are_left_out(database: Database, proved: Predict) -> None:
    on_its_way, waiting = proved(0), proved(1)
    record(database, on_its_way, signed())
    with database.unit_of_work(write=False) as store:
        assert set(store.submissions.of([on_its_way.id, waiting.id])) == {on_its_way.id}
