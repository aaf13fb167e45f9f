"""What the oracle says: would it take an update, what did it take last, and who brought it there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from eth_abi.abi import decode
from eth_utils.crypto import keccak
from web3.exceptions import ContractLogicError

from app.chain.attestation import feed_id
from app.chain.reading import revert_reason
from app.chain.reverts import error_name
from app.chain.rpc import Rpc
from app.errors import SimulationReverted
from app.types import OracleAt, Regime

_NEWEST = keccak(text="forecastUnsafe(bytes32)")[:4]
_FORECAST = ("uint64", "uint64", "uint64", "uint8", "uint256", "uint256", "bytes32")
_PUBLISHED = keccak(text="ForecastPublished(bytes32,uint64,bytes32,uint64,uint8,uint256,uint256)")
_WAD = 10**18
_BLOCKS_BACK = 5_000
"""How far back a round is looked for: more than the submission limit on any chain with blocks of a second or so."""


@dataclass(frozen=True, slots=True)
class Round:
    """The newest accepted update of a feed."""

    number: int
    window_end_ms: int
    regime: Regime
    vol_annualised: float


@dataclass(frozen=True, slots=True)
class Publication:
    """The transaction that made a round."""

    tx_hash: str
    block_number: int


class Rounds:
    """The oracle contract, as far as the submitter asks it."""

    def __init__(self, rpc: Rpc, oracle: OracleAt) -> None:
        self.oracle = oracle
        self._rpc = rpc

    def simulate(self, calldata: bytes, gas: int, sender: str) -> None:
        """Ask, without a transaction, whether the oracle would take an update. Raises `SimulationReverted` with why.

        On the block that comes next: the window may have ended after the last one.
        """
        call = {"from": sender, "to": self.oracle.contract, "data": calldata, "gas": gas}
        try:
            self._rpc.or_latest(lambda eth, block: eth.call(cast(Any, call), block))
        except ContractLogicError as error:
            raise SimulationReverted(f"the oracle would refuse it: {revert_reason(error)}") from None

    def newest(self, feed: str) -> Round | None:
        """The feed's newest round; none when it has none."""
        call = {"to": self.oracle.contract, "data": _NEWEST + feed_id(feed)}
        try:
            answer = bytes(self._rpc.ask(lambda eth: eth.call(cast(Any, call))))
        except ContractLogicError as error:
            if isinstance(error.data, str) and error_name(error.data) == "NoForecast":
                return None
            raise SimulationReverted(f"the oracle does not say its newest round: {revert_reason(error)}") from None
        if len(answer) != 32 * len(_FORECAST):
            raise SimulationReverted(f"there is no oracle at {self.oracle.contract} on chain {self.oracle.chain_id}")
        number, window_end_s, _, regime, _, volatility, _ = decode(_FORECAST, answer)
        return Round(number, window_end_s * 1000, Regime.HIGH if regime else Regime.LOW, volatility / _WAD)

    def publication(self, feed: str, window_end_ms: int) -> Publication | None:
        """The transaction that published a window lately; none when there is none."""
        head = self._rpc.ask(lambda eth: eth.block_number)
        wanted = {
            "address": self.oracle.contract,
            "fromBlock": max(0, int(head) - _BLOCKS_BACK),
            "topics": [_PUBLISHED, feed_id(feed), (window_end_ms // 1000).to_bytes(32, "big")],
        }
        found = self._rpc.ask(lambda eth: eth.get_logs(cast(Any, wanted)))
        if not found:
            return None
        return Publication(found[-1]["transactionHash"].to_0x_hex(), int(found[-1]["blockNumber"]))
