"""Transactions that were stored: looked for in blocks, sent again, replaced when stuck, followed through reorgs."""

from __future__ import annotations

import logging
import time

from app.chain.rounds import Publication
from app.chain.sender import Sender
from app.clock import Clock, wall_ms
from app.errors import FeesTooHigh, NonceUsed
from app.metrics import Metrics
from app.steps.publishing import OracleTarget, PublishingPolicy, SubmitOutcome
from app.steps.subject import stage
from app.store.database import Database
from app.types import PredictionId, Receipt, Submission, Transaction, TransactionState, iso

log = logging.getLogger(__name__)

_RECEIPT_LAG_S = 3.0
"""A node counts a mined transaction's nonce as used before it shows the receipt: anvil by milliseconds."""
_LOOK_EVERY_S = 0.1
_FOLLOW_BLOCKS = 64
"""Past its confirmations a transaction is still followed so deep: two epochs of Ethereum, which finalise it."""


class Settlement:
    """What has become of our transactions, one finding at a time."""

    def __init__(self, database: Database, clock: Clock, metrics: Metrics, policy: PublishingPolicy) -> None:
        self._database = database
        self._clock = clock
        self._metrics = metrics
        self._policy = policy
        self._head = 0
        self.subject = ""
        """Hash of the transaction that the last finding is about."""

    def next(self, target: OracleTarget, sender: Sender) -> SubmitOutcome | None:
        """The next thing that has happened or is to be done; none when nothing of ours is on its way."""
        return self._follow(target, sender) or self._look_for_sent(target, sender)

    def _follow(self, target: OracleTarget, sender: Sender) -> SubmitOutcome | None:
        """What is in blocks: deep enough now, or gone with its block."""
        self._head = self._head or sender.head()
        chain_id, since = target.oracle.chain_id, self._head - _FOLLOW_BLOCKS
        with self._database.unit_of_work(write=False) as store:
            seen = store.submissions.in_blocks(chain_id, since)
            by_others = store.submissions.by_others(chain_id, since)
        if not seen and not by_others:
            return None
        self._head = sender.head()
        gone = _lowest_gone(sender, seen)
        if gone is not None:
            return self._moved(sender, gone)
        return self._settle_deep(target, sender, seen) or self._follow_others(sender, by_others)

    def _moved(self, sender: Sender, transaction: Transaction) -> SubmitOutcome:
        self.subject = transaction.signed.tx_hash
        receipt = sender.receipt(transaction.signed.tx_hash)
        with self._database.unit_of_work() as store:
            if receipt is None:
                log.warning("transaction %s is gone with its block: reorg", transaction.signed.tx_hash)
                store.submissions.vanished(transaction.signed)
                return SubmitOutcome.REORGED
            store.submissions.include(transaction.signed, receipt)
        return SubmitOutcome.INCLUDED

    def _settle_deep(self, target: OracleTarget, sender: Sender, seen: list[Transaction]) -> SubmitOutcome | None:
        for transaction in seen:
            if transaction.state is TransactionState.INCLUDED and self._is_deep(transaction.block_number):
                receipt = sender.receipt(transaction.signed.tx_hash)
                return None if receipt is None else self._settle(target, transaction, receipt)
        return None

    def _follow_others(self, sender: Sender, by_others: list[Submission]) -> SubmitOutcome | None:
        for other in by_others:
            if sender.receipt(other.tx_hash) is None:
                self.subject = other.tx_hash
                log.warning("transaction %s of somebody else is no longer in a block", other.tx_hash)
                with self._database.unit_of_work() as store:
                    store.submissions.withdraw(other.prediction_id, other.chain_id)
                return SubmitOutcome.REORGED
        return None

    def _is_deep(self, block_number: int | None) -> bool:
        return block_number is not None and self._head - block_number + 1 >= self._policy.confirmations

    def _settle(self, target: OracleTarget, transaction: Transaction, receipt: Receipt) -> SubmitOutcome:
        self.subject = receipt.tx_hash
        with self._database.unit_of_work(write=False) as store:
            carried = [store.predictions.get(one) for one in store.submissions.carried(receipt.tx_hash)]
        known = [one for one in carried if one is not None]
        if not known:  # it gave a nonce up
            return self._record(target, transaction, receipt)
        with stage("settle", known[0].feed, known[0].window_end_ms, [one.id for one in known]):
            return self._record(target, transaction, receipt)

    def _record(self, target: OracleTarget, transaction: Transaction, receipt: Receipt) -> SubmitOutcome:
        theirs = [] if receipt.succeeded else self._published_by_others(target, transaction)
        with self._database.unit_of_work() as store:
            state = store.submissions.settle(transaction.signed, receipt)
            for prediction_id, found in theirs:
                store.submissions.withdraw(prediction_id, target.oracle.chain_id)
                store.submissions.published_by_others(
                    prediction_id, target.oracle.chain_id, target.oracle.contract, found.tx_hash, found.block_number
                )
        if transaction.signed.contract == transaction.signed.sender:
            return SubmitOutcome.CANCELLED
        self._metrics.submission_gas.observe(receipt.gas_used)
        log.info(
            "transaction %s in block %d: %s, %d gas",
            receipt.tx_hash,
            receipt.block_number,
            "accepted" if receipt.succeeded else "REVERTED",
            receipt.gas_used,
        )
        return SubmitOutcome.CONFIRMED if state is TransactionState.CONFIRMED else SubmitOutcome.REVERTED

    def _published_by_others(
        self, target: OracleTarget, reverted: Transaction
    ) -> list[tuple[PredictionId, Publication]]:
        """Why a transaction that was simulated reverts: somebody else's brought its window there first."""
        with self._database.unit_of_work(write=False) as store:
            carried = [store.predictions.get(one) for one in store.submissions.carried(reverted.signed.tx_hash)]
        looked = [(one, target.rounds.publication(one.feed, one.window_end_ms)) for one in carried if one]
        for one, found in looked:
            if found:
                log.info("%s at %s was published by others", one.feed, iso(one.window_end_ms))
        return [(one.id, found) for one, found in looked if found]

    def _look_for_sent(self, target: OracleTarget, sender: Sender) -> SubmitOutcome | None:
        with self._database.unit_of_work(write=False) as store:
            sent = store.submissions.sent(target.oracle.chain_id, sender.address)
        return self._look_for(target, sender, sent[0], last=len(sent) == 1) if sent else None

    def _look_for(self, target: OracleTarget, sender: Sender, newest: Transaction, *, last: bool) -> SubmitOutcome:
        """The oldest nonce first: nothing behind it can be in a block before it is, so only the last is given up."""
        self.subject = newest.signed.tx_hash
        with self._database.unit_of_work(write=False) as store:
            attempts = store.submissions.attempts(newest.signed)
        found = _mined(sender, attempts)
        if found is None and sender.nonces()[0] > newest.signed.nonce:
            found = _wait_for_receipt(sender, attempts)
            if found is None:
                return self._forget(newest, "another one used its nonce")
        if found is not None:
            return self._include(target, sender, *found)
        if self._is_too_old(target, newest) and not any(sender.knows(one.signed.tx_hash) for one in attempts):
            if last:
                return self._forget(newest, "it never reached the chain, which would refuse it by now")
            if newest.signed.contract != newest.signed.sender:
                return self._replace(target, sender, newest)
        if wall_ms() - newest.sent_at_ms >= self._policy.replace_after_ms:
            return self._replace(target, sender, newest)
        return self._send_if_unknown(sender, newest)

    def _include(
        self, target: OracleTarget, sender: Sender, transaction: Transaction, receipt: Receipt
    ) -> SubmitOutcome:
        with self._database.unit_of_work() as store:
            store.submissions.include(transaction.signed, receipt)
        self.subject = receipt.tx_hash
        self._head = max(self._head, sender.head())
        if self._is_deep(receipt.block_number):
            return self._settle(target, transaction, receipt)
        return SubmitOutcome.INCLUDED

    def _forget(self, lost: Transaction, reason: str) -> SubmitOutcome:
        log.warning("transaction %s is lost, %s: its proof may be sent anew", lost.signed.tx_hash, reason)
        with self._database.unit_of_work() as store:
            store.submissions.forget(lost.signed)
        return SubmitOutcome.FORGOTTEN

    def _replace(self, target: OracleTarget, sender: Sender, stuck: Transaction) -> SubmitOutcome:
        """With higher fees; by nothing at all once the oracle would refuse it for its age."""
        try:
            fees = sender.fees(above=stuck.signed)
        except FeesTooHigh:
            self._send_if_unknown(sender, stuck)  # it may never have been handed over: as it is, it can still get in
            raise
        cancels = stuck.signed.contract == stuck.signed.sender or self._is_too_old(target, stuck)
        signed = sender.nothing(stuck.signed, fees) if cancels else sender.again(stuck.signed, fees)
        with self._database.unit_of_work(durable=True) as store:  # before it is sent, as always
            if not store.submissions.replace(stuck.signed, signed, wall_ms()):
                return SubmitOutcome.TAKEN
        log.warning(
            "transaction %s is stuck: %s by %s at %.3g gwei",
            stuck.signed.tx_hash,
            "cancelled" if cancels else "replaced",
            signed.tx_hash,
            signed.max_fee_wei / 1e9,
        )
        self.subject = signed.tx_hash
        sender.send(signed.raw)
        return SubmitOutcome.REPLACED

    def _is_too_old(self, target: OracleTarget, transaction: Transaction) -> bool:
        with self._database.unit_of_work(write=False) as store:
            ends = store.submissions.window_ends(transaction.signed.tx_hash)
        return not ends or self._clock.now_ms() - min(ends) > target.reader.submission_limit_s() * 1000

    def _send_if_unknown(self, sender: Sender, transaction: Transaction) -> SubmitOutcome:
        if not sender.knows(transaction.signed.tx_hash):
            try:
                sender.send(transaction.signed.raw)
            except NonceUsed:
                return SubmitOutcome.PENDING  # its receipt or the used nonce shows at the next look
        return SubmitOutcome.PENDING


def _lowest_gone(sender: Sender, seen: list[Transaction]) -> Transaction | None:
    """The first of these, in order of their blocks, whose block is no longer part of the chain.

    Asked from the top: below a block that is still there, nothing has changed.
    """
    gone = None
    for transaction in reversed(seen):
        if transaction.block_number is None or sender.block_hash(transaction.block_number) == transaction.block_hash:
            break
        gone = transaction
    return gone


def _mined(sender: Sender, attempts: list[Transaction]) -> tuple[Transaction, Receipt] | None:
    for attempt in attempts:
        receipt = sender.receipt(attempt.signed.tx_hash)
        if receipt is not None:
            return attempt, receipt
    return None


def _wait_for_receipt(sender: Sender, attempts: list[Transaction]) -> tuple[Transaction, Receipt] | None:
    """Whether the transaction that used up the nonce was ours after all."""
    give_up = time.monotonic() + _RECEIPT_LAG_S
    while (found := _mined(sender, attempts)) is None and time.monotonic() < give_up:
        time.sleep(_LOOK_EVERY_S)
    return found
