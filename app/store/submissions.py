"""How predictions come onto a chain: transactions of ours, stored before they are sent, and what others published.

Several transactions of one sender and nonce are attempts at the same thing: the chain takes one of them at most. A
transaction to the sender itself is an attempt to give the nonce up.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa

from app.store.dialect import insert_new, lock
from app.store.events import Events
from app.store.predictions import set_status
from app.store.tables import attestations, predictions, submissions, transactions
from app.types import (
    AttestationOutcome,
    EventKind,
    OracleAt,
    PredictionId,
    Receipt,
    SignedTransaction,
    Status,
    Submission,
    Transaction,
    TransactionState,
)

_SENDING = "sending transactions"
_IN_FLIGHT = (TransactionState.SENT, TransactionState.INCLUDED)


class Submissions:
    def __init__(self, connection: sa.Connection, events: Events) -> None:
        self._connection = connection
        self._events = events

    def newest_signed(
        self, oracle: OracleAt, feeds: Collection[str], since_ms: int, threshold: int
    ) -> dict[str, PredictionId]:
        """The newest prediction of each feed that enough attesters signed for, of those with ``window_end > since_ms``.

        Whether it was sent or not: what is older than it is not worth sending.
        """
        signed = (
            sa.select(attestations.c.prediction_id)
            .where(
                attestations.c.chain_id == oracle.chain_id,
                attestations.c.contract == oracle.contract,
                attestations.c.outcome == AttestationOutcome.SIGNED,
            )
            .group_by(attestations.c.prediction_id)
            .having(sa.func.count(sa.distinct(attestations.c.signer)) >= threshold)
        )
        query = (
            sa.select(predictions.c.feed, predictions.c.id)
            .where(predictions.c.feed.in_(feeds), predictions.c.window_end_ms > since_ms, predictions.c.id.in_(signed))
            .order_by(predictions.c.window_end_ms)
        )
        return {row.feed: PredictionId(row.id) for row in self._connection.execute(query)}

    def record(self, prediction_ids: Sequence[PredictionId], signed: SignedTransaction, now_ms: int) -> bool:
        """Store a transaction that is about to be sent and carries the proof of these predictions.

        False when another process was first, with one of them or with this sender: one transaction at a time is on
        its way, so that nonces have no gaps.
        """
        lock(self._connection, _SENDING)
        if self._taken(prediction_ids, signed):
            return False
        self._insert(signed, now_ms)
        for prediction_id in prediction_ids:
            row = {"prediction_id": prediction_id, "tx_hash": signed.tx_hash, "ours": True, "block_number": None}
            at = {"chain_id": signed.chain_id, "contract": signed.contract}
            self._connection.execute(sa.insert(submissions).values(row | at))
            set_status(self._connection, prediction_id, Status.SUBMITTED)
            self._events.note(EventKind.TRANSACTION, prediction_id, chain_id=signed.chain_id)
        return True

    def replace(self, before: SignedTransaction, signed: SignedTransaction, now_ms: int) -> bool:
        """Store another attempt with the nonce of ``before``; False when that one is settled or replaced already."""
        lock(self._connection, _SENDING)
        if signed.tx_hash not in {one.signed.tx_hash for one in self.attempts(before)}:
            newest = self.attempts(before)[:1]
            if not newest or newest[0].signed.tx_hash != before.tx_hash:
                return False
            self._insert(signed, now_ms)
        if signed.contract == before.contract:
            self._point(before.tx_hash, signed.tx_hash)
            self._tell(signed)
        return True

    def sent(self, chain_id: int, sender: str) -> list[Transaction]:
        """The newest attempt at each nonce of this account that is in no block yet, lowest nonce first."""
        query = (
            sa.select(transactions)
            .where(_open_nonces(chain_id, sender))
            .order_by(transactions.c.nonce, transactions.c.sent_at_ms, transactions.c.max_fee_wei)
        )
        return list({row.nonce: _transaction(row) for row in self._connection.execute(query)}.values())

    def attempts(self, signed: SignedTransaction) -> list[Transaction]:
        """All that is stored with the nonce of this transaction and is in no block, newest first."""
        query = (
            sa.select(transactions)
            .where(self._same_nonce(signed), transactions.c.state == TransactionState.SENT)
            .order_by(transactions.c.sent_at_ms.desc(), transactions.c.max_fee_wei.desc())
        )
        return [_transaction(row) for row in self._connection.execute(query)]

    def in_blocks(self, chain_id: int, since_block: int) -> list[Transaction]:
        """What was seen in a block, from ``since_block`` on or not deep enough yet, lowest block first."""
        states = (TransactionState.INCLUDED, TransactionState.CONFIRMED, TransactionState.REVERTED)
        query = (
            sa.select(transactions)
            .where(
                transactions.c.chain_id == chain_id,
                transactions.c.state.in_(states),
                sa.or_(transactions.c.block_number >= since_block, transactions.c.state == TransactionState.INCLUDED),
            )
            .order_by(transactions.c.block_number)
        )
        return [_transaction(row) for row in self._connection.execute(query)]

    def next_nonce(self, chain_id: int, sender: str) -> int:
        """The nonce after the highest of this account that is in flight; 0 when none is. The chain knows the others."""
        highest = sa.select(sa.func.max(transactions.c.nonce)).where(
            transactions.c.chain_id == chain_id,
            transactions.c.sender == sender,
            transactions.c.state.in_(_IN_FLIGHT),
        )
        found = self._connection.execute(highest).scalar_one()
        return 0 if found is None else int(found) + 1

    def include(self, signed: SignedTransaction, receipt: Receipt) -> None:
        """It was seen in a block: the predictions that its other attempts carried hang on this one now.

        Nothing happens where another process has seen it there before.
        """
        lock(self._connection, _SENDING)
        if self._stands(receipt, TransactionState.INCLUDED, TransactionState.CONFIRMED, TransactionState.REVERTED):
            return
        for other in self.attempts(signed):
            if other.signed.contract == signed.contract:
                self._point(other.signed.tx_hash, signed.tx_hash)
        self._seen(receipt, TransactionState.INCLUDED)
        self._tell(signed)

    def settle(self, signed: SignedTransaction, receipt: Receipt) -> TransactionState:
        """It is deep enough: its other attempts are deleted, and its predictions are confirmed unless it reverted.

        A proof whose transaction reverted still holds and is served, but not sent again: the submission says why.
        """
        state = TransactionState.CONFIRMED if receipt.succeeded else TransactionState.REVERTED
        lock(self._connection, _SENDING)
        if self._stands(receipt, state):  # another process was first
            return state
        self._seen(receipt, state)
        others = [one.signed for one in self.attempts(signed)]
        if signed.contract == signed.sender:  # the nonce was given up
            for other in others:
                self._release(other)
        hashes = [other.tx_hash for other in others]
        self._connection.execute(sa.delete(transactions).where(transactions.c.tx_hash.in_(hashes)))
        # Reverted after all, in another block than the one that had confirmed it: back to submitted.
        status = Status.CONFIRMED if receipt.succeeded else Status.SUBMITTED
        for prediction_id in self.carried(signed.tx_hash):
            set_status(self._connection, prediction_id, status)
        self._tell(signed, EventKind.ROUND if receipt.succeeded else EventKind.TRANSACTION)
        return state

    def vanished(self, signed: SignedTransaction) -> None:
        """Its block is no longer part of the chain: it is on its way again."""
        lock(self._connection, _SENDING)
        self._connection.execute(
            sa.update(transactions)
            .where(transactions.c.tx_hash == signed.tx_hash)
            .values(state=TransactionState.SENT, block_number=None, block_hash=None, gas_used=None)
        )
        for prediction_id in self.carried(signed.tx_hash):
            set_status(self._connection, prediction_id, Status.SUBMITTED)
        self._tell(signed)

    def forget(self, signed: SignedTransaction) -> None:
        """Drop all attempts with a nonce that something else used up; their predictions are `proved` again."""
        lock(self._connection, _SENDING)
        for one in self.attempts(signed):
            self._release(one.signed)
            self._connection.execute(sa.delete(transactions).where(transactions.c.tx_hash == one.signed.tx_hash))

    def published_by_others(
        self, prediction_id: PredictionId, chain_id: int, contract: str, tx_hash: str, block_number: int
    ) -> bool:
        """Somebody else brought this prediction onto the chain. False when it has a transaction already."""
        row = {"prediction_id": prediction_id, "chain_id": chain_id, "contract": contract, "tx_hash": tx_hash}
        insert = (
            insert_new(self._connection, submissions)
            .values(row | {"ours": False, "block_number": block_number})
            .returning(submissions.c.prediction_id)
        )
        if self._connection.execute(insert).scalar_one_or_none() is None:
            return False
        set_status(self._connection, prediction_id, Status.CONFIRMED)
        self._events.note(EventKind.ROUND, prediction_id, chain_id=chain_id)
        return True

    def by_others(self, chain_id: int, since_block: int) -> list[Submission]:
        """What others published from a block on."""
        query = _submissions().where(
            submissions.c.chain_id == chain_id, submissions.c.ours.is_(False), submissions.c.block_number >= since_block
        )
        return [_submission(row) for row in self._connection.execute(query)]

    def withdraw(self, prediction_id: PredictionId, chain_id: int) -> None:
        """It is not on the chain after all."""
        withdrawn = (
            sa.delete(submissions)
            .where(submissions.c.prediction_id == prediction_id, submissions.c.chain_id == chain_id)
            .returning(submissions.c.contract, submissions.c.tx_hash, submissions.c.ours)
        )
        was = [dict(row) for row in self._connection.execute(withdrawn).mappings()]
        set_status(self._connection, prediction_id, Status.PROVED)
        self._events.note(EventKind.TRANSACTION, prediction_id, chain_id=chain_id, **(was[0] if was else {}))

    def carried(self, tx_hash: str) -> list[PredictionId]:
        """The predictions whose proof a transaction of ours carries."""
        query = sa.select(submissions.c.prediction_id).where(submissions.c.tx_hash == tx_hash)
        return list(self._connection.execute(query).scalars())

    def window_ends(self, tx_hash: str) -> list[int]:
        """Ends in ms of the windows whose predictions a transaction of ours carries."""
        query = sa.select(predictions.c.window_end_ms).where(predictions.c.id.in_(self.carried(tx_hash)))
        return list(self._connection.execute(query).scalars())

    def of(self, prediction_ids: Sequence[str], chain_id: int | None = None) -> dict[str, Submission]:
        """How each of these predictions comes onto a chain, of those that do; onto any, unless one is named."""
        query = _submissions().where(submissions.c.prediction_id.in_(prediction_ids))
        if chain_id is not None:
            query = query.where(submissions.c.chain_id == chain_id)
        return {row.prediction_id: _submission(row) for row in self._connection.execute(query)}

    def _taken(self, prediction_ids: Sequence[PredictionId], signed: SignedTransaction) -> bool:
        on_its_way = sa.select(transactions.c.tx_hash).where(_open_nonces(signed.chain_id, signed.sender))
        same_nonce = sa.select(transactions.c.tx_hash).where(
            transactions.c.chain_id == signed.chain_id,
            transactions.c.sender == signed.sender,
            transactions.c.state.in_(_IN_FLIGHT),
            transactions.c.nonce >= signed.nonce,
        )
        carried = sa.select(submissions.c.tx_hash).where(
            submissions.c.prediction_id.in_(prediction_ids), submissions.c.chain_id == signed.chain_id
        )
        return any(self._connection.execute(query.limit(1)).first() for query in (on_its_way, same_nonce, carried))

    def _insert(self, signed: SignedTransaction, now_ms: int) -> None:
        self._connection.execute(
            sa.insert(transactions).values(
                tx_hash=signed.tx_hash,
                chain_id=signed.chain_id,
                contract=signed.contract,
                sender=signed.sender,
                nonce=signed.nonce,
                raw_tx=signed.raw,
                max_fee_wei=signed.max_fee_wei,
                max_tip_wei=signed.max_tip_wei,
                state=TransactionState.SENT,
                sent_at_ms=now_ms,
            )
        )

    def _seen(self, receipt: Receipt, state: TransactionState) -> None:
        self._connection.execute(
            sa.update(transactions)
            .where(transactions.c.tx_hash == receipt.tx_hash)
            .values(
                state=state,
                block_number=receipt.block_number,
                block_hash=receipt.block_hash,
                gas_used=receipt.gas_used,
            )
        )

    def _stands(self, receipt: Receipt, *states: TransactionState) -> bool:
        """Whether the transaction is stored in this very block already, in one of these states."""
        query = sa.select(transactions.c.tx_hash).where(
            transactions.c.tx_hash == receipt.tx_hash,
            transactions.c.block_hash == receipt.block_hash,
            transactions.c.state.in_(states),
        )
        return self._connection.execute(query).first() is not None

    def _point(self, before: str, tx_hash: str) -> None:
        self._connection.execute(sa.update(submissions).where(submissions.c.tx_hash == before).values(tx_hash=tx_hash))

    def _release(self, signed: SignedTransaction) -> None:
        for prediction_id in self.carried(signed.tx_hash):
            set_status(self._connection, prediction_id, Status.PROVED)
            was = {"chain_id": signed.chain_id, "contract": signed.contract, "tx_hash": signed.tx_hash}
            self._events.note(EventKind.TRANSACTION, prediction_id, **was)
        self._connection.execute(sa.delete(submissions).where(submissions.c.tx_hash == signed.tx_hash))

    def _tell(self, signed: SignedTransaction, kind: EventKind = EventKind.TRANSACTION) -> None:
        for prediction_id in self.carried(signed.tx_hash):
            self._events.note(kind, prediction_id, chain_id=signed.chain_id)

    def _same_nonce(self, signed: SignedTransaction) -> sa.ColumnElement[bool]:
        return sa.and_(
            transactions.c.chain_id == signed.chain_id,
            transactions.c.sender == signed.sender,
            transactions.c.nonce == signed.nonce,
        )


def _open_nonces(chain_id: int, sender: str) -> sa.ColumnElement[bool]:
    """Attempts at nonces of which none is in a block; the others of one that is are kept until it is deep enough."""
    same = transactions.alias()
    in_block = sa.exists().where(
        same.c.chain_id == chain_id,
        same.c.sender == sender,
        same.c.nonce == transactions.c.nonce,
        same.c.state == TransactionState.INCLUDED,
    )
    return sa.and_(
        transactions.c.chain_id == chain_id,
        transactions.c.sender == sender,
        transactions.c.state == TransactionState.SENT,
        ~in_block,
    )


def _submissions() -> sa.Select[Any]:
    sent = submissions.outerjoin(transactions, submissions.c.tx_hash == transactions.c.tx_hash)
    return sa.select(
        submissions, transactions.c.state, transactions.c.gas_used, transactions.c.block_number.label("in_block")
    ).select_from(sent)


def _submission(row: sa.Row[Any]) -> Submission:
    return Submission(
        prediction_id=PredictionId(row.prediction_id),
        chain_id=row.chain_id,
        contract=row.contract,
        tx_hash=row.tx_hash,
        state=TransactionState(row.state) if row.ours else TransactionState.CONFIRMED,
        block_number=row.in_block if row.ours else row.block_number,
        gas_used=row.gas_used,
        ours=row.ours,
    )


def _transaction(row: sa.Row[Any]) -> Transaction:
    signed = SignedTransaction(
        chain_id=row.chain_id,
        contract=row.contract,
        sender=row.sender,
        nonce=row.nonce,
        tx_hash=row.tx_hash,
        raw=row.raw_tx,
        max_fee_wei=row.max_fee_wei,
        max_tip_wei=row.max_tip_wei,
    )
    return Transaction(
        signed=signed,
        state=TransactionState(row.state),
        block_number=row.block_number,
        block_hash=row.block_hash,
        gas_used=row.gas_used,
        sent_at_ms=row.sent_at_ms,
    )
