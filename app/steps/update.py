"""A proved and signed prediction as what goes on chain; for the submitter and for whoever asks over HTTP."""

from __future__ import annotations

from dataclasses import dataclass

from app.chain.attestation import input_commitment
from app.chain.registry import Panel
from app.chain.updates import gas_limit, update_calldata
from app.store.attestations import enough
from app.store.repository import Store
from app.types import AttesterSignature, Claim, OracleAt, Prediction, Proof


@dataclass(frozen=True, slots=True)
class Update:
    """Ready to send by anyone."""

    claim: Claim
    signatures: tuple[AttesterSignature, ...]
    carried: tuple[Prediction, ...]
    """The predictions that the proof is recorded for, which may be fewer than its windows."""
    calldata: bytes
    gas: int


def claim_of(store: Store, prediction: Prediction, proof: Proof) -> Claim:
    """What the proof of a prediction is about: its window, or all the windows of a joint proof in their order."""
    members = [store.predictions.get(member) for member in proof.members if member]
    windows = [(member.feed, member.window_end_ms) for member in members if member]
    return Claim(
        windows=tuple(windows) or ((prediction.feed, prediction.window_end_ms),),
        model_id=prediction.model_id,
        input_commitment=input_commitment(proof.proof),
        joint=bool(proof.members),
    )


def ready_update(store: Store, prediction: Prediction, oracle: OracleAt, panel: Panel) -> Update | None:
    """The update that carries a prediction; none while it is not proved or too few attesters signed for it.

    It holds as many signatures as the oracle wants and not one more: each costs gas.
    """
    found = store.predictions.proof(prediction.id)
    signatures = enough(store.attestations.of(prediction.id, oracle), panel.threshold, panel.signers)
    if found is None or not signatures:
        return None
    proof, _ = found
    claim = claim_of(store, prediction, proof)
    carried = [store.predictions.get(one) for one in store.predictions.proved_with(prediction.id)]
    return Update(
        claim=claim,
        signatures=tuple(signatures),
        carried=tuple(one for one in carried if one),
        calldata=update_calldata(claim, proof, signatures),
        gas=gas_limit(claim),
    )
