"""The generated `Halo2Verifier` on a chain: deployed once, then sent one proof at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import requests
from eth_account import Account
from hexbytes import HexBytes
from web3 import HTTPProvider, Web3
from web3.exceptions import ContractLogicError, TransactionNotFound, Web3Exception

from app.chain.compiler import Contract
from app.errors import ChainError, ChainUnavailable, Misconfigured, SimulationReverted, TransactionFailed
from app.types import SCALAR_FIELD, Keys, Proof, Receipt, SignedTransaction

LOCAL_CHAINS = (31337, 1337)
VERIFY_GAS = 900_000
"""Set, not estimated: a verifier that answers false instead of reverting misleads the estimate."""
_DEPLOY_GAS = 8_000_000
_TIP_WEI = 1_000_000_000
_ABI: list[dict[str, Any]] = [
    {
        "type": "function",
        "name": "verifyProof",
        "stateMutability": "nonpayable",
        "inputs": [{"name": "proof", "type": "bytes"}, {"name": "instances", "type": "uint256[]"}],
        "outputs": [{"name": "", "type": "bool"}],
    }
]
_T = TypeVar("_T")


class Chain:
    """One RPC endpoint and the account that pays."""

    def __init__(self, rpc_url: str, private_key: str, *, timeout_s: float = 15) -> None:
        self._web3 = Web3(HTTPProvider(rpc_url, request_kwargs={"timeout": timeout_s}))
        try:
            self._account = Account.from_key(private_key)
        except ValueError:
            raise Misconfigured("the submitter key is not a private key of 32 bytes in hex") from None
        self.chain_id = int(_reached(lambda: self._web3.eth.chain_id))

    def deploy(self, contract: Contract) -> str:
        """The address of the freshly deployed contract, once it is mined."""
        factory = self._web3.eth.contract(abi=contract.abi, bytecode=contract.bytecode)
        transaction = _reached(lambda: factory.constructor().build_transaction(cast(Any, self._terms(_DEPLOY_GAS))))
        signed = self._account.sign_transaction(cast(Any, transaction))
        sent = _reached(lambda: self._web3.eth.send_raw_transaction(signed.raw_transaction))
        receipt = _reached(lambda: self._web3.eth.wait_for_transaction_receipt(sent, timeout=60, poll_latency=0.05))
        if receipt["status"] != 1 or receipt["contractAddress"] is None:
            raise TransactionFailed(f"deployment of {contract.name} failed in transaction {sent.to_0x_hex()}")
        return str(receipt["contractAddress"])

    def simulate(self, verifier: str, proof: Proof) -> None:
        """Ask the chain, without a transaction, whether it would accept the proof. Raises `SimulationReverted`."""
        call = self._call(verifier, proof)
        try:
            accepted = _reached(lambda: call.call({"from": self._account.address, "gas": VERIFY_GAS}))
        except ContractLogicError as error:
            raise SimulationReverted(f"the verifier at {verifier} rejects the proof") from error
        if accepted is not True:
            raise SimulationReverted(f"the verifier at {verifier} answered {accepted!r} instead of true")

    def sign(self, verifier: str, proof: Proof) -> SignedTransaction:
        """A signed transaction that carries the proof; its hash is known before it is sent."""
        call = self._call(verifier, proof)
        transaction = _reached(lambda: call.build_transaction(cast(Any, self._terms(VERIFY_GAS))))
        signed = self._account.sign_transaction(cast(Any, transaction))
        return SignedTransaction(
            chain_id=self.chain_id,
            contract=verifier,
            tx_hash=HexBytes(signed.hash).to_0x_hex(),
            raw=bytes(signed.raw_transaction),
        )

    def send(self, raw: bytes) -> None:
        """Hand a signed transaction to the chain.

        Raises `TransactionFailed` when the chain will never take it, because its nonce is used up, and another
        `ChainError` when it does not take it now.
        """
        try:
            _reached(lambda: self._web3.eth.send_raw_transaction(raw))
        except ChainError as error:
            words = str(error).lower()
            if "already known" in words or "already imported" in words:
                return
            if "nonce too low" in words:
                raise TransactionFailed(f"another transaction took this one's place: {error}") from error
            raise

    def receipt(self, tx_hash: str) -> Receipt | None:
        """What became of a transaction; none while it is not in a block."""
        try:
            found = _reached(lambda: self._web3.eth.get_transaction_receipt(cast(Any, tx_hash)))
        except TransactionNotFound:
            return None
        return Receipt(
            succeeded=found["status"] == 1, block_number=int(found["blockNumber"]), gas_used=int(found["gasUsed"])
        )

    def _call(self, verifier: str, proof: Proof) -> Any:
        contract = self._web3.eth.contract(address=Web3.to_checksum_address(verifier), abi=_ABI)
        return contract.functions.verifyProof(proof.proof, [value % SCALAR_FIELD for value in proof.instances])

    def _terms(self, gas: int) -> dict[str, Any]:
        base_fee = _reached(lambda: self._web3.eth.get_block("pending"))["baseFeePerGas"]
        return {
            "from": self._account.address,
            "nonce": _reached(lambda: self._web3.eth.get_transaction_count(self._account.address, "pending")),
            "chainId": self.chain_id,
            "gas": gas,
            "maxPriorityFeePerGas": _TIP_WEI,
            "maxFeePerGas": 2 * base_fee + _TIP_WEI,
        }


def refuse_development_srs(keys: Keys, chain_id: int, testnets: tuple[int, ...]) -> str | None:
    """A development SRS lets its maker forge proofs: a warning on a listed testnet, refused on every real chain."""
    if not keys.srs_is_development or chain_id in LOCAL_CHAINS:
        return None
    if chain_id in testnets:
        return f"proofs on testnet {chain_id} are made under a development SRS: they convince nobody but us"
    raise Misconfigured(
        f"chain {chain_id} is neither local nor a listed testnet, and the keys come from a development SRS: "
        "bring the public ceremony's file first"
    )


def _reached(ask: Callable[[], _T]) -> _T:
    """Translate an endpoint that is away or refuses; "reverted" and "not found" are answers and pass through."""
    try:
        return ask()
    except (ContractLogicError, TransactionNotFound):
        raise
    except (requests.RequestException, ConnectionError, TimeoutError) as error:
        raise ChainUnavailable(f"the chain's RPC endpoint does not answer: {type(error).__name__}") from error
    except (Web3Exception, ValueError) as error:
        raise ChainError(f"the chain's RPC endpoint answered {_short(error)}") from error


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
