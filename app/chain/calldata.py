"""Calldata of verifier contracts, without an endpoint."""

from __future__ import annotations

from collections.abc import Sequence

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from app.types import SCALAR_FIELD, Proof

_SELECTOR = keccak(text="verifyProof(bytes,uint256[])")[:4]


def verify_calldata(proof: Proof) -> str:
    """0x hex of a call of ``verifyProof(bytes,uint256[])``, ready to send."""
    arguments = encode(["bytes", "uint256[]"], [proof.proof, [value % SCALAR_FIELD for value in proof.instances]])
    return "0x" + (_SELECTOR + arguments).hex()


def groth16_calldata(proof: bytes, signals: Sequence[int]) -> bytes:
    """A call of ``verifyProof(uint256[2],uint256[2][2],uint256[2],uint256[n])``: snarkjs's Groth16 verifier.

    ``proof`` is A‖B‖C, 256 bytes, every coordinate big-endian; of each coordinate of B, which has two parts, the
    contract wants the imaginary one first. Negative ``signals`` stand for their complement in the field.
    """
    words = [int.from_bytes(proof[start : start + 32], "big") for start in range(0, 256, 32)]
    kinds = ["uint256[2]", "uint256[2][2]", "uint256[2]", f"uint256[{len(signals)}]"]
    selector = keccak(text=f"verifyProof({','.join(kinds)})")[:4]
    fields = [value % SCALAR_FIELD for value in signals]
    return bytes(selector + encode(kinds, [words[:2], [words[2:4], words[4:6]], words[6:], fields]))
