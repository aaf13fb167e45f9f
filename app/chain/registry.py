"""What the oracle, its model registry and its set of attesters state: read by whoever has to comply with it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from enum import Enum
from typing import Any

from eth_utils.address import to_checksum_address

from app.chain.attestation import feed_id
from app.chain.reading import ContractReader
from app.chain.rpc import Rpc
from app.errors import ChainError, SimulationReverted, UnknownModel
from app.types import Keys, OracleAt

_READ_AGAIN_S = 60.0


class ModelState(Enum):
    """Where a model stands, numbered as the registry does."""

    UNKNOWN = 0
    PROPOSED = 1
    ACTIVE = 2
    FROZEN = 3


@dataclass(frozen=True, slots=True)
class PinnedModel:
    """What the registry pins of a model; hashes are SHA-256 in hex, as in `app.types.Keys`."""

    verifier: str
    joint_verifier: str | None
    joint_windows: int
    output_scale: int
    srs_hash: str
    vk_hash: str
    joint_vk_hash: str
    training_record: str

    def differs_from(self, keys: Keys) -> str | None:
        """In which of its hashes a circuit's keys are not the pinned ones, in words; none when they are."""
        joint = keys.circuit.windows > 1
        pinned_vk = self.joint_vk_hash if joint else self.vk_hash
        stated = (("SRS", self.srs_hash, keys.srs_hash), (_vk_name(joint), pinned_vk, keys.vk_hash))
        for what, pinned, ours in stated:
            # The joint circuit is larger and has an SRS of its own: the registry states that of the single one.
            if pinned != ours and not (joint and what == "SRS"):
                return f"the registry pins the {what} with SHA-256 {pinned}, ours is {ours}"
        return None


@dataclass(frozen=True, slots=True)
class Panel:
    """Who may attest, and how many of them must."""

    signers: tuple[str, ...]
    """Checksum addresses."""
    threshold: int


class OracleReader:
    """Reads one oracle and the two contracts beside it, which it names for good.

    Every method raises `ChainUnavailable` when no endpoint answers, and `ChainError` when there is no oracle at the
    address. What the contracts cannot change is asked once.
    """

    def __init__(self, rpc: Rpc, address: str) -> None:
        self._rpc = rpc
        self.address = str(to_checksum_address(address))
        self._contracts = ContractReader(rpc)
        self._constants: dict[str, Any] = {}
        self._pins: dict[str, PinnedModel] = {}
        self._panel: Panel | None = None
        self._read_again_at = 0.0
        self._turn = threading.Lock()

    @property
    def oracle(self) -> OracleAt:
        return OracleAt(self._rpc.chain_id, self.address)

    def model(self, model_id: str) -> PinnedModel:
        """What is pinned of a model. Raises `UnknownModel` when the registry does not know it."""
        try:
            found = self._ask("ModelRegistry", self._constant("registry"), "model", bytes.fromhex(model_id))
        except SimulationReverted:
            raise UnknownModel(f"the registry of {self.address} does not know model {model_id[:16]}…") from None
        verifier, joint_verifier, joint_windows, output_scale, *hashes = found
        srs, vk, joint_vk, record = (bytes(value).hex() for value in hashes)
        return PinnedModel(
            verifier=to_checksum_address(verifier),
            joint_verifier=to_checksum_address(joint_verifier) if int(joint_verifier, 16) else None,
            joint_windows=int(joint_windows),
            output_scale=int(output_scale),
            srs_hash=srs,
            vk_hash=vk,
            joint_vk_hash=joint_vk,
            training_record=record,
        )

    def state_of(self, model_id: str) -> ModelState:
        return ModelState(self._ask("ModelRegistry", self._constant("registry"), "stateOf", bytes.fromhex(model_id)))

    def model_of(self, feed: str) -> str | None:
        """Id of the model that speaks for a feed; none while none does."""
        found = bytes(self._ask("ModelRegistry", self._constant("registry"), "modelOf", feed_id(feed)))
        return found.hex() if any(found) else None

    def signers(self) -> tuple[str, ...]:
        """The attesters now, checksum addresses."""
        return tuple(
            to_checksum_address(signer) for signer in self._ask("AttesterSet", self._constant("attesters"), "signers")
        )

    def threshold(self) -> int:
        return int(self._ask("AttesterSet", self._constant("attesters"), "threshold"))

    def panel(self) -> Panel:
        """Signers and threshold, read again every minute; the last ones known while the chain is away."""
        with self._turn:
            if self._panel is None or time.monotonic() >= self._read_again_at:
                try:
                    self._panel = Panel(self.signers(), self.threshold())
                except ChainError:
                    if self._panel is None:
                        raise
                self._read_again_at = time.monotonic() + _READ_AGAIN_S
            return self._panel

    def pins(self, model_id: str) -> PinnedModel:
        """What is pinned of a model, for good: it is asked once. Raises what `model` raises."""
        if model_id not in self._pins:
            self._pins[model_id] = self.model(model_id)
        return self._pins[model_id]

    def registry(self) -> str:
        """Checksum address of the ModelRegistry."""
        return str(to_checksum_address(self._constant("registry")))

    def submission_limit_s(self) -> int:
        """Seconds after its end in which the oracle takes a window."""
        return int(self._constant("submissionLimit"))

    def _constant(self, name: str) -> Any:
        if name not in self._constants:
            self._constants[name] = self._ask("VolatilityOracle", self.address, name)
        return self._constants[name]

    def _ask(self, contract: str, address: str, function: str, *arguments: Any) -> Any:
        answer = self._contracts.ask(contract, address, function, *arguments)
        if answer is None:
            raise ChainError(f"there is no {contract} at {address}")
        return answer


def _vk_name(joint: bool) -> str:
    return "verifying key of several windows" if joint else "verifying key"
