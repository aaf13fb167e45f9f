"""Transactions of one account: priced within the caps, signed, sent, and looked for in blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from eth_account.typed_transactions.typed_transaction import TypedTransaction
from hexbytes import HexBytes
from web3.exceptions import BlockNotFound, TransactionNotFound

from app.chain.account import Account
from app.chain.rpc import Rpc
from app.errors import BalanceTooLow, ChainError, FeesTooHigh, NonceUsed
from app.types import Receipt, SignedTransaction

_GWEI, _ETHER = 10**9, 10**18
_BUMP = 9, 8
"""Nodes take a replacement only when both fees are an eighth higher (go-ethereum asks for a tenth)."""
CANCEL_GAS = 21_000


@dataclass(frozen=True, slots=True)
class FeeCaps:
    """Most that is paid per gas, in wei."""

    max_fee_wei: int
    max_tip_wei: int

    @classmethod
    def of_gwei(cls, max_fee: float, max_tip: float) -> FeeCaps:
        return cls(round(max_fee * _GWEI), round(max_tip * _GWEI))


@dataclass(frozen=True, slots=True)
class Fees:
    """Of one transaction, EIP-1559, in wei per gas."""

    max_fee_wei: int
    max_tip_wei: int


class Sender:
    """One account on one chain."""

    def __init__(self, rpc: Rpc, account: Account, caps: FeeCaps) -> None:
        self._rpc = rpc
        self._account = account
        self._caps = caps

    @property
    def address(self) -> str:
        return self._account.address

    def fees(self, above: SignedTransaction | None = None) -> Fees:
        """What a transaction should offer now: twice the base fee, and the usual tip; more than ``above`` if given.

        Raises `FeesTooHigh` when the caps do not cover what the chain asks for.
        """
        base = self._base_fee()
        tip = min(int(self._rpc.ask(lambda eth: eth.max_priority_fee)), self._caps.max_tip_wei)
        fee = min(2 * base + tip, self._caps.max_fee_wei)
        floor = base + tip
        if above is not None:
            tip, least = max(tip, _bumped(above.max_tip_wei)), _bumped(above.max_fee_wei)
            fee, floor = max(fee, least), max(base + tip, least)
        if floor > self._caps.max_fee_wei:
            raise FeesTooHigh(
                f"the chain asks for {floor / _GWEI:.3g} gwei per gas, at most {self._caps.max_fee_wei / _GWEI:.3g} "
                "are paid: see VERIREGIME_MAX_FEE_GWEI"
            )
        return Fees(fee, min(tip, fee))

    def _base_fee(self) -> int:
        try:
            return int(self._rpc.or_latest(lambda eth, block: eth.get_block(block))["baseFeePerGas"])
        except (BlockNotFound, KeyError):
            raise ChainError("the chain names no base fee for its next block: EIP-1559 is needed") from None

    def sign(self, to: str, calldata: bytes, gas: int, nonce: int, fees: Fees) -> SignedTransaction:
        chain_id = self._rpc.chain_id
        terms = {
            "type": 2,
            "chainId": chain_id,
            "nonce": nonce,
            "to": to,
            "value": 0,
            "data": calldata,
            "gas": gas,
            "maxFeePerGas": fees.max_fee_wei,
            "maxPriorityFeePerGas": fees.max_tip_wei,
        }
        tx_hash, raw = self._account.sign_transaction(terms)
        return SignedTransaction(
            chain_id=chain_id,
            contract=to,
            sender=self.address,
            nonce=nonce,
            tx_hash=tx_hash,
            raw=raw,
            max_fee_wei=fees.max_fee_wei,
            max_tip_wei=fees.max_tip_wei,
        )

    def again(self, signed: SignedTransaction, fees: Fees) -> SignedTransaction:
        """The same call with the same nonce and other fees."""
        terms = TypedTransaction.from_bytes(HexBytes(signed.raw)).as_dict()
        return self.sign(signed.contract, bytes(terms["data"]), int(terms["gas"]), signed.nonce, fees)

    def nothing(self, signed: SignedTransaction, fees: Fees) -> SignedTransaction:
        """A transaction that only uses up the same nonce."""
        return self.sign(self.address, b"", CANCEL_GAS, signed.nonce, fees)

    def require_funds(self, gas: int, fees: Fees) -> int:
        """The balance in wei. Raises `BalanceTooLow` when it does not cover one transaction."""
        balance, cost = self.balance_wei(), gas * fees.max_fee_wei
        if balance < cost:
            raise BalanceTooLow(
                f"the account {self.address} has {balance / _ETHER:.6g} ether, a transaction may cost "
                f"{cost / _ETHER:.6g}: send it some"
            )
        return balance

    def send(self, raw: bytes) -> None:
        """Hand a signed transaction to the chain; one that it has already is no error.

        Raises `NonceUsed` when the chain will never take it, and another `ChainError` when it does not take it now.
        """
        try:
            self._rpc.ask(lambda eth: eth.send_raw_transaction(raw))
        except ChainError as error:
            words = str(error).lower()
            if "already known" in words or "already imported" in words:
                return
            if "nonce too low" in words:
                raise NonceUsed(f"another transaction took this one's place: {error}") from error
            raise

    def knows(self, tx_hash: str) -> bool:
        """Whether the chain has the transaction, in a block or waiting for one."""
        try:
            self._rpc.ask(lambda eth: eth.get_transaction(cast(Any, tx_hash)))
        except TransactionNotFound:
            return False
        return True

    def receipt(self, tx_hash: str) -> Receipt | None:
        """What became of a transaction; none while it is in no block."""
        try:
            found = self._rpc.ask(lambda eth: eth.get_transaction_receipt(cast(Any, tx_hash)))
        except TransactionNotFound:
            return None
        return Receipt(
            succeeded=found["status"] == 1,
            block_number=int(found["blockNumber"]),
            block_hash=found["blockHash"].to_0x_hex(),
            gas_used=int(found["gasUsed"]),
            tx_hash=tx_hash,
        )

    def block_hash(self, number: int) -> str | None:
        """Hash of the block with this number; none when the chain is not that long."""
        try:
            return str(self._rpc.ask(lambda eth: eth.get_block(number))["hash"].to_0x_hex())
        except BlockNotFound:
            return None

    def head(self) -> int:
        return int(self._rpc.ask(lambda eth: eth.block_number))

    def nonces(self) -> tuple[int, int]:
        """The next nonce by what is in blocks, and by what waits for one as well."""
        address = cast(Any, self.address)
        mined = int(self._rpc.ask(lambda eth: eth.get_transaction_count(address, "latest")))
        return mined, int(self._rpc.ask(lambda eth: eth.get_transaction_count(address, "pending")))

    def balance_wei(self) -> int:
        return int(self._rpc.ask(lambda eth: eth.get_balance(cast(Any, self.address))))


def _bumped(wei: int) -> int:
    return wei * _BUMP[0] // _BUMP[1] + 1
