"""Fees within their caps, and transactions that are the same but for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from eth_account import Account as Accounts
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from hexbytes import HexBytes
from web3.exceptions import BlockNotFound, TransactionNotFound

from app.chain.account import Account
from app.chain.sender import CANCEL_GAS, FeeCaps, Fees, Sender
from app.errors import BalanceTooLow, ChainError, ChainUnavailable, FeesTooHigh, NonceUsed
from app.types import SignedTransaction

GWEI = 10**9
TO = "0x" + "11" * 20


class ScriptedEth:
    """The `eth` of a node that answers what it is told; errors are raised."""

    chain_id = 31337

    def __init__(self) -> None:
        self.base: Any = 10 * GWEI
        self.max_priority_fee = GWEI
        self.balance = 10**18
        self.counts = {"latest": 5, "pending": 7}
        self.answers: dict[str, Any] = {}
        self.sent: list[bytes] = []

    def ask(self, question: Callable[[Any], Any]) -> Any:
        return question(self)

    def or_latest(self, question: Callable[[Any, Any], Any]) -> Any:
        return question(self, "pending")

    def get_block(self, which: Any) -> Any:
        answer = self.answers.get("get_block", {"baseFeePerGas": self.base, "hash": HexBytes(b"\5" * 32)})
        return self._given(answer)

    def get_balance(self, _: str) -> int:
        return self.balance

    def get_transaction_count(self, _: str, block: str) -> int:
        return self.counts[block]

    def send_raw_transaction(self, raw: bytes) -> None:
        self.sent.append(raw)
        self._given(self.answers.get("send"))

    def get_transaction(self, _: str) -> Any:
        return self._given(self.answers["transaction"])

    def get_transaction_receipt(self, _: str) -> Any:
        return self._given(self.answers["receipt"])

    @staticmethod
    def _given(answer: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def eth() -> ScriptedEth:
    return ScriptedEth()


@pytest.fixture
def sender(eth: Any) -> Sender:
    return Sender(eth, Account.from_secret("5e" * 32, None, "submitter"), FeeCaps.of_gwei(100, 2))


def signed_at(sender: Sender, fee_gwei: float, tip_gwei: float) -> SignedTransaction:
    return sender.sign(TO, b"call", 800_000, 5, Fees(round(fee_gwei * GWEI), round(tip_gwei * GWEI)))


@pytest.mark.parametrize(
    ("base", "tip", "fee", "offered"),
    [(10, 1, 21, 1), (10, 3, 22, 2), (49, 2, 100, 2), (60, 1, 100, 1), (98, 2, 100, 2), (0, 0, 0, 0)],
    ids=["twice the base", "tip capped", "at the cap", "capped", "just enough", "free"],
)
def test_fees__are_twice_the_base_and_the_usual_tip_within_the_caps(
    sender: Sender, eth: ScriptedEth, base: int, tip: int, fee: int, offered: int
) -> None:
    eth.base, eth.max_priority_fee = base * GWEI, tip * GWEI
    assert sender.fees() == Fees(fee * GWEI, offered * GWEI)


def test_fees__caps_below_what_the_chain_asks__are_refused_with_both_numbers(sender: Sender, eth: ScriptedEth) -> None:
    eth.base = 100 * GWEI
    with pytest.raises(FeesTooHigh, match=r"asks for 101 gwei per gas, at most 100 are paid.*VERIREGIME_MAX_FEE_GWEI"):
        sender.fees()


@pytest.mark.parametrize(("base", "fee"), [(1, 30 * 1.125), (40, 81)], ids=["an eighth more", "what is asked now"])
def test_fees__above_a_stuck_one__are_an_eighth_higher_at_least(
    sender: Sender, eth: ScriptedEth, base: int, fee: float
) -> None:
    stuck = signed_at(sender, 30, 1)
    eth.base = base * GWEI
    found = sender.fees(above=stuck)
    assert found.max_fee_wei == pytest.approx(fee * GWEI, abs=1)
    assert found.max_tip_wei == pytest.approx(1.125 * GWEI, abs=1)
    assert found.max_fee_wei * 8 >= stuck.max_fee_wei * 9


def test_fees__above_a_stuck_one_of_nothing__are_more_than_nothing(sender: Sender, eth: ScriptedEth) -> None:
    eth.base = eth.max_priority_fee = 0
    assert sender.fees(above=signed_at(sender, 0, 0)) == Fees(1, 1)


def test_fees__above_a_stuck_one_near_the_cap__are_refused_rather_than_beyond_it(sender: Sender) -> None:
    assert sender.fees(above=signed_at(sender, 88, 1)).max_fee_wei <= 100 * GWEI
    with pytest.raises(FeesTooHigh):
        sender.fees(above=signed_at(sender, 89, 1))


@pytest.mark.parametrize("block", [{"hash": b""}, BlockNotFound("null")], ids=["no base fee", "no block"])
def test_fees__a_chain_that_names_no_base_fee__is_refused(sender: Sender, eth: ScriptedEth, block: object) -> None:
    eth.answers["get_block"] = block
    with pytest.raises(ChainError, match="EIP-1559"):
        sender.fees()


def terms(signed: SignedTransaction) -> dict[str, Any]:
    whole = TypedTransaction.from_bytes(HexBytes(signed.raw)).as_dict()
    return {name: whole[name] for name in ("chainId", "nonce", "to", "data", "gas", "value")}


def test_sign__says_what_it_signed(sender: Sender) -> None:
    signed = signed_at(sender, 30, 1)
    assert (signed.chain_id, signed.contract, signed.sender, signed.nonce) == (31337, TO, sender.address, 5)
    assert (signed.max_fee_wei, signed.max_tip_wei) == (30 * GWEI, GWEI)
    whole = TypedTransaction.from_bytes(HexBytes(signed.raw)).as_dict()
    assert (whole["maxFeePerGas"], whole["maxPriorityFeePerGas"]) == (30 * GWEI, GWEI)
    assert Accounts.recover_transaction(signed.raw) == sender.address


def test_again__is_the_same_call_with_other_fees(sender: Sender) -> None:
    first = signed_at(sender, 30, 1)
    second = sender.again(first, Fees(40 * GWEI, 2 * GWEI))
    assert terms(second) == terms(first)
    assert (second.tx_hash != first.tx_hash, second.max_fee_wei, second.nonce) == (True, 40 * GWEI, 5)


def test_nothing__only_uses_the_nonce_up(sender: Sender) -> None:
    nothing = sender.nothing(signed_at(sender, 30, 1), Fees(40 * GWEI, 2 * GWEI))
    found = terms(nothing)
    assert (nothing.contract, nothing.nonce) == (sender.address, 5)
    assert (bytes(found["data"]), found["gas"], found["value"]) == (b"", CANCEL_GAS, 0)


@pytest.mark.parametrize(("balance", "enough"), [(800_000 * 20, True), (800_000 * 20 - 1, False)])
def test_require_funds__has_to_cover_the_most_that_it_may_cost(
    sender: Sender, eth: ScriptedEth, balance: int, enough: bool
) -> None:
    eth.balance = balance
    if enough:
        assert sender.require_funds(800_000, Fees(20, 1)) == balance
    else:
        with pytest.raises(BalanceTooLow, match=sender.address):
            sender.require_funds(800_000, Fees(20, 1))


@pytest.mark.parametrize("words", ["already known", "AlreadyKnown: already known", "transaction already imported"])
def test_send__what_the_node_has_already__is_no_error(sender: Sender, eth: ScriptedEth, words: str) -> None:
    eth.answers["send"] = ChainError(f"the RPC endpoint at x answered {words}")
    sender.send(b"raw")
    assert eth.sent == [b"raw"]


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (ChainError("Nonce too low: next nonce 6"), NonceUsed),
        (ChainError("insufficient funds"), ChainError),
        (ChainUnavailable("away"), ChainUnavailable),
    ],
)
def test_send__what_the_node_does_not_take__says_whether_it_ever_will(
    sender: Sender, eth: ScriptedEth, error: ChainError, raised: type[ChainError]
) -> None:
    eth.answers["send"] = error
    with pytest.raises(ChainError) as caught:
        sender.send(b"raw")
    assert type(caught.value) is raised


def test_receipt__of_what_is_in_no_block__is_none(sender: Sender, eth: ScriptedEth) -> None:
    eth.answers["receipt"] = eth.answers["transaction"] = TransactionNotFound("none")
    assert (sender.receipt("0x01"), sender.knows("0x01")) == (None, False)


@pytest.mark.parametrize(("told", "succeeded"), [(1, True), (0, False)])
def test_receipt__of_what_is_in_a_block__says_which_and_how_it_went(
    sender: Sender, eth: ScriptedEth, told: int, succeeded: bool
) -> None:
    eth.answers["receipt"] = {"status": told, "blockNumber": 9, "blockHash": HexBytes(b"\6" * 32), "gasUsed": 7}
    found = sender.receipt("0x01")
    assert found is not None
    assert (found.succeeded, found.block_number, found.block_hash, found.gas_used) == (
        succeeded,
        9,
        "0x" + "06" * 32,
        7,
    )


def test_block_hash__beyond_the_chain__is_none(sender: Sender, eth: ScriptedEth) -> None:
    assert sender.block_hash(3) == "0x" + "05" * 32
    eth.answers["get_block"] = BlockNotFound("none")
    assert sender.block_hash(4) is None


def test_nonces__are_those_of_blocks_and_pool(sender: Sender) -> None:
    assert sender.nonces() == (5, 7)
