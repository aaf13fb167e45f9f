"""What is signed, in the form that the contract takes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from eth_utils.crypto import keccak

from app.chain.account import Account
from app.chain.attestation import digest, feed_id, input_commitment, sign, signer_of
from app.errors import SignatureInvalid
from app.types import AttesterSignature, Claim, ModelId, OracleAt

END_MS = 1_757_937_600_000
ORACLE = OracleAt(31337, "0x5FbDB2315678afecb367f032d93F642f64180aa3")
ACCOUNT = Account.from_secret("0x" + "11" * 32, None, "attester")
SINGLE = Claim((("btc-usdt-4h", END_MS),), ModelId("ab" * 32), b"\x07" * 32, joint=False)
JOINT = replace(SINGLE, windows=(("btc-usdt-4h", END_MS), ("eth-usdt-4h", END_MS)), joint=True)


def word(value: int | bytes) -> bytes:
    return value.to_bytes(32, "big") if isinstance(value, int) else value


def domain(oracle: OracleAt) -> bytes:
    kind = keccak(text="EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
    address = bytes.fromhex(oracle.contract[2:]).rjust(32, b"\0")
    return bytes(keccak(kind + keccak(text="VeriRegime") + keccak(text="1") + word(oracle.chain_id) + address))


def test_digest__of_one_window__is_that_of_the_struct_as_eip_712_writes_it() -> None:
    kind = keccak(text="Attestation(bytes32 feedId,uint64 windowEnd,bytes32 modelId,bytes32 inputCommitment)")
    struct = keccak(
        kind + feed_id("btc-usdt-4h") + word(END_MS // 1000) + bytes.fromhex(SINGLE.model_id) + SINGLE.input_commitment
    )
    assert digest(ORACLE, SINGLE) == keccak(b"\x19\x01" + domain(ORACLE) + struct)


def test_digest__of_several_windows__hashes_their_lists_in_order() -> None:
    kind = keccak(
        text="JointAttestation(bytes32[] feedIds,uint64[] windowEnds,bytes32 modelId,bytes32 inputCommitment)"
    )
    ids = keccak(feed_id("btc-usdt-4h") + feed_id("eth-usdt-4h"))
    ends = keccak(word(END_MS // 1000) * 2)
    struct = keccak(kind + ids + ends + bytes.fromhex(JOINT.model_id) + JOINT.input_commitment)
    assert digest(ORACLE, JOINT) == keccak(b"\x19\x01" + domain(ORACLE) + struct)


@pytest.mark.parametrize(
    "other",
    [
        (replace(ORACLE, chain_id=1), SINGLE),
        (replace(ORACLE, contract="0x" + "22" * 20), SINGLE),
        (ORACLE, replace(SINGLE, windows=(("eth-usdt-4h", END_MS),))),
        (ORACLE, replace(SINGLE, windows=(("btc-usdt-4h", END_MS + 60_000),))),
        (ORACLE, replace(SINGLE, model_id=ModelId("ac" * 32))),
        (ORACLE, replace(SINGLE, input_commitment=b"\x08" * 32)),
        (ORACLE, replace(SINGLE, joint=True)),
        (ORACLE, JOINT),
        (ORACLE, replace(JOINT, windows=JOINT.windows[::-1])),
    ],
    ids=["chain", "contract", "feed", "window", "model", "commitment", "joint", "more", "order"],
)
def test_signature__over_anything_else__is_of_somebody_else(other: tuple[OracleAt, Claim]) -> None:
    signature = sign(ACCOUNT, ORACLE, SINGLE)
    assert signer_of(*other, signature) != ACCOUNT.address


@pytest.mark.parametrize("claim", [SINGLE, JOINT], ids=["single", "joint"])
def test_signature__recovers_to_its_signer_and_is_the_same_every_time(claim: Claim) -> None:
    signature = sign(ACCOUNT, ORACLE, claim)
    assert signature.signer == signer_of(ORACLE, claim, signature) == ACCOUNT.address
    assert signature == sign(ACCOUNT, ORACLE, claim)


@pytest.mark.parametrize("parity", [0, 1])
def test_signature__with_s_in_the_upper_half__is_refused(parity: int) -> None:
    """What little of it fits beside the parity: the compact form leaves 255 bits for s."""
    vs = ((1 << 255) - 1 | parity << 255).to_bytes(32, "big")
    with pytest.raises(SignatureInvalid, match="upper half"):
        signer_of(ORACLE, SINGLE, replace(sign(ACCOUNT, ORACLE, SINGLE), vs=vs))


@pytest.mark.parametrize(
    ("r", "vs"),
    [(b"\0" * 32, b"\0" * 32), (b"\xff" * 32, b"\x01" * 32), (b"\x01" * 31, b"\x01" * 32), (b"", b"")],
)
def test_signature__of_no_sound_numbers__is_refused(r: bytes, vs: bytes) -> None:
    with pytest.raises(SignatureInvalid):
        signer_of(ORACLE, SINGLE, AttesterSignature(ACCOUNT.address, r, vs))


def test_input_commitment__is_of_the_first_64_bytes_of_the_proof() -> None:
    proof = bytes(range(256))
    assert input_commitment(proof) == input_commitment(proof[:64]) == keccak(proof[:64])
