"""An update: what goes on chain. A claim, its proof and signatures as calldata of ``submit`` or ``submitJoint``."""

from __future__ import annotations

from collections.abc import Sequence

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from app.chain.attestation import feed_id
from app.types import SCALAR_FIELD, AttesterSignature, Claim, Proof

_SIGNATURES = "(address,bytes32,bytes32)[]"
_SINGLE = f"(bytes32,uint64,bytes32,bytes32,bytes,uint256[],{_SIGNATURES})"
_JOINT = f"((bytes32,uint64)[],bytes32,bytes32,bytes,uint256[],{_SIGNATURES})"

SUBMIT_GAS, SUBMIT_JOINT_GAS = 800_000, 1_500_000
"""Set, not estimated: enough for every update that is accepted, and no round trip more."""


def update_calldata(claim: Claim, proof: Proof, signatures: Sequence[AttesterSignature]) -> bytes:
    """A call that anyone may send. Windows are in ms here and in seconds there."""
    signed = [(signature.signer, signature.r, signature.vs) for signature in signatures]
    outputs = [value % SCALAR_FIELD for value in proof.instances]
    windows = [(feed_id(feed), end_ms // 1000) for feed, end_ms in claim.windows]
    rest = (bytes.fromhex(claim.model_id), claim.input_commitment, proof.proof, outputs, signed)
    if claim.joint:
        return _call("submitJoint", _JOINT, (windows, *rest))
    return _call("submit", _SINGLE, (*windows[0], *rest))


def gas_limit(claim: Claim) -> int:
    return SUBMIT_JOINT_GAS if claim.joint else SUBMIT_GAS


def _call(function: str, kind: str, update: tuple[object, ...]) -> bytes:
    return bytes(keccak(text=f"{function}({kind})")[:4] + encode([kind], [update]))
