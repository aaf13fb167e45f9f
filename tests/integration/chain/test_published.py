"""The sender and the oracle's rounds on a real node, around the forecast that was published there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.chain.account import Account
from app.chain.rounds import Publication, Round, Rounds
from app.chain.sender import FeeCaps, Fees, Sender
from app.chain.updates import SUBMIT_GAS
from app.errors import BalanceTooLow, ChainError, NonceUsed, SimulationReverted
from app.steps.publishing import OracleTarget
from app.steps.update import Update, ready_update
from app.types import Prediction, Status, Submission, Transaction, TransactionState
from app.wiring import Application, open_rpc

NOBODY = "0x000000000000000000000000000000000000dEaD"
FEES = Fees(10**10, 10**9)


@pytest.fixture(scope="module")
def target(app: Application, confirmed: Prediction) -> OracleTarget:
    found = app.pipeline.target
    assert found is not None
    return found


@pytest.fixture(scope="module")
def sender(target: OracleTarget) -> Sender:
    assert target.sender is not None
    return target.sender


@pytest.fixture(scope="module")
def poor(app: Application, target: OracleTarget) -> Sender:
    """An account without funds."""
    rpc = open_rpc(app.settings)
    return Sender(rpc, Account.from_secret("17" * 32, None, "submitter"), FeeCaps.of_gwei(100, 2))


@pytest.fixture(scope="module")
def update(app: Application, target: OracleTarget, confirmed: Prediction) -> Update:
    with app.database.unit_of_work(write=False) as store:
        found = ready_update(store, confirmed, target.oracle, target.reader.panel())
    assert found is not None
    return found


@pytest.fixture(scope="module")
def stored(app: Application, confirmed: Prediction) -> tuple[Submission, Transaction]:
    with app.database.unit_of_work(write=False) as store:
        submission = store.submissions.of([confirmed.id])[confirmed.id]
        mined = store.submissions.in_blocks(submission.chain_id, 0)
    return submission, next(one for one in mined if one.signed.tx_hash == submission.tx_hash)


def test_update__as_it_was_published__is_stored_as_the_node_tells_it(
    confirmed: Prediction, sender: Sender, stored: tuple[Submission, Transaction]
) -> None:
    submission, transaction = stored
    receipt = sender.receipt(submission.tx_hash)
    assert receipt is not None
    assert (confirmed.status, submission.state) == (Status.CONFIRMED, TransactionState.CONFIRMED)
    assert (receipt.succeeded, receipt.gas_used) == (True, submission.gas_used)
    assert (transaction.block_number, transaction.block_hash) == (receipt.block_number, receipt.block_hash)
    assert sender.block_hash(receipt.block_number) == receipt.block_hash
    assert sender.knows(submission.tx_hash)


def test_newest__is_what_was_published_last(target: OracleTarget, confirmed: Prediction) -> None:
    assert target.rounds.newest(confirmed.feed) == Round(
        1, confirmed.window_end_ms, confirmed.regime, pytest.approx(confirmed.vol_annualised, rel=1e-9)
    )
    assert target.rounds.newest("eth-usdt-4h") is None


def test_publication__names_the_transaction(
    target: OracleTarget, confirmed: Prediction, stored: tuple[Submission, Transaction]
) -> None:
    submission, transaction = stored
    expected = Publication(submission.tx_hash, transaction.block_number or 0)
    assert target.rounds.publication(confirmed.feed, confirmed.window_end_ms) == expected
    assert target.rounds.publication(confirmed.feed, confirmed.window_end_ms - 60_000) is None


def test_simulate__what_was_published_already__is_refused_with_the_oracles_reason(
    target: OracleTarget, sender: Sender, update: Update
) -> None:
    with pytest.raises(SimulationReverted, match=r"WindowAlreadyPublished\("):
        target.rounds.simulate(update.calldata, update.gas, sender.address)


def test_newest__where_there_is_no_oracle__says_so(app: Application, target: OracleTarget) -> None:
    nowhere = Rounds(open_rpc(app.settings), replace(target.oracle, contract=NOBODY))
    with pytest.raises(SimulationReverted, match=f"there is no oracle at {NOBODY}"):
        nowhere.newest("btc-usdt-4h")


def test_send__what_is_in_a_block_already__will_never_be_taken_again(
    sender: Sender, stored: tuple[Submission, Transaction]
) -> None:
    with pytest.raises(NonceUsed):
        sender.send(stored[1].signed.raw)


def test_account_without_funds__is_told_and_may_send_once_it_has_some(poor: Sender, target: OracleTarget) -> None:
    with pytest.raises(BalanceTooLow, match=poor.address):
        poor.require_funds(SUBMIT_GAS, FEES)
    signed = poor.sign(target.oracle.contract, b"", SUBMIT_GAS, 0, FEES)
    with pytest.raises(ChainError, match=r"(?i)insufficient funds") as caught:
        poor.send(signed.raw)
    assert not isinstance(caught.value, NonceUsed)
    assert (poor.knows(signed.tx_hash), poor.receipt(signed.tx_hash), poor.nonces()) == (False, None, (0, 0))


def test_fees__of_a_real_node__are_within_the_caps(sender: Sender) -> None:
    fees = sender.fees()
    assert 0 < fees.max_tip_wei <= fees.max_fee_wei <= 100 * 10**9
