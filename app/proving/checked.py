"""What a prover is, and one on other machines: its proofs are believed after they were verified here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from app.errors import ProofRejected
from app.proving.pool import ProverPool
from app.types import Keys, Proof


class Prover(Protocol):
    """Prover processes of this machine, or a cluster."""

    @property
    def slots(self) -> int:
        """Proofs that can be made at once now."""

    @property
    def patience_s(self) -> float:
        """`prove` has returned or raised by then."""

    def prove(self, keys: Keys, observation: Sequence[int]) -> Proof:
        """A verified proof; blocks. Raises `ProvingFailed`."""

    def stop(self) -> None:
        """End what is under way: `prove` raises."""


class CheckedProver:
    """A prover on other machines, and our own processes that check what it says: milliseconds against its seconds."""

    def __init__(self, remote: Prover, own: ProverPool) -> None:
        self._remote = remote
        self._own = own

    @property
    def slots(self) -> int:
        return self._remote.slots

    @property
    def patience_s(self) -> float:
        """`prove` has returned or raised by then: after the cluster, our own two checks."""
        return self._remote.patience_s + 2 * self._own.patience_s

    def prove(self, keys: Keys, observation: Sequence[int]) -> Proof:
        """Raises `ProofRejected` for a proof that does not verify, of other inputs, or under other keys."""
        proof = self._remote.prove(keys, observation)
        if (proof.vk_hash, proof.srs_hash) != (keys.vk_hash, keys.srs_hash):
            raise ProofRejected("the proof was made under other keys than ours")
        if not self._own.verify(keys, proof.proof, proof.instances):
            raise ProofRejected()
        if not proof.commitment == proof.proof[: len(proof.commitment)] == self._own.commit(keys, observation):
            raise ProofRejected("the proof commits to other inputs than the observation")
        return replace(proof, members=(), slot=0)  # who is proved together is for us to say

    def stop(self) -> None:
        self._remote.stop()
