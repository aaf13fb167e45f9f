"""Calldata of the generated verifier, without an endpoint."""

from __future__ import annotations

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from app.types import SCALAR_FIELD, Proof

_SELECTOR = keccak(text="verifyProof(bytes,uint256[])")[:4]


def verify_calldata(proof: Proof) -> str:
    """0x hex of a call of ``verifyProof(bytes,uint256[])``, ready to send."""
    arguments = encode(["bytes", "uint256[]"], [proof.proof, [value % SCALAR_FIELD for value in proof.instances]])
    return "0x" + (_SELECTOR + arguments).hex()
