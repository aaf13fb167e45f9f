"""What attesters sign, EIP-712: a proof's input commitment belongs to these windows of this model, for one oracle."""

from __future__ import annotations

from typing import Any

from eth_account import Account as Accounts
from eth_account.messages import SignableMessage, encode_typed_data
from eth_keys.exceptions import BadSignature
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError

from app.chain.account import Account
from app.errors import SignatureInvalid
from app.types import AttesterSignature, Claim, OracleAt

COMMITMENT_BYTES = 64
_NAME, _VERSION = "VeriRegime", "1"
_BOTH = [{"name": "modelId", "type": "bytes32"}, {"name": "inputCommitment", "type": "bytes32"}]
_SINGLE = {
    "Attestation": [{"name": "feedId", "type": "bytes32"}, {"name": "windowEnd", "type": "uint64"}, *_BOTH],
}
_JOINT = {
    "JointAttestation": [{"name": "feedIds", "type": "bytes32[]"}, {"name": "windowEnds", "type": "uint64[]"}, *_BOTH],
}
_CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_PARITY = 1 << 255


def feed_id(name: str) -> bytes:
    """The feed's name on chain, 32 bytes."""
    return bytes(keccak(text=name))


def input_commitment(proof: bytes) -> bytes:
    """What the contract compares with the claim: keccak256 of the KZG commitment that the proof begins with.

    A commitment alone, 64 bytes, does as well.
    """
    return bytes(keccak(proof[:COMMITMENT_BYTES]))


def digest(oracle: OracleAt, claim: Claim) -> bytes:
    """The 32 bytes that are signed: `attestationDigest` or `jointAttestationDigest` of the oracle.

    A claim about one window of its own has exactly one; times on chain are seconds, so a window ends on a whole one.
    """
    message = _message(oracle, claim)
    return bytes(keccak(b"\x19" + message.version + message.header + message.body))


def sign(account: Account, oracle: OracleAt, claim: Claim) -> AttesterSignature:
    """The same account, oracle and claim always give the same signature (RFC 6979)."""
    r, vs = account.sign_digest(digest(oracle, claim))
    return AttesterSignature(account.address, r, vs)


def signer_of(oracle: OracleAt, claim: Claim, signature: AttesterSignature) -> str:
    """Who made the signature over this claim, as a checksum address: compare it with the signer that it names.

    Raises `SignatureInvalid` when it is no signature in the one form that the contract takes: s in the lower half.
    """
    if len(signature.r) != 32 or len(signature.vs) != 32:
        raise SignatureInvalid("r and vs have 32 bytes each")
    r, vs = int.from_bytes(signature.r, "big"), int.from_bytes(signature.vs, "big")
    parity, s = vs >> 255, vs % _PARITY
    if s > _CURVE_ORDER // 2:
        raise SignatureInvalid("s is in the upper half: the contract does not take it")
    try:
        return str(Accounts.recover_message(_message(oracle, claim), vrs=(27 + parity, r, s)))
    except (BadSignature, ValidationError, ValueError) as error:
        raise SignatureInvalid("r and vs are no signature over anything") from error


def _message(oracle: OracleAt, claim: Claim) -> SignableMessage:
    ids = [feed_id(feed) for feed, _ in claim.windows]
    ends = [end_ms // 1000 for _, end_ms in claim.windows]
    subject: dict[str, Any] = (
        {"feedIds": ids, "windowEnds": ends} if claim.joint else {"feedId": ids[0], "windowEnd": ends[0]}
    )
    return encode_typed_data(
        {
            "name": _NAME,
            "version": _VERSION,
            "chainId": oracle.chain_id,
            "verifyingContract": oracle.contract,
        },
        _JOINT if claim.joint else _SINGLE,
        {**subject, "modelId": bytes.fromhex(claim.model_id), "inputCommitment": claim.input_commitment},
    )
