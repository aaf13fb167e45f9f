"""Transactions that somebody waits for, one after another: those of whoever deploys and administers the contracts."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from web3.exceptions import ContractLogicError

from app.chain.reading import revert_reason
from app.chain.rpc import Rpc
from app.chain.sender import Sender
from app.errors import ChainError, FeesTooHigh, SimulationReverted, TransactionFailed
from app.types import Receipt, SignedTransaction

log = logging.getLogger(__name__)

_GAS_MARGIN = 1.2
_FIRST_LOOK_S, _NEXT_LOOK_S = 0.005, 2.0
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long something on the chain may take, and when a transaction is offered again with higher fees. Seconds."""

    wait_s: float = 300
    replace_after_s: float = 45


class Operator:
    """Sends from one account, whose other transactions must be settled first: nothing is decided on top of them."""

    def __init__(self, rpc: Rpc, sender: Sender, patience: Patience) -> None:
        self._rpc = rpc
        self._sender = sender
        self._patience = patience
        self._nonce: int | None = None
        """Of the next transaction, once nothing else is under way."""

    def settle(self) -> None:
        """Wait until every transaction of the account is in a block, so that what the chain says holds from then on.

        Raises `ChainError` when that takes too long.
        """

        def settled() -> tuple[int] | None:
            mined, pending = self._sender.nonces()
            return (mined,) if mined >= pending else None

        complaint = f"transactions of {self._sender.address} still wait for a block: replace or drop them with a wallet"
        (self._nonce,) = self.patiently(settled, complaint)

    def send(self, what: str, to: str, data: bytes) -> Receipt:
        """The receipt of a transaction that succeeded.

        Raises `SimulationReverted` when the chain would refuse it, `TransactionFailed` when it did, and another
        `ChainError` when it does not take it in time.
        """
        if self._nonce is None:
            self.settle()
        assert self._nonce is not None  # noqa: S101  just set
        gas = self._gas(what, to, data)
        signed = self._sender.sign(to, data, gas, self._nonce, self._sender.fees())
        self._sender.send(signed.raw)
        self._nonce += 1
        receipt = self._mined(what, signed)
        if not receipt.succeeded:
            raise TransactionFailed(f"to {what} failed in transaction {receipt.tx_hash}")
        log.info("%s: %s gas, transaction %s", what, f"{receipt.gas_used:,}", receipt.tx_hash)
        return receipt

    def patiently(self, look: Callable[[], _T | None], complaint: str) -> _T:
        """What ``look`` finds, once it does. Raises `ChainError` when that takes too long."""
        give_up, pause = time.monotonic() + self._patience.wait_s, _FIRST_LOOK_S
        while not (found := look()):
            if time.monotonic() > give_up:
                raise ChainError(f"{complaint} after {self._patience.wait_s:g} s")
            time.sleep(pause)
            pause = min(2 * pause, _NEXT_LOOK_S)
        return found

    def _gas(self, what: str, to: str, data: bytes) -> int:
        call = {"from": self._sender.address, "to": to, "data": data}
        try:
            estimated = self._rpc.ask(lambda eth: eth.estimate_gas(cast(Any, call)))
        except ContractLogicError as error:
            raise SimulationReverted(f"to {what} would be refused: {revert_reason(error)}") from None
        return int(estimated * _GAS_MARGIN)

    def _mined(self, what: str, signed: SignedTransaction) -> Receipt:
        """The receipt of a transaction, or of one that took its place with higher fees."""
        offered, offer_again_at = [signed], time.monotonic() + self._patience.replace_after_s

        def look() -> Receipt | None:
            nonlocal offer_again_at
            if time.monotonic() > offer_again_at:
                offer_again_at = time.monotonic() + self._patience.replace_after_s
                offered.extend(self._dearer(offered[-1]))
            receipts = (self._sender.receipt(one.tx_hash) for one in offered)
            return next((receipt for receipt in receipts if receipt), None)

        return self.patiently(look, f"to {what} is in no block (transaction {signed.tx_hash})")

    def _dearer(self, signed: SignedTransaction) -> list[SignedTransaction]:
        """The same with higher fees, sent; nothing where the caps or the chain do not allow it."""
        try:
            again = self._sender.again(signed, self._sender.fees(above=signed))
            self._sender.send(again.raw)
        except FeesTooHigh as error:
            log.warning("%s", error)
            return []
        except ChainError as error:  # it may have come into a block just now
            log.info("offered again in vain: %s", error)
            return []
        return [again]
