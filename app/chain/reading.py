"""Questions to our contracts wherever they are, also where they may not be yet."""

from __future__ import annotations

from typing import Any, cast

from eth_abi.exceptions import DecodingError
from eth_utils.address import to_checksum_address
from web3.exceptions import ContractLogicError

from app.chain.abi import decode_answer, encode_call
from app.chain.reverts import explain
from app.chain.rpc import Rpc
from app.errors import ChainError, SimulationReverted


class ContractReader:
    """Asks about the newest block."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc

    def code(self, address: str) -> bytes:
        """The contract's code; empty where there is none."""
        return bytes(self._rpc.ask(lambda eth: eth.get_code(to_checksum_address(address))))

    def ask(self, contract: str, address: str, function: str, *arguments: Any) -> Any:
        """What a view of one of our contracts returns, a tuple if that is several values; none where no contract is.

        Raises `SimulationReverted` with the contract's reason, and `ChainError` for an answer in another form.
        """
        call = {"to": to_checksum_address(address), "data": encode_call(contract, function, *arguments)}
        try:
            answer = bytes(self._rpc.ask(lambda eth: eth.call(cast(Any, call))))
        except ContractLogicError as error:
            raise SimulationReverted(
                f"{contract} at {address} answers {function} with {revert_reason(error)}"
            ) from None
        if not answer:
            return None
        try:
            values = decode_answer(contract, function, answer)
        except DecodingError:
            raise ChainError(f"what is at {address} is no {contract}: it answers {function} in another form") from None
        return values[0] if len(values) == 1 else values

    def time_s(self) -> int:
        """Unix time of the newest block."""
        return int(self._rpc.ask(lambda eth: eth.get_block("latest"))["timestamp"])


def revert_reason(error: ContractLogicError) -> str:
    """Our contracts' own error where it is one, else what the endpoint says."""
    data = error.data
    return explain(data) if isinstance(data, str) and data.startswith("0x") else str(error.message)
