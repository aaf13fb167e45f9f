"""The verifier contract of a circuit on a chain of the benchmark's own, and what one proof costs there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.chain.anvil import KEY, running_anvil
from app.chain.calldata import verify_calldata
from app.chain.compiler import compile_contract
from app.chain.gas import deploy_contract, require_true, transaction_gas
from app.errors import ChainError, ChainUnavailable
from app.types import Proof

GAS_LIMIT = 25_000_000
"""Far above the dearest verifier here, below a block of anvil's."""
TOO_LARGE = "its verifier is larger than 24,576 bytes and could not be deployed on a real chain"


@dataclass(frozen=True, slots=True)
class OnChain:
    """What one proof costs: bytes of calldata and gas of the whole transaction."""

    calldata_bytes: int
    verify_gas: int | None
    """None where the contract is too large even for a chain of our own."""
    deployable: bool
    """Whether a real chain would take the contract: EIP-170 bounds its size."""

    @property
    def remark(self) -> str | None:
        return None if self.deployable else TOO_LARGE


class OwnChain:
    """Anvil for as long as a run lasts, and a second one without the limit on code where a contract needs it."""

    def __init__(self, contracts_dir: Path, rpc_url: str, stack: ExitStack) -> None:
        self._contracts_dir = contracts_dir
        self._rpc_url = rpc_url
        self._stack = stack
        self._unlimited: str | None = None

    def verify(self, verifier_sol: Path, proof: Proof) -> OnChain:
        """Compile and deploy a verifier and send it ``proof``.

        Raises `SimulationReverted` when the contract does not accept it, and another `ChainError` where the compiler
        or the chain fails.
        """
        calldata = bytes.fromhex(verify_calldata(proof).removeprefix("0x"))
        place = self._deployed(verifier_sol)
        if place is None:
            return OnChain(len(calldata), None, deployable=False)
        rpc_url, address = place
        require_true(rpc_url, address, calldata, GAS_LIMIT)
        gas = transaction_gas(rpc_url, KEY, address, calldata, GAS_LIMIT)
        return OnChain(len(calldata), gas, deployable=rpc_url == self._rpc_url)

    def _deployed(self, verifier_sol: Path) -> tuple[str, str] | None:
        """Where the contract stands, the chain's URL and the address; none when nobody takes it."""
        contract = compile_contract(self._contracts_dir, verifier_sol, "Halo2Verifier")
        for rpc_url in self._chains():
            try:
                return rpc_url, deploy_contract(rpc_url, KEY, contract)
            except ChainUnavailable:
                raise
            except ChainError:  # too large for this one
                continue
        return None

    def _chains(self) -> Iterator[str]:
        """First the one with the limits of a real chain."""
        yield self._rpc_url
        if self._unlimited is None:
            self._unlimited = self._stack.enter_context(running_anvil(self._contracts_dir, "--disable-code-size-limit"))
        yield self._unlimited


@contextmanager
def own_chain(contracts_dir: Path) -> Iterator[OwnChain]:
    """Raises `ToolMissing` when npm has installed neither anvil nor the Solidity compiler."""
    with ExitStack() as stack:
        yield OwnChain(contracts_dir, stack.enter_context(running_anvil(contracts_dir)), stack)
