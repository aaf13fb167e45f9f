"""What a call costs, for any contract: the benchmark sends proofs of several systems to a chain of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import requests
from eth_account import Account
from web3 import HTTPProvider, Web3
from web3.exceptions import ContractLogicError, Web3Exception

from app.chain.compiler import Contract
from app.errors import ChainError, ChainUnavailable, SimulationReverted, TransactionFailed

VERIFY_GAS = 900_000
"""Set, not estimated: a verifier that answers false instead of reverting misleads the estimate."""
_DEPLOY_GAS = 8_000_000
_TIMEOUT_S = 15
_MINED_WITHIN_S = 60
_TIP_WEI = 1_000_000_000
_TRUE = (1).to_bytes(32, "big")


def require_true(rpc_url: str, to: str, calldata: bytes, gas_limit: int) -> None:
    """Ask the contract at ``to`` without a transaction.

    Raises `SimulationReverted` unless it answers ``true``. An address without a contract answers nothing, which is no
    consent either.
    """
    with _translated(to):
        answer = bytes(_web3(rpc_url).eth.call(cast(Any, {"to": to, "data": calldata, "gas": gas_limit})))
    if answer != _TRUE:
        raise SimulationReverted(f"the contract at {to} answered 0x{answer[:32].hex()} instead of true")


def deploy_contract(rpc_url: str, private_key: str, contract: Contract) -> str:
    """The address of the freshly deployed contract, once it is mined.

    Raises `TransactionFailed` when the chain does not take it, for its size perhaps, or another `ChainError`.
    """
    code = bytes.fromhex(contract.bytecode.removeprefix("0x"))
    found = _mined(rpc_url, private_key, None, code, _DEPLOY_GAS)
    if found["status"] != 1 or found["contractAddress"] is None:
        raise TransactionFailed(f"deployment of {contract.name} failed")
    return str(found["contractAddress"])


def transaction_gas(rpc_url: str, private_key: str, to: str, calldata: bytes, gas_limit: int) -> int:
    """Send one transaction with ``calldata`` and wait until it is in a block; gives its gas in total.

    A contract that answers false succeeds nonetheless: see `require_true`. Raises `TransactionFailed` when the
    transaction reverted, and another `ChainError` when the chain does not take it.
    """
    found = _mined(rpc_url, private_key, to, calldata, gas_limit)
    if found["status"] != 1:
        raise TransactionFailed(f"the call of {to} reverted in transaction {found['transactionHash'].to_0x_hex()}")
    return int(found["gasUsed"])


def _mined(rpc_url: str, private_key: str, to: str | None, data: bytes, gas_limit: int) -> Any:
    eth = _web3(rpc_url).eth
    account = Account.from_key(private_key)
    with _translated(to or "a new address"):
        terms = {
            "chainId": eth.chain_id,
            "nonce": eth.get_transaction_count(account.address, "pending"),
            "data": data,
            "gas": gas_limit,
            "maxPriorityFeePerGas": _TIP_WEI,
            "maxFeePerGas": 2 * eth.get_block("pending")["baseFeePerGas"] + _TIP_WEI,
        } | ({"to": to} if to else {})
        sent = eth.send_raw_transaction(account.sign_transaction(cast(Any, terms)).raw_transaction)
        return eth.wait_for_transaction_receipt(sent, timeout=_MINED_WITHIN_S, poll_latency=0.05)


def _web3(rpc_url: str) -> Web3:
    return Web3(HTTPProvider(rpc_url, request_kwargs={"timeout": _TIMEOUT_S}))


@contextmanager
def _translated(to: str) -> Iterator[None]:
    try:
        yield
    except ContractLogicError as error:
        raise SimulationReverted(f"the contract at {to} reverts: {error}") from error
    except (requests.RequestException, ConnectionError, TimeoutError) as error:
        raise ChainUnavailable(f"the chain's RPC endpoint does not answer: {type(error).__name__}") from error
    except (Web3Exception, ValueError) as error:
        raise ChainError(f"the chain's RPC endpoint answered {' '.join(str(error).split())[:200]}") from error
